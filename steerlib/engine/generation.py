"""Generate clips from prompts, steered or not, many settings in one batch.

Why not `model.generate`: there, one call is one steering setting, and a clip depends on its neighbours in the
batch through the shared random stream. Here every row has its own steering and its own random stream, so that
the multiplier is the only thing that differs between two clips of one prompt and seed (*common random
numbers*: effects are paired, and their confidence intervals shrink). Under greedy decoding the tokens are
those of transformers' ``generate``, steered through hooks or not; sampled tokens have the same distribution.

Method. MusicGen's delay pattern and classifier-free guidance as transformers has them; steering as in
`steerlib.steering`, sampling as in `engine.sampling`.

What a row's tokens depend on: weights, prompt, melody, seed, steering and sampling settings; on the CPU also
torch's kernels for that processor. Not on the other rows, their order or number, the batch size, or the number
of threads: products have a number of rows that changes no bit (`engine.weights`), each prefix and each clip is
computed on its own, and each tile of rows runs on one thread, the tiles side by side (`engine.workers`).

Units: seconds of audio, frames of the codec (``frame_rate`` per second), tokens (codebooks x frames).
"""

import os
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from steerlib.engine.clips import Clips, Row
from steerlib.engine.fit import Shape, largest_batch
from steerlib.engine.plan import Plan
from steerlib.engine.sampling import Sampling
from steerlib.engine.workers import side_by_side
from steerlib.files import compiling
from steerlib.model import MusicModel
from steerlib.steering import Steering

__all__ = ["BACKEND", "ENGINE_VERSION", "Run", "generate", "nll", "stream"]

ENGINE_VERSION = 3
"""Raised whenever the same row would get other tokens; part of the key of stored results."""

BACKEND = "STEERLIB_BACKEND"
"""Environment variable: "module:function" to call in place of the decode loop, with the arguments of `run_tiles`."""


@dataclass(frozen=True)
class Run:
    """How work is done, which never changes what comes out.

    Attributes
    ----------
    batch_size : int, optional
        Most clips in the making at once, which bounds memory. By default as many as keep torch's threads (at most
        8) busy, or fewer if memory is short.
    progress : bool, default True
        Show a progress bar with the time left.
    shard : str, optional
        For sweeps: "3/16" makes the third of sixteen parts, see `steerlib.sweeps.sweep`.
    """

    batch_size: int | None = None
    progress: bool = True
    shard: str | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")


