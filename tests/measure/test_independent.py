"""Judges from elsewhere: how their wheels are read, what happens without them, and what they hear if they are there."""

import struct

import numpy as np
import pytest
from signals import RATE, clicks

from steerlib.measure import independent
from steerlib.music.datasets import pocket_clips

PRESENT = pytest.mark.skipif(not independent.available(), reason=f"needs `{independent.COMMAND}`")


def varint(number):
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def block(entries):
    """A LevelDB block: each key is written as what it shares with the one before, and the rest."""
    made, before = b"", b""
    for key, value in entries:
        shared = next(
            (i for i, (a, b) in enumerate(zip(before, key, strict=False)) if a != b),
            min(len(before), len(key)),
        )
        made += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return made + struct.pack("<II", 0, 1)


def test_tensors_of_a_checkpoint_are_read_with_their_names_and_shapes():
    arrays = {
        "dense/bias": np.arange(3, dtype=np.float32),
        "dense/kernel": np.arange(600, dtype=np.float32).reshape(200, 3),
    }
    data, entries = b"", [(b"", b"")]
    for name, array in arrays.items():
        shape = b"".join(field(2, field(1, size)) for size in array.shape)
        place = field(4, len(data)) + field(5, array.nbytes) + varint(6 << 3 | 5) + b"\0\0\0\0"
        entries.append((name.encode(), field(1, 1) + field(2, shape) + place))
        data += array.tobytes()
    table = block(entries)
    index = block([(b"~", varint(0) + varint(len(table)))])
    footer = varint(0) + varint(0) + varint(len(table) + 5) + varint(len(index))
    content = table + bytes(5) + index + bytes(5) + footer.ljust(48, b"\0")
    found = dict(independent._tensors(content, data))
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_without_the_wheels_the_error_names_the_command_that_gets_them(monkeypatch, tmp_path):
    monkeypatch.setattr(independent, "_folder", lambda: tmp_path)
    for cached in (independent._tagger, independent._beatnet):
        cached.cache_clear()
    assert not independent.available()
    for judge in (independent.tags, independent.beatnet_tempo):
        with pytest.raises(FileNotFoundError, match=independent.COMMAND):
            judge(np.zeros((1, 4 * RATE)), sample_rate=RATE)


def test_another_file_under_the_name_of_a_wheel_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(independent, "_folder", lambda: tmp_path)
    for name in independent.PACKAGES:
        (tmp_path / name).write_bytes(b"something else")
    independent._tagger.cache_clear()
    with pytest.raises(ValueError, match="not the file that this project knows"):
        independent.tags(np.zeros((1, 4 * RATE)), sample_rate=RATE)


def test_a_download_that_fails_leaves_the_cache_as_it_was(monkeypatch, tmp_path):
    monkeypatch.setattr(independent, "_folder", lambda: tmp_path / "independent")
    monkeypatch.setattr(independent, "cache_folder", lambda: tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "nothing").as_uri())
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match="pip cannot download musicnn==0.1.0"):
        independent.fetch()
    assert not list(tmp_path.iterdir())


@PRESENT
def test_beatnet_hears_clicks_at_their_tempo_and_nothing_in_silence():
    audio = np.stack([clicks(np.arange(0.1, 8, 0.5), seconds=8), np.zeros(8 * RATE)])
    found = independent.beatnet_tempo(audio, sample_rate=RATE)
    assert found[0] == pytest.approx(120, rel=0.02) and np.isnan(found[1])


@PRESENT
def test_the_tagger_hears_rock_in_rock_more_than_in_classical_music():
    clips = pocket_clips(6, classes=["rock", "classical"], progress=False)
    heard = independent.tags(clips.audio, sample_rate=clips.sample_rate, trained_on="MSD")
    assert heard.shape == (12, 50) and ((heard > 0) & (heard < 1)).all(axis=None)
    rock = np.array([name == "rock" for name in clips.table["label"]])
    assert heard["rock"][rock].mean() > heard["rock"][~rock].mean()
    with pytest.raises(ValueError, match="at least 3 s"):
        independent.tags(clips.audio[:, :RATE], sample_rate=clips.sample_rate)
