"""What a sweep will cost, before anything is spent: clips, tokens, memory, disk and time.

Clips and tokens are counted. Memory is the sum of what the engine is known to hold (`steerlib.engine.generation`). Disk
is the size of one clip and of one batch's rows, written to a temporary folder. Time is extrapolated from one
decode step that is measured here and now, on this machine, in as many tiles side by side as the sweep will have. On
the CPU it is the time that the step's thread computed, not that it waited for a core: what a sweep takes when it has
the cores to itself. How much longer it takes while other work goes on is measured as well (``busy``).

    seconds = clips x ((prefixes x prefix + passes x (step + attention)) / clips of a tile + judging) / tiles

where ``judging`` is the time of the codec, the likelihood and the metrics, a tile has one prefix for each of its
different (prompt, steering), ``passes`` is frames + codebooks - 2, and ``attention`` is what reading the keys and
values of half a clip adds to a step at its beginning.

Units: seconds, bytes.
"""

import io
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from steerlib.engine.attention import KeyValues
from steerlib.engine.clips import AudioFormat, Clips, Row, encoded
from steerlib.engine.fit import DoesNotFit, Shape, as_size, memory_free, memory_held
from steerlib.engine.plan import Plan
from steerlib.engine.sampling import Sampling
from steerlib.model import MusicModel

__all__ = ["Estimate", "check_fit", "estimate"]

