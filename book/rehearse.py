"""Rehearse notebooks: run them to their end with noise in place of music, to learn what the real run would cost.

    python -m book.rehearse data/experiments/paper.yaml layer_scan -p model facebook/musicgen-melody

The engine is told to call `noise` instead of its decode loop (`steerlib.engine.generation.BACKEND`): it checks
everything that it checks otherwise, writes an estimate (`steerlib.engine.cost`) of what was asked for to the file that
`TALLY` names, and yields noise with measures drawn at random. So the notebook goes on, with its choices, loops and
figures, and asks for all that it would ask for. Rows of a rehearsal have keys of their own in a store.

Exit codes: 0 done; 1 the message says what is wrong; 3 the real run would not fit into memory or on the disk.
Units: those of `Estimate`.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from book.run import ROOT, NotebookError, chapters, check_parameters, read_experiment, run_notebook
from steerlib.engine.clips import Clips, Row
from steerlib.engine.cost import estimate
from steerlib.engine.generation import BACKEND
from steerlib.engine.plan import Plan
from steerlib.files import parse_yaml

__all__ = ["costs", "main", "noise", "rehearse"]

TALLY = "STEERLIB_TALLY"
"""Environment variable: the file that estimates are added to."""

_TILE = 64


def noise(
    plan: Plan,
    seconds: float,
    measure: Callable[[Clips], Any] | None,
    batch_size: int | None,
    label: str | None,
) -> Iterator[tuple[list[int], Clips, Any]]:
    """What `steerlib.engine.generation.run_tiles` would yield, of noise; parameters as there.

    Raises
    ------
    DoesNotFit
        If the real run would not fit into memory.
    """
    model, rows = plan.model, plan.rows
    metrics = {} if measure is None else {"measure": measure}
    cost = estimate(
        model,
        rows,
        clips=len(rows),
        seconds=seconds,
        sampling=plan.sampling,
        metrics=metrics,
        batch_size=batch_size,
        audio_format=None,
        store=".",
    )
    with Path(os.environ[TALLY]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cost)) + "\n")
    samples = round(plan.frames * model.sample_rate / model.frame_rate)
    example = None
    for begin in range(0, len(rows), _TILE):
        indices = list(range(begin, min(begin + _TILE, len(rows))))
        part = [rows[index] for index in indices]
        rngs = [np.random.default_rng(_seed(row)) for row in part]
        clips = Clips(
            np.stack([rng.normal(0, 0.1, samples).astype(np.float32) for rng in rngs]),
            model.sample_rate,
            np.stack([rng.integers(0, 2, (model.codebooks, plan.frames)).astype(np.int16) for rng in rngs]),
            tuple(row.prompt for row in part),
            tuple(row.seed for row in part),
            np.array([rng.uniform(3, 6) for rng in rngs]) if plan.likelihood else None,
        )
        if measure is not None and example is None:
            example = measure(clips[:1])
        measured = example and {name: [float(rng.uniform(80, 120)) for rng in rngs] for name in example}
        yield indices, clips, measured


def _seed(row: Row) -> int:
    """The same row gives the same noise, as it would give the same clip."""
    acting = [(each.multiplier, each.source_layer, float(each.vector.norms.sum())) for each in row.steering]
    return int.from_bytes(
        hashlib.sha256(repr((row.prompt, row.seed, acting)).encode()).digest()[:8], "little"
    )


def costs(file: str | Path) -> dict[str, float]:
    """Sum of the estimates in a tally: clips, tokens and seconds; for memory_bytes the largest."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    each = [json.loads(line) for line in lines]
    sums: dict[str, float] = {name: sum(one[name] for one in each) for name in ("clips", "tokens", "seconds")}
    return sums | {"memory_bytes": max((one["memory_bytes"] for one in each), default=0)}


