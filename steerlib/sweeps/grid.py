"""Sweeps: the same prompts and seeds under many steering settings, measured, stored and resumable.

Method: paper A, section 4 (layers and multipliers; figures 4 and 5). Every setting is generated from the same
random streams (`engine.generation`), so that the effect on a clip is the difference to the baseline clip of
the same prompt and seed. The baseline, multiplier 0, is made once per prompt and seed, whatever the number of
attributes and layers, and appears in the table under each of them.

Units: those of the metrics (bpm, Hz, onsets per second), seconds of audio.
"""

import math
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch

from steerlib.activations import stream_norms
from steerlib.engine.clips import AudioFormat, Clips, Row
from steerlib.engine.cost import Estimate, check_fit, estimate
from steerlib.engine.fit import largest_batch
from steerlib.engine.generation import BACKEND, ENGINE_VERSION, Run, stream
from steerlib.engine.plan import Plan
from steerlib.engine.sampling import Sampling
from steerlib.files import digest, short
from steerlib.measure.registry import CHECKPOINTS, METRICS, THRESHOLDS, VERSIONS, Metric
from steerlib.measure.rhythm import checkpoint_path, sure_tempo, tempo
from steerlib.model import MusicModel, check_shape
from steerlib.steering import (
    Branches,
    Edit,
    Feedback,
    Positions,
    Site,
    Steering,
    SteeringMap,
    Steps,
    active_steering,
    kappa,
)
from steerlib.sweeps.store import Store, row_key

__all__ = ["BASELINE", "Grid", "Strategy", "check", "cost", "distinct", "shard_of", "sweep", "sweep_cells"]

Strategy = Literal["one_to_all", "all_to_all", "one_to_one"]

_DEFAULT_METRICS = ("bpm", "centroid", "onset_rate")
_COLUMNS = [
    *("attribute", "strategy", "source_layer", "multiplier", "kappa"),
    *("steps", "branches", "site", "positions"),
]


@dataclass(frozen=True, eq=False)
class Grid:
    """Which steerings to try: every combination of vector, source layer and multiplier.

    Attributes
    ----------
    vectors : mapping of str to SteeringVector or SteeringMap
        By the name of their attribute.
    multipliers : sequence of float, or mapping of names to such
        The same for all vectors, or each its own. The baseline, 0, is always made.
    layers : sequence of int, or mapping of names to int or such, optional
        Source layers, the same for all vectors or each its own. None for "all_to_all" only.
    strategy : {"one_to_all", "all_to_all", "one_to_one"}
        The source layer's direction into every block, each block's own, or the source layer's into its own
        block alone (paper A section 3.3).
    steps, branches, site, preserve_norm, positions
        See `Steering`.
    """

    vectors: Mapping[str, Edit]
    multipliers: Sequence[float] | Mapping[str, Sequence[float]]
    layers: Sequence[int] | Mapping[str, int | Sequence[int]] | None = None
    strategy: Strategy = "one_to_all"
    steps: Steps = "all"
    branches: Branches = "both"
    site: Site = "residual"
    preserve_norm: bool = False
    positions: Positions = "all"

    def steerings(self, model: MusicModel) -> list[tuple[str | None, int | None, float, Steering | None]]:
        """(attribute, source layer, multiplier, Steering or None for the baseline) for every setting.

        Raises
        ------
        ValueError
            If a setting makes no sense or occurs twice, or a vector does not fit the model.
        """
        if self is BASELINE:
            return [(None, None, 0.0, None)]
        if not self.vectors:
            raise ValueError(
                "there are no vectors: give at least one, such as {'tempo': diff_mean(activations)}"
            )
        if self.strategy not in get_args(Strategy):
            raise ValueError(
                f"strategy must be one of {', '.join(get_args(Strategy))}; got {self.strategy!r}"
            )
        if self.strategy != "all_to_all" and self.layers is None:
            raise ValueError(f"strategy {self.strategy!r} needs layers, such as [8]")
        if self.strategy == "all_to_all" and self.layers is not None:
            raise ValueError("strategy 'all_to_all' takes each block's own direction: leave layers None")
        settings: dict[str, Any] = {
            name: getattr(self, name) for name in ("steps", "branches", "site", "preserve_norm", "positions")
        }
        steerings: list[tuple[str | None, int | None, float, Steering | None]] = []
        for attribute, vector in self.vectors.items():
            check_shape(model, vector.directions, f"the vector {attribute!r}")
            factors = [float(each) for each in _of(self.multipliers, attribute, "multipliers")]
            if not all(map(math.isfinite, factors)):
                raise ValueError(f"multipliers must be finite numbers, got {factors}")
            layers = [None] if self.layers is None else _of(self.layers, attribute, "layers")
            for layer, factor in product(layers, sorted({0.0, *(each for each in factors if each)})):
                only = (layer,) if self.strategy == "one_to_one" and layer is not None else None
                steering = Steering(vector, factor, source_layer=layer, layers=only, **settings)
                steerings.append((attribute, layer, factor, steering if factor else None))
        return steerings

    def cells(self, model: MusicModel, prompts: Sequence[str], seeds: Sequence[int]) -> pd.DataFrame:
        """One row for each steering, prompt and seed, for `sweep_cells`."""
        prompts, seeds = distinct("prompts", prompts), distinct("seeds", seeds)
        records = [
            (attribute, layer, multiplier, prompt_id, prompt, seed, () if steering is None else (steering,))
            for (attribute, layer, multiplier, steering), (prompt_id, prompt), seed in product(
                self.steerings(model), enumerate(prompts), seeds
            )
        ]
        names = ["attribute", "source_layer", "multiplier", "prompt_id", "prompt", "seed", "steering"]
        table = pd.DataFrame(records, columns=names).astype({"attribute": "str", "source_layer": "Int64"})
        where = {name: getattr(self, name) for name in ("strategy", "steps", "branches", "site", "positions")}
        return table.assign(**where)


