"""Sweeps: the same prompts and seeds under many steering settings, measured, stored and resumable.

Method: paper A, section 4 (layers and multipliers; figures 4 and 5). Every setting is generated from the same
random streams (`steerlib.generation`), so that the effect on a clip is the difference to the baseline clip of
the same prompt and seed. The baseline, multiplier 0, is made once per prompt and seed, whatever the number of
attributes and layers, and appears in the table under each of them.

Units: those of the metrics (bpm, Hz, onsets per second), seconds of audio.
"""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.estimate import check_fit, estimate, fitting
from steerlib.generation import ENGINE_VERSION, REHEARSAL, Clips, Row, Sampling, stream
from steerlib.metrics import band_level, checkpoint_path, mode, onset_rate, spectral_centroid, tempo
from steerlib.models import decoder_blocks, text_length_of
from steerlib.prompts import DATA
from steerlib.steering import Branches, Site, Steering, SteeringVector, Steps, active_steering
from steerlib.store import AudioFormat, Store, row_key

__all__ = ["METRICS", "Metric", "Strategy", "sweep", "sweep_rows"]

Strategy = Literal["one_to_all", "all_to_all", "one_to_one"]
Metric = Callable[[Clips], npt.NDArray[Any]]

METRICS: dict[str, Metric] = {
    "bpm": tempo,
    "centroid": spectral_centroid,
    "onset_rate": onset_rate,
    "rms": band_level,
    "mode": mode,
}
"""Metrics by the name of their column: functions of Clips, one value per clip."""

_JUDGES = {"bpm": DATA / "pocket" / "beats.ckpt"}  # files that a metric depends on


