"""What the judges of the pocket model learned from, and whether a clip is like it.

``data/pocket/judges.json`` holds what was fixed once on composed clips of held-out seeds (``python -m steerlib.pocket
thresholds``): how sure the tempo judge must be, how well a key must fit, and the spectra of the music that the judges
know. CLAP cannot say that it does not know a sound: it names a style for white noise, with probability near 1. So the
question is asked of the sound itself, before CLAP: is its spectrum one that the corpus has?

Conventions. One value a clip, at `ANALYSIS_RATE`; NaN for silence. See `steerlib.measure.audio`.
"""

import json
from functools import lru_cache
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from steerlib.files import DATA
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent

__all__ = ["FILE", "known", "learned", "strangeness"]

FILE = DATA / "pocket" / "judges.json"
_BANDS = np.geomspace(60, 7680, 15)  # Hz, edges of half octaves


@lru_cache(maxsize=1)
def learned() -> dict[str, Any]:
    """What ``judges.json`` holds.

    Returns
    -------
    dict
        ``sure``, ``key`` and ``strange``: the thresholds of `sure_tempo`, `mode` and `known`. ``mean``, ``deviation``
        and ``precision``: of the features of `strangeness`. ``source``: dB before the filter, for `rules.cutoff`.
        ``tracker``: SHA-256 of the checkpoint; ``seeds``: the composed clips; ``answers``: what was measured on them.

    Raises
    ------
    FileNotFoundError
        If the file is not there; says how to make it.
    """
    if not FILE.is_file():
        raise FileNotFoundError(f"{FILE} is missing: make it with `python -m steerlib.pocket thresholds`")
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def strangeness(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """How unlike the pocket model's corpus the spectrum of each clip is.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        Mahalanobis distance, divided by the root of the number of features: near 1 for composed clips.
    """
    about = learned()
    away = (features(clips, sample_rate=sample_rate) - about["mean"]) / about["deviation"]
    return np.sqrt(np.einsum("ij,jk,ik->i", away, about["precision"], away) / away.shape[1])


def known(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> npt.NDArray[np.bool_]:
    """Whether each clip is as like the corpus as 99 of 100 composed clips are; False for silence."""
    return np.asarray(strangeness(clips, sample_rate=sample_rate) <= learned()["strange"])


def features(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Mean level of 14 half octaves from 60 to 7680 Hz in dB below the loudest, and how far bands are from noise.

    The last is the flatness within half octaves above 240 Hz: the mean dB of a band's bins less the dB of their mean,
    about -2.5 for noise and far lower for tones.

    Returns
    -------
    ndarray, shape (N, 15)
        NaN for silence.
    """
    return np.array([_features(clip) for clip in analysis_audio(clips, sample_rate)])


def _features(clip: FloatArray) -> FloatArray:
    bands = len(_BANDS) - 1
    if silent(clip):
        return np.full(bands + 1, np.nan)
    power = np.abs(librosa.stft(clip, n_fft=1024, hop_length=512)) ** 2
    power = power + 1e-9 * power.max()
    band = np.digitize(np.fft.rfftfreq(1024, 1 / ANALYSIS_RATE), _BANDS) - 1
    inside = [power[band == number] for number in range(bands)]
    level = np.array([10 * np.log10(each.mean()) for each in inside])
    flat = [10 * (np.log10(each).mean() - np.log10(each.mean())) for each in inside[4:]]
    return np.append(np.maximum(level - level.max(), -60), np.mean(flat))