BASELINE = Grid({}, ())
"""No steering: a sweep of it makes the unsteered clips alone."""


def sweep(
    model: MusicModel,
    prompts: Sequence[str],
    grid: Grid | Mapping[str, Grid],
    *,
    store: str | Path,
    seconds: float = 8.0,
    seeds: Sequence[int] = (0,),
    sampling: Sampling = Sampling(),
    metrics: Sequence[str] = _DEFAULT_METRICS,
    beats: str | Path | None = None,
    keep: AudioFormat | None = "mp3",
    run: Run = Run(),
) -> pd.DataFrame:
    """Generate and measure every steering of a grid (or of several) with every prompt and seed.

    Rows go to the store as they are done; a sweep that was killed goes on where it stopped, and one with a
    changed setting makes only the rows that the setting changes. Chapters: *Layer scan*, *Steering sweep*,
    *Where and when to inject*.

    Parameters
    ----------
    model : MusicModel
    prompts : sequence of str
    grid : Grid, or mapping of str to Grid
        Several grids are made in one batch; a column ``setting`` says to which a row belongs.
    store : str or Path
        Folder of the results, see `sweeps.store`. Several sweeps may share one.
    seconds : float, default 8
    seeds : sequence of int, default (0,)
    sampling : Sampling
    metrics : sequence of str
        Names in `steerlib.measure.METRICS`.
    beats : str or path, optional
        The BeatThis checkpoint that "bpm" is measured with, such as "final0".
    keep : {"mp3", "flac"} or None, default "mp3"
        What the clips are kept as in the store; None keeps their measures only.
    run : Run
        Its ``shard``, "3/16", makes and returns the third of sixteen parts, which `sweeps.store.merge` joins.

    Returns
    -------
    DataFrame
        One row per cell, in the order of grids, vectors, layers, multipliers (ascending), prompts and seeds.
        Columns attribute, strategy, source_layer (Int64, NA for All-to-All), multiplier, kappa
        (`steerlib.steering.kappa`), steps, branches, site, positions, prompt_id, prompt, seed, one for each metric, nll
        (nats per token, see `steerlib.engine.generation.nll`), clip (path within the store, NA if not kept) and key.
        Rows of the baseline share their clip and key.

    Raises
    ------
    ValueError
        If a setting makes no sense or occurs twice, before anything is generated; `DoesNotFit` if memory or
        disk will not do, with what would.
    FileNotFoundError
        If a metric lacks its checkpoint.
    """
    table = sweep_cells(
        model, _cells(model, prompts, grid, seeds), store=store, seconds=seconds, sampling=sampling,
        metrics=metrics, beats=beats, keep=keep, run=run,
    )  # fmt: skip
    return table[_COLUMNS + [name for name in table if name not in _COLUMNS]]


