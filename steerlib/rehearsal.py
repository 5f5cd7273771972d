"""Rehearsals: a notebook run to its end with noise in place of music, to learn what the real run would cost.

While the environment variable `REHEARSAL` names a file, `steerlib.generation.stream`, on which every generation
runs, makes no music: it checks everything that it checks otherwise, writes an estimate (`steerlib.estimate`) of
what was asked for to that file, and yields noise with measures drawn at random. So the notebook goes on, with its
choices, loops and figures, and asks for all that it would ask for. Rows of a rehearsal have keys of their own in a
store. The command is ``steerlib rehearse``.

Units: those of `Estimate`.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.estimate import estimate
from steerlib.generation import REHEARSAL, Clips, Row, Sampling, _frames

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
    """What `steerlib.generation.stream` yields in a rehearsal; parameters as there.

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
    rng = np.random.default_rng(len(rows))
    audio_encoder = model.config.audio_encoder
    rate, frames = int(audio_encoder.sampling_rate), _frames(model, seconds, 0)
    samples = round(frames * rate / audio_encoder.frame_rate)
    example = None
    for begin in range(0, len(rows), _TILE):
        indices = list(range(begin, min(begin + _TILE, len(rows))))
        part = [rows[index] for index in indices]
        clips = Clips(
            rng.normal(0, 0.1, (len(part), samples)).astype(np.float32),
            rate,
            rng.integers(0, 2, (len(part), model.config.decoder.num_codebooks, frames)).astype(np.int16),
            tuple(row.prompt for row in part),
            tuple(row.seed for row in part),
        )
        if measure is not None and example is None:
            example = measure(clips[:1])
        measured = example and {name: rng.uniform(80, 120, len(part)).tolist() for name in example}
        yield indices, clips, measured


def costs(file: str | Path) -> pd.Series:
    """Sum of the estimates that a rehearsal wrote: clips, tokens and seconds; of memory_bytes the largest."""
    path = Path(file)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    table = pd.DataFrame([json.loads(line) for line in lines] or [{"clips": 0, "memory_bytes": 0}])
    sums = table.reindex(columns=["clips", "tokens", "seconds"]).sum()
    return pd.concat([sums, pd.Series({"memory_bytes": table["memory_bytes"].max()})])
