"""Clips per second of `steerlib.generate` against transformers' ``generate`` with forward hooks.

Same weights, prompts, precision, length and sampling. transformers gets one call per setting, all prompts in
one batch, with the same steering installed as hooks; both decode to audio. The contenders take turns, each
time in a fresh process. Beside the ratio: peak memory, and how far the engine is from what the measured
matrix-multiply rate and memory bandwidth of the machine allow.

    python benchmarks/engine.py --model pocket --prompts 50 --settings 1 8 --seconds 8
    python benchmarks/engine.py --model 4x64 --prompts 4 --settings 2 --seconds 1 --repeats 1       (a trial)

A third contender is the engine with keys and values in half precision (``Sampling(exact=False)``): it says how many of
its tokens are the same, and how likely the unsteered model finds both.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from common import PROMPTS, get_model, machine, machine_limits, measured, random_vector, summary

from steerlib import Run, Sampling, Steering
from steerlib.engine import decode, plan
from steerlib.engine.attention import KeyValues
from steerlib.engine.clips import Row
from steerlib.engine.fit import lanes_of
from steerlib.engine.generation import stream
from steerlib.engine.weights import Matrix


def prepare(model: str, dtype: str, prompts: int, settings: int, seconds: float, threads: int) -> Any:
    torch.set_num_threads(threads)
    loaded = get_model(model, dtype)
    vector = random_vector(loaded)
    factors = [0.1 * (place - settings // 2 or settings) for place in range(settings)]
    steerings = [Steering(vector, factor, source_layer=0) for factor in factors]
    return loaded, PROMPTS[:prompts], steerings


def engine(seconds: float, exact: bool = True, **settings: Any) -> Callable[[], int]:
    model, prompts, steerings = prepare(seconds=seconds, **settings)
    rows = [Row(prompt, 0, (steering,)) for steering in steerings for prompt in prompts]

    def run() -> int:
        tiles = stream(model, rows, seconds=seconds, sampling=Sampling(exact=exact), run=Run(progress=False))
        return sum(clips.audio.shape[0] for _, clips, _ in tiles)

    return run


def half_precision(seconds: float, **settings: Any) -> Callable[[], dict[str, float]]:
    """What half precision changes: shares of tokens and of clips that are the same, and the likelihood of both."""
    model, prompts, steerings = prepare(seconds=seconds, **settings)
    rows = [Row(prompt, 0, (steering,)) for steering in steerings for prompt in prompts]

    def make(exact: bool) -> list[tuple[int, Any, float]]:
        quiet = Run(progress=False)
        tiles = stream(model, rows, seconds=seconds, sampling=Sampling(exact=exact), likelihood=True, run=quiet)
        made = [each for indices, clips, _ in tiles for each in zip(indices, clips.tokens, clips.nll, strict=True)]
        return sorted(made, key=lambda each: each[0])

    def run() -> dict[str, float]:
        ours, theirs = make(True), make(False)
        same = [one[1] == other[1] for one, other in zip(ours, theirs, strict=True)]
        return {
            "equal tokens": sum(each.mean() for each in same) / len(same),
            "equal clips": sum(each.all() for each in same) / len(same),
            "nll, exact": sum(each[2] for each in ours) / len(ours),
            "nll, half precision": sum(each[2] for each in theirs) / len(theirs),
        }

    return run


def transformers(seconds: float, **settings: Any) -> Callable[[], int]:
    model, prompts, steerings = prepare(seconds=seconds, **settings)
    new = model.frames(seconds) + model.codebooks - 1

    def run() -> int:
        count = 0
        for steering in steerings:
            with steering.applied(model):
                encoded = model.encode(prompts)
                audio = model.network.generate(
                    **encoded, max_new_tokens=new, do_sample=True, top_k=250, guidance_scale=3.0
                )
            count += audio.shape[0]
        return count

    return run


def profile(seconds: float, **settings: Any) -> Callable[[], dict[str, float]]:
    """Where one full tile's time goes, on one thread: shares of the time by kind of work."""
    model, prompts, steerings = prepare(seconds=seconds, **settings)
    clips = lanes_of(model) // 2
    rows = [Row((prompts * clips)[seed], seed, tuple(steerings[:1])) for seed in range(clips)]
    full = plan.Plan(model, rows, seconds, Sampling())
    spent: dict[str, float] = {}

    def watch(owner: Any, name: str, kind: str) -> None:
        work = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = work(*args, **options)
            spent[kind] = spent.get(kind, 0.0) + time.perf_counter() - begin
            return result

        setattr(owner, name, timed)

    watch(plan, "prefix_pass", "prefixes")
    watch(plan, "decode", "decode loop")
    watch(Matrix, "matmul_packed", "matrix products")
    watch(KeyValues, "attend", "attention")
    watch(decode, "choose", "choosing tokens")
    watch(model.network.audio_encoder, "decode", "codec")

    def run() -> dict[str, float]:
        torch.set_num_threads(1)
        full.run(list(range(len(rows))), lambda share: None)
        spent.clear()
        begin = time.perf_counter()
        full.run(list(range(len(rows))), lambda share: None)
        total = time.perf_counter() - begin
        kinds = ("matrix products", "attention", "choosing tokens", "codec", "prefixes")
        shares = {kind: spent.get(kind, 0.0) / total for kind in kinds}
        return shares | {"everything else": 1 - sum(shares.values())}

    return run


