"""Audio as every measure takes it: checked, float32, at one rate.

Conventions. Every function of audio takes a `Sound`, such as `Clips`, or an array (N, samples) together with
``sample_rate`` in Hz, and returns one value per clip. Everything but beats and CLAP is measured at
`ANALYSIS_RATE` = 16000 Hz, whatever the rate of the clips: the centroid of the same music moves with the rate
(1850 Hz at 22.05 kHz, 2121 Hz at 32 kHz). A clip whose peak stays under -80 dB of full scale is silent.
Unmeasurable values are NaN, never a placeholder.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
import soxr

__all__ = [
    "ANALYSIS_RATE",
    "FloatArray",
    "Sound",
    "analysis_audio",
    "check",
    "read_clips",
    "resample",
    "silent",
]

ANALYSIS_RATE = 16000  # Hz
_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale

FloatArray = npt.NDArray[np.floating[Any]]


class Sound(Protocol):
    """Clips that know their rate: ``audio`` of shape (N, samples) and ``sample_rate`` in Hz."""

    @property
    def audio(self) -> npt.NDArray[Any]: ...

    @property
    def sample_rate(self) -> int: ...


def check(clips: Sound | FloatArray, sample_rate: int | None) -> tuple[npt.NDArray[np.float32], int]:
    """Check clips, and give them as float32 with their rate.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int or None
        In Hz; needed for an array, taken from `Clips` otherwise.

    Returns
    -------
    audio : ndarray, shape (N, samples)
        Float32.
    sample_rate : int
        Hz.

    Raises
    ------
    TypeError
        If the rate is missing or no whole number, or the samples are not floating point.
    ValueError
        If shape, rate or samples cannot be right; the message says what they look like.
    """
    if hasattr(clips, "sample_rate"):
        if sample_rate is not None and sample_rate != clips.sample_rate:
            raise ValueError(
                f"sample_rate={sample_rate}, but the clips were made at {clips.sample_rate}: leave it out"
            )
        sample_rate = clips.sample_rate
    if sample_rate is None:
        raise TypeError("an array does not know its sample rate: pass sample_rate=... in Hz, or pass Clips")
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int | np.integer):
        raise TypeError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}")
    if sample_rate < 1000:
        raise ValueError(f"sample_rate={sample_rate}: is this in kHz? It must be in Hz, for instance 16000")
    audio = np.asarray(getattr(clips, "audio", clips))
    if audio.ndim != 2:
        hint = "; for one clip pass clip[None]" if audio.ndim == 1 else ""
        raise ValueError(f"audio must have shape (clips, samples), got {audio.shape}{hint}")
    if audio.size == 0:
        raise ValueError(f"there is no audio to measure: shape {audio.shape}")
    if not np.issubdtype(audio.dtype, np.floating):
        raise TypeError(
            f"audio must be floating point in [-1, 1], got {audio.dtype}; divide 16-bit samples by 32768"
        )
    if audio.shape[1] < 0.1 * sample_rate:
        raise ValueError(
            f"clips of {audio.shape[1]} samples last under 0.1 s at {sample_rate} Hz: is the array (samples, "
            "clips)? It must be (clips, samples)"
        )
    broken = np.flatnonzero(~np.isfinite(audio).all(axis=1))
    if len(broken):
        raise ValueError(f"clips {broken[:10].tolist()} hold NaN or infinite samples")
    return audio.astype(np.float32, copy=False), int(sample_rate)


def check_clip(clip: npt.ArrayLike, name: str) -> npt.NDArray[np.float32]:
    """One clip (samples,) as float32, or a ValueError that calls it by its name."""
    samples = np.asarray(clip, dtype=np.float32)
    if samples.ndim != 1 or samples.size == 0:
        raise ValueError(f"{name}: expected audio of shape (samples,), got {samples.shape}")
    broken = np.count_nonzero(~np.isfinite(samples))
    if broken:
        raise ValueError(f"{name}: {broken} of {samples.size} samples are not finite; make the clip again")
    return samples


def resample(audio: npt.NDArray[np.float32], rate: int, target: int) -> npt.NDArray[np.float32]:
    """Audio (N, samples) or (samples,) at another rate in Hz (soxr, HQ); as it is if the rates are equal."""
    return audio if rate == target else np.ascontiguousarray(soxr.resample(audio.T, rate, target).T)


def analysis_audio(clips: Sound | FloatArray, sample_rate: int | None) -> npt.NDArray[np.float32]:
    """Checked clips at `ANALYSIS_RATE`; parameters as in `check`."""
    audio, rate = check(clips, sample_rate)
    return resample(audio, rate, ANALYSIS_RATE)


def silent(clip: FloatArray) -> bool:
    """Whether the peak of a clip stays under -80 dB of full scale."""
    return bool(np.abs(clip).max() < _SILENCE)


def read_clips(table: pd.DataFrame, store: str | Path) -> tuple[npt.NDArray[np.float32], int]:
    """The sounds of the rows of a sweep.

    Parameters
    ----------
    table : DataFrame
        From `sweep` with ``keep``: its column ``clip`` is read.
    store : str or Path
        Folder of the store.

    Returns
    -------
    audio : ndarray, shape (rows, samples)
        Float32, as long as the shortest.
    sample_rate : int
        Hz.

    Raises
    ------
    ValueError
        If there are no rows, a row has no clip, or sample rates differ.
    """
    if table.empty or table["clip"].isna().any():
        raise ValueError(
            f"{int(table['clip'].isna().sum())} of {len(table)} rows have a clip missing: sweep with keep='mp3'"
        )
    for clip in table["clip"]:
        if not (Path(store) / clip).is_file():
            raise ValueError(
                f"there is no clip {Path(store) / clip}: sweep again, or name the table's own store"
            )
    sounds = [soundfile.read(Path(store) / clip, dtype="float32") for clip in table["clip"]]
    rates = {rate for _, rate in sounds}
    if len(rates) > 1:
        raise ValueError(f"the clips have several sample rates, {sorted(rates)}: read one model's at a time")
    length = min(len(sound) for sound, _ in sounds)
    return np.stack([sound[:length] for sound, _ in sounds]), rates.pop()
