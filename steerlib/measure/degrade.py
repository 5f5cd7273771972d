"""Sound that is made worse in a known way: what a judge reads from it, against what it must read.

Every function takes clips and a degree; degree 0 leaves a clip as it is. Speed moves tempo, by a known factor; the
others leave the truth of tempo, mode and energy where it was. Random ones are determined by their seed.

Units: audio (N, samples) at `ANALYSIS_RATE` = 16000 Hz; degrees as stated at each function.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, resample, sosfiltfilt

from steerlib.measure.audio import ANALYSIS_RATE

__all__ = ["DEGRADATIONS", "highpass", "lowpass", "noise", "speed", "splice"]

Audio = npt.NDArray[np.float32]


def speed(audio: Audio, octaves: float, *, seed: int = 0) -> Audio:
    """Clips played faster by so many octaves, as a tape would: tempo and pitch move by the factor 2 ** `octaves`.

    Faster clips are shorter; slower ones are cut to the length that they had.
    """
    turned = resample(audio, round(audio.shape[1] / 2**octaves), axis=1) if octaves else audio
    return np.asarray(turned[:, : audio.shape[1]], dtype=np.float32)


def lowpass(audio: Audio, octaves: float, *, seed: int = 0) -> Audio:
    """Clips without what lies above 8000 Hz less so many octaves (fourth-order Butterworth, without delay)."""
    return _filtered(audio, 8000 / 2**octaves, "lowpass") if octaves else audio


def highpass(audio: Audio, octaves: float, *, seed: int = 0) -> Audio:
    """Clips without what lies below 50 Hz plus so many octaves (fourth-order Butterworth, without delay)."""
    return _filtered(audio, 50 * 2**octaves, "highpass") if octaves else audio


def _filtered(audio: Audio, corner: float, kind: str) -> Audio:
    if not 0 < corner < ANALYSIS_RATE / 2:
        raise ValueError(
            f"the corner of the {kind} filter would be {corner:g} Hz: choose a degree that puts it between 0 and "
            f"{ANALYSIS_RATE // 2} Hz"
        )
    second = butter(2, corner, kind, fs=ANALYSIS_RATE, output="sos")  # run both ways: fourth order in all
    return sosfiltfilt(second, audio, axis=1).astype(np.float32)


def noise(audio: Audio, share: float, *, seed: int = 0) -> Audio:
    """Clips of which a share, 0 to 1, of the power is white noise; the level stays the same."""
    _share(share)
    white = np.random.default_rng(seed).normal(size=audio.shape)
    level = np.sqrt((audio.astype(float) ** 2).mean(axis=1, keepdims=True))
    return (np.sqrt(1 - share) * audio + np.sqrt(share) * level * white).astype(np.float32)


def splice(audio: Audio, share: float, *, seed: int = 0) -> Audio:
    """Clips of which a share, 0 to 1, of the pieces of half a second changed places: no pulse survives all of it."""
    _share(share)
    rng, piece = np.random.default_rng(seed), ANALYSIS_RATE // 2
    count = audio.shape[1] // piece
    made = audio.copy()
    for clip, source in zip(made, audio, strict=True):
        chosen = rng.choice(count, size=round(share * count), replace=False)
        for to, origin in zip(chosen, np.roll(chosen, 1), strict=True):
            clip[to * piece : (to + 1) * piece] = source[origin * piece : (origin + 1) * piece]
    return made


def _share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"the degree is a share from 0 to 1, got {share}")


DEGRADATIONS: dict[str, Callable[..., Audio]] = {
    "speed": speed,
    "low-pass": lowpass,
    "high-pass": highpass,
    "noise": noise,
    "splice": splice,
}
"""By the name that figures show."""
