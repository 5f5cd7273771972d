"""What recording costs: `extract_activations` against ``output_hidden_states=True``, at full size.

Both must run the model over the prompts, which takes time and memory whoever records. So a third contender runs it and
keeps nothing: what the others take beyond it, recording has added. All work on the same batches, and each has run
the model once before it is measured, so that what torch and its libraries set up once does not count.

    python benchmarks/extraction.py                       (48 layers, 1536 wide: needs about 9 GB)
    python benchmarks/extraction.py --model 4x64 --prompts 4 --repeats 1      (a trial)
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import PROMPTS, get_model, machine, measured, summary

from steerlib import extract_activations
from steerlib.model import MusicModel


def contender(
    name: str, model: str, dtype: str, prompts: int, threads: int, batch_size: int
) -> Callable[[], Any]:
    torch.set_num_threads(threads)
    loaded = get_model(model, dtype)
    run = partial(CONTENDERS[name], loaded, PROMPTS[:prompts], batch_size)
    _states(loaded, PROMPTS[:1], keep=False)
    return lambda: tuple(run().shape)


@torch.inference_mode()
def _states(model: MusicModel, prompts: list[str], *, keep: bool) -> torch.Tensor:
    """Run the model over one batch; the EOS position of every layer (prompts, layers, hidden), or of the last one."""
    encoded = model.encode(prompts)
    codes = torch.full((len(prompts) * model.codebooks, 1), model.start_token)
    made = model.network(**encoded, decoder_input_ids=codes, output_hidden_states=keep, use_cache=False)
    if not keep:
        return torch.zeros(len(prompts), 1, 1)
    where = model.config.chroma_length + encoded["attention_mask"].sum(1) - 1
    rows = torch.arange(len(prompts))
    return torch.stack([layer[rows, where] for layer in made.hidden_states[1:]], dim=1)


def batches(model: MusicModel, prompts: list[str], size: int, *, keep: bool) -> torch.Tensor:
    parts = [prompts[begin : begin + size] for begin in range(0, len(prompts), size)]
    return torch.cat([_states(model, part, keep=keep) for part in parts])


def ours(model: MusicModel, prompts: list[str], size: int | None) -> torch.Tensor:
    return extract_activations(model, prompts, batch_size=size, progress=False).values


CONTENDERS: dict[str, Callable[..., torch.Tensor]] = {
    "forward pass alone": partial(batches, keep=False),
    "output_hidden_states": partial(batches, keep=True),
    "steerlib": ours,
    "steerlib, its own batches": lambda model, prompts, size: ours(model, prompts, None),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="48x1536")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument(
        "--batch-size", type=int, help="prompts per pass of all contenders; default: all at once"
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", help="JSON file for the figures")
    args = parser.parse_args()
    settings = {name: getattr(args, name) for name in ("model", "dtype", "prompts", "threads")}
    settings["batch_size"] = args.batch_size or args.prompts
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in CONTENDERS}
    for _ in range(args.repeats):
        for name in CONTENDERS:
            results[name].append(measured(contender, name=name, **settings))
    print(
        f"{args.model}, {args.dtype}, {args.prompts} prompts, {settings['batch_size']} at once; {machine()}"
    )
    _, _, alone = summary(results["forward pass alone"])
    figures = {}
    for name, each in results.items():
        seconds, spread, peak = summary(each)
        figures[name] = {"seconds": seconds, "peak MB": 1000 * peak, "recording MB": 1000 * (peak - alone)}
        added = f"recording adds {1000 * (peak - alone):+.1f} MB"
        print(
            f"{name:26}: {seconds:.2f} s (spread {spread:.2f}), peak +{1000 * peak:.0f} MB, {added}",
            flush=True,
        )
    theirs, mine = figures["output_hidden_states"], figures["steerlib"]
    ratios = {
        "time ratio": theirs["seconds"] / mine["seconds"],
        "recording ratio": mine["recording MB"] / theirs["recording MB"],
        "peak ratio": figures["steerlib, its own batches"]["peak MB"] / theirs["peak MB"],
    }
    print(", ".join(f"{name} {value:.3f}" for name, value in ratios.items()))
    if args.out:
        arguments = {name: value for name, value in vars(args).items() if name != "out"}
        report = {**arguments, "machine": machine(), "results": results, "figures": figures, **ratios}
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