def sweep(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    prompts: Sequence[str],
    vectors: Mapping[str, SteeringVector],
    *,
    source_layers: Sequence[int] | None,
    multipliers: Sequence[float],
    store: str | Path,
    seeds: Sequence[int] = (0,),
    strategy: Strategy = "one_to_all",
    steps: Steps = "all",
    branches: Branches = "both",
    site: Site = "residual",
    preserve_norm: bool = False,
    seconds: float = 8.0,
    guidance_scale: float = 3.0,
    temperature: float = 1.0,
    top_k: int | None = 250,
    metrics: Sequence[str] = ("bpm", "centroid", "onset_rate"),
    beats: str | Path | None = None,
    keep_audio: bool | AudioFormat = True,
    shard: str | None = None,
    batch_size: int | None = None,
    dry_run: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """Generate and measure every combination of vector, source layer, multiplier, prompt and seed.

    Rows go to the store as they are done; a sweep that was killed goes on where it stopped, and one of which
    a setting changed makes only the rows that it changes. Chapters: *Layer scan*, *Steering sweep*, *Where
    and when to inject*.

    Parameters
    ----------
    model, processor
        As `load_model` returns them.
    prompts : sequence of str
    vectors : mapping of str to SteeringVector
        By the name of their attribute.
    source_layers : sequence of int, or None for "all_to_all"
    multipliers : sequence of float
        The baseline, 0, is always made.
    store : str or Path
        Folder of the results, see `steerlib.store`. Several sweeps may share one.
    seeds : sequence of int, default (0,)
    strategy : {"one_to_all", "all_to_all", "one_to_one"}
        The source layer's direction into every block, each block's own, or the source layer's into its own
        block alone (paper A section 3.3).
    steps, branches, site, preserve_norm
        See `Steering`.
    seconds, guidance_scale, temperature, top_k, batch_size, progress
        See `generate`.
    metrics : sequence of str
        Names in `METRICS`.
    beats : str or path, optional
        The BeatThis checkpoint that "bpm" is measured with, such as "final0"; see `steerlib.metrics.beats`.
    keep_audio : bool, "mp3" or "flac", default True
        Keep the clips in the store; True is MP3.
    shard : str, optional
        "3/16" makes and returns the third of sixteen parts, which `steerlib.store.merge` brings together.
    dry_run : bool, default False
        Make nothing: return the table as the store has it, metrics NaN where a row is missing. Its ``attrs``
        say what the rest would cost: ``Estimate(**table.attrs)`` of `steerlib.estimate`. Takes the time of one
        prompt and a few decode steps.

    Returns
    -------
    DataFrame
        One row per cell, in the order of vectors, source_layers, multipliers (ascending), prompts and seeds.
        Columns attribute, strategy, source_layer (Int64, NA for All-to-All), multiplier, steps, branches,
        site, prompt_id, prompt, seed, one for each metric, clip (path within the store, NA if not kept) and
        key. Rows of the baseline share their clip and key.

    Raises
    ------
    ValueError
        If a setting makes no sense or occurs twice, before anything is generated; `DoesNotFit` if memory or
        disk will not do, with what would.
    FileNotFoundError
        If a metric lacks its checkpoint.
    """
    settings = {"steps": steps, "branches": branches, "site": site, "preserve_norm": preserve_norm}
    steerings = _steerings(model, vectors, source_layers, multipliers, strategy, settings)
    cells = _cells(steerings, _distinct("prompts", prompts), _distinct("seeds", seeds))
    where = {"strategy": strategy, "steps": steps, "branches": branches, "site": site}
    table = sweep_rows(
        model,
        processor,
        cells.assign(**where),
        store=store,
        seconds=seconds,
        guidance_scale=guidance_scale,
        temperature=temperature,
        top_k=top_k,
        metrics=metrics,
        beats=beats,
        keep_audio=keep_audio,
        shard=shard,
        batch_size=batch_size,
        dry_run=dry_run,
        progress=progress,
    )
    names = ["attribute", "strategy", "source_layer", "multiplier", "steps", "branches", "site"]
    return table[names + [name for name in table if name not in names]]


def sweep_rows(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    cells: pd.DataFrame,
    *,
    store: str | Path,
    seconds: float = 8.0,
    guidance_scale: float = 3.0,
    temperature: float = 1.0,
    top_k: int | None = 250,
    metrics: Sequence[str] = ("bpm", "centroid", "onset_rate"),
    beats: str | Path | None = None,
    keep_audio: bool | AudioFormat = True,
    shard: str | None = None,
    batch_size: int | None = None,
    dry_run: bool = False,
    progress: bool = True,
) -> pd.DataFrame:
    """`sweep` for settings that are no grid. Chapters: *Probes*, *Genre fusion*, *Timbre transfer*.

    Parameters
    ----------
    cells : DataFrame
        A row for each clip with ``prompt``, ``seed``, ``steering`` (a tuple of `Steering`, empty for none) and, if
        the model is to follow a tune, ``melody`` (chroma of shape (frames, num_chroma), or None). Other columns
        say what a cell is, and do not change it: cells that are alike but for them are made once.
    model, processor, store, seconds, guidance_scale, temperature, top_k, metrics, beats, keep_audio, shard, \
batch_size, dry_run, progress
        See `sweep`.

    Returns
    -------
    DataFrame
        The cells without ``steering`` and ``melody``, and a column for each metric, ``clip`` and ``key``.

    Raises
    ------
    ValueError, FileNotFoundError
        As `sweep`.
    """
    needed = [name for name in ("prompt", "seed", "steering") if name not in cells]
    if needed or cells.empty:
        raise ValueError(f"cells must have rows, and columns prompt, seed and steering; missing: {needed}")
    chosen = _metrics(metrics)
    judge_files = dict(_JUDGES)
    if beats is not None and "bpm" in chosen:
        chosen["bpm"] = partial(tempo, checkpoint=beats)
        judge_files["bpm"] = checkpoint_path(beats)
    audio_format: AudioFormat | None = "mp3" if keep_audio is True else keep_audio or None
    if audio_format not in (None, *get_args(AudioFormat)):
        raise ValueError(f"keep_audio must be True, False, 'mp3' or 'flac', got {keep_audio!r}")
    if active_steering(model):
        raise ValueError(
            "a steering context is open on the model, where a sweep has no baseline: close it first"
        )
    sampling = Sampling(guidance_scale, temperature, top_k)
    judges = {
        name: _sha256(judge_files[name].read_bytes())
        for name in chosen
        if name in judge_files and judge_files[name].is_file()
    }
    common = {
        "engine": ENGINE_VERSION,
        "weights": _weights_sha256(model),
        "dtype": str(model.dtype),
        "device": model.device.type,
        "text_length": text_length_of(processor),
        "seconds": float(seconds),
        "sampling": asdict(sampling),
        "metrics": sorted(chosen),
        "judges": judges,
        "audio": audio_format,
    }
    if os.environ.get(REHEARSAL):
        common["rehearsal"] = True  # its rows are noise: nobody else may find them
    cells = _with_keys(cells, common)
    unique = cells.drop_duplicates("key")
    if shard is not None:
        unique = _shard(unique, shard)
        cells = cells[cells["key"].isin(unique["key"])]
    results = Store(store)
    stored = results.read()
    missing = unique[~unique["key"].isin(stored["key"])]
    rows = [Row(cell.prompt, cell.seed, cell.steering, cell.melody) for cell in missing.itertuples()]
    if batch_size is None:
        batch_size = fitting(model, processor, clips=len(rows), seconds=seconds, sampling=sampling)
    cost: dict[str, Any] = {
        "seconds": seconds, "sampling": sampling, "batch_size": batch_size, "audio_format": audio_format,
        "store": results.folder,
    }  # fmt: skip
    if dry_run:
        table = _join(cells, stored, chosen)
        table.attrs |= asdict(estimate(model, processor, rows, clips=len(unique), metrics=chosen, **cost))
        return table

    if rows:

        def measure(
            clips: Clips,
        ) -> dict[str, list[float]]:  # one by one: a clip's numbers depend on itself alone
            return {name: [float(metric(clip)[0]) for clip in clips] for name, metric in chosen.items()}

        check_fit(model, processor, clips=len(rows), **cost)
        _try_out(chosen, int(model.config.audio_encoder.sampling_rate))
        label = f"sweep ({len(unique) - len(missing)} of {len(unique)} in the store)"
        tiles = stream(
            model,
            processor,
            rows,
            seconds=seconds,
            sampling=sampling,
            measure=measure,
            batch_size=batch_size,
            label=label,
            progress=progress,
        )
        for indices, clips, measured in tiles:
            cell = missing.iloc[indices]
            done = cell.drop(columns=["steering", "melody", "prompt_id"], errors="ignore")
            # a clip without steering belongs to the baseline of every setting, hence to none
            about = done.columns.difference(["prompt", "seed", "multiplier", "key"])
            done[about] = done[about].mask(cell["steering"].map(len) == 0)
            done = done.assign(seconds=float(seconds), **measured)
            audio = clips.audio if audio_format else None
            results.append(done, audio, sample_rate=clips.sample_rate, audio_format=audio_format or "mp3")
        stored = results.read()
    return _join(cells, stored, chosen)


def _cells(
    steerings: list[tuple[str, int | None, float, Steering | None]], prompts: list[str], seeds: list[int]
) -> pd.DataFrame:
    """One row for every combination."""
    records = [
        (attribute, layer, multiplier, prompt_id, prompt, seed, () if steering is None else (steering,))
        for (attribute, layer, multiplier, steering), (prompt_id, prompt), seed in product(
            steerings, enumerate(prompts), seeds
        )
    ]
    names = ["attribute", "source_layer", "multiplier", "prompt_id", "prompt", "seed", "steering"]
    return pd.DataFrame(records, columns=names).astype({"source_layer": "Int64"})


def _with_keys(cells: pd.DataFrame, common: dict[str, Any]) -> pd.DataFrame:
    """The cells with a melody, be it None, and the key of all that determines their clips."""
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
            settings["melody"] = _sha256(melody.cpu().numpy().tobytes())
        keys.append(row_key(common | settings))
    return cells.assign(melody=pd.Series(list(melodies), cells.index, dtype=object), key=keys)


def _content(steering: Steering) -> dict[str, Any]:
    """What of a steering determines the tokens: what it adds, where and when."""
    deltas = steering.deltas(len(steering.vector.directions)) + 0.0  # no -0.0
    content = {
        "deltas": _sha256(deltas.numpy().tobytes()),
        "steps": steering.steps,
        "branches": steering.branches,
        "site": steering.site,
        "preserve_norm": steering.preserve_norm,
    }
    return content if steering.schedule is None else content | {"schedule": steering.schedule}


def _join(cells: pd.DataFrame, stored: pd.DataFrame, metrics: Mapping[str, Metric]) -> pd.DataFrame:
    """The cells with what the store knows of them."""
    found = stored.set_index("key").reindex(columns=[*metrics, "clip"])
    table = cells.drop(columns=["key", "steering", "melody"])
    for name in metrics:
        table[name] = cells["key"].map(found[name]).astype(float)
    table["clip"] = cells["key"].map(found["clip"]).astype("str")
    table["key"] = cells["key"]
    return table.reset_index(drop=True)


# --- arguments ----------------------------------------------------------------------------------------------


def _steerings(
    model: PreTrainedModel,
    vectors: Mapping[str, SteeringVector],
    source_layers: Sequence[int] | None,
    multipliers: Sequence[float],
    strategy: Strategy,
    settings: dict[str, Any],
) -> list[tuple[str, int | None, float, Steering | None]]:
    """(attribute, source layer, multiplier, Steering or None for the baseline) for every setting."""
    if not vectors:
        raise ValueError("there are no vectors: give at least one, such as {'tempo': diff_mean(activations)}")
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}; got {strategy!r}")
    layers: list[int | None] = [None]
    if strategy != "all_to_all":
        if source_layers is None:
            raise ValueError(f"strategy {strategy!r} needs source_layers, such as [8]")
        layers = _distinct("source_layers", source_layers)
    elif source_layers is not None:
        raise ValueError("strategy 'all_to_all' takes each block's own direction: leave source_layers None")
    factors = _distinct("multipliers", [float(each) for each in multipliers])
    if not all(map(math.isfinite, factors)):
        raise ValueError(f"multipliers must be finite numbers, got {factors}")
    factors = sorted({0.0, *(each for each in factors if each)})
    depth = len(decoder_blocks(model))
    steerings: list[tuple[str, int | None, float, Steering | None]] = []
    for (attribute, vector), layer, factor in product(vectors.items(), layers, factors):
        if len(vector.directions) != depth:
            raise ValueError(
                f"the vector {attribute!r} has {len(vector.directions)} layers, but the model has {depth}: "
                "take the vector from this model"
            )
        only = (layer,) if strategy == "one_to_one" and layer is not None else None
        steering = Steering(vector, factor, source_layer=layer, layers=only, **settings)
        steerings.append((attribute, layer, factor, steering if factor else None))
    return steerings