def cost(
    model: MusicModel,
    prompts: Sequence[str],
    grid: Grid | Mapping[str, Grid],
    *,
    store: str | Path,
    seconds: float = 8.0,
    seeds: Sequence[int] = (0,),
    sampling: Sampling = Sampling(),
    metrics: Sequence[str] = _DEFAULT_METRICS,
    beats: str | Path | None = None,
    keep: AudioFormat | None = "mp3",
    run: Run = Run(),
) -> Estimate:
    """What `sweep` with these parameters would still cost. Takes the time of one prompt and a few decode steps."""
    cells = _cells(model, prompts, grid, seeds)
    work = _Work(model, cells, store, seconds, sampling, metrics, beats, keep, run)
    return estimate(model, work.rows, clips=len(work.unique), metrics=work.metrics, **work.cost)


def check(
    model: MusicModel,
    prompts: Sequence[str],
    grid: Grid | Mapping[str, Grid],
    *,
    store: str | Path,
    seconds: float = 8.0,
    seeds: Sequence[int] = (0,),
    sampling: Sampling = Sampling(),
    metrics: Sequence[str] = _DEFAULT_METRICS,
    beats: str | Path | None = None,
    keep: AudioFormat | None = "mp3",
    run: Run = Run(),
) -> None:
    """Raise what `sweep` with these parameters would raise before its first clip; random vectors will do."""
    cells = _cells(model, prompts, grid, seeds)
    work = _Work(model, cells, store, seconds, sampling, metrics, beats, keep, run)
    if work.rows:
        work.check()


def sweep_cells(
    model: MusicModel,
    cells: pd.DataFrame,
    *,
    store: str | Path,
    seconds: float = 8.0,
    sampling: Sampling = Sampling(),
    metrics: Sequence[str] = _DEFAULT_METRICS,
    beats: str | Path | None = None,
    keep: AudioFormat | None = "mp3",
    run: Run = Run(),
) -> pd.DataFrame:
    """`sweep` for settings that are no grid. Chapters: *Probes*, *Genre fusion*, *Timbre transfer*.

    Parameters
    ----------
    cells : DataFrame
        A row for each clip with ``prompt``, ``seed``, ``steering`` (a tuple of `Steering`, empty for none) and, if
        the model is to follow a tune, ``melody`` (chroma of shape (frames, num_chroma), or None). Other columns
        are labels: cells that differ only in labels share one clip.
    model, store, seconds, sampling, metrics, beats, keep, run
        See `sweep`.

    Returns
    -------
    DataFrame
        The cells without ``steering`` and ``melody``, and columns ``kappa``, one for each metric, ``nll``,
        ``clip`` and ``key``.

    Raises
    ------
    ValueError, FileNotFoundError
        As `sweep`.
    """
    work = _Work(model, cells, store, seconds, sampling, metrics, beats, keep, run)
    if work.rows:
        work.check()
        work.make()
    return _join(work.cells, work.store.read(), work.metrics, stream_norms(model))


