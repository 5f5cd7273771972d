"""What a listener would measure: tempo, brightness, onsets, likeness and quality of audio clips.

Method. Paper A, section 4.1, measures tempo as BPM from BeatThis [1]_ and timbre as the spectral centroid;
its figure 7 and table 1 use the Fréchet audio distance. Paper B scores genres with CLAP through the zero-shot
pipeline. Neither states the formula for BPM, the rate of the centroid or the embedding of the distance; ours
are stated here.

Conventions. Every function of audio takes `Clips` or an array (N, samples) together with ``sample_rate`` in
Hz, and returns one value per clip. Everything but beats and CLAP is measured at `ANALYSIS_RATE` = 16000 Hz,
whatever the rate of the clips: the centroid of the same music moves with the rate (1850 Hz at 22.05 kHz, 2121
Hz at 32 kHz). A clip whose peak stays under -80 dB of full scale is silent. What cannot be measured is NaN,
never a stand-in number.

.. [1] F. Foscarin, J. Schlüter, G. Widmer. "Beat this! Accurate beat tracking without DBN postprocessing."
   ISMIR 2024.
.. [2] K. Kilgour, M. Zuluaga, D. Roblek, M. Sharifi. "Fréchet Audio Distance." Interspeech 2019.
.. [3] M. J. Chong, D. Forsyth. "Effectively unbiased FID and Inception Score and where to find them." CVPR
   2020.
.. [4] D. Temperley. "Music and Probability." MIT Press, 2007, chapter 6: profiles of the Kostka-Payne corpus.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import librosa
import numpy as np
import numpy.typing as npt
import soxr
import torch
from beat_this.inference import CHECKPOINT_URL, aggregate_prediction, load_model, split_piece
from beat_this.model.postprocessor import Postprocessor
from beat_this.preprocessing import LogMelSpect
from scipy.stats import theilslopes

from steerlib.prompts import DATA

if TYPE_CHECKING:
    from steerlib.generation import Clips

__all__ = [
    "ANALYSIS_RATE",
    "band_level",
    "beats",
    "checkpoint_path",
    "chroma_correlation",
    "clap_embeddings",
    "clap_scores",
    "frechet_distance",
    "frechet_infinity",
    "log_spectral_distance",
    "mode",
    "onset_envelope_correlation",
    "onset_rate",
    "spectral_centroid",
    "tempo",
    "tempo_from_beats",
]

ANALYSIS_RATE = 16000  # Hz
FEWEST_BEATS = 4
_BEAT_RATE = 22050  # Hz, the rate BeatThis was trained at
_SILENCE = 1e-4  # peak amplitude: -80 dB of full scale
_POCKET = DATA / "pocket"
_KEY_PROFILES = {  # how often each scale degree, from the tonic up in semitones, sounds in a segment of music
    "major": (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400),
    "minor": (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330),
}
_PUBLIC_CHECKPOINTS = ("final0", "final1", "final2", "small0", "small1", "small2")

FloatArray = npt.NDArray[np.floating[Any]]


# --- tempo --------------------------------------------------------------------------------------------------


def judges(model: str, *, beats: str = "", clap: str = "") -> tuple[str | None, str | None]:
    """Names of the judges of tempo and of style for the clips of a model: the pocket's for it alone.

    The pocket's judges know nothing but the pocket's music; clips of any other model go to the public ones, which
    transformers and beat_this fetch. Used in every chapter that measures clips.

    Parameters
    ----------
    model : str
        As `load_model` takes it.
    beats, clap : str
        A judge by name or folder, whatever the model; empty for the one that fits.

    Returns
    -------
    beats, clap : str or None
        For `tempo` and `clap_scores`: None is the pocket's, else "final0" and "laion/clap-htsat-unfused".
    """
    if model.split(":")[0] == "pocket":  # a replica's too
        return beats or None, clap or None
    return beats or "final0", clap or "laion/clap-htsat-unfused"


def tempo(
    clips: Clips | FloatArray, *, sample_rate: int | None = None, checkpoint: str | Path | None = None
) -> FloatArray:
    """Tempo of each clip in beats per minute: `tempo_from_beats` of its `beats` (paper A, section 4.1).

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    checkpoint : str or path, optional
        See `beats`.

    Returns
    -------
    ndarray, shape (N,)
        BPM; NaN where fewer than 4 beats were found.

    Notes
    -----
    No octave is corrected: a clip heard at half time counts as half time. `onset_rate` is the second opinion.
    Used in the chapters on steering sweeps and on paper A's table 1.
    """
    found = beats(clips, sample_rate=sample_rate, checkpoint=checkpoint)
    return np.array([tempo_from_beats(times) for times in found])


def tempo_from_beats(times: npt.ArrayLike) -> float:
    """Tempo in BPM by Theil-Sen regression of beat time on beat number.

    The tracker reports times on a grid of 20 ms, so that the median interval of music at 176.5 BPM reads
    166.7 BPM; a line through all beats does not suffer from it. Beats are numbered by rounding each step from
    the last numbered beat to the usual interval, so that a missed beat leaves a gap and a doubled beat is
    passed over.

    Parameters
    ----------
    times : array_like, shape (B,)
        Increasing beat times in seconds.

    Returns
    -------
    float
        BPM, or NaN with fewer than 4 beats.

    Raises
    ------
    ValueError
        If the times are not a finite, increasing list in seconds.

    Examples
    --------
    >>> round(tempo_from_beats([0.0, 0.5, 1.0, 2.0, 2.5, 2.76, 3.0]), 1)
    120.0
    """
    times = np.asarray(times, dtype=float)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise ValueError(
            f"beat times must be a flat list of finite seconds, got shape {times.shape}: {times}"
        )
    if len(times) < FEWEST_BEATS:
        return float("nan")
    intervals = np.diff(times)
    if (intervals <= 0).any():
        at = int(np.argmax(intervals <= 0))
        raise ValueError(
            f"beat times must increase, but {times[at]} is followed by {times[at + 1]}: sort them first"
        )
    median = np.quantile(intervals, 0.5, method="lower")  # one of the intervals, even if they are far apart
    if median > 15:
        raise ValueError(
            f"the median distance of beats is {median:g} s: are these times in seconds? Divide frames by the "
            "frame rate and samples by the sample rate"
        )
    usual = intervals[
        np.abs(intervals / median - 1) < 0.25
    ].mean()  # finer than the median, which sits on the grid
    numbers, kept = [0], [times[0]]
    for time in times[1:]:
        step = round((time - kept[-1]) / usual)
        if step >= 1:
            numbers.append(numbers[-1] + step)
            kept.append(time)
    if len(kept) < FEWEST_BEATS:
        return float("nan")
    return float(60 / theilslopes(kept, numbers).slope)


def beats(
    clips: Clips | FloatArray,
    *,
    sample_rate: int | None = None,
    checkpoint: str | Path | None = None,
    batch_size: int = 16,
) -> list[FloatArray]:
    """Beat times of each clip, tracked by BeatThis [1]_ with its own ("minimal") peak picking.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    checkpoint : str or path, optional
        A BeatThis checkpoint: a path, or the name of a public one such as "final0" (downloaded once).
        Default: the tracker that was trained on the pocket model's corpus, ``data/pocket/beats.ckpt``.
    batch_size : int
        Clips tracked at once.

    Returns
    -------
    list of N ndarrays
        Increasing times in seconds, on BeatThis's grid of 50 frames per second.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; says how to make or get one.
    """
    audio, rate = _audio(clips, sample_rate)
    model, device = _beat_model(checkpoint)
    audio = _resample(audio, rate, _BEAT_RATE)
    mel, peaks = LogMelSpect(device=device), Postprocessor("minimal")
    found: list[FloatArray] = []
    with torch.inference_mode():
        for start in range(0, len(audio), batch_size):
            batch = torch.tensor(audio[start : start + batch_size], dtype=torch.float32, device=device)
            spectra = [mel(clip) for clip in batch]  # (frames, mel bands) each
            # Clips beyond 30 s are cut as BeatThis cuts them; the clips have one length, hence the same cuts.
            chunks, starts = zip(
                *(split_piece(spectrum, 1500, border_size=6) for spectrum in spectra), strict=True
            )
            predicted = [model(torch.stack(column)) for column in zip(*chunks, strict=True)]
            for row, spectrum in enumerate(spectra):
                pieces = [{name: part[name][row] for name in ("beat", "downbeat")} for part in predicted]
                logits = aggregate_prediction(
                    pieces, starts[row], len(spectrum), 1500, 6, "keep_first", device
                )
                found.append(peaks(*logits)[0].astype(float))
    return found


def checkpoint_path(checkpoint: str | Path | None = None) -> Path:
    """Where a BeatThis checkpoint is: that of the pocket model, a public one (downloaded once), or a path.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; says how to make or get one.
    """
    path = Path(checkpoint) if checkpoint is not None else _POCKET / "beats.ckpt"
    if str(checkpoint) in _PUBLIC_CHECKPOINTS:
        path = Path(torch.hub.get_dir()) / "checkpoints" / f"beat_this-{checkpoint}.ckpt"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                torch.hub.download_url_to_file(f"{CHECKPOINT_URL}/{checkpoint}.ckpt", str(path))
            except OSError as error:
                raise FileNotFoundError(
                    f"BeatThis checkpoint {checkpoint!r} is not at {path} and cannot be downloaded "
                    f"({error}): connect once, or get {CHECKPOINT_URL}/{checkpoint}.ckpt elsewhere and put it "
                    "there under that name, or leave `checkpoint` out to use the pocket tracker"
                ) from error
    if not path.is_file():
        raise FileNotFoundError(
            f"no BeatThis checkpoint at {path}: make the pocket one with `python -m steerlib.pocket beats`, "
            "or pass checkpoint='final0' for the public one (needs a network the first time), or another path"
        )
    return path


def _beat_model(checkpoint: str | Path | None) -> tuple[torch.nn.Module, torch.device]:
    path = checkpoint_path(checkpoint)
    return _load_beat_model(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_beat_model(path: str, _modified: int) -> tuple[torch.nn.Module, torch.device]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return load_model(path, device), device  # a local path is read with weights_only=True


# --- spectrum and onsets ------------------------------------------------------------------------------------


def spectral_centroid(clips: Clips | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
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
    >>> bool(abs(spectral_centroid(tone[None], sample_rate=16000)[0] - 1000) < 10)
    True
    """
    return np.array([_centroid(clip) for clip in _analysis_audio(clips, sample_rate)])