def _metrics(names: Sequence[str]) -> dict[str, Metric]:
    if isinstance(names, str):
        raise TypeError(f"metrics must be a sequence of names, got one string: write ({names!r},)")
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise ValueError(
            f"unknown metrics {', '.join(map(repr, unknown))}: expected some of {', '.join(METRICS)}"
        )
    return {name: METRICS[name] for name in names}


def _distinct(name: str, values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be a sequence, got one string: write [{values!r}]")
    listed = [each.item() if isinstance(each, np.generic) else each for each in values]
    if not listed:
        raise ValueError(f"{name} is empty: give at least one")
    twice = [each for each in dict.fromkeys(listed) if listed.count(each) > 1]
    if twice:
        raise ValueError(f"{name} has {twice[0]!r} more than once, which would count its clips twice")
    return listed


def _shard(unique: pd.DataFrame, shard: str) -> pd.DataFrame:
    try:
        number, count = map(int, shard.split("/"))
    except ValueError:
        raise ValueError(f"shard must look like '3/16', got {shard!r}") from None
    if not 1 <= number <= count:
        raise ValueError(
            f"shard {shard!r}: the first of {count} shards is '1/{count}', the last '{count}/{count}'"
        )
    begin, end = (len(unique) * edge // count for edge in (number - 1, number))
    return unique.iloc[begin:end]


def _try_out(metrics: Mapping[str, Metric], rate: int) -> None:
    """Call each metric once on noise: what it lacks is missed now, and loaded before threads share it."""
    noise = np.random.default_rng(0).normal(0, 0.1, (1, 2 * rate)).astype(np.float32)
    clips = Clips(noise, rate, np.zeros((1, 1, 1), np.int16), ("noise",), (0,))
    for metric in metrics.values():
        metric(clips)


def _weights_sha256(model: PreTrainedModel) -> str:
    """Hash of every weight: the key of a row must change when any of them does."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
