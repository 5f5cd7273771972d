"""Judges that others trained on real music, taken from their packages for the weights alone. They may be absent.

The pocket model's own judges learned from the music that they judge. These did not: musicnn [1]_ tags music (*slow*,
*loud*, *violin*, *jazz*), BeatNet [2]_ hears beats. Neither comes with this project. ``python -m
steerlib.measure.independent`` has pip download three wheels, 39 MB, into the user's cache, checks their checksums, and
installs nothing; weights and madmom-infer's filters are read from the wheels. No TensorFlow is needed: the tagger is
ported to torch here. Where the wheels are not there, everything else works.

Conventions. One row or value a clip, see `steerlib.measure.audio`; a silent clip is NaN.

.. [1] J. Pons, X. Serra. "musicnn: Pre-trained convolutional neural networks for music audio tagging." ISMIR
   late-breaking demo 2019. ISC licence.
.. [2] M. Heydari, F. Cwitkowitz, Z. Duan. "BeatNet: CRNN and particle filtering for online joint beat, downbeat and
   meter tracking." ISMIR 2021. Code and weights CC BY 4.0. Decoded by madmom-infer's dynamic Bayesian network (BSD).
"""

import io
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from zipfile import ZipFile

import librosa
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steerlib.files import cache_folder, digest
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, resample, silent
from steerlib.measure.rhythm import tempo_from_beats

__all__ = ["COMMAND", "PACKAGES", "available", "beatnet_tempo", "fetch", "tags"]

COMMAND = "python -m steerlib.measure.independent"
PACKAGES = {
    "musicnn-0.1.0-py3-none-any.whl": "f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa",
    "BeatNet-1.1.3-py3-none-any.whl": "1ecfa17bdcbe899975a88bdb6efebd6970d846a4f3b6cfd5c6f320647c641c7e",
    "madmom_infer-0.2.0-py3-none-any.whl": "f4013a7ac2135f2f198d97f9e7840db4fbd993e2922f70b28862394c8f8d28f1",
}
"""The wheels and their SHA-256."""

_TAGS = {
    "MTT": "guitar,classical,slow,techno,strings,drums,electronic,rock,fast,piano,ambient,beat,violin,vocal,synth,"
    "female,indian,opera,male,singing,vocals,no vocals,harpsichord,loud,quiet,flute,woman,male vocal,no vocal,pop,soft,"
    "sitar,solo,man,classic,choir,voice,new age,dance,male voice,female vocal,beats,harp,cello,no voice,weird,country,"
    "metal,female voice,choral",
    "MSD": "rock,pop,alternative,indie,electronic,female vocalists,dance,00s,alternative rock,jazz,beautiful,metal,"
    "chillout,male vocalists,classic rock,soul,indie rock,Mellow,electronica,80s,folk,90s,chill,instrumental,punk,"
    "oldies,blues,hard rock,ambient,acoustic,experimental,female vocalist,guitar,Hip-Hop,70s,party,country,"
    "easy listening,sexy,catchy,funk,electro,heavy metal,Progressive rock,60s,rnb,indie pop,sad,House,happy",
}  # in the order of the network's outputs
_WINDOW = 187  # frames of 16 ms: 3 s, as in training


# --- the wheels ------------------------------------------------------------------------------------------------


def _folder() -> Path:
    return cache_folder() / "independent"


def available() -> bool:
    """Whether all wheels are in the cache."""
    return all((_folder() / name).is_file() for name in PACKAGES)


def fetch() -> None:
    """Have pip download the wheels into the cache, and check them. Nothing is installed.

    Raises
    ------
    ValueError
        If pip cannot get one, or it is not the file that this project knows; the cache is then as it was.
    """
    with tempfile.TemporaryDirectory(dir=cache_folder()) as temporary:
        for name in PACKAGES:
            package = "==".join(name.split("-")[:2])
            command = [
                sys.executable,
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--dest",
                temporary,
            ]
            done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
            if done.returncode:
                raise ValueError(f"pip cannot download {package}: {done.stderr.strip()[-400:]}")
            _checked(Path(temporary) / name)
        _folder().mkdir(exist_ok=True)
        for name in PACKAGES:
            (Path(temporary) / name).replace(_folder() / name)


def _checked(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path.name} is not at {path}: run `{COMMAND}` once, with a network")
    if digest(path.read_bytes()) != PACKAGES[path.name]:
        raise ValueError(
            f"{path} is not the file that this project knows: delete it and run `{COMMAND}` again"
        )
    return path


def _wheel(package: str) -> Path:
    return _checked(_folder() / next(name for name in PACKAGES if name.startswith(package)))


# --- tags ------------------------------------------------------------------------------------------------------


