"""What is asked for and what comes out: a row of settings, and clips of audio with their tokens.

Units: seconds of audio, Hz, frames of the codec.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soundfile
from torch import Tensor

from steerlib.files import write_whole
from steerlib.steering import Steering

__all__ = ["AudioFormat", "Clips", "Row", "encoded"]

AudioFormat = Literal["mp3", "flac"]


def encoded(samples: npt.NDArray[np.float32], rate: int, audio_format: AudioFormat) -> bytes:
    """A clip (samples,) as a file, in memory: libsndfile does not report a disk that fills up at its last write."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=audio_format.upper())
    return file.getvalue()


@dataclass(frozen=True, eq=False)
class Clips:
    """Generated audio and where it came from. Indexing and iteration give `Clips` again.

    Attributes
    ----------
    audio : ndarray, shape (N, samples), float32
        Mono, in [-1, 1] but for overshoots of the codec.
    sample_rate : int
        Hz.
    tokens : ndarray, shape (N, codebooks, frames), int16
        The codec's codes, without the delay pattern.
    prompts : tuple of str
    seeds : tuple of int
    nll : ndarray, shape (N,), or None
        Mean negative log-likelihood (nats) of a token under the unsteered model, told the same prompt and melody but
        without guidance; only where `steerlib.engine.generation.stream` was asked for it.
    heard : ndarray, shape (N, frames - 1, hidden), float32, or None
        What the `Feedback` of each clip listened to, a state after each frame but the last; NaN for clips without one.
    """

    audio: npt.NDArray[np.float32]
    sample_rate: int
    tokens: npt.NDArray[np.int16]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    nll: npt.NDArray[np.float64] | None = None
    heard: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.audio)

    def __getitem__(self, which: int | slice | Sequence[int]) -> "Clips":
        rows = np.atleast_1d(np.arange(len(self))[which])
        return Clips(
            self.audio[rows],
            self.sample_rate,
            self.tokens[rows],
            tuple(self.prompts[row] for row in rows),
            tuple(self.seeds[row] for row in rows),
            None if self.nll is None else self.nll[rows],
            None if self.heard is None else self.heard[rows],
        )

    def __iter__(self) -> Iterator["Clips"]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        seconds = self.audio.shape[1] / self.sample_rate
        return f"Clips({len(self)} x {seconds:.1f} s at {self.sample_rate} Hz)"

    def save(self, folder: str | Path) -> list[Path]:
        """Write one 16-bit FLAC file per clip, ``000.flac`` and on, into a folder (made if needed)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{row:03d}.flac" for row in range(len(self))]
        for path, audio in zip(paths, self.audio, strict=True):
            write_whole(path, encoded(audio, self.sample_rate, "flac"))
        return paths


@dataclass(frozen=True, eq=False)
class Row:
    """One clip to be made.

    Attributes
    ----------
    prompt : str
    seed : int
    steering : tuple of Steering
        Acting one after the other; none by default.
    melody : Tensor, shape (frames, num_chroma), optional
    patch : tuple of str and of blocks, optional
        Another prompt, and the blocks in which the audio reads that one; see `engine.patching`.
    """

    prompt: str
    seed: int = 0
    steering: tuple[Steering, ...] = ()
    melody: Tensor | None = None
    patch: tuple[str, frozenset[int]] | None = None
