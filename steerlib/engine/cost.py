"""What a sweep will cost, before anything is spent: clips, tokens, memory, disk and time.

Clips and tokens are counted. Memory is the sum of what the engine is known to hold (`steerlib.engine.generation`). Disk
is the size of one clip and of one batch's rows, written to a temporary folder. Time is extrapolated from one
decode step that is measured here and now, on this machine, in as many tiles side by side as the sweep will have. On
the CPU it is the time that the step's thread computed, not that it waited for a core: what a sweep takes when it has
the cores to itself. How much longer it takes while other work goes on is measured as well (``busy``).

    seconds = clips x ((prefixes x prefix + passes x (step + attention)) / clips of a tile + codec + metrics) / tiles

where a tile has one prefix for each of its different (prompt, steering), ``passes`` is frames + codebooks - 2, and
``attention`` is what reading the keys and values of half a clip adds to a step at the clip's beginning.

Units: seconds, bytes.
"""

import io
import math
import os
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
import soundfile
import torch
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.engine.attention import KeyValues
from steerlib.engine.generation import _SMALL, Clips, Row, Sampling, _frames, _Plan, lanes_of
from steerlib.model import decoder_stack, text_length_of
from steerlib.sweeps.store import AudioFormat

__all__ = ["DoesNotFit", "Estimate", "check_fit", "estimate", "fitting"]

_BLOCK = 4096  # bytes: the least that a file takes on most disks


class DoesNotFit(ValueError):
    """A sweep needs more memory or disk than there is; the message says how much, and what would fit."""


