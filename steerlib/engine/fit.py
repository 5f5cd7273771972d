"""What fits: how clips are cut into tiles, how much memory that takes, and how much there is.

The one place for these formulas; what a step *takes* is measured in `steerlib.engine.cost`.

Units: bytes.
"""

import math
import os
from dataclasses import dataclass

import torch

from steerlib.engine.sampling import Sampling
from steerlib.model import MusicModel

__all__ = ["DoesNotFit", "Shape", "as_size", "largest_batch", "lanes_of", "memory_free", "memory_held"]

SMALL_WIDTH = 512
"""Up to this width, a model's weights are small beside the keys and values of its clips."""


class DoesNotFit(ValueError):
    """A sweep needs more memory or disk than there is; the message says how much, and what would fit."""


def lanes_of(model: MusicModel) -> int:
    """Most rows of a matrix product in the decode loop: with guidance, twice the clips of a tile.

    More rows make better use of weights that were read once, fewer cost less when there are few clips. Measured on
    the CPU: 128 rather than 64 save a small model a tenth of its time; a large one pays for each row.
    """
    if model.device.type == "cuda":
        return 64
    return 128 if model.width <= SMALL_WIDTH else 16


@dataclass(frozen=True)
class Shape:
    """Sizes on which memory depends."""

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
    clips: int  # of a full tile
    threads: int

    @classmethod
    def of(cls, model: MusicModel, seconds: float, sampling: Sampling) -> "Shape":
        decoder, codec = model.config.decoder, model.config.audio_encoder
        branches = 2 if sampling.guidance_scale > 1 else 1
        return cls(
            depth=model.depth,
            hidden=model.width,
            heads=decoder.num_attention_heads,
            codebooks=model.codebooks,
            vocabulary=decoder.vocab_size,
            chroma=model.config.chroma_length if model.is_prefix else 0,
            text=model.text_length,
            frames=model.frames(seconds),
            samples=round(seconds * model.sample_rate),
            filters=getattr(codec, "num_filters", 16),
            width=model.dtype.itemsize,
            branches=branches,
            clips=lanes_of(model) // branches,
            threads=torch.get_num_threads() if model.device.type == "cpu" else 1,
        )

    def tiling(self, clips: int, batch_size: int | None) -> tuple[int, int]:
        """Tiles side by side, and clips of each: of one size, and as many for each worker."""
        batch = batch_size or min(self.threads, 8) * self.clips
        workers = min(self.threads, clips, batch)
        rounds = math.ceil(clips / (workers * min(self.clips, batch // workers)))
        return workers, math.ceil(clips / (workers * rounds))

    def memory(self, clips: int, batch_size: int | None) -> int:
        """Bytes beyond the loaded model: fused weights, and for each tile keys and values, audio and codec."""
        workers, size = self.tiling(clips, batch_size)
        lanes, layer = size * self.branches, 2 * self.hidden * self.width  # keys and values of a position
        fused = (3 * self.depth * self.hidden + 2 * self.codebooks * (self.vocabulary + 1)) * self.hidden
        if self.hidden <= SMALL_WIDTH:  # such weights are packed for the CPU too
            fused += 13 * self.depth * self.hidden**2 + self.codebooks * self.vocabulary * self.hidden
        own = self.depth * layer * (2 * self.text + self.frames + self.codebooks)
        shared = 2 * self.depth * layer * self.chroma
        audio = 3 * 4 * size * self.samples + 4 * self.width * self.filters * self.samples
        return fused * self.width + workers * (lanes * own + shared + audio)

    def smaller_batch(self, clips: int, batch_size: int | None, free: int) -> str:
        """Advice: a batch size that fits into `free` bytes, or what else would help."""
        batch = min(batch_size or min(self.threads, 8) * self.clips, clips)
        while batch > 1:
            batch //= 2
            if self.memory(clips, batch) <= free:
                return f"batch_size={batch} fits: {as_size(self.memory(clips, batch))} beside the model"
        least = f"Not even batch_size=1 fits, which takes {as_size(self.memory(clips, 1))} beside the model: "
        narrower = "load the model with dtype='bfloat16', " if self.width > 2 else ""
        return f"{least}{narrower}ask for fewer seconds, or take a machine with more memory"


def largest_batch(model: MusicModel, *, clips: int, seconds: float, sampling: Sampling) -> int | None:
    """The largest batch size that fits into memory, or None if the default does (or nothing is known of memory).

    It never changes the clips, only how many are in the making at once. 1 if nothing fits: `check_fit` refuses that.
    """
    free = memory_free(model.device)
    if not clips or free is None:
        return None
    shape = Shape.of(model, seconds, sampling)
    if shape.memory(clips, None) <= free:
        return None
    batch = min(min(shape.threads, 8) * shape.clips, clips)
    while batch > 1 and shape.memory(clips, batch) > free:
        batch //= 2
    return batch


def memory_held(device: torch.device) -> int:
    """Bytes that this process holds now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _kilobytes("/proc/self/status", "VmRSS:") or 0


def memory_free(device: torch.device) -> int | None:
    """Bytes that this process can still have: of the device, the machine, or its job under Slurm."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    free = _kilobytes("/proc/meminfo", "MemAvailable:")
    job = os.environ.get("SLURM_MEM_PER_NODE", "")
    if job.isdigit() and free is not None:
        free = min(free, max(int(job) * 2**20 - memory_held(device), 0))
    return free


def as_size(size: float) -> str:
    """A number of bytes for a reader: "1.5 GB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _kilobytes(path: str, name: str) -> int | None:
    try:
        with open(path, encoding="ascii") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith(name)), None)
    except OSError:
        return None