class _Work:
    """What a sweep asks for, checked, and what of it the store lacks."""

    def __init__(
        self,
        model: MusicModel,
        cells: pd.DataFrame,
        store: str | Path,
        seconds: float,
        sampling: Sampling,
        metrics: Sequence[str],
        beats: str | Path | None,
        keep: AudioFormat | None,
        run: Run,
    ) -> None:
        for seed in cells.get("seed", ()):
            if isinstance(seed, bool | np.bool_) or not isinstance(seed, int | np.integer):
                raise TypeError(f"a seed is a whole number, got {short(seed)}")
            if not -(2**63) <= seed < 2**63:
                raise ValueError(f"a seed has at most 64 bits, from -2**63 to 2**63 - 1; got {seed}")
        needed = [name for name in ("prompt", "seed", "steering") if name not in cells]
        if needed or cells.empty:
            raise ValueError(
                f"cells must have rows, and columns prompt, seed and steering; missing: {needed}"
            )
        self.metrics, judges = _metrics(metrics, beats)
        if keep not in (None, *get_args(AudioFormat)):
            raise ValueError(f"keep must be 'mp3', 'flac' or None, got {keep!r}")
        if active_steering(model):
            raise ValueError(
                "a steering context is open on the model, where a sweep has no baseline: close it first"
            )
        common = {
            "engine": ENGINE_VERSION,
            "weights": model.weights_digest(),
            "dtype": str(model.dtype),
            "device": model.device.type,
            "text_length": model.text_length,
            "seconds": float(seconds),
            # left out at its default, so that rows made before there was this field keep their keys
            "sampling": {name: value for name, value in asdict(sampling).items() if (name, value) != ("exact", True)},
            "metrics": sorted([*self.metrics, "nll"]),
            "judges": judges,
            "audio": keep,
        }
        changed = {name: VERSIONS[name] for name in sorted(self.metrics) if name in VERSIONS}
        if (
            changed
        ):  # the first version is not named, so that rows stored before there were versions stay valid
            common["versions"] = changed
        if os.environ.get(BACKEND):  # a real sweep must not find its rows
            common["backend"] = os.environ[BACKEND]
        cells = _with_keys(cells, common)
        self.unique = cells.drop_duplicates("key")
        if run.shard is not None:
            self.unique = _shard(self.unique, run.shard)
            cells = cells[cells["key"].isin(self.unique["key"])]
        self.cells, self.model, self.store = cells, model, Store(store)
        self.missing = self.unique[~self.unique["key"].isin(self.store.read()["key"])]
        self.rows = _rows(self.missing)
        batch_size = run.batch_size
        if batch_size is None:
            batch_size = largest_batch(model, clips=len(self.rows), seconds=seconds, sampling=sampling)
        self.run = replace(run, batch_size=batch_size)
        self.cost: dict[str, Any] = {
            "seconds": seconds, "sampling": sampling, "batch_size": batch_size, "audio_format": keep,
            "store": self.store.folder,
        }  # fmt: skip

    def check(self) -> None:
        """Raise whatever there is to raise before work begins."""
        Plan(self.model, self.rows, self.cost["seconds"], self.cost["sampling"])
        check_fit(self.model, clips=len(self.rows), **self.cost)
        _try_out(self.metrics, self.model.sample_rate)

    def make(self) -> None:
        """Generate, measure and store the missing rows, but those that another process makes: wait for these."""
        wanted = set(self.missing["key"])
        waiting = False
        while wanted:
            with self.store.claim(wanted) as claimed:
                if claimed:
                    left = claimed - set(
                        self.store.read()["key"]
                    )  # another may have made some before the claim
                    if left:
                        self._make(self.missing[self.missing["key"].isin(left)])
                    wanted -= claimed
                    continue
            if not waiting and self.run.progress:
                print(
                    f"waiting for another sweep that is making {len(wanted)} of these clips", file=sys.stderr
                )
            waiting = True
            time.sleep(1)

    def _make(self, missing: pd.DataFrame) -> None:
        seconds, keep = self.cost["seconds"], self.cost["audio_format"]

        def measure(clips: Clips) -> dict[str, list[float]]:  # one by one: each depends on its own clip alone
            found = {} if clips.nll is None else {"nll": clips.nll.tolist()}
            for name, metric in self.metrics.items():
                found[name] = [float(metric(clip)[0]) for clip in clips]
            return found

        tiles = stream(
            self.model,
            _rows(missing),
            seconds=seconds,
            sampling=self.cost["sampling"],
            measure=measure,
            likelihood=True,
            run=self.run,
            label=f"sweep ({len(self.unique) - len(missing)} of {len(self.unique)} in the store)",
        )
        for indices, clips, measured in tiles:
            cell = missing.iloc[indices]
            done = cell.drop(columns=["steering", "melody", "prompt_id"], errors="ignore")
            # a clip without steering belongs to the baseline of every setting, hence to none
            about = done.columns.difference(["prompt", "seed", "multiplier", "key"])
            done[about] = done[about].mask(cell["steering"].map(len) == 0)
            done = done.assign(seconds=float(seconds), **measured)
            audio = clips.audio if keep else None
            self.store.append(done, audio, sample_rate=clips.sample_rate, audio_format=keep or "mp3")