@dataclass(frozen=True)
class Estimate:
    """What a sweep will cost.

    Attributes
    ----------
    clips, missing : int
        Clips of the sweep, and how many of them are still to be made.
    tokens : int
        Of the missing clips: codebooks x frames.
    seconds : float
        Until the missing clips are made and measured, with the cores to itself.
    prefix_seconds, step_seconds : float
        Measured: reading one prompt, and one decode step of a tile.
    busy : float
        By how much other work slowed the measured steps down: 1 on a machine of one's own.
    tile : int
        Clips that share a decode step.
    tiles : int
        Tiles side by side.
    memory_bytes, memory_free : int or None
        Peak of this process and its workers, the model included, and what it can have. None where the system does not
        tell.
    disk_bytes, disk_free : int
        Of the missing clips and rows, and on the disk of the store.
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
        room = "unknown" if self.memory_free is None else _size(self.memory_free)
        return "\n".join(
            [
                f"clips   {self.clips:,}, of which {self.clips - self.missing:,} are in the store",
                f"tokens  {self.tokens:,} to make",
                f"time    {_duration(self.seconds)} ({each}; measured here: a decode step of {self.tile} clips "
                f"{1000 * self.step_seconds:.3g} ms, {self.tiles} side by side; a prompt "
                f"{1000 * self.prefix_seconds:.3g} ms){busy * (self.busy > 1.2)}",
                f"memory  {_size(self.memory_bytes)} at the peak, available {room}",
                f"disk    {_size(self.disk_bytes)}, free {_size(self.disk_free)}",
            ]
        )


def check_fit(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
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
    model, processor, seconds, sampling, batch_size
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
    shape = _Shape.of(model, processor, seconds, sampling)
    free, held = _memory_free(model.device), _held(model.device)
    need = shape.memory(clips, batch_size) if clips else 0
    room = None if free is None else held + free
    if free is not None and need > free:
        raise DoesNotFit(
            f"this needs {_size(held + need)} of memory at the peak, and {_size(held + free)} can be had. "
            + _smaller_batch(shape, clips, batch_size, free)
        )
    clip_bytes = _clip_bytes(model, seconds, audio_format)
    rows = math.ceil(clips / shape.tiling(clips, batch_size)[1]) * _part_bytes() if clips else 0
    disk, disk_free = clips * clip_bytes + rows, shutil.disk_usage(store).free
    if disk > disk_free:
        fitting = max(disk_free // max(clip_bytes, 1), 0)
        raise DoesNotFit(
            f"this writes {_size(disk)} to {store}, where {_size(disk_free)} are free. Without the clips "
            f"(keep_audio=False) it writes {_size(rows)}; with them, {fitting:,} clips fit: cut the sweep into "
            f"{math.ceil(clips / max(fitting, 1))} shards or more on different disks, or name a larger disk"
        )
    return held + need, room, disk, disk_free


def fitting(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    *,
    clips: int,
    seconds: float,
    sampling: Sampling,
) -> int | None:
    """The largest batch size that fits into memory, or None if the default does (or nothing is known of memory).

    It never changes the clips, only how many are in the making at once. 1 if nothing fits: `check_fit` refuses that.
    """
    free = _memory_free(model.device)
    if not clips or free is None:
        return None
    shape = _Shape.of(model, processor, seconds, sampling)
    if shape.memory(clips, None) <= free:
        return None
    batch = min(min(shape.threads, 8) * shape.fit, clips)
    while batch > 1 and shape.memory(clips, batch) > free:
        batch //= 2
    return batch


def estimate(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
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
    model, processor, seconds, sampling, batch_size, audio_format, store
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
        model, processor, clips=len(rows), batch_size=batch_size, audio_format=audio_format, store=store, **settings
    )  # fmt: skip
    if not rows:
        return Estimate(clips, 0, 0, 0.0, 0.0, 0.0, 1.0, 0, 0, memory, room, disk, free)
    shape = _Shape.of(model, processor, **settings)
    workers, size = shape.tiling(len(rows), batch_size)
    prefix, step, busy = _measure_step(model, processor, rows[-1], workers, size, **settings)
    with _one_thread_each(1) as pool:
        codec, measuring = pool.submit(_measure_clip, model, shape.frames, metrics).result()
        attention = pool.submit(shape.attention, model, size).result()
    prefixes = 0
    for begin in range(0, len(rows), size):
        tile = [(row.prompt, tuple(map(id, row.steering))) for row in rows[begin : begin + size]]
        prefixes += len(set(tile)) + (len({steering for _, steering in tile}) if shape.branches == 2 else 0)
    passes = math.ceil(len(rows) / size) * (shape.frames + shape.codebooks - 2)
    work = prefixes * prefix + passes * (step + attention) + len(rows) * (codec + measuring)
    tokens = len(rows) * shape.frames * shape.codebooks
    return Estimate(
        clips, len(rows), tokens, work / workers, prefix, step, busy, size, workers, memory, room, disk, free
    )


@dataclass(frozen=True)
class _Shape:
    """Sizes on which cost depends."""

    depth: int
    hidden: int
    heads: int
    codebooks: int
    vocabulary: int
    chroma: int
    text: int
    frames: int
    samples: int
    filters: int
    width: int  # bytes of a number
    branches: int
    fit: int  # clips of a full tile
    threads: int

    @classmethod
    def of(cls, model: Any, processor: Any, seconds: float, sampling: Sampling) -> "_Shape":
        stack, config = decoder_stack(model), model.config
        decoder, codec = config.decoder, config.audio_encoder
        is_melody = not hasattr(stack.layers[0], "encoder_attn")
        prefix = config.chroma_length + text_length_of(processor) if is_melody else 0
        branches = 2 if sampling.guidance_scale > 1 else 1
        return cls(
            depth=len(stack.layers),
            hidden=decoder.hidden_size,
            heads=decoder.num_attention_heads,
            codebooks=decoder.num_codebooks,
            vocabulary=decoder.vocab_size,
            chroma=config.chroma_length if is_melody else 0,
            text=text_length_of(processor),
            frames=_frames(model, seconds, prefix),
            samples=round(seconds * codec.sampling_rate),
            filters=getattr(codec, "num_filters", 16),
            width=stack.layer_norm.weight.element_size(),
            branches=branches,
            fit=lanes_of(model) // branches,
            threads=torch.get_num_threads() if model.device.type == "cpu" else 1,
        )

    def tiling(self, clips: int, batch_size: int | None) -> tuple[int, int]:
        """Tiles side by side, and clips of each, as `steerlib.engine.generation.stream` cuts them."""
        batch = batch_size or min(self.threads, 8) * self.fit
        workers = min(self.threads, clips, batch)
        rounds = math.ceil(clips / (workers * min(self.fit, batch // workers)))
        return workers, math.ceil(clips / (workers * rounds))

    def memory(self, clips: int, batch_size: int | None) -> int:
        """Bytes beyond the loaded model: fused weights, and of each tile keys and values, audio and codec."""
        workers, size = self.tiling(clips, batch_size)
        lanes, layer = size * self.branches, 2 * self.hidden * self.width  # keys and values of a position
        fused = (3 * self.depth * self.hidden + 2 * self.codebooks * (self.vocabulary + 1)) * self.hidden
        if self.hidden <= _SMALL:  # which the engine keeps in the order of the CPU too
            fused += 13 * self.depth * self.hidden**2 + self.codebooks * self.vocabulary * self.hidden
        own = self.depth * layer * (2 * self.text + self.frames + self.codebooks)
        shared = 2 * self.depth * layer * self.chroma
        audio = 3 * 4 * size * self.samples + 4 * self.width * self.filters * self.samples
        return fused * self.width + workers * (lanes * own + shared + audio)

    def attention(self, model: Any, size: int) -> float:
        """Seconds that the keys and values of half a clip add to a decode step."""
        lanes, hidden, depth = size * self.branches, self.hidden, min(self.depth, 4)
        like = {"dtype": decoder_stack(model).layer_norm.weight.dtype, "device": model.device}
        nothing = torch.zeros(depth, 2, 1, 0, hidden, **like)
        everyone = torch.zeros(lanes, dtype=torch.long, device=model.device)
        past = KeyValues(nothing, everyone, nothing, everyone, self.heads, self.frames // 2 + 2)
        past.own.zero_()  # memory that nobody has written to is faster than any
        past.count = self.frames // 2
        qkv, begin = torch.zeros(lanes, 3 * hidden, **like), _now(model)
        for layer in range(depth):  # several, because one would stay in the processor's cache
            past.attend(layer, qkv)
        return (_now(model) - begin) * self.depth / depth


class _Enough(Exception):
    """Ends a tile whose first steps are all that is asked for."""


def _measure_step(
    model: Any, processor: Any, row: Row, workers: int, size: int, *, seconds: float, sampling: Sampling
) -> tuple[float, float, float]:
    """Seconds of one prefix and of one decode step, of tiles of `size` clips with `workers` side by side; busy."""
    same = [Row(row.prompt, seed, row.steering) for seed in range(size)]
    plan = _Plan(model, processor, same, seconds, sampling)

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
    model: Any, frames: int, metrics: Mapping[str, Callable[[Clips], Any]]
) -> tuple[float, float]:
    """Seconds of decoding one clip to audio, and of measuring it."""
    codebooks, rate = model.config.decoder.num_codebooks, int(model.config.audio_encoder.sampling_rate)
    codes = torch.zeros(1, 1, codebooks, frames, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        begin = _now(model)
        samples = model.audio_encoder.decode(codes, [None]).audio_values.shape[-1]
        decoded = _now(model)
    noise = np.random.default_rng(0).normal(0, 0.1, (1, samples)).astype(np.float32)
    clip = Clips(noise, rate, np.zeros((1, codebooks, frames), np.int16), ("noise",), (0,))
    for metric in metrics.values():
        metric(clip)  # loads what it needs
    loaded = _now(model)
    for metric in metrics.values():
        metric(clip)
    return decoded - begin, _now(model) - loaded


def _one_thread_each(workers: int) -> ThreadPoolExecutor:
    """Threads that compute alone, as those of the engine do."""
    return ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))


def _now(model: Any) -> float:
    """Seconds that this thread has computed, or for a card the time of day once its work is done."""
    if model.device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(model.device)
    return time.perf_counter()


# --- memory and disk ----------------------------------------------------------------------------------------


def _smaller_batch(shape: _Shape, clips: int, batch_size: int | None, free: int) -> str:
    batch = min(batch_size or min(shape.threads, 8) * shape.fit, clips)
    while batch > 1:
        batch //= 2
        if shape.memory(clips, batch) <= free:
            return f"batch_size={batch} fits: {_size(shape.memory(clips, batch))} beside the model"
    least = f"Not even batch_size=1 fits, which takes {_size(shape.memory(clips, 1))} beside the model: "
    narrower = "load the model with dtype='bfloat16', " if shape.width > 2 else ""
    return f"{least}{narrower}ask for fewer seconds, or take a machine with more memory"


def _held(device: torch.device) -> int:
    """Bytes that this process holds now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _kilobytes("/proc/self/status", "VmRSS:") or 0