def generate(
    model: MusicModel,
    prompts: Sequence[str],
    *,
    seconds: float = 8.0,
    seed: int | Sequence[int] = 0,
    steering: Steering | Sequence[Steering | tuple[Steering, ...] | None] | None = None,
    melody: Tensor | None = None,
    sampling: Sampling = Sampling(),
    run: Run = Run(),
) -> Clips:
    """Make one clip per prompt.

    Steering contexts that are open on the model (``vector.apply``) act on every clip, after the clip's own
    steering. Used in every chapter that listens.

    Parameters
    ----------
    model : MusicModel
    prompts : sequence of str
    seconds : float, default 8
        Length of the clips.
    seed : int or sequence of int
        One for all prompts, or one per prompt. A clip's random stream comes from its prompt and seed alone.
    steering : Steering, or sequence with one entry per prompt, optional
        An entry is None, a Steering, or a tuple of them.
    melody : Tensor, shape (frames, num_chroma) or (prompts, frames, num_chroma), optional
        Chroma to follow, as ``processor(audio=..., sampling_rate=...)["input_features"]`` gives it; repeated
        or cut to the model's ``chroma_length``. MusicGen-Melody only.
    sampling : Sampling
    run : Run

    Returns
    -------
    Clips

    Raises
    ------
    ValueError
        If a setting makes no sense, before anything is computed, or the model carries hooks not ours.

    Examples
    --------
    >>> clips = generate(model, ["a folk song"], seconds=8, seed=1)       # doctest: +SKIP
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts must be a sequence of strings, got one string: write [{prompts!r}]")
    prompts = tuple(prompts)
    rows = [
        Row(*fields)
        for fields in zip(
            prompts,
            map(_as_seed, _per_prompt(seed, len(prompts), "seed", (int, np.integer))),
            map(_as_tuple, _per_prompt(steering, len(prompts), "steering", (Steering, type(None)))),
            _melodies(melody, len(prompts)),
            strict=True,
        )
    ]
    audio: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
    tokens: list[npt.NDArray[np.int16]] = [np.empty(0, np.int16)] * len(rows)
    heard: npt.NDArray[np.float32] | None = None
    for indices, clips, _ in stream(model, rows, seconds=seconds, sampling=sampling, run=run):
        for row, index in enumerate(indices):
            audio[index], tokens[index] = clips.audio[row], clips.tokens[row]
        if clips.heard is not None:
            if heard is None:
                heard = np.full((len(rows), *clips.heard.shape[1:]), np.nan, np.float32)
            heard[indices] = clips.heard
    seeds = tuple(row.seed for row in rows)
    return Clips(np.stack(audio), model.sample_rate, np.stack(tokens), prompts, seeds, heard=heard)


def stream(
    model: MusicModel,
    rows: Sequence[Row],
    *,
    seconds: float,
    sampling: Sampling,
    measure: Callable[[Clips], Any] | None = None,
    likelihood: bool = False,
    run: Run = Run(),
    label: str = "generating",
) -> Iterator[tuple[list[int], Clips, Any]]:
    """Make clips tile by tile: what `generate` and `sweep` run on. Memory does not grow with the rows.

    Neighbours share what they have in common (text, prefix): put rows of one setting next to each other.

    Parameters
    ----------
    rows : sequence of Row
    measure : callable, optional
        Called with the Clips of each tile by the worker that made them, which may be another process: what it returns
        must be picklable.
    likelihood : bool
        Whether the Clips have their `nll`.
    label : str
        What the progress bar says.
    model, seconds, sampling, run
        See `generate`.

    Yields
    ------
    indices : list of int
        Which rows these are. Tiles come in the order in which they are done.
    clips : Clips
    measured
        What `measure` returned, or None.
    """
    # raises whatever else there is to raise
    plan = Plan(model, rows, seconds, sampling, likelihood=likelihood)
    batch_size = run.batch_size
    if batch_size is None:
        batch_size = largest_batch(model, clips=len(rows), seconds=seconds, sampling=sampling)
    backend = pkgutil.resolve_name(os.environ[BACKEND]) if BACKEND in os.environ else run_tiles
    return backend(plan, seconds, measure, batch_size, label if run.progress else None)


def nll(model: MusicModel, clips: Clips, *, melody: Tensor | None = None) -> npt.NDArray[np.float64]:
    """How unlikely the unsteered model finds clips, told their prompts: a measure of quality without a judge.

    One pass over all tokens of a clip, without guidance: transformers' own loss. For steered clips, what it exceeds
    that of the unsteered clip of the same prompt and seed by is what steering cost (column ``nll`` of every sweep).
    Broken music is unlikely; but so dull a clip as silence can be likelier than music. Chapter: *Steering sweep*.

    Parameters
    ----------
    model : MusicModel
        Steering contexts that are open on it do not act here.
    clips : Clips
    melody : Tensor, optional
        What the clips were told to follow; see `generate`.

    Returns
    -------
    ndarray, shape (N,)
        Mean over the tokens of a clip, nats.
    """
    melodies = _melodies(melody, len(clips))
    rows = [Row(prompt, melody=each) for prompt, each in zip(clips.prompts, melodies, strict=True)]
    plan = Plan(model, rows, clips.tokens.shape[2] / model.frame_rate, Sampling(guidance_scale=1.0))
    tokens = torch.from_numpy(clips.tokens).long().to(model.device)
    return np.array([plan.nll(row, each) for row, each in enumerate(tokens)])


def run_tiles(
    plan: Plan,
    seconds: float,
    measure: Callable[[Clips], Any] | None,
    batch_size: int | None,
    label: str | None,
) -> Iterator[tuple[list[int], Clips, Any]]:
    """What `stream` yields, from the decode loop."""
    count = len(plan.rows)
    if not count:
        return
    workers, size = Shape.of(plan.model, seconds, plan.sampling).tiling(count, batch_size)
    tiles = [list(range(start, min(start + size, count))) for start in range(0, count, size)]

    def run(number: int, tick: Callable[[float], None]) -> tuple[list[int], Clips, Any]:
        clips = plan.run(tiles[number], tick)
        return tiles[number], clips, measure(clips) if measure else None

    with compiling():  # before workers start
        plan.load(size)
    yield from side_by_side(run, list(map(len, tiles)), workers=workers, label=label)


# --- arguments ----------------------------------------------------------------------------------------------


def _per_prompt(value: Any, count: int, name: str, kinds: Any) -> list[Any]:
    """One value per prompt, from one for all or a sequence."""
    if isinstance(value, kinds):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ValueError(
            f"{name} has {len(values)} entries for {count} prompts: give one for all, or one each"
        )
    return values


def _as_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"a seed is a whole number, got {seed!r}")
    return int(seed)


def _as_tuple(steering: Any) -> tuple[Steering, ...]:
    entries = () if steering is None else steering if isinstance(steering, tuple) else (steering,)
    for entry in entries:
        if not isinstance(entry, Steering):
            raise TypeError(
                "steering takes Steering(vector, multiplier, ...), a tuple of them, or None; got "
                f"{type(entry).__name__}"
            )
    return entries


def _melodies(melody: Tensor | None, count: int) -> list[Tensor | None]:
    if melody is None or melody.ndim == 2:
        return [melody] * count
    if melody.ndim != 3 or len(melody) != count:
        raise ValueError(
            f"melody has shape {tuple(melody.shape)} for {count} prompts: expected (frames, chroma) for all, "
            "or (prompts, frames, chroma)"
        )
    return list(melody)