def _centroid(clip: FloatArray) -> float:
    if _silent(clip):
        return float("nan")
    magnitude = np.abs(librosa.stft(clip, n_fft=2048, hop_length=512))
    frames = librosa.feature.spectral_centroid(S=magnitude, sr=ANALYSIS_RATE)[0]
    return float(np.average(frames, weights=(magnitude**2).sum(axis=0)))


def band_level(
    clips: Clips | FloatArray, *, low: float = 0.0, high: float = 8000.0, sample_rate: int | None = None
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
    audio = _analysis_audio(clips, sample_rate)
    frequencies = np.fft.rfftfreq(audio.shape[1], 1 / ANALYSIS_RATE)
    band = (frequencies >= low) & (frequencies < high)
    levels = []
    for clip in audio:
        power = 2 * (np.abs(np.fft.rfft(clip)[band]) ** 2).sum() / len(clip) ** 2
        levels.append(float("nan") if _silent(clip) else 10 * np.log10(max(power, 1e-12)))
    return np.array(levels)


def onset_rate(clips: Clips | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
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
    audio = _analysis_audio(clips, sample_rate)
    seconds = audio.shape[1] / ANALYSIS_RATE
    return np.array([0.0 if _silent(clip) else len(_onsets(clip)) / seconds for clip in audio])


def _onsets(clip: FloatArray) -> npt.NDArray[np.integer[Any]]:
    return librosa.onset.onset_detect(y=clip, sr=ANALYSIS_RATE, hop_length=256)


# --- mode ---------------------------------------------------------------------------------------------------


def mode(clips: Clips | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """How much more a clip sounds like a major than like a minor key (for paper A, section 5.2).

    The pitch classes of the clip (magnitudes of spectra of 8192 samples at 16 kHz, 60 to 2000 Hz, A4 = 440
    Hz, summed over time) are correlated with Temperley's [4]_ key profile of each of the 24 keys; the value is
    the best correlation with a major key minus the best with a minor one. It knows nothing of any corpus.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.

    Returns
    -------
    ndarray, shape (N,)
        -2 to 2, positive for major; NaN for a silent clip, or one whose pitch classes are all alike.

    Notes
    -----
    C major and A minor share their notes, so that the sign is wrong for part of the clips. How large that
    part is, the chapter *Other attributes* measures on clips of known mode.
    """
    return np.array([_mode(clip) for clip in _analysis_audio(clips, sample_rate)])


def _mode(clip: FloatArray) -> float:
    if _silent(clip):
        return float("nan")
    magnitude = np.abs(librosa.stft(clip, n_fft=8192, hop_length=4096)).sum(axis=1)
    frequency = np.arange(len(magnitude)) * ANALYSIS_RATE / 8192
    heard = (frequency >= 60) & (frequency <= 2000)
    classes = np.round(12 * np.log2(frequency[heard] / 440) + 9).astype(int) % 12  # 0 is C
    chroma = np.bincount(classes, weights=magnitude[heard], minlength=12)
    if np.ptp(chroma) < 1e-9 * chroma.max():
        return float("nan")
    best = [
        max(np.corrcoef(chroma, np.roll(profile, tonic))[0, 1] for tonic in range(12))
        for profile in _KEY_PROFILES.values()
    ]
    return float(best[0] - best[1])


# --- likeness of two clips (used to judge the codec) --------------------------------------------------------


def chroma_correlation(
    reference: Clips | FloatArray, other: Clips | FloatArray, *, sample_rate: int | None = None
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
    reference: Clips | FloatArray, other: Clips | FloatArray, *, sample_rate: int | None = None
) -> FloatArray:
    """Pearson correlation of the onset strength (spectral flux, hop 256) of paired clips: is the rhythm still
    there?

    Parameters and returns as in `chroma_correlation`.
    """

    def envelope(clip: FloatArray) -> FloatArray:
        return librosa.onset.onset_strength(y=clip, sr=ANALYSIS_RATE, hop_length=256)

    return _correlations(reference, other, sample_rate, envelope)


def log_spectral_distance(
    reference: Clips | FloatArray, other: Clips | FloatArray, *, sample_rate: int | None = None
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
    return np.array([float("nan") if _silent(a) else _log_spectral_distance(a, b) for a, b in pairs])


def _log_spectral_distance(reference: FloatArray, other: FloatArray) -> float:
    powers = [np.abs(librosa.stft(clip, n_fft=1024, hop_length=256)) ** 2 for clip in (reference, other)]
    floor = powers[0].max() * 1e-6  # -60 dB
    decibels = [10 * np.log10(np.maximum(power, floor)) for power in powers]
    return float(np.sqrt(((decibels[0] - decibels[1]) ** 2).mean(axis=0)).mean())


def _correlations(
    reference: Clips | FloatArray, other: Clips | FloatArray, sample_rate: int | None, feature: Any
) -> FloatArray:
    def correlation(a: FloatArray, b: FloatArray) -> float:
        if _silent(a) or _silent(b):
            return float("nan")
        x, y = feature(a).ravel(), feature(b).ravel()
        if np.ptp(x) == 0 or np.ptp(y) == 0:  # a feature that never changes correlates with nothing
            return float("nan")
        return float(np.corrcoef(x, y)[0, 1])

    return np.array([correlation(a, b) for a, b in _pairs(reference, other, sample_rate)])


# --- Fréchet distance ---------------------------------------------------------------------------------------


def frechet_distance(evaluated: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two sets of embeddings [2]_ (paper A, figure 7 and table
    1).

    ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))``, the last term from the eigenvalues of the
    symmetric ``C1^(1/2) C2 C1^(1/2)``: no complex parts, no `sqrtm` of a nearly singular product.

    Parameters
    ----------
    evaluated, reference : array_like, shape (rows, D) or (clips, windows, D)
        Embeddings, for instance from `clap_embeddings`.

    Returns
    -------
    float
        Squared distance, at least 0; in the unit of the embedding squared, so that only distances from the
        same embedding and of equally many rows compare. Finite samples make it too large: see
        `frechet_infinity`.

    Raises
    ------
    ValueError
        If a set has no more rows than dimensions (its covariance would be singular), or the dimensions
        differ.
    """
    x, y = _embeddings(evaluated, reference)
    return _frechet(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]))


def frechet_infinity(
    evaluated: npt.ArrayLike, reference: npt.ArrayLike, *, sizes: int = 8, draws: int = 8, seed: int = 0
) -> float:
    """Fréchet distance extrapolated to infinitely many samples [3]_.

    The bias of the plain distance falls with 1/n. Both sets are cut to the same random fraction, between all
    and a half (or as little as the dimensions allow), and a line through distance against 1/fraction is read
    at 0.

    Parameters
    ----------
    evaluated, reference : array_like, shape (rows, D) or (clips, windows, D)
        With three axes whole clips are drawn, since the windows of one clip are no independent samples.
    sizes : int
        How many fractions.
    draws : int
        Random subsets averaged at each of them.
    seed : int
        Of the subsets.

    Returns
    -------
    float
        In the unit of `frechet_distance`. An estimate, so for equal distributions it falls on either side of
        0.

    Raises
    ------
    ValueError
        If a set has under 1.5 times as many rows as dimensions, too few to extrapolate from.

    Notes ----- Subsets are drawn without replacement (repeats would shrink the covariance), and of both sets
    (a finite reference biases too): fadtk does neither.
    """
    x, y = _embeddings(evaluated, reference)
    rows, dimensions = min(_rows(x), _rows(y)), x.shape[-1]
    smallest = max(0.5, (dimensions + 1) / rows)
    if smallest > 2 / 3:
        raise ValueError(
            f"extrapolation needs at least 1.5 times as many rows as dimensions ({dimensions}), got {rows}: "
            "add clips, use shorter windows or a smaller embedding"
        )
    if sizes < 2 or draws < 1:
        raise ValueError(f"need at least 2 sizes and 1 draw, got sizes={sizes} and draws={draws}")
    rng = np.random.default_rng(seed)
    inverse = np.linspace(1, 1 / smallest, sizes)
    distances = []
    for fraction in 1 / inverse:
        parts = [
            [s[rng.permutation(len(s))[: int(np.ceil(fraction * len(s)))]] for s in (x, y)]
            for _ in range(draws)
        ]
        flat = [[s.reshape(-1, dimensions) for s in pair] for pair in parts[: 1 if fraction == 1 else draws]]
        distances.append(np.mean([_frechet(a, b) for a, b in flat]))
    return float(np.polyfit(inverse, distances, 1)[1])


def _frechet(x: FloatArray, y: FloatArray) -> float:
    mean = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    cov_x, cov_y = (np.atleast_2d(np.cov(s, rowvar=False)) for s in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = vectors * np.sqrt(np.maximum(values, 0))  # C1 = root @ root.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ cov_y @ root), 0)).sum()
    return float(max(mean + np.trace(cov_x) + np.trace(cov_y) - 2 * cross, 0.0))


def _rows(embeddings: FloatArray) -> int:
    return embeddings.size // embeddings.shape[-1]


def _embeddings(*sets: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = (np.asarray(values, dtype=float) for values in sets)
    for name, values in (("evaluated", x), ("reference", y)):
        if values.ndim not in (2, 3) or values.size == 0:
            raise ValueError(
                f"{name} embeddings need shape (rows, D) or (clips, windows, D), got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name} embeddings hold NaN or infinity: look for silent or broken clips")
        if _rows(values) <= values.shape[-1]:
            raise ValueError(
                f"{name} has {_rows(values)} rows for {values.shape[-1]} dimensions; its covariance would be "
                "singular: use more clips, shorter windows or a smaller embedding"
            )
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"embeddings have {x.shape[-1]} and {y.shape[-1]} dimensions: use one model for both"
        )
    return x, y


# --- CLAP ---------------------------------------------------------------------------------------------------


def clap_scores(
    clips: Clips | FloatArray,
    labels: Sequence[str],
    *,
    sample_rate: int | None = None,
    model: str | Path | None = None,
    template: str = "This is a sound of {}.",
) -> FloatArray:
    """Probability of each label for each clip: CLAP in transformers' zero-shot pipeline (paper B, tables I to
    III).

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
        Resampled to the model's rate; of a clip longer than the model's window (10 s) the beginning is
        scored, because transformers would cut a random part.
    labels : sequence of str
        At least two. Scores are a softmax over them, so they compare only within one list of labels.
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    model : str or path, optional
        Folder or hub name of a `ClapModel`, such as "laion/clap-htsat-unfused" (paper B). Default:
        ``data/pocket/clap``, which knows the styles and instruments of the pocket model's music.
    template : str
        Sentence that each label is put into at ``{}``; transformers' default.

    Returns
    -------
    ndarray, shape (N, labels)
        Each row sums to 1.

    Raises
    ------
    ValueError
        On fewer than two labels, repeated labels, or a template without ``{}``.
    FileNotFoundError
        If the pocket CLAP is not there; says how to make it.
    """
    audio, rate = _audio(clips, sample_rate)
    labels = [labels] if isinstance(labels, str) else list(labels)
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise ValueError(f"CLAP needs at least two different, non-empty labels to choose from, got {labels}")
    if "{}" not in template:
        raise ValueError(f"the template {template!r} has no {{}} to put the label into")
    classifier = _clap(model)
    extractor = classifier.feature_extractor
    audio = _resample(audio, rate, extractor.sampling_rate)[:, : extractor.nb_max_samples]
    answers = classifier(list(audio), candidate_labels=labels, hypothesis_template=template)
    scores = [{item["label"]: item["score"] for item in answer} for answer in answers]
    return np.array([[row[label] for label in labels] for row in scores])


def clap_embeddings(
    clips: Clips | FloatArray,
    *,
    sample_rate: int | None = None,
    model: str | Path | None = None,
    window: float = 2.0,
    batch_size: int = 16,
) -> FloatArray:
    """CLAP audio embeddings of consecutive windows of each clip, for `frechet_distance`.

    Not normalised to unit length: of unit vectors the distance is at most 4, and paper A's table 1 has 6.76.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate, model
        As in `clap_scores`.
    window : float
        Seconds; a remainder shorter than a window is left out. CLAP repeats a window up to its own length.
    batch_size : int
        Windows embedded at once.

    Returns
    -------
    ndarray, shape (N, windows, D)
    """
    audio, rate = _audio(clips, sample_rate)
    seconds = audio.shape[1] / rate
    if not 0 < window <= seconds:
        raise ValueError(
            f"window is {window} s but the clips last {seconds:.2f} s: choose a window within the clip"
        )
    classifier = _clap(model)
    extractor, clap = classifier.feature_extractor, classifier.model
    if window > extractor.max_length_s:
        raise ValueError(
            f"window is {window} s, but this CLAP hears at most {extractor.max_length_s} s at once"
        )
    audio = _resample(audio, rate, extractor.sampling_rate)
    length = int(window * extractor.sampling_rate)
    count = audio.shape[1] // length
    pieces = audio[:, : count * length].reshape(-1, length)
    embedded = []
    with torch.inference_mode():
        for start in range(0, len(pieces), batch_size):
            batch = list(pieces[start : start + batch_size])
            inputs = extractor(batch, sampling_rate=extractor.sampling_rate, return_tensors="pt").to(
                clap.device
            )
            embedded.append(
                clap.audio_projection(clap.audio_model(**inputs).pooler_output).float().cpu().numpy()
            )
    return np.concatenate(embedded).reshape(len(audio), count, -1)


def clap_dimensions(model: str | Path | None = None) -> int:
    """Length of the embeddings of a CLAP model; `model` as for `clap_embeddings`."""
    return int(_clap(model).model.config.projection_dim)


def _clap(model: str | Path | None) -> Any:
    if model is None:
        model = _POCKET / "clap"
        if not (model / "config.json").is_file():
            raise FileNotFoundError(
                f"no CLAP at {model}: train it (python -m steerlib.pocket clap, then export), or pass "
                "model='laion/clap-htsat-unfused' (needs a network the first time)"
            )
    return _load_clap(str(model))


@lru_cache(maxsize=1)
def _load_clap(name: str) -> Any:
    from transformers import pipeline

    try:
        return pipeline("zero-shot-audio-classification", model=name, dtype=torch.float32)
    except OSError as error:
        raise FileNotFoundError(
            f"cannot get the CLAP model {name!r}: it is neither a complete folder here nor in the cache of the "
            f"Hugging Face Hub. Where there is a network, run 'hf download {name} --local-dir FOLDER' (config.json, "
            f"model.safetensors, processor and tokenizer files from https://huggingface.co/{name}), copy FOLDER to "
            f"this machine and give its path. transformers said: {error}"
        ) from error


# --- audio --------------------------------------------------------------------------------------------------


def _audio(clips: Clips | FloatArray, sample_rate: int | None) -> tuple[npt.NDArray[np.float32], int]:
    """Check clips and bring them to float32 (N, samples) and a rate in Hz."""
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


def _resample(audio: npt.NDArray[np.float32], rate: int, target: int) -> npt.NDArray[np.float32]:
    return audio if rate == target else np.ascontiguousarray(soxr.resample(audio.T, rate, target).T)


def _analysis_audio(clips: Clips | FloatArray, sample_rate: int | None) -> npt.NDArray[np.float32]:
    audio, rate = _audio(clips, sample_rate)
    return _resample(audio, rate, ANALYSIS_RATE)


def _pairs(
    reference: Clips | FloatArray, other: Clips | FloatArray, sample_rate: int | None
) -> list[tuple[FloatArray, FloatArray]]:
    a, b = _analysis_audio(reference, sample_rate), _analysis_audio(other, sample_rate)
    if a.shape != b.shape:
        raise ValueError(
            f"clips are compared in pairs, but have shapes {a.shape} and {b.shape} at {ANALYSIS_RATE} Hz"
        )
    return list(zip(a, b, strict=True))


def _silent(clip: FloatArray) -> bool:
    return bool(np.abs(clip).max() < _SILENCE)