def _memory_free(device: torch.device) -> int | None:
    """Bytes that this process can still have: of the device, the machine, or its job under Slurm."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _kilobytes("/proc/meminfo", "MemAvailable:")
    job = os.environ.get("SLURM_MEM_PER_NODE", "")
    if job.isdigit() and free is not None:
        free = min(free, max(int(job) * 2**20 - _held(device), 0))
    return free


def _kilobytes(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(name)), None)
    except OSError:
        return None


def _clip_bytes(model: Any, seconds: float, audio_format: AudioFormat | None) -> int:
    """Of a clip of noise, which no format can make smaller than music, rounded up to whole blocks."""
    if audio_format is None:
        return 0
    rate = int(model.config.audio_encoder.sampling_rate)
    noise = np.random.default_rng(0).normal(0, 0.1, max(round(seconds * rate), 1)).astype(np.float32)
    written = io.BytesIO()
    soundfile.write(written, noise, rate, format=audio_format.upper())
    return math.ceil(written.tell() / _BLOCK) * _BLOCK


def _part_bytes() -> int:
    """Of one Parquet file with a tile's rows."""
    names = ["attribute", "strategy", "steps", "branches", "site", "prompt", "key", "clip"]
    rows = pd.DataFrame({name: [f"{name} {row:064d}" for row in range(32)] for name in names})
    written = io.BytesIO()
    rows.to_parquet(written)
    return math.ceil(written.tell() / _BLOCK) * _BLOCK


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.2g} s"
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    days, hours = divmod(hours, 24)
    parts = [f"{days} d" * bool(days), f"{hours} h" * bool(days or hours), f"{minutes} min" * (not days)]
    return "about " + " ".join(part for part in parts if part)