_BLOCK = 4096  # bytes: the least that a file takes on most disks


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost.

    Attributes
    ----------
    clips, missing : int
        Clips of the sweep, and how many of them are still to be made.
    tokens : int
        Tokens to make: missing clips x codebooks x frames.
    seconds : float
        Until the missing clips are made and measured, with the cores to itself.
    prefix_seconds, step_seconds : float
        Measured: reading one prompt, and one decode step of a tile.
    busy : float
        Slowdown from other load; 1.0 when idle.
    tile : int
        Clips that share a decode step.
    tiles : int
        Tiles side by side.
    memory_bytes, memory_free : int or None
        Peak of this process and its workers, the model included, and what it can have. None where the system does not
        tell.
    disk_bytes, disk_free : int
        Size of the missing clips and rows; free space on the disk of the store.
    """

    clips: int
    missing: int
    tokens: int
    seconds: float
    prefix_seconds: float
    step_seconds: float
    busy: float
    tile: int
    tiles: int
    memory_bytes: int
    memory_free: int | None
    disk_bytes: int
    disk_free: int

    def __str__(self) -> str:
        each = f"{self.seconds / self.missing:.3g} s a clip" if self.missing else "nothing to make"
        busy = f"\nbusy    other work goes on: {self.busy:.1f} times as long as that, if it stays"
        room = "unknown" if self.memory_free is None else as_size(self.memory_free)
        return "\n".join(
            [
                f"clips   {self.clips:,}, of which {self.clips - self.missing:,} are in the store",
                f"tokens  {self.tokens:,} to make",
                f"time    {_duration(self.seconds)} ({each}; measured here: a decode step of {self.tile} clips "
                f"{1000 * self.step_seconds:.3g} ms, {self.tiles} side by side; a prompt "
                f"{1000 * self.prefix_seconds:.3g} ms){busy * (self.busy > 1.2)}",
                f"memory  {as_size(self.memory_bytes)} at the peak, available {room}",
                f"disk    {as_size(self.disk_bytes)}, free {as_size(self.disk_free)}",
            ]
        )


def check_fit(
    model: MusicModel,
    *,
    clips: int,
    seconds: float,
    sampling: Sampling,
    batch_size: int | None,
    audio_format: AudioFormat | None,
    store: str | Path,
) -> tuple[int, int | None, int, int]:
    """Refuse what will not fit into memory or on the disk.

    Parameters
    ----------
    clips : int
        Clips to be made.
    audio_format : {"mp3", "flac"} or None
        What clips are kept as, or None if they are not kept.
    store : path
        An existing folder, or one whose parent exists.
    model, seconds, sampling, batch_size
        As for `steerlib.engine.generation.stream`.

    Returns
    -------
    memory_bytes, memory_free, disk_bytes, disk_free
        See `Estimate`.

    Raises
    ------
    DoesNotFit
        The message says what would fit.
    """
    shape = Shape.of(model, seconds, sampling)
    free, held = memory_free(model.device), memory_held(model.device)
    need = shape.memory(clips, batch_size) if clips else 0
    room = None if free is None else held + free
    if free is not None and need > free:
        raise DoesNotFit(
            f"this needs {as_size(held + need)} of memory at the peak, and {as_size(held + free)} can be had. "
            + shape.smaller_batch(clips, batch_size, free)
        )
    clip_bytes = _clip_bytes(model, seconds, audio_format)
    rows = math.ceil(clips / shape.tiling(clips, batch_size)[1]) * _part_bytes() if clips else 0
    disk, disk_free = clips * clip_bytes + rows, shutil.disk_usage(store).free
    if disk > disk_free:
        fitting = max(disk_free // max(clip_bytes, 1), 0)
        raise DoesNotFit(
            f"this writes {as_size(disk)} to {store}, where {as_size(disk_free)} are free. Without the clips "
            f"(keep=None) it writes {as_size(rows)}; with them, {fitting:,} clips fit: cut the sweep into "
            f"{math.ceil(clips / max(fitting, 1))} shards or more on different disks, or name a larger disk"
        )
    return held + need, room, disk, disk_free


def estimate(
    model: MusicModel,
    rows: Sequence[Row],
    *,
    clips: int,
    seconds: float,
    sampling: Sampling,
    metrics: Mapping[str, Callable[[Clips], Any]],
    batch_size: int | None,
    audio_format: AudioFormat | None,
    store: str | Path,
) -> Estimate:
    """Count, measure one decode step, and refuse what will not fit: what a dry run of `sweep` does.

    Parameters
    ----------
    rows : sequence of Row
        The clips still to be made, in their order.
    clips : int
        With those in the store.
    metrics : mapping of str to callable
        What is measured of each clip.
    model, seconds, sampling, batch_size, audio_format, store
        As for `check_fit`.

    Returns
    -------
    Estimate

    Raises
    ------
    DoesNotFit
        Before anything is measured.
    """
    settings: dict[str, Any] = {"seconds": seconds, "sampling": sampling}
    memory, room, disk, free = check_fit(
        model, clips=len(rows), batch_size=batch_size, audio_format=audio_format, store=store, **settings
    )  # fmt: skip
    if not rows:
        return Estimate(clips, 0, 0, 0.0, 0.0, 0.0, 1.0, 0, 0, memory, room, disk, free)
    shape = Shape.of(model, **settings)
    workers, size = shape.tiling(len(rows), batch_size)
    prefix, step, busy = _measure_step(model, rows[-1], workers, size, **settings)
    with _one_thread_each(1) as pool:
        codec, measuring = pool.submit(_measure_clip, model, shape.frames, metrics).result()
        judging = pool.submit(_measure_nll, model, rows[-1], shape.frames, **settings).result()
        attention = pool.submit(_attention_seconds, model, shape, size).result()
    prefixes = 0
    for begin in range(0, len(rows), size):
        tile = [(row.prompt, tuple(map(id, row.steering))) for row in rows[begin : begin + size]]
        prefixes += len(set(tile)) + (len({steering for _, steering in tile}) if shape.branches == 2 else 0)
    passes = math.ceil(len(rows) / size) * (shape.frames + shape.codebooks - 2)
    work = prefixes * prefix + passes * (step + attention) + len(rows) * (codec + judging + measuring)
    tokens = len(rows) * shape.frames * shape.codebooks
    return Estimate(
        clips, len(rows), tokens, work / workers, prefix, step, busy, size, workers, memory, room, disk, free
    )


def _attention_seconds(model: MusicModel, shape: Shape, size: int) -> float:
    """Seconds that the keys and values of half a clip add to a decode step of `size` clips."""
    lanes, hidden, depth = size * shape.branches, shape.hidden, min(shape.depth, 4)
    like: dict[str, Any] = {"dtype": model.dtype, "device": model.device}
    nothing = torch.zeros(depth, 2, 1, 0, hidden, **like)
    every_lane = torch.zeros(lanes, dtype=torch.long, device=model.device)
    past = KeyValues(nothing, every_lane, nothing, every_lane, shape.heads, shape.frames // 2 + 2)
    past.own.zero_()  # memory that nobody has written to is faster than any
    past.count = shape.frames // 2
    qkv, begin = torch.zeros(lanes, 3 * hidden, **like), _now(model)
    for layer in range(depth):  # several, because one would stay in the processor's cache
        past.attend(layer, qkv)
    return (_now(model) - begin) * shape.depth / depth


class _Enough(Exception):
    """Ends a tile whose first steps are all that is asked for."""


def _measure_step(
    model: MusicModel, row: Row, workers: int, size: int, *, seconds: float, sampling: Sampling
) -> tuple[float, float, float]:
    """Seconds of one prefix and of one decode step, of tiles of `size` clips with `workers` side by side; busy."""
    same = [Row(row.prompt, seed, row.steering) for seed in range(size)]
    plan = Plan(model, same, seconds, sampling)

    def one_tile(_: int) -> tuple[float, float, float]:
        ticks: list[float] = []

        def tick(share: float) -> None:
            ticks.append(_now(model))
            if len(ticks) == 3:  # the first step finds cold caches; the second is the measured one
                raise _Enough

        begin, wall = _now(model), time.perf_counter()
        with suppress(_Enough):
            plan.run(list(range(size)), tick)
        busy = (time.perf_counter() - wall) / max(_now(model) - begin, 1e-9)
        return (ticks[0] - begin) / plan.branches, ticks[-1] - ticks[-2] if len(ticks) > 1 else 0.0, busy

    with _one_thread_each(workers) as pool:
        list(pool.map(one_tile, range(workers)))  # the first run pays for what is loaded and compiled once
        prefixes, steps, busy = zip(*pool.map(one_tile, range(workers)), strict=True)
    return max(prefixes), max(steps), max(busy)


def _measure_clip(
    model: MusicModel, frames: int, metrics: Mapping[str, Callable[[Clips], Any]]
) -> tuple[float, float]:
    """Seconds of decoding one clip to audio, and of measuring it."""
    codebooks, rate = model.codebooks, model.sample_rate
    codes = torch.zeros(1, 1, codebooks, frames, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        begin = _now(model)
        samples = model.network.audio_encoder.decode(codes, [None]).audio_values.shape[-1]
        decoded = _now(model)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32)
    clip = Clips(noise, rate, np.zeros((1, codebooks, frames), np.int16), ("noise",), (0,))
    for metric in metrics.values():
        metric(clip)  # loads what it needs
    loaded = _now(model)
    for metric in metrics.values():
        metric(clip)
    return decoded - begin, _now(model) - loaded


def _measure_nll(model: MusicModel, row: Row, frames: int, *, seconds: float, sampling: Sampling) -> float:
    """Seconds of the pass that says how likely the tokens of a clip are."""
    plan = Plan(model, [row], seconds, sampling)
    tokens = torch.zeros(model.codebooks, frames, dtype=torch.long, device=model.device)
    plan.nll(0, tokens)  # reads the prompt
    begin = _now(model)
    plan.nll(0, tokens)
    return _now(model) - begin


def _one_thread_each(workers: int) -> ThreadPoolExecutor:
    """Threads that compute alone, as those of the engine do."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def _now(model: MusicModel) -> float:
    """Seconds that this thread has computed, or for a card the time of day once its work is done."""
    if model.device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(model.device)
    return time.perf_counter()


# --- memory and disk ----------------------------------------------------------------------------------------


def _clip_bytes(model: MusicModel, seconds: float, audio_format: AudioFormat | None) -> int:
    """Size of a clip of noise, an upper bound for music, rounded up to whole blocks."""
    if audio_format is None:
        return 0
    rate = model.sample_rate
    noise = np.random.default_rng(0).normal(0, 0.1, max(round(seconds * rate), 1)).astype(np.float32)
    return math.ceil(len(encoded(noise, rate, audio_format)) / _BLOCK) * _BLOCK


def _part_bytes() -> int:
    """Size of one Parquet file with a tile's rows."""
    names = ["attribute", "strategy", "steps", "branches", "site", "prompt", "key", "clip"]
    rows = pd.DataFrame({name: [f"{name} {row:064d}" for row in range(32)] for name in names})
    written = io.BytesIO()
    rows.to_parquet(written)
    return math.ceil(written.tell() / _BLOCK) * _BLOCK


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" * bool(days), f"{hours} h" * bool(days or hours), f"{minutes} min" * (not days)]
    return "about " + " ".join(part for part in parts if part)
