"""Sound for the page: clips at one loudness, MP3 files and spectrograms named by a hash of what is in them.

Comparisons are made at equal loudness, because louder sounds better, and brighter at the same power sounds
louder: the level is the mean square after the K-weighting of ITU-R BS.1770, without its gating.

Audio is a float array of shape (samples,), full scale 1; sample rates are in Hz. `steerlib.page.players` and
`steerlib.page.explorables` show what is made here.
"""

import base64
import html
import io
import os
import sys
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from steerlib.files import digest, write_whole
from steerlib.measure.audio import check_clip
from steerlib.measure.loudness import k_weighted

__all__ = ["levelled", "pictures", "sources", "write_mp3"]

_SAMPLE_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
_LEVEL = 0.1
"""K-weighted root mean square aimed at, full scale 1; lower if a clip would otherwise exceed _PEAK."""
_PEAK = 0.97
_SILENCE = 1e-5
K = TypeVar("K", bound=Hashable)


def write_mp3(audio: ArrayLike, sample_rate: int, *, folder: str | Path = "audio") -> Path:
    """Write a clip as an MP3 of 64 kbit/s whose name is a hash of its content.

    Parameters
    ----------
    audio : array_like, shape (samples,)
        Sound, full scale 1; what exceeds it is clipped.
    sample_rate : int
        In Hz; one that MP3 knows.
    folder : path-like, default "audio"
        Made if it is not there. A file already in it is not written again.

    Returns
    -------
    Path
        The file, below `folder`.

    Raises
    ------
    ValueError
        If the audio is empty, not one-dimensional or not finite, or MP3 does not know the sample rate.
    OSError
        If the folder cannot be written to.
    """
    samples = _checked(audio, sample_rate, "the clip")
    name = f"{_digest(samples, sample_rate)}.mp3"
    path = Path(folder) / name
    _write_once(path, partial(_mp3, samples, sample_rate))
    return path


def _checked(audio: ArrayLike, sample_rate: int, name: str) -> NDArray[np.float32]:
    """The clip as float32, or an error that names it."""
    if sample_rate not in _SAMPLE_RATES:
        raise ValueError(f"MP3 has no sample rate of {sample_rate} Hz; resample to one of {_SAMPLE_RATES}")
    return check_clip(audio, name)


def levelled(
    clips: Mapping[K, ArrayLike], sample_rate: int, *, equal_loudness: bool
) -> dict[K, NDArray[np.float32]]:
    """All clips at one loudness, or with one gain that brings the loudest peak below full scale."""
    if not clips:
        raise ValueError("there is no clip to listen to; pass at least one")
    sounds = {key: _checked(audio, sample_rate, f"clip {key!r}") for key, audio in clips.items()}
    peaks = {key: float(np.abs(sound).max()) for key, sound in sounds.items()}
    if not equal_loudness:
        gain = min(1.0, _PEAK / max(max(peaks.values()), _SILENCE))
        return {key: sound * np.float32(gain) for key, sound in sounds.items()}
    levels = {key: k_weighted(sound, sample_rate) for key, sound in sounds.items()}
    heard = [key for key in sounds if levels[key] > _SILENCE]
    target = min([_LEVEL, *(_PEAK * levels[key] / peaks[key] for key in heard)])
    gains = {key: target / levels[key] if key in heard else 1.0 for key in sounds}
    return {key: sound * np.float32(gains[key]) for key, sound in sounds.items()}


def _digest(samples: NDArray[np.float32], sample_rate: int) -> str:
    """Hash of a clip in 16 bits, so that rounding in the last place does not make another file."""
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    return digest(f"{sample_rate} ".encode() + pcm.tobytes())[:16]


def _mp3(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(
        buffer,
        np.clip(samples, -1, 1),
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=0.62,
    )
    return buffer.getvalue()


def _spectrogram(samples: NDArray[np.float32], sample_rate: int) -> bytes:
    """Mel spectrogram, 80 dB deep, 64 bands high, as a small WebP without axes."""
    import librosa
    import matplotlib.pyplot as plt

    hop = max(1, len(samples) // 320)
    power = librosa.feature.melspectrogram(y=samples, sr=sample_rate, n_fft=1024, hop_length=hop, n_mels=64)
    decibel = librosa.power_to_db(power, ref=np.max, top_db=80.0)
    buffer = io.BytesIO()
    plt.imsave(
        buffer,
        decibel,
        origin="lower",
        cmap="magma",
        vmin=-80,
        vmax=0,
        format="webp",
        pil_kwargs={"quality": 80},
    )
    return buffer.getvalue()


def _write_once(path: Path, content: Callable[[], bytes]) -> None:
    """Write what `content()` gives unless the file is there; a reader never sees half a file."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, content())


def _embeds(embed: bool | None) -> bool:
    if embed is not None:
        return embed
    return "google.colab" in sys.modules or "VSCODE_PID" in os.environ


def sources(
    sounds: Mapping[K, NDArray[np.float32]], sample_rate: int, *, folder: str | Path, embed: bool | None
) -> dict[K, str]:
    """What goes into ``src`` for each clip: a relative path, or the data themselves."""
    if _embeds(embed):
        return {key: _data_uri(_mp3(sound, sample_rate), "audio/mpeg") for key, sound in sounds.items()}
    files = {key: write_mp3(sound, sample_rate, folder=folder) for key, sound in sounds.items()}
    return {key: html.escape(file.as_posix()) for key, file in files.items()}


def pictures(
    sounds: Mapping[K, NDArray[np.float32]], sample_rate: int, *, folder: str | Path, embed: bool | None
) -> dict[K, str]:
    if _embeds(embed):
        drawn = {key: _spectrogram(sound, sample_rate) for key, sound in sounds.items()}
        return {key: _data_uri(picture, "image/webp") for key, picture in drawn.items()}
    pictures = {}
    for key, sound in sounds.items():
        path = Path(folder) / f"{_digest(sound, sample_rate)}.webp"
        _write_once(path, partial(_spectrogram, sound, sample_rate))
        pictures[key] = html.escape(path.as_posix())
    return pictures


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
