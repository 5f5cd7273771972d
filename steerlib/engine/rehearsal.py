"""Rehearsals: a notebook run to its end with noise in place of music, to learn what the real run would cost.

While the environment variable `REHEARSAL` names a file, `steerlib.engine.generation.stream`, on which every generation
runs, makes no music: it checks everything that it checks otherwise, writes an estimate (`steerlib.engine.cost`) of
what was asked for to that file, and yields noise with measures drawn at random. So the notebook goes on, with its
choices, loops and figures, and asks for all that it would ask for. Rows of a rehearsal have keys of their own in a
store. The command is ``steerlib rehearse``.

Units: those of `Estimate`.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.engine.cost import estimate
from steerlib.engine.generation import REHEARSAL, Clips, Row, Sampling, _frames

__all__ = ["costs", "noise"]

_TILE = 64


def noise(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    rows: Sequence[Row],
    *,
    seconds: float,
    sampling: Sampling,
    measure: Callable[[Clips], Any] | None,
    batch_size: int | None,
) -> Iterator[tuple[list[int], Clips, Any]]:
    """What `steerlib.engine.generation.stream` yields in a rehearsal; parameters as there.

    Raises
    ------
    DoesNotFit
        If the real run would not fit into memory.
    """
    metrics = {} if measure is None else {"measure": measure}
    cost = estimate(
        model, processor, rows, clips=len(rows), seconds=seconds, sampling=sampling, metrics=metrics,
        batch_size=batch_size, audio_format=None, store=".",
    )  # fmt: skip
    with Path(os.environ[REHEARSAL]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(cost)) + "\n")
    audio_encoder = model.config.audio_encoder
    rate, frames = int(audio_encoder.sampling_rate), _frames(model, seconds, 0)
    codebooks = model.config.decoder.num_codebooks
    samples = round(frames * rate / audio_encoder.frame_rate)
    example = None
    for begin in range(0, len(rows), _TILE):
        indices = list(range(begin, min(begin + _TILE, len(rows))))
        part = [rows[index] for index in indices]
        rngs = [np.random.default_rng(_seed(row)) for row in part]
        clips = Clips(
            np.stack([rng.normal(0, 0.1, samples).astype(np.float32) for rng in rngs]),
            rate,
            np.stack([rng.integers(0, 2, (codebooks, frames)).astype(np.int16) for rng in rngs]),
            tuple(row.prompt for row in part),
            tuple(row.seed for row in part),
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
    """Sum of the estimates that a rehearsal wrote: clips, tokens and seconds; of memory_bytes the largest."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    each = [json.loads(line) for line in lines]
    sums: dict[str, float] = {name: sum(one[name] for one in each) for name in ("clips", "tokens", "seconds")}
    return sums | {"memory_bytes": max((one["memory_bytes"] for one in each), default=0)}