def rehearse(experiment: Path, names: Sequence[str], changes: dict[str, Any]) -> None:
    """Run chapters on noise, and print what each would cost.

    Raises
    ------
    NotebookError
        For an unknown chapter or parameter, before anything runs, or if a cell fails.
    """
    known, notebooks = chapters(ROOT / "_toc.yml"), ROOT / "notebooks"
    unknown = [name for name in names if name not in known]
    if unknown:
        raise NotebookError(f"there is no chapter {', '.join(unknown)}; chapters are: {', '.join(known)}")
    parameters = {
        name: _inside(name, given | changes)
        for name, given in read_experiment(experiment, notebooks, list(names) or known).items()
    }
    for name, given in parameters.items():
        check_parameters(notebooks / f"{name}.ipynb", given)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as folder:
        for name, given in parameters.items():
            tally = Path(folder) / f"{name}.jsonl"
            output = Path(folder) / "book" / "chapters" / f"{name}.ipynb"
            for key, value in given.items():
                if key.endswith("_from") and value and not (output.parent / value).exists():
                    given[key] = ""  # the chapter that chooses is not rehearsed: by hand then
            began = time.monotonic()
            with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), _noise_in_kernels(tally):
                run_notebook(notebooks / output.name, output, given, progress=False)
            row = costs(tally) | {"rest": time.monotonic() - began}
            written = sum(file.stat().st_size for file in Path(folder).rglob("clips/*"))
            row["disk_bytes"] = written - sum(earlier["disk_bytes"] for earlier in rows)
            rows.append({"chapter": name, **row})
            print(f"{name:20} {_cost(rows[-1])}", flush=True)
    table = pd.DataFrame(rows).set_index("chapter")
    print(f"{'all of them':20} {_cost(dict(table.sum()) | {'memory_bytes': table.memory_bytes.max()})}")


@contextmanager
def _noise_in_kernels(tally: Path) -> Iterator[None]:
    """Let kernels that start now find `noise` and the tally in their environment, which is ours."""
    before = dict(os.environ)
    path = os.pathsep.join(filter(None, [str(ROOT), before.get("PYTHONPATH")]))  # only steerlib is installed
    os.environ.update({BACKEND: "book.rehearse:noise", TALLY: str(tally), "PYTHONPATH": path})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _inside(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters with which a notebook writes into the folder of the rehearsal, and reads what lies elsewhere."""
    given = dict(parameters)
    for key, value in parameters.items():
        if not isinstance(value, str) or not value:
            continue
        if key in ("output", "scores") and Path(value).expanduser().is_absolute():
            raise NotebookError(
                f"{name}: {key} = {value} is absolute, and a rehearsal would write noise there: make it relative"
            )
        read = ROOT / "book" / "chapters" / value
        if key not in ("output", "scores") and not key.endswith("_from") and read.exists():
            given[key] = str(read.resolve())
    return given


def _cost(row: Any) -> str:
    return (
        f"{row['clips']:7,.0f} clips {row['tokens']:12,.0f} tokens {row['memory_bytes'] / 2**30:6.2f} GiB of memory "
        f"{row['disk_bytes'] / 2**20:7,.0f} MiB of disk {row['seconds'] / 60:8,.1f} min and {row['rest'] / 60:.1f} min "
        "for all else, as it took now"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m book.rehearse",
        description="Say what the notebooks of an experiment would cost, by running them on noise.",
    )
    parser.add_argument("experiment", type=Path, help="YAML file with a section 'notebooks'")
    parser.add_argument("names", nargs="*", metavar="CHAPTER", help="in the book's order; all by default")
    parser.add_argument(
        "-p", "--parameter", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"), help="change one"
    )
    options = parser.parse_args(arguments)
    try:
        changes = {key: parse_yaml(value, f"-p {key}") for key, value in options.parameter}
        rehearse(options.experiment, options.names, changes)
    except (NotebookError, ValueError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 3 if getattr(error, "kind", "") == "DoesNotFit" else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