def tags(
    clips: Sound | FloatArray, *, sample_rate: int | None = None, trained_on: Literal["MTT", "MSD"] = "MTT"
) -> pd.DataFrame:
    """What musicnn [1]_ hears: the probability of each of 50 tags, over windows of 3 s that overlap by half.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
        At least 3 s.
    sample_rate : int, optional
        In Hz; needed for an array.
    trained_on : {"MTT", "MSD"}
        MagnaTagATune (instruments, *slow*, *fast*, *loud*, *soft*) or the Million Song Dataset (genres, moods).

    Returns
    -------
    DataFrame, shape (N, 50)
        A column for each tag; probabilities are independent of each other.

    Raises
    ------
    FileNotFoundError
        If the wheels are not there; names the command that gets them.
    ValueError
        If the clips are shorter than a window.
    """
    rows = []
    net = _tagger(trained_on)
    for clip in analysis_audio(clips, sample_rate):
        if silent(clip):
            rows.append(np.full(50, np.nan))
            continue
        power = librosa.feature.melspectrogram(
            y=clip / (2 * np.abs(clip).max()), sr=ANALYSIS_RATE, n_fft=512, hop_length=256, n_mels=96
        )
        mel = torch.tensor(np.log10(10_000 * power.T + 1), dtype=torch.float32)
        if len(mel) < _WINDOW:
            raise ValueError(f"the tagger needs clips of at least 3 s, got {len(clip) / ANALYSIS_RATE:.2f} s")
        rows.append(net(mel.unfold(0, _WINDOW, _WINDOW // 2).transpose(1, 2)).mean(0).numpy())
    return pd.DataFrame(rows, columns=_TAGS[trained_on].split(","))


class _Tagger:
    """musicnn's graph, with the weights by layer in the order in which TensorFlow numbered them."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        def layers(kind: str) -> list[dict[str, Tensor]]:
            names = {name.split("/")[0] for name in weights}
            order = sorted(
                (n for n in names if re.fullmatch(rf"{kind}(_v1)?(_\d+)?", n)),
                key=lambda n: int("0" + re.sub(r".*_(?=\d+$)|.*\D$", "", n)),
            )
            return [
                {key.split("/")[1]: value for key, value in weights.items() if key.split("/")[0] == n}
                for n in order
            ]

        self.filters, self.norms, self.dense = (
            layers("conv2d"),
            layers("batch_normalization"),
            layers("dense"),
        )

    def _norm(self, x: Tensor, number: int) -> Tensor:
        p = self.norms[number]
        return F.batch_norm(x, p["moving_mean"], p["moving_variance"], p["gamma"], p["beta"], eps=1e-3)

    def _filter(self, x: Tensor, number: int, before: int, after: int) -> Tensor:
        p = self.filters[number]
        x = F.conv2d(F.pad(x, (0, 0, before, after)), p["kernel"].permute(3, 2, 0, 1), p["bias"])
        return self._norm(F.relu(x), number + 1)

    @torch.inference_mode()
    def __call__(self, mel: Tensor) -> Tensor:  # (windows, frames, 96) -> (windows, 50)
        x = self._norm(mel[:, None], 0)
        sizes = [(3, 3), (3, 3), (63, 64), (31, 32), (15, 16)]  # timbre high and low; rhythm long to short
        front = torch.cat([self._filter(x, i, *size).amax(3) for i, size in enumerate(sizes)], 1).transpose(
            1, 2
        )
        maps = [front]
        for i in (5, 6, 7):
            y = self._filter(maps[-1][:, None], i, 3, 3)[..., 0].transpose(1, 2)
            maps.append(y + maps[-1] if i > 5 else y)
        middle = torch.cat(maps, 2)
        x = self._norm(torch.stack([middle.amax(1), middle.mean(1)], 2).flatten(1), 9)
        x = self._norm(F.relu(x @ self.dense[0]["kernel"] + self.dense[0]["bias"]), 10)
        return torch.sigmoid(x @ self.dense[1]["kernel"] + self.dense[1]["bias"])


@lru_cache(maxsize=2)
def _tagger(trained_on: str) -> _Tagger:
    if trained_on not in _TAGS:
        raise ValueError(f"trained_on is one of {', '.join(_TAGS)}; got {trained_on!r}")
    with ZipFile(_wheel("musicnn")) as wheel:
        folder = f"musicnn/{trained_on}_musicnn/"
        index, data = wheel.read(folder + ".index"), wheel.read(folder + ".data-00000-of-00001")
    return _Tagger(
        {name: value for name, value in _tensors(index, data) if "Adam" not in name and "/" in name}
    )


# TensorFlow's checkpoint: an index (LevelDB's table of protocol buffers), which says where in the data a tensor lies.


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, Tensor]]:
    at = len(index) - 48  # the footer: two pairs of varints, of which the second is the block of blocks
    numbers = []
    for _ in range(4):
        number, at = _varint(index, at)
        numbers.append(number)
    for _, handle in _block(index, *numbers[2:]):
        begin, at = _varint(handle, 0)
        for key, value in _block(index, begin, _varint(handle, at)[0]):
            entry = _fields(value) if key else {}
            if entry.get(1) == [1]:  # float32
                shape = (
                    [_fields(each).get(1, [0])[0] for each in _fields(entry[2][0]).get(2, [])]
                    if 2 in entry
                    else []
                )
                begin, size = entry.get(4, [0])[0], entry[5][0]
                array = np.frombuffer(data, np.float32, size // 4, begin).reshape(shape)
                yield key.decode(), torch.tensor(array)


def _block(table: bytes, begin: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block, at, key = table[begin : begin + size], 0, b""
    end = size - 4 - 4 * struct.unpack("<I", block[-4:])[0]
    while at < end:
        shared, at = _varint(block, at)
        new, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + new]
        yield key, block[at + new : at + new + length]
        at += new + length


def _fields(message: bytes) -> dict[int, list[Any]]:
    at, found = 0, dict[int, list[Any]]()
    value: int | bytes
    while at < len(message):
        tag, at = _varint(message, at)
        if tag & 7 == 0:
            value, at = _varint(message, at)
        else:
            size, at = _varint(message, at) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], at)
            value, at = message[at : at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _varint(source: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (source[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if source[at - 1] < 128:
            return number, at


# --- beats -----------------------------------------------------------------------------------------------------


def beatnet_tempo(clips: Sound | FloatArray, *, sample_rate: int | None = None) -> FloatArray:
    """Tempo of each clip in BPM by BeatNet [2]_: `tempo_from_beats` of its beats. It never says *cannot tell*.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    ndarray, shape (N,)
        BPM; NaN for a silent clip or fewer than 4 beats.

    Raises
    ------
    FileNotFoundError
        If the wheels are not there; names the command that gets them.
    """
    net, features, decode = _beatnet()
    found = []
    for clip in analysis_audio(clips, sample_rate):
        if silent(clip):
            found.append(float("nan"))
            continue
        with torch.inference_mode():
            activation = net(
                torch.tensor(features(resample(clip, ANALYSIS_RATE, 22_050)), dtype=torch.float32)
            )
        beats = decode(activation.numpy()[:, :2])
        found.append(tempo_from_beats(beats[:, 0] if len(beats) else []))
    return np.array(found)


class _BeatNet(nn.Module):
    """BeatNet's recurrent network: features (frames, 272) to probabilities of beat, downbeat and neither."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.linear0 = nn.Conv1d(1, 2, 10), nn.Linear(2 * ((272 - 10 + 1) // 2), 150)
        self.lstm, self.linear = nn.LSTM(150, 150, 2, batch_first=True), nn.Linear(150, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool1d(F.relu(self.conv1(x[:, None])), 2).flatten(1)
        return self.linear(self.lstm(self.linear0(x)[None])[0])[0].softmax(-1)


@lru_cache(maxsize=1)
def _beatnet() -> tuple[nn.Module, Any, Any]:
    with ZipFile(_wheel("BeatNet")) as wheel:
        weights = torch.load(
            io.BytesIO(wheel.read("BeatNet/models/model_1_weights.pt")), "cpu", weights_only=True
        )
    net = _BeatNet()
    net.load_state_dict(weights)
    sys.path.insert(0, str(_wheel("madmom_infer")))  # Python imports from a wheel as from any zip file
    try:
        signal, stft, spectrogram = (
            import_module(f"madmom_infer.audio.{n}") for n in ("signal", "stft", "spectrogram")
        )
        downbeats = import_module("madmom_infer.features.downbeats")
    finally:
        sys.path.pop(0)
    steps: Sequence[Any] = [
        signal.FramedSignalProcessor(frame_size=1411, hop_size=441),
        stft.ShortTimeFourierTransformProcessor(),
        spectrogram.FilteredSpectrogramProcessor(num_bands=24, fmin=30, fmax=17000, norm_filters=True),
        spectrogram.LogarithmicSpectrogramProcessor(mul=1, add=1),
        spectrogram.SpectrogramDifferenceProcessor(
            diff_ratio=0.5, positive_diffs=True, stack_diffs=np.hstack
        ),
    ]

    def features(clip: FloatArray) -> FloatArray:
        found = signal.Signal(clip.astype(np.float32), sample_rate=22_050, num_channels=1)
        for step in steps:
            found = step(found)
        return np.asarray(found)

    return net.eval(), features, downbeats.DBNDownBeatTrackingProcessor(beats_per_bar=[2, 3, 4], fps=50)


if __name__ == "__main__":
    try:
        fetch()
    except ValueError as error:
        sys.exit(f"ERROR: {error}")
    print(f"{', '.join(PACKAGES)} are in {_folder()}")
