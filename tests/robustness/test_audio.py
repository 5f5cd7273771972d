"""Audio files of others: one that is odd is named and left out, and the others are measured."""

import os
import struct

import numpy as np
import pandas as pd
import pytest
import soundfile

from steerlib.music.datasets import read_folder
from steerlib.music.recordings import read_mono

RATE = 16000


def tone(path, seconds=1.0, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * rate)) / rate
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 440 * times), rate, **options)


def header(path, offset, value):
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, offset, value)
    path.write_bytes(content)


def one_hertz(path):
    tone(path)
    header(path, 24, 1)


def four_gigahertz(path):
    tone(path)
    header(path, 24, 2**32 - 1)


def no_hertz(path):
    tone(path)
    header(path, 24, 0)


def nothing(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("not music")


def noise(path):
    path.write_bytes(os.urandom(5000))


def head_only(path):
    tone(path)
    path.write_bytes(path.read_bytes()[:20])


def no_samples(path):
    soundfile.write(path, np.zeros(0), RATE)


def folder(path):
    path.mkdir()


def dangling_link(path):
    path.symlink_to("nowhere")


def named_pipe(path):
    os.mkfifo(path)


def too_short(path):
    tone(path, 0.05)


def not_numbers(path):
    soundfile.write(path, np.full(RATE, np.nan, np.float32), RATE, subtype="FLOAT")


UNREADABLE = [
    one_hertz, four_gigahertz, no_hertz, nothing, text, noise, head_only, no_samples, folder, dangling_link, named_pipe,
]  # fmt: skip


@pytest.mark.parametrize("make", UNREADABLE, ids=lambda make: make.__name__)
def test_what_is_no_audio_is_refused_in_words_at_once(tmp_path, make):
    make(tmp_path / "odd.wav")
    with pytest.raises(ValueError, match=r"cannot be read \("):
        read_mono(tmp_path / "odd.wav")


@pytest.mark.parametrize("make", [*UNREADABLE, too_short, not_numbers], ids=lambda make: make.__name__)
def test_evaluate_leaves_out_what_it_cannot_measure_and_names_it(run, data, make):
    tone(data / "audio" / "good.wav")
    make(data / "audio" / "odd.wav")
    code, _, error = run("evaluate", "audio", "--metrics", "centroid", "--table", "t.csv")
    assert code == 0 and "Traceback" not in error
    assert pd.read_csv(data / "t.csv")["file"].tolist() == ["audio/good.wav"]
    if make not in (folder, dangling_link, named_pipe):  # these are no files at all
        assert "left out: audio/odd.wav" in error


def test_evaluate_of_nothing_that_can_be_measured_is_an_error(run, data):
    (data / "audio").mkdir()
    text(data / "audio" / "odd.wav")
    code, _, error = run("evaluate", "audio", "--metrics", "centroid")
    assert code == 1 and "none of the 1 files can be measured" in error


def test_a_good_file_is_read_as_it_is(tmp_path):
    tone(tmp_path / "a.wav", 0.5)
    samples, rate = read_mono(tmp_path / "a.wav")
    assert samples.shape == (8000,) and rate == RATE and samples.dtype == np.float32
    assert np.array_equal(samples, soundfile.read(tmp_path / "a.wav", dtype="float32")[0])


def test_a_name_that_is_no_text_is_read_listed_and_stored(run, data):
    name = os.fsdecode(b"caf\xe9.wav")
    tone(data / "audio" / "a.wav")
    try:
        (data / "audio" / "a.wav").rename(data / "audio" / name)
    except OSError:
        pytest.skip("this file system takes text only")
    code, out, error = run("evaluate", "audio", "--metrics", "centroid", "--table", "t.csv", "t.parquet")
    assert code == 0, error
    assert pd.read_csv(data / "t.csv")["file"].tolist() == ["audio/caf\\udce9.wav"]


@pytest.mark.parametrize("make", [*UNREADABLE, too_short], ids=lambda make: make.__name__)
def test_read_folder_skips_and_lists_what_is_no_audio(tmp_path, make):
    for label in "ab":
        tone(tmp_path / label / "good.wav")
    make(tmp_path / "a" / "odd.wav")
    found = read_folder(tmp_path, seconds=0.5, sample_rate=RATE, progress=False)
    assert len(found) == 4
    assert make in (folder, dangling_link, named_pipe) or found.skipped[0].startswith("a/odd.wav: ")


def test_read_folder_skips_and_lists_a_file_whose_name_is_no_text(tmp_path):
    for label in "ab":
        tone(tmp_path / label / "good.wav")
    try:
        tone(tmp_path / "a" / "other.wav")
        (tmp_path / "a" / "other.wav").rename(tmp_path / "a" / os.fsdecode(b"caf\xe9.wav"))
    except OSError:
        pytest.skip("this file system takes text only")
    found = read_folder(tmp_path, seconds=0.5, sample_rate=RATE, progress=False)
    assert found.skipped == ("a/caf\\udce9.wav: its name is not UTF-8",) and len(found) == 4