def _cells(
    model: MusicModel, prompts: Sequence[str], grid: Grid | Mapping[str, Grid], seeds: Sequence[int]
) -> pd.DataFrame:
    if isinstance(grid, Grid):
        return grid.cells(model, prompts, seeds)
    if not grid:
        raise ValueError("there is no grid: give at least one, or BASELINE for the unsteered clips alone")
    parts = [each.cells(model, prompts, seeds).assign(setting=name) for name, each in grid.items()]
    return pd.concat(parts, ignore_index=True)


def _rows(cells: pd.DataFrame) -> list[Row]:
    return [Row(cell.prompt, cell.seed, cell.steering, cell.melody) for cell in cells.itertuples()]


def _with_keys(cells: pd.DataFrame, common: dict[str, Any]) -> pd.DataFrame:
    """Add a ``melody`` column (None if absent) and the content key of each cell."""
    content: Callable[[Steering], dict[str, Any]] = cache(_content)
    melodies = [m if isinstance(m, torch.Tensor) else None for m in cells.get("melody", [None] * len(cells))]
    keys = []
    for prompt, seed, steering, melody in zip(
        cells["prompt"], cells["seed"], cells["steering"], melodies, strict=True
    ):
        acting = [content(each) for each in steering]
        settings = {
            "prompt": prompt,
            "seed": seed,
            "steering": acting[0] if len(acting) == 1 else acting or None,
        }
        if melody is not None:
            settings["melody"] = digest(melody.cpu().numpy().tobytes())
        keys.append(row_key(common | settings))
    return cells.assign(melody=pd.Series(list(melodies), cells.index, dtype=object), key=keys)


def _content(steering: Steering) -> dict[str, Any]:
    """What in a steering determines the tokens: what it adds, where and when."""
    deltas = steering.deltas(len(steering.vector.directions)) + 0.0  # no -0.0
    content = {
        "deltas": digest(deltas.numpy().tobytes()),
        "steps": steering.steps,
        "branches": steering.branches,
        "site": steering.site,
        "preserve_norm": steering.preserve_norm,
    }
    if isinstance(steering.vector, SteeringMap):
        shift, terms = steering.push(len(deltas))
        content["map"] = digest((torch.stack([shift, *(terms or ())]) + 0.0).numpy().tobytes())
    # left out at their defaults, so that rows made before there were these fields keep their keys
    optional = {"schedule": (_told(steering.schedule), None), "positions": (steering.positions, "all")}
    return content | {name: value for name, (value, default) in optional.items() if value != default}


def _told(schedule: tuple[float, ...] | Feedback | None) -> Any:
    if not isinstance(schedule, Feedback):
        return schedule
    if not schedule.name:
        raise ValueError(
            "a Feedback in a sweep needs a name that stands for its rule, or its clips could not be told from others: "
            "give it one"
        )
    return {"layer": schedule.layer, "every": schedule.every, "rule": schedule.name}


