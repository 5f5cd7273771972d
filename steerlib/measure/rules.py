"""Second judges that no network made: tempo, cutoff, mode and attacks by rule, and what two judges say together.

Conventions. One value a clip, NaN for *cannot tell*, by a rule that is stated at the function. Measured at
`ANALYSIS_RATE`; see `steerlib.measure.audio`.
"""

from collections.abc import Mapping

import librosa
import numpy as np
import numpy.typing as npt
from scipy.signal import find_peaks

from steerlib.evidence.scorecard import Check
from steerlib.evidence.stats import Interval
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent
from steerlib.measure.known import learned

__all__ = ["agree", "attacks", "cutoff", "octave_distance", "pulse", "third"]

_HOP = 160  # samples: 100 onset strengths a second
_TEMPI = np.geomspace(50, 200, 241)  # BPM, the range of the corpus; 0.6 % apart
_ALIKE = 0.95  # share of the best comb score
_BANDS = np.geomspace(60, 7680, 29)  # Hz, edges of quarter octaves
_CUTOFFS = np.geomspace(400, 9000, 120)  # Hz
_DIATONIC = (12.68, 4.91, 7.0, 7.71, 6.98, 7.62, 5.06, 9.94, 6.37, 6.35, 5.63, 6.05)
"""Krumhansl and Kessler's (1982) profiles of a major and a minor key, added: how well each note fits a tonic."""


def pulse(clips: Sound | FloatArray, *, sample_rate: int | None = None, steady: float = 0.04) -> FloatArray:
    """Tempo of each clip by a comb over the autocorrelation of its onset strength: no network, no training.

    The tempo between 50 and 200 BPM whose first eight multiples of the period have the highest mean autocorrelation.
    It finds the pulse and does not know which of its levels is the beat, so compare it up to octaves
    (`octave_distance`).

    *Cannot tell* (NaN): silence, no onset, nothing that comes again, or halves of the clip that differ from the whole
    by more than `steady` up to octaves.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.
    steady : float
        Largest relative difference of a half; infinity for an answer in every case.

    Returns
    -------
    ndarray, shape (N,)
        BPM.
    """
    return np.array([_pulse(clip, steady) for clip in analysis_audio(clips, sample_rate)])


def _pulse(clip: FloatArray, steady: float) -> float:
    if silent(clip):
        return float("nan")
    strength = librosa.onset.onset_strength(
        y=clip / np.abs(clip).max(), sr=ANALYSIS_RATE, hop_length=_HOP, n_fft=1024, n_mels=40
    )
    whole = _comb(strength)
    half = len(strength) // 2
    for part in (strength[:half], strength[half:]):
        if not octave_distance(_comb(part), whole) <= np.log2(1 + steady):  # NaN cannot tell either
            return float("nan")
    return whole


def _comb(strength: FloatArray) -> float:
    centred = strength - strength.mean()
    size = len(centred)
    power = np.abs(np.fft.rfft(centred, 2 * size)) ** 2
    correlation = np.fft.irfft(power)[:size] / (size - np.arange(size))
    if not correlation[0] > 0:
        return float("nan")
    lags = (60 * ANALYSIS_RATE / _HOP / _TEMPI)[:, None] * np.arange(1, 9)
    within = lags < 0.75 * size
    sums = np.where(within, np.interp(lags, np.arange(size), correlation), 0).sum(axis=1)
    scores = np.where(within.any(axis=1), sums / np.maximum(within.sum(axis=1), 1), -np.inf)
    if not scores.max() > 0:  # nothing comes again
        return float("nan")
    # Every third beat of an even pulse fits as well as every beat: the fastest of those that fit alike is the pulse.
    return float(_TEMPI[np.flatnonzero(scores >= _ALIKE * scores.max())[-1]])


def octave_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """How far two tempi (BPM) lie apart in octaves, when halves and doubles count as the same; 0 to 0.5."""
    ratio = np.log2(np.asarray(first, dtype=float) / np.asarray(second, dtype=float))
    return np.abs(ratio - np.round(ratio))