def limit(model: str, dtype: str, clips: int, seconds: float, threads: int) -> dict[str, float]:
    """Least seconds that the machine needs for the engine's work, and what that work is.

    Matrix products at the measured rate (or reading the weights at the measured bandwidth, if that takes
    longer), then the keys and values that attention must read, at the measured bandwidth. Nothing for the
    rest: codec, choice of tokens, normalisation, Python.
    """
    loaded = get_model(model, dtype)
    config = loaded.config.decoder
    rate = machine_limits(dtype, threads)
    width = torch.finfo(getattr(torch, dtype)).bits // 8
    blocks = sum(p.numel() for p in loaded.stack.layers.parameters() if p.ndim == 2)
    heads = loaded.codebooks * config.vocab_size * loaded.width
    prefix = loaded.prefix_length + 1
    steps = loaded.frames(seconds) + loaded.codebooks - 2
    operations = clips * (2 * 2 * blocks * (steps + prefix) + 2 * heads * steps)
    weights = clips / (lanes_of(loaded) // 2) * steps * (blocks + heads) * width
    # Each of the two branches reads what it wrote; the text is the clip's own, all else is shared.
    positions = sum(2 * step + loaded.text_length + 1 for step in range(steps))
    cache = clips * 2 * loaded.depth * loaded.width * positions * width
    products = max(operations / rate["operations"], weights / rate["bytes"])
    least = products + cache / rate["bytes"]
    return {"seconds": least, "operations": operations, "weight bytes": weights, "cache bytes": cache} | {
        f"{name} per second": value for name, value in rate.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="pocket", help="a name for load_model, or layers x width such as 16x384"
    )
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--settings", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", help="JSON file for the figures")
    args = parser.parse_args()
    print(f"{args.model}, {args.dtype}, {args.prompts} prompts x {args.seconds:g} s; {machine()}")
    common = {name: getattr(args, name) for name in ("model", "dtype", "prompts", "seconds", "threads")}
    arguments = {name: value for name, value in vars(args).items() if name != "out"}
    report: dict[str, Any] = {"arguments": arguments, "machine": machine()}
    for settings in args.settings:
        contenders = {"engine": engine, "half precision": partial(engine, exact=False), "transformers": transformers}
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in contenders}
        for _ in range(args.repeats):
            for name, task in contenders.items():
                results[name].append(measured(task, settings=settings, **common))
        clips = settings * args.prompts
        for name, each in results.items():
            seconds, spread, peak = summary(each)
            speed = f"{clips / seconds:6.2f} clips/s (spread {spread:.2f})"
            print(f"{settings} settings, {name:12}: {speed}, peak +{peak:.2f} GB", flush=True)
        ratio, fast = (
            summary(results["transformers"])[0] / summary(results[name])[0] for name in ("engine", "half precision")
        )
        least = limit(args.model, args.dtype, clips, args.seconds, args.threads)
        share = least["seconds"] / summary(results["engine"])[0]
        print(
            f"{settings} settings, ratio {ratio:.2f}, in half precision {fast:.2f}; "
            f"the engine reaches {share:.0%} of the machine's limit"
        )
        report[f"{settings} settings"] = {
            "results": results, "ratio": ratio, "half precision": fast, "limit": least, "share": share
        }  # fmt: skip
    report["half precision"] = measured(half_precision, settings=1, **common)["value"]
    print("in half precision: " + ", ".join(f"{name} {value:.3f}" for name, value in report["half precision"].items()))
    report["profile"] = measured(profile, settings=1, **common)["value"]
    print("one tile: " + ", ".join(f"{kind} {share:.0%}" for kind, share in report["profile"].items()))
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