def _join(
    cells: pd.DataFrame, stored: pd.DataFrame, metrics: Mapping[str, Metric], norms: torch.Tensor
) -> pd.DataFrame:
    """The cells with what the store knows of them."""
    found = stored.set_index("key").reindex(columns=[*metrics, "nll", "clip"])
    table = cells.drop(columns=["key", "steering", "melody"])
    push = cache(partial(kappa, norms=norms))
    table["kappa"] = [push(steering) for steering in cells["steering"]]
    for name in (*metrics, "nll"):
        table[name] = cells["key"].map(found[name]).astype(float)
    table["clip"] = cells["key"].map(found["clip"]).astype("str")
    table["key"] = cells["key"]
    return table.reset_index(drop=True)


# --- arguments ----------------------------------------------------------------------------------------------


def _of(values: Any, name: str, what: str) -> list[Any]:
    """What holds for one vector, from the same for all or a mapping of names."""
    if isinstance(values, Mapping):
        if name not in values:
            raise ValueError(
                f"{what} has nothing for the vector {name!r}: it has {', '.join(map(str, values))}"
            )
        values = values[name]
    return distinct(what, [values] if isinstance(values, int | float | np.generic) else values)


def _metrics(names: Sequence[str], beats: str | Path | None) -> tuple[dict[str, Metric], dict[str, str]]:
    """Metrics by name, and the hashes of the files that they depend on."""
    if isinstance(names, str):
        raise TypeError(f"metrics must be a sequence of names, got one string: write ({names!r},)")
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"unknown metrics {', '.join(map(repr, unknown))}: expected some of {', '.join(METRICS)}"
        )
    chosen, files = {name: METRICS[name] for name in names}, dict(CHECKPOINTS)
    for name, judge in (("bpm", tempo), ("sure_bpm", sure_tempo)):
        if beats is not None and name in chosen:
            chosen[name] = partial(judge, checkpoint=beats)
            files[name] = checkpoint_path(beats)
    hashes = {name: digest(path.read_bytes()) for name, path in files.items() if name in chosen and path.is_file()}
    limits = {
        f"{name}, thresholds": digest(path.read_bytes())
        for name, path in THRESHOLDS.items()
        if name in chosen and path.is_file()
    }
    return chosen, hashes | limits


def distinct(name: str, values: Sequence[Any]) -> list[Any]:
    """The values as a list; raises if there are none, or one stands there twice."""
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence, got one string: write [{values!r}]")
    listed = [each.item() if isinstance(each, np.generic) else each for each in values]
    if not listed:
        raise ValueError(f"{name} is empty: give at least one")
    twice = [each for each in dict.fromkeys(listed) if listed.count(each) > 1]
    if twice:
        raise ValueError(f"{name} has {twice[0]!r} more than once, which would count its clips twice")
    return listed


def shard_of(text: str) -> tuple[int, int]:
    """Number and count of a shard: "3/16" is (3, 16); raises ValueError for anything else."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    if not match:
        raise ValueError(f"shard must look like '3/16', got {short(text)}")
    number, count = map(int, match.groups())
    if not 1 <= number <= count:
        raise ValueError(
            f"shard {text!r}: the first of {count} shards is '1/{count}', the last '{count}/{count}'"
        )
    return number, count


def _shard(unique: pd.DataFrame, shard: str) -> pd.DataFrame:
    number, count = shard_of(shard)
    begin, end = (len(unique) * edge // count for edge in (number - 1, number))
    return unique.iloc[begin:end]


def _try_out(metrics: Mapping[str, Metric], rate: int) -> None:
    """Call each metric once on noise: fail early if a checkpoint is missing, and load it before workers start."""
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 2 * rate)).astype(np.float32)
    clips = Clips(noise, rate, np.zeros((1, 1, 1), np.int16), ("noise",), (0,))
    for metric in metrics.values():
        metric(clips)

