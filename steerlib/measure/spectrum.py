"""Brightness, level, onsets and mode of clips, from their spectra.

Method. Paper A, section 4.1, measures timbre as the spectral centroid, and figure 9 shows spectra; it does not
state the rate or how frames are averaged. Ours are stated at each function.

Conventions. Hz for the centroid, dB re full scale for levels, onsets per second; measured at `ANALYSIS_RATE`,
see `steerlib.measure.audio`. A silent clip is NaN, but has 0 onsets.

.. [1] D. Temperley. "Music and Probability." MIT Press, 2007, chapter 6: profiles of the Kostka-Payne corpus.
"""

from functools import cache
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt

from steerlib.files import compiling
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent
from steerlib.measure.known import learned

__all__ = ["band_level", "mel_statistics", "mode", "onset_rate", "spectral_centroid"]

_KEY_PROFILES = {  # how often each scale degree, from the tonic up in semitones, sounds in a segment of music
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}


def spectral_centroid(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Spectral centroid of each clip in Hz, the measure of brightness (paper A, section 4.1).

    Within a frame (2048 samples, hop 512, Hann) the centroid is the mean of the frequencies weighted by
    magnitude, as librosa has it; over frames it is the mean weighted by energy (sum of squared magnitudes),
    so that near-silent frames, whose centroid is that of noise, do not count.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise. The measurement is made at 16 kHz in any
        case.

    Returns
    -------
    ndarray, shape (N,)
        Hz; NaN for a silent clip.

    Examples
    --------
    >>> tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    >>> bool(abs(spectral_centroid(tone[None], sample_rate=16000)[0] - 1000) < 20)
    True
    """
    return np.array([_centroid(clip) for clip in analysis_audio(clips, sample_rate)])


def mel_statistics(
    clips: Sound | FloatArray, *, sample_rate: int | None = None, window: float = 2.0
) -> FloatArray:
    """Mean and standard deviation of the level in 16 mel bands, in consecutive windows of each clip.

    An embedding for `frechet_distance` that nobody trained, least of all on labels: it hears what a classifier of
    styles may overlook, such as noise. Frames of 1024 samples, hop 512; no level is below -80 dB of full scale.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    window : float
        Seconds; a remainder shorter than a window is left out.

    Returns
    -------
    ndarray, shape (N, windows, 32)
        dB: the means of the bands from low to high, then their standard deviations over the frames.
    """
    audio = analysis_audio(clips, sample_rate)
    samples = round(window * ANALYSIS_RATE)
    if not 0 < samples <= audio.shape[1]:
        raise ValueError(
            f"window is {window} s but the clips last {audio.shape[1] / ANALYSIS_RATE:.2f} s: choose a window within "
            "the clip"
        )
    windows = audio[:, : audio.shape[1] // samples * samples].reshape(len(audio), -1, samples)
    power = librosa.feature.melspectrogram(
        y=windows, sr=ANALYSIS_RATE, n_fft=1024, hop_length=512, n_mels=16, norm=None
    )
    level = 10 * np.log10(
        np.maximum(power / 256**2, 1e-8)
    )  # 256: a full-scale sine's magnitude under the window
    return np.concatenate([level.mean(axis=-1), level.std(axis=-1)], axis=-1)


def _centroid(clip: FloatArray) -> float:
    if silent(clip):
        return float("nan")
    magnitude = np.abs(librosa.stft(clip, n_fft=2048, hop_length=512))
    frames = librosa.feature.spectral_centroid(S=magnitude, sr=ANALYSIS_RATE)[0]
    return float(np.average(frames, weights=(magnitude**2).sum(axis=0)))


def band_level(
    clips: Sound | FloatArray, *, low: float = 0.0, high: float = 8000.0, sample_rate: int | None = None
) -> FloatArray:
    """Level of a band of frequencies in each clip, in dB: what figure 9 of paper A shows, as a number.

    Ten times the decimal logarithm of the mean square of the clip's part between `low` and `high`, from the
    Fourier transform of the whole clip; 0 dB is a mean square of 1, a full-scale sine has -3 dB.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    low, high : float
        Hz, from `low` up to but without `high`; at most 8000, half of `ANALYSIS_RATE`.
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.

    Returns
    -------
    ndarray, shape (N,)
        dB, at least -120; NaN for a silent clip.

    Raises
    ------
    ValueError
        If the band is empty or outside 0 to 8000 Hz.

    Notes
    -----
    With the default limits it is the level of the whole clip, the measure of loudness. No weighting for the ear: a
    darker clip of the same level sounds softer. Used in the chapters *Held out* and *Other attributes*.
    """
    if not 0 <= low < high <= ANALYSIS_RATE / 2:
        raise ValueError(f"the band {low:g} to {high:g} Hz must lie within 0 to {ANALYSIS_RATE // 2} Hz")
    audio = analysis_audio(clips, sample_rate)
    frequencies = np.fft.rfftfreq(audio.shape[1], 1 / ANALYSIS_RATE)
    band = (frequencies >= low) & (frequencies < high)
    levels = []
    for clip in audio:
        power = 2 * (np.abs(np.fft.rfft(clip)[band]) ** 2).sum() / len(clip) ** 2
        levels.append(float("nan") if silent(clip) else 10 * np.log10(max(power, 1e-12)))
    return np.array(levels)


def onset_rate(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Note onsets per second of each clip, by librosa's spectral flux and peak picking (hop 256 at 16 kHz).

    The second opinion on tempo: it knows no octave errors, but is also moved by density of notes.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.

    Returns
    -------
    ndarray, shape (N,)
        Onsets per second; 0 for a silent clip, which has none.
    """
    audio = analysis_audio(clips, sample_rate)
    seconds = audio.shape[1] / ANALYSIS_RATE
    return np.array([0.0 if silent(clip) else len(_onsets(clip)) / seconds for clip in audio])


@cache
def _compile_onsets() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, ANALYSIS_RATE).astype(np.float32)
    with compiling():
        librosa.onset.onset_detect(y=noise, sr=ANALYSIS_RATE, hop_length=256)


