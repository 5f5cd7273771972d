"""Time and peak memory of `extract_activations` against ``output_hidden_states=True``, at full size.

The baseline runs all prompts through the model as one batch, and picks the EOS position of every layer from
what transformers returns. Ours runs them in batches of `--batch-size`: it keeps nothing else between batches.

    python benchmarks/extraction.py                       (48 layers, 1536 wide: needs about 8 GB)
    python benchmarks/extraction.py --model 4x64 --prompts 4 --repeats 1      (a trial)
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import torch
from common import PROMPTS, get_model, machine, measured, summary

from steerlib import extract_activations
from steerlib.models import encode_prompts


def ours(model: str, dtype: str, prompts: int, threads: int, batch_size: int | None) -> Callable[[], Any]:
    torch.set_num_threads(threads)
    loaded, processor = get_model(model, dtype)

    def run() -> tuple[int, ...]:
        acts = extract_activations(
            loaded, processor, PROMPTS[:prompts], batch_size=batch_size, progress=False
        )
        return tuple(acts.values.shape)

    return run


def hidden_states(model: str, dtype: str, prompts: int, threads: int) -> Callable[[], Any]:
    torch.set_num_threads(threads)
    loaded, processor = get_model(model, dtype)
    books, start = loaded.config.decoder.num_codebooks, loaded.generation_config.decoder_start_token_id

    @torch.inference_mode()
    def run() -> tuple[int, ...]:
        encoded = encode_prompts(loaded, processor, PROMPTS[:prompts])
        codes = torch.full((prompts * books, 1), start)
        states = loaded(
            **encoded, decoder_input_ids=codes, output_hidden_states=True, use_cache=False
        ).hidden_states
        where = loaded.config.chroma_length + encoded["attention_mask"].sum(1) - 1
        return tuple(torch.stack([layer[torch.arange(prompts), where] for layer in states[1:]], dim=1).shape)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="48x1536")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--batch-size", type=int, help="default: that of extract_activations")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", help="JSON file for the figures")
    args = parser.parse_args()
    settings = {name: getattr(args, name) for name in ("model", "dtype", "prompts", "threads")}
    results: dict[str, list[dict[str, Any]]] = {"steerlib": [], "output_hidden_states": []}
    for _ in range(args.repeats):
        results["steerlib"].append(measured(ours, batch_size=args.batch_size, **settings))
        results["output_hidden_states"].append(measured(hidden_states, **settings))
    print(f"{args.model}, {args.dtype}, {args.prompts} prompts; {machine()}")
    for name, each in results.items():
        seconds, spread, peak = summary(each)
        shape = each[0]["value"]
        print(f"{name:21}: {seconds:.2f} s (spread {spread:.2f}), shape {shape}, peak +{1000 * peak:.0f} MB")
    (fast, _, small), (slow, _, large) = (
        summary(results["steerlib"]),
        summary(results["output_hidden_states"]),
    )
    ratios = {"time ratio": slow / fast, "memory ratio": large / small}
    print(", ".join(f"{name} {value:.2f}" for name, value in ratios.items()))
    if args.out:
        report = {**vars(args), "machine": machine(), "results": results, **ratios}
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
