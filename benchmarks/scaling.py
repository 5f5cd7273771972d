"""How the cost of generation grows with rows, length, layers and settings: a table for the book.

One thing varies at a time around a centre; every point runs in a fresh process.

    python benchmarks/scaling.py --out benchmarks/scaling.csv
    python benchmarks/scaling.py --width 64 --layers 2 --rows 1 4 --seconds 1 --settings 1 2    (a trial)
"""

import argparse

import pandas as pd
import torch
from common import machine, measured
from engine import engine


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16, 32, 64, 128])
    parser.add_argument("--seconds", type=float, nargs="+", default=[2, 4, 8, 16])
    parser.add_argument("--settings", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", help="CSV file")
    args = parser.parse_args()
    centre = {"layers": args.layers[len(args.layers) // 2], "rows": min(32, max(args.rows)), "settings": 1}
    centre["seconds"] = args.seconds[len(args.seconds) // 2]
    print(f"centre {centre}, {args.width} wide; {machine()}")
    records = []
    for varied in ("rows", "seconds", "layers", "settings"):
        for value in getattr(args, varied):
            point = centre | {varied: value}
            result = measured(
                engine,
                model=f"{point['layers']}x{args.width}",
                dtype=args.dtype,
                prompts=max(1, point["rows"] // point["settings"]),
                settings=point["settings"],
                seconds=point["seconds"],
                threads=args.threads,
            )
            clips, took = result["value"], result["seconds"]
            record = {"varied": varied, **point, "clips": clips, "took_s": took, "s_per_clip": took / clips}
            records.append(record | {"peak_added_gb": (result["added_bytes"] or float("nan")) / 1e9})
            peak = records[-1]["peak_added_gb"]
            print(f"{varied} = {value}: {took / clips:.3f} s per clip, peak +{peak:.2f} GB", flush=True)
    if args.out:
        pd.DataFrame(records).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
