"""Likeness of two clips: is the harmony, the rhythm, the sound still there?

Method. Pearson correlations of chroma and of onset strength, and the log-spectral distance; they judge the
codec, and how well a tune is kept (beside paper B, table III).

Conventions. Row i of one set is compared with row i of the other, at `ANALYSIS_RATE`; see
`steerlib.measure.audio`. Correlations have no unit, the distance is in dB. What is silent is NaN.
"""

from typing import Any

import librosa
import numpy as np

from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent

__all__ = ["chroma_correlation", "log_spectral_distance", "onset_envelope_correlation"]


def chroma_correlation(
    reference: Sound | FloatArray, other: Sound | FloatArray, *, sample_rate: int | None = None
) -> FloatArray:
    """Pearson correlation of the chromagrams of paired clips: is the harmony still there?

    Chroma from power spectra (4096 samples, hop 1024 at 16 kHz, A4 = 440 Hz), each frame scaled to a maximum
    of 1, correlated over all frames and pitch classes at once.

    Parameters
    ----------
    reference, other : Clips or ndarray, shape (N, samples)
        Row i of one is compared with row i of the other.
    sample_rate : int, optional
        In Hz, of both; needed for arrays.

    Returns
    -------
    ndarray, shape (N,)
        -1 to 1; NaN where a clip is silent.
    """

    def chroma(clip: FloatArray) -> FloatArray:
        return librosa.feature.chroma_stft(y=clip, sr=ANALYSIS_RATE, n_fft=4096, hop_length=1024, tuning=0.0)

    return _correlations(reference, other, sample_rate, chroma)


def onset_envelope_correlation(
    reference: Sound | FloatArray, other: Sound | FloatArray, *, sample_rate: int | None = None
) -> FloatArray:
    """Pearson correlation of the onset strength (spectral flux, hop 256) of paired clips: is the rhythm still
    there?

    Parameters and returns as in `chroma_correlation`.
    """

    def envelope(clip: FloatArray) -> FloatArray:
        return librosa.onset.onset_strength(y=clip, sr=ANALYSIS_RATE, hop_length=256)

    return _correlations(reference, other, sample_rate, envelope)


def log_spectral_distance(
    reference: Sound | FloatArray, other: Sound | FloatArray, *, sample_rate: int | None = None
) -> FloatArray:
    """Log-spectral distance of paired clips in dB: is the sound still the same?

    Power spectra (1024 samples, hop 256 at 16 kHz) in dB, both floored at 60 dB below the peak of the
    reference clip's spectrogram; root mean square of the difference over frequencies, then mean over frames.

    Parameters
    ----------
    reference, other : Clips or ndarray, shape (N, samples)
        Row i of one is compared with row i of the other.
    sample_rate : int, optional
        In Hz, of both; needed for arrays.

    Returns
    -------
    ndarray, shape (N,)
        dB, 0 for equal clips, at most 60 for a silent `other`; NaN where the reference is silent.
    """
    pairs = _pairs(reference, other, sample_rate)
    return np.array([float("nan") if silent(a) else _log_spectral_distance(a, b) for a, b in pairs])


def _log_spectral_distance(reference: FloatArray, other: FloatArray) -> float:
    powers = [np.abs(librosa.stft(clip, n_fft=1024, hop_length=256)) ** 2 for clip in (reference, other)]
    floor = powers[0].max() * 1e-6  # -60 dB
    decibels = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    return float(np.sqrt(((decibels[0] - decibels[1]) ** 2).mean(axis=0)).mean())


def _correlations(
    reference: Sound | FloatArray, other: Sound | FloatArray, sample_rate: int | None, feature: Any
) -> FloatArray:
    def correlation(a: FloatArray, b: FloatArray) -> float:
        if silent(a) or silent(b):
            return float("nan")
        x, y = feature(a).ravel(), feature(b).ravel()
        if np.ptp(x) == 0 or np.ptp(y) == 0:  # a feature that never changes correlates with nothing
            return float("nan")
        return float(np.corrcoef(x, y)[0, 1])

    return np.array([correlation(a, b) for a, b in _pairs(reference, other, sample_rate)])


def _pairs(
    reference: Sound | FloatArray, other: Sound | FloatArray, sample_rate: int | None
) -> list[tuple[FloatArray, FloatArray]]:
    a, b = analysis_audio(reference, sample_rate), analysis_audio(other, sample_rate)
    if a.shape != b.shape:
        raise ValueError(
            f"clips are compared in pairs, but have shapes {a.shape} and {b.shape} at {ANALYSIS_RATE} Hz"
        )
    return list(zip(a, b, strict=True))
