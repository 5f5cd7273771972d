"""Sound that is made worse in a known way: what a judge reads from it, against what it must read.

Every function takes clips and a degree; degree 0 leaves a clip as it is. Speed and stretch move tempo by a known
factor; the others leave the truth of tempo, mode and energy where it was, until nothing of it is left. Random ones are
determined by their seed. `codec` and `shuffle` also take the codec that they go through.

Units: audio (N, samples) at `ANALYSIS_RATE` = 16000 Hz; degrees as stated at each function.
"""

from collections.abc import Callable
from typing import Any

import librosa
import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import butter, resample, sosfiltfilt

from steerlib.measure.audio import ANALYSIS_RATE

__all__ = ["DEGRADATIONS", "codec", "highpass", "lowpass", "noise", "shuffle", "speed", "splice", "stretch"]

Audio = npt.NDArray[np.float32]


def speed(audio: Audio, octaves: float, *, seed: int = 0) -> Audio:
    """Clips played faster by so many octaves, as a tape would: tempo and pitch move by the factor 2 ** `octaves`.

    Faster clips are shorter; slower ones are cut to the length that they had.
    """
    turned = resample(audio, round(audio.shape[1] / 2**octaves), axis=1) if octaves else audio
    return np.asarray(turned[:, : audio.shape[1]], dtype=np.float32)


def stretch(audio: Audio, octaves: float, *, seed: int = 0) -> Audio:
    """Clips faster by so many octaves at the same pitch (phase vocoder); their length as with `speed`."""
    if not octaves:
        return audio
    turned = librosa.effects.time_stretch(audio, rate=2**octaves)
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


def codec(audio: Audio, times: int, *, network: Any) -> Audio:
    """Clips that went so many times through a codec of transformers, such as the pocket model's ``audio_encoder``."""
    for _ in range(times):
        audio = _decoded(network, _codes(network, audio))
    return audio


def shuffle(audio: Audio, share: float, *, network: Any, seed: int = 0) -> Audio:
    """Clips through a codec, a share (0 to 1) of its frames in random order: sounds of music without its time."""
    _share(share)
    codes = _codes(network, audio)
    rng = np.random.default_rng(seed)
    chosen = rng.choice(codes.shape[-1], size=round(share * codes.shape[-1]), replace=False)
    moved = codes.clone()
    moved[..., chosen] = codes[..., np.sort(chosen)]
    return _decoded(network, moved)


@torch.inference_mode()
def _codes(network: Any, audio: Audio) -> torch.Tensor:
    codes: torch.Tensor = network.encode(torch.tensor(audio)[:, None]).audio_codes
    return codes


@torch.inference_mode()
def _decoded(network: Any, codes: torch.Tensor) -> Audio:
    made: Audio = network.decode(codes, [None] * codes.shape[1]).audio_values[:, 0].float().numpy()
    return made


def _share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"the degree is a share from 0 to 1, got {share}")


DEGRADATIONS: dict[str, Callable[..., Audio]] = {
    "speed": speed,
    "stretch": stretch,
    "low-pass": lowpass,
    "high-pass": highpass,
    "noise": noise,
    "splice": splice,
}
"""Those that need no codec, by the name that figures show."""