def cutoff(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Cutoff of the low-pass filter of each clip in Hz, by fitting the filter of the pocket model's corpus.

    The spectrum in quarter octaves is taken to be the mean of composed clips before their filter, times the
    response of a second-order Butterworth filter, with the lift of treble that `music.corpus.render` gives to bright
    clips; the cutoff with the least squared error in dB is the answer. What plays differs from clip to clip, so single
    clips are wrong by a fraction of an octave.

    *Cannot tell* (NaN): silence, or a best fit at either end of the range, 400 to 9000 Hz.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        Hz.
    """
    gains = np.array([gain(value) for value in _CUTOFFS])
    found = []
    for clip in analysis_audio(clips, sample_rate):
        if silent(clip):
            found.append(float("nan"))
            continue
        left = decibels(clip) - np.array(learned()["source"]) - gains
        at = int(left.std(axis=1).argmin())
        found.append(float(_CUTOFFS[at]) if 0 < at < len(_CUTOFFS) - 1 else float("nan"))
    return np.array(found)


def gain(corner: float) -> FloatArray:
    middle = np.sqrt(_BANDS[1:] * _BANDS[:-1])
    lift = 9 * np.clip(np.log2(corner / 2200) / np.log2(8000 / 2200), 0, 1)
    treble = np.clip(np.log2(np.maximum(middle, 1) / 1000) / 2, 0, 1)
    return -10 * np.log10(1 + (middle / corner) ** 4) + lift * treble


def decibels(clip: FloatArray) -> FloatArray:
    power = np.abs(np.fft.rfft(clip)) ** 2
    band = np.digitize(np.fft.rfftfreq(len(clip), 1 / ANALYSIS_RATE), _BANDS) - 1
    inside = (band >= 0) & (band < len(_BANDS) - 1)
    total = np.bincount(band[inside], power[inside], minlength=len(_BANDS) - 1)
    return 10 * np.log10(np.maximum(total / np.diff(_BANDS), 1e-12))


def third(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """How much stronger the major than the minor third above the tonic sounds in each clip: mode by one pair of notes.

    Pitch classes are counted over spectral peaks alone (8192 samples, 60 to 2000 Hz, square root of magnitude); the
    tonic is the note whose diatonic scale, major and minor together, fits them best.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        Natural logarithm of the ratio, positive for major; NaN for silence.
    """
    return np.array([_third(clip) for clip in analysis_audio(clips, sample_rate)])


def _third(clip: FloatArray) -> float:
    if silent(clip):
        return float("nan")
    magnitude = np.abs(librosa.stft(clip, n_fft=8192, hop_length=2048))
    below, here, above = (np.log(magnitude[k : len(magnitude) - 2 + k] + 1e-9) for k in range(3))
    aside = 0.5 * (below - above) / (below - 2 * here + above + 1e-12)  # of a parabola through three bins
    hertz = (np.arange(1, len(magnitude) - 1)[:, None] + np.clip(aside, -0.5, 0.5)) * ANALYSIS_RATE / 8192
    peak = (here > below) & (here > above) & (hertz > 60) & (hertz < 2000)
    if not peak.any():
        return float("nan")
    classes = np.round(12 * np.log2(hertz[peak] / 440) + 9).astype(int) % 12
    heard = np.bincount(classes, np.sqrt(magnitude[1:-1][peak]), minlength=12)
    tonic = int(np.argmax([np.corrcoef(heard, np.roll(_DIATONIC, each))[0, 1] for each in range(12)]))
    return float(np.log((heard[(tonic + 4) % 12] + 1e-6) / (heard[(tonic + 3) % 12] + 1e-6)))


def attacks(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Attacks a second in each clip: peaks in the rise of the log spectrum, at least 50 ms apart.

    The second judge of energy beside `onset_rate`: another front end and another rule for what a peak is.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        Attacks per second; 0 for a silent clip.
    """
    audio = analysis_audio(clips, sample_rate)
    seconds = audio.shape[1] / ANALYSIS_RATE
    return np.array([0.0 if silent(clip) else _attacks(clip) / seconds for clip in audio])


def _attacks(clip: FloatArray) -> int:
    magnitude = np.abs(librosa.stft(clip, n_fft=1024, hop_length=_HOP))
    level = np.log(magnitude + 1e-3 * magnitude.max())
    rise = np.convolve(np.maximum(0, np.diff(level, axis=1)).mean(axis=0), np.ones(3) / 3, "same")
    return len(find_peaks(rise, prominence=rise.std(), distance=5)[0])


def agree(
    what: str,
    judges: Mapping[str, Interval],
    *,
    above: float | None = None,
    below: float | None = None,
    unit: str = "",
) -> Check:
    """One check of what several judges measured: it holds (or fails) only if it does so for each of them.

    The interval is the hull of the judges' intervals, hence open wherever they disagree; the words say who said what.

    Parameters
    ----------
    what : str
        As for `Check`.
    judges : mapping of str to Interval
        At least two, by the judge's name, all in one unit, such as octaves.
    above, below, unit
        As for `Check`.

    Returns
    -------
    Check

    Raises
    ------
    ValueError
        If there are fewer than two judges.

    Examples
    --------
    >>> tracker, comb = Interval(0.4, 0.2, 0.6, 24), Interval(0.3, -0.1, 0.5, 22)
    >>> agree("tempo toward fast", {"tracker": tracker, "comb": comb}, above=0).outcome
    'open'
    """
    if len(judges) < 2:
        raise ValueError(
            f"{what!r} has {len(judges)} judge(s): a verdict needs two, for instance tempo and pulse"
        )
    each = {name: Check(what, one, above=above, below=below, unit=unit) for name, one in judges.items()}
    outcomes = {check.outcome for check in each.values()}
    said = "judges agree" if len(outcomes) == 1 else "judges disagree"
    words = ", ".join(
        f"{name} {check.interval.estimate:.3g}: {check.outcome}" for name, check in each.items()
    )
    intervals = list(judges.values())
    hull = Interval(
        float(np.mean([one.estimate for one in intervals])),
        float(np.min([one.low for one in intervals])),
        float(np.max([one.high for one in intervals])),
        min(one.n for one in intervals),
        max(one.dropped for one in intervals),
    )
    return Check(f"{what} ({said}: {words})", hull, above=above, below=below, unit=unit)
