"""Tempo and beats of clips.

Method. Paper A, section 4.1, measures tempo as BPM from BeatThis [1]_ and does not state the formula; ours is
a regression through all beats, `tempo_from_beats`.

Conventions. Times are in seconds, tempo in beats per minute; see `steerlib.measure.audio` for audio. Clips are
tracked at 22050 Hz, the rate BeatThis was trained at. Its package is imported where it is used, because it takes
seconds to load and only tempo needs it.

.. [1] F. Foscarin, J. Schlüter, G. Widmer. "Beat this! Accurate beat tracking without DBN postprocessing."
   ISMIR 2024.
"""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import theilslopes

from steerlib.files import DATA, digest
from steerlib.measure.audio import FloatArray, Sound, check, resample
from steerlib.measure.known import learned

__all__ = [
    "beats",
    "checkpoint_path",
    "confidence",
    "sure_tempo",
    "tempo",
    "tempo_and_confidence",
    "tempo_from_beats",
    "tracker",
]

FEWEST_BEATS = 4
_FPS = 50  # frames of the tracker a second
_RATE = 22050  # Hz, the rate BeatThis was trained at
_PUBLIC_CHECKPOINTS = ("final0", "final1", "final2", "small0", "small1", "small2")
_KNOWN_CHECKPOINTS = {  # SHA-256 as several projects that use them note it
    "final0": "8c328b45f59d8dd3dff219253ff6a8d6482be57d0133a29140e2febbf8eb8331",
    "small0": "6074be2c4d490c5f6101fcc374a1ec72ae93456e23bb6019783b849f5dc7d47b",
}


def tempo(
    clips: Sound | FloatArray, *, sample_rate: int | None = None, checkpoint: str | Path | None = None
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
    It answers for any sound with four beats, noise too, where its answer is chance: good for comparing groups of clips,
    as paper A does, not as the tempo of one clip. `sure_tempo` answers only where the tracker is sure.
    No octave is corrected: a clip heard at half time counts as half time. `rules.pulse` and `onset_rate` are second
    opinions. Used in the chapters on steering sweeps and on paper A's table 1.
    """
    found = beats(clips, sample_rate=sample_rate, checkpoint=checkpoint)
    return np.array([tempo_from_beats(times) for times in found])


def sure_tempo(
    clips: Sound | FloatArray, *, sample_rate: int | None = None, checkpoint: str | Path | None = None
) -> FloatArray:
    """Tempo of each clip in BPM where the tracker is sure of it, NaN (*cannot tell*) elsewhere.

    Sure is a `confidence` of at least ``learned()["sure"]``, the lowest at which 95 % of the answers for degraded clips
    of known tempo are right within 4 %. The chapter *Judges* shows how often it answers.

    Parameters
    ----------
    clips, sample_rate, checkpoint
        As for `tempo`. The threshold was fixed for the pocket model's tracker; for another it is a guess.

    Returns
    -------
    ndarray, shape (N,)
    """
    bpm, sure = tempo_and_confidence(clips, sample_rate=sample_rate, checkpoint=checkpoint)
    return np.where(sure >= learned()["sure"], bpm, np.nan)


def tempo_and_confidence(
    clips: Sound | FloatArray, *, sample_rate: int | None = None, checkpoint: str | Path | None = None
) -> tuple[FloatArray, FloatArray]:
    """`tempo` of each clip in BPM, and the tracker's `confidence` in it; parameters as for `tempo`."""
    heard = list(_heard(clips, sample_rate, checkpoint, 16))
    bpm = [tempo_from_beats(times) for times, _ in heard]
    sure = [confidence(chance, times, each) for (times, chance), each in zip(heard, bpm, strict=True)]
    return np.array(bpm), np.array(sure)


def confidence(chance: FloatArray, times: FloatArray, bpm: float) -> float:
    """How sure a beat tracker is of a tempo: the mean chance of a beat where that tempo says that beats are.

    Parameters
    ----------
    chance : ndarray, shape (frames,)
        Probability of a beat in each frame of 20 ms.
    times : ndarray, shape (B,)
        The beats found, in seconds; the grid is laid through them.
    bpm : float

    Returns
    -------
    float
        0 to 1: mean over the grid of the highest probability within 40 ms; 0 where there is no tempo.
    """
    if not np.isfinite(bpm):
        return 0.0
    period = 60 / bpm
    turns = np.exp(2j * np.pi * times / period).mean()  # the phase that most beats share
    begin = np.angle(turns) / (2 * np.pi) * period % period
    frames = np.round(np.arange(begin, len(chance) / _FPS, period) * _FPS).astype(int)
    near = [chance[max(0, f - 2) : f + 3] for f in frames]
    return float(np.mean([each.max() for each in near if len(each)]))


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
    clips: Sound | FloatArray,
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
    return [times for times, _ in _heard(clips, sample_rate, checkpoint, batch_size)]


def _heard(
    clips: Sound | FloatArray, sample_rate: int | None, checkpoint: str | Path | None, batch_size: int
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """The beats of each clip, and the probability of a beat in each frame."""
    from beat_this.inference import aggregate_prediction, split_piece
    from beat_this.model.postprocessor import Postprocessor
    from beat_this.preprocessing import LogMelSpect

    audio, rate = check(clips, sample_rate)
    model, device = tracker(checkpoint)
    audio = resample(audio, rate, _RATE)
    mel, peaks = LogMelSpect(device=device), Postprocessor("minimal")
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
                yield peaks(*logits)[0].astype(float), logits[0].sigmoid().cpu().numpy()


def checkpoint_path(checkpoint: str | Path | None = None) -> Path:
    """Where a BeatThis checkpoint is: that of the pocket model, a public one (downloaded once), or a path.

    Raises
    ------
    FileNotFoundError
        If there is no such checkpoint; says how to make or get one.
    ValueError
        If ``final0`` or ``small0`` is not the file that is known under that name.
    """
    from beat_this.inference import CHECKPOINT_URL

    path = Path(checkpoint) if checkpoint is not None else DATA / "pocket" / "beats.ckpt"
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
        expected = _KNOWN_CHECKPOINTS.get(str(checkpoint))
        if expected and _sha256(path, path.stat().st_mtime_ns) != expected:
            raise ValueError(
                f"{path} is not the BeatThis checkpoint {checkpoint!r} that this project knows: delete it, so that "
                "it is downloaded again, or if you trust it, name it by its path"
            )
    if not path.is_file():
        raise FileNotFoundError(
            f"no BeatThis checkpoint at {path}: make the pocket one with `python -m steerlib.pocket beats`, "
            "or pass checkpoint='final0' for the public one (needs a network the first time), or another path"
        )
    return path


@lru_cache
def _sha256(path: Path, _modified: int) -> str:
    return digest(path.read_bytes())


def tracker(checkpoint: str | Path | None = None) -> tuple[torch.nn.Module, torch.device]:
    """The network of a BeatThis checkpoint, and where it computes; loaded once.

    Raises
    ------
    FileNotFoundError, ValueError
        As `checkpoint_path`; and if the file is no checkpoint.
    """
    path = checkpoint_path(checkpoint)
    return _load_beat_model(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _load_beat_model(path: str, _modified: int) -> tuple[torch.nn.Module, torch.device]:
    from beat_this.inference import load_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return load_model(path, device), device  # a local path is read with weights_only=True
    except Exception as error:  # whatever torch makes of a file that is something else
        raise ValueError(
            f"{path} is no BeatThis checkpoint, or is damaged ({type(error).__name__}): name another file, or final0"
        ) from error
