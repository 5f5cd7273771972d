"""Second judges that no network made: tempo and cutoff by rule, and what two judges say together.

Conventions. One value a clip, NaN for *cannot tell*, by a rule that is stated at the function. Measured at
`ANALYSIS_RATE`; see `steerlib.measure.audio`.
"""

from collections.abc import Mapping
from functools import lru_cache

import librosa
import numpy as np
import numpy.typing as npt

from steerlib.evidence.scorecard import Check
from steerlib.evidence.stats import Interval
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, silent

__all__ = ["agree", "cutoff", "octave_distance", "pulse"]

_HOP = 160  # samples: 100 onset strengths a second
_TEMPI = np.geomspace(50, 200, 241)  # BPM, the range of the corpus; 0.6 % apart
_ALIKE = 0.95  # share of the best comb score
_BANDS = np.geomspace(60, 7680, 29)  # Hz, edges of quarter octaves
_CUTOFFS = np.geomspace(400, 9000, 120)  # Hz
_SOURCE_SEEDS = range(40)  # composed clips whose mean spectrum is the source of `cutoff`; none is held out


def pulse(clips: Sound | FloatArray, *, sample_rate: int | None = None, steady: float = 0.04) -> FloatArray:
    """Tempo of each clip by a comb over the autocorrelation of its onset strength: no network, no training.

    The tempo between 50 and 200 BPM whose first eight multiples of the period have the highest mean autocorrelation.
    It finds the pulse and does not know which of its levels is the beat, so compare it up to octaves
    (`octave_distance`).

    *Cannot tell* (NaN): silence, no onset, or halves of the clip that differ from the whole by more than `steady` up
    to octaves.

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
    scores = []
    for period in 60 * ANALYSIS_RATE / _HOP / _TEMPI:
        lags = period * np.arange(1, 9)
        lags = lags[lags < 0.75 * size]
        scores.append(np.interp(lags, np.arange(size), correlation).mean() if len(lags) else -np.inf)
    # Every third beat of an even pulse fits as well as every beat: the fastest of those that fit alike is the pulse.
    return float(_TEMPI[np.flatnonzero(np.array(scores) >= _ALIKE * max(scores))[-1]])


def octave_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> npt.NDArray[np.floating]:
    """How far two tempi (BPM) lie apart in octaves, when halves and doubles count as the same; 0 to 0.5."""
    ratio = np.log2(np.asarray(first, dtype=float) / np.asarray(second, dtype=float))
    return np.abs(ratio - np.round(ratio))


def cutoff(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Cutoff of the low-pass filter of each clip in Hz, by fitting the filter of the pocket model's corpus.

    The spectrum in quarter octaves is taken to be the mean of 40 composed clips before their filter, times the
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
    gains = np.array([_gain(value) for value in _CUTOFFS])
    found = []
    for clip in analysis_audio(clips, sample_rate):
        if silent(clip):
            found.append(float("nan"))
            continue
        left = _decibels(clip) - _source() - gains
        at = int(left.std(axis=1).argmin())
        found.append(float(_CUTOFFS[at]) if 0 < at < len(_CUTOFFS) - 1 else float("nan"))
    return np.array(found)


def _gain(corner: float) -> FloatArray:
    middle = np.sqrt(_BANDS[1:] * _BANDS[:-1])
    lift = 9 * np.clip(np.log2(corner / 2200) / np.log2(8000 / 2200), 0, 1)
    treble = np.clip(np.log2(np.maximum(middle, 1) / 1000) / 2, 0, 1)
    return -10 * np.log10(1 + (middle / corner) ** 4) + lift * treble


def _decibels(clip: FloatArray) -> FloatArray:
    power = np.abs(np.fft.rfft(clip)) ** 2
    band = np.digitize(np.fft.rfftfreq(len(clip), 1 / ANALYSIS_RATE), _BANDS) - 1
    inside = (band >= 0) & (band < len(_BANDS) - 1)
    total = np.bincount(band[inside], power[inside], minlength=len(_BANDS) - 1)
    return 10 * np.log10(np.maximum(total / np.diff(_BANDS), 1e-12))


@lru_cache(maxsize=1)
def _source() -> FloatArray:
    from steerlib.music import corpus  # loads the renderer, which only this judge needs

    spectra = [
        _decibels(audio) - _gain(truth.cutoff) for truth, audio in corpus.stream(_SOURCE_SEEDS, workers=0)
    ]
    return np.mean([each - each.mean() for each in spectra], axis=0)


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