def _onsets(clip: FloatArray) -> npt.NDArray[np.integer[Any]]:
    _compile_onsets()
    return librosa.onset.onset_detect(y=clip, sr=ANALYSIS_RATE, hop_length=256)


def mode(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """How much more a clip sounds like a major than like a minor key (for paper A, section 5.2).

    The pitch classes of the clip (magnitudes of spectra of 8192 samples at 16 kHz, 60 to 2000 Hz, A4 = 440
    Hz, summed over time) are correlated with Temperley's [1]_ key profile of each of the 24 keys; the value is
    the best correlation with a major key minus the best with a minor one. It knows nothing of any corpus.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.

    Returns
    -------
    ndarray, shape (N,)
        -2 to 2, positive for major. *Cannot tell* (NaN): silence, or no key that fits as well as in 99 of 100 composed
        clips of known key, as in noise.

    Notes
    -----
    C major and A minor share their notes, so that the sign is wrong for part of the clips. How large that
    part is, the chapter *Other attributes* measures on clips of known mode.
    """
    return np.array([_mode(clip) for clip in analysis_audio(clips, sample_rate)])


def _mode(clip: FloatArray) -> float:
    major, minor = key_fit(clip)
    return major - minor if max(major, minor) >= learned()["key"] else float("nan")


def key_fit(clip: FloatArray) -> tuple[float, float]:
    """How well the best major and the best minor key fit one clip at `ANALYSIS_RATE`: correlations, NaN for silence."""
    if silent(clip):
        return float("nan"), float("nan")
    magnitude = np.abs(librosa.stft(clip, n_fft=8192, hop_length=4096)).sum(axis=1)
    frequency = np.arange(len(magnitude)) * ANALYSIS_RATE / 8192
    heard = (frequency >= 60) & (frequency <= 2000)
    classes = np.round(12 * np.log2(frequency[heard] / 440) + 9).astype(int) % 12  # 0 is C
    chroma = np.bincount(classes, weights=magnitude[heard], minlength=12)
    if np.ptp(chroma) < 1e-9 * chroma.max():
        return float("nan"), float("nan")
    major, minor = (
        max(float(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1]) for tonic in range(12))
        for profile in _KEY_PROFILES.values()
    )
    return major, minor
