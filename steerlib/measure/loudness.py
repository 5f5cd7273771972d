"""Loudness as the ear weighs it: the K-weighting of ITU-R BS.1770-4.

Units: root mean square with full scale 1, and LUFS (dB re full scale after the weighting, less 0.691).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent

__all__ = ["k_weighted", "loudness"]

_K_WEIGHTING = (
    (1681.974450955533, 0.7071752369554196, 3.999843853973347),
    (38.13547087602444, 0.5003270373238773, None),
)
"""The two filters of ITU-R BS.1770-4, a shelf and a high-pass: frequency in Hz, quality, gain in dB."""


def loudness(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Loudness of each clip in LUFS without gating, the second judge of level beside `band_level`.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        LUFS; NaN for a silent clip.
    """
    return np.array(
        [
            float("nan") if silent(clip) else 20 * math.log10(k_weighted(clip, ANALYSIS_RATE)) - 0.691
            for clip in analysis_audio(clips, sample_rate)
        ]
    )


def k_weighted(samples: FloatArray, sample_rate: int) -> float:
    """Root mean square of a clip (samples,) after the K-weighting, its filters set for this sample rate in Hz."""
    weighted: NDArray[np.float64] = np.asarray(samples, dtype=np.float64)
    for frequency, quality, gain in _K_WEIGHTING:
        k = math.tan(math.pi * frequency / sample_rate)
        denominator = 1 + k / quality + k * k
        if gain is None:
            numerator = [1.0, -2.0, 1.0]
        else:
            high = 10 ** (gain / 20)
            band = high**0.4996667741545416
            numerator = [
                (high + band * k / quality + k * k) / denominator,
                2 * (k * k - high) / denominator,
                (high - band * k / quality + k * k) / denominator,
            ]
        feedback = [1.0, 2 * (k * k - 1) / denominator, (1 - k / quality + k * k) / denominator]
        weighted = lfilter(numerator, feedback, weighted)
    return float(np.sqrt(np.mean(np.square(weighted))))
