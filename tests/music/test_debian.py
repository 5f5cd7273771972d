"""Real music from packages: how it is laid out, what happens without it, and what it is if it is there."""

import subprocess

import numpy as np
import pandas as pd
import pretty_midi
import pytest
import soundfile

from steerlib.music import debian
from steerlib.music.datasets import read_fma, read_folder, read_genres, read_gtzan

PRESENT = pytest.mark.skipif(not debian.available(), reason=f"needs `{debian.COMMAND}`")
RATE = 8000


def song(path, hertz, seconds=31.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    times = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * hertz * times), RATE)


@pytest.fixture(scope="module")
def music(tmp_path_factory):
    """Songs of three packages, as they are unpacked, laid out; the folder and its table."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    games = {
        "fretsonfire-songs-muldjord": ("a", [170]),
        "fretsonfire-songs-sectoid": ("b", [90, 120]),  # a tempo that changes is none
    }
    for package, (title, tempos) in games.items():
        folder = unpacked / package / "usr/share/games/songs" / title
        song(folder / "song.ogg", 440)
        song(folder / "guitar.ogg", 660)
        notes = pretty_midi.PrettyMIDI(initial_tempo=tempos[0])
        notes._tick_scales = [(480 * turn, 60 / (bpm * notes.resolution)) for turn, bpm in enumerate(tempos)]
        notes.write(str(folder / "notes.mid"))
        licence = unpacked / package / "usr/share/doc" / package / "copyright"
        licence.parent.mkdir(parents=True)
        licence.write_text(f"licence of {package}")
    for title in ("c", "d"):
        song(unpacked / "wesnoth-1.18-music/usr/share/music" / f"{title}.ogg", 220)
    target = tmp_path_factory.mktemp("music")
    return target, debian.arrange(unpacked, target)


def test_songs_are_laid_out_as_gtzan_and_read_as_such(music):
    folder, table = music
    found = read_gtzan(folder / "gtzan", genres=["metal", "rock", "classical"], seconds=10, progress=False)
    assert dict(found.table["label"].value_counts()) == {"metal": 3, "rock": 3, "classical": 3}
    assert set(found.table["path"]) <= set(table["gtzan"]) and not found.skipped
    assert soundfile.info(folder / "gtzan/genres_original/rock/rock.00000.wav").samplerate == 22_050


def test_songs_are_laid_out_as_fma_and_read_as_such(music):
    folder, table = music
    found = read_fma(folder / "fma", seconds=10, progress=False)
    assert dict(found.table["label"].value_counts()) == {"Rock": 6, "Classical": 6}
    assert found.table["group"].nunique() == 3  # packages stand for artists
    assert read_genres(folder / "fma", 2, progress=False).table["label"].nunique() == 2
    assert table["title"].tolist() == ["a", "b", "c", "d"] and table["fma"].tolist()[0] == "000001"


def test_a_song_sounds_with_the_guitar_that_has_a_file_of_its_own(music):
    folder, _ = music
    spectrum = np.abs(np.fft.rfft(soundfile.read(folder / "gtzan/genres_original/metal/metal.00000.wav")[0]))
    loudest = np.argsort(spectrum)[::-1][:2] / debian.SECONDS
    assert sorted(np.round(loudest)) == [440, 660]


def test_tempo_is_known_where_the_notes_have_one_throughout(music):
    bpm = music[1]["bpm"]
    assert bpm[0] == 170 and bpm[1:].isna().all()
    assert (music[0] / "licences" / "fretsonfire-songs-sectoid").read_text().startswith("licence of")


def test_without_the_music_the_error_names_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "cache_folder", lambda: tmp_path)
    assert not debian.available()
    with pytest.raises(FileNotFoundError, match=r"python -m steerlib\.music\.debian"):
        debian.songs()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "there is no apt-cache here: these packages need Debian or Ubuntu"),
        ((0, ""), "apt knows no package fretsonfire-songs-sectoid: run `apt-get update`"),
        ((100, ""), "`apt-cache search .*` failed: no network"),
    ],
)
def test_what_apt_cannot_get_changes_nothing(tmp_path, monkeypatch, answer, message):
    def run(command, **_):
        if answer is None:
            raise FileNotFoundError
        return subprocess.CompletedProcess(command, *answer, stderr="no network")

    monkeypatch.setattr(debian, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ValueError, match=message):
        debian.fetch()
    assert not list(tmp_path.iterdir())


@PRESENT
def test_the_music_that_was_fetched_is_read_in_both_layouts():
    songs = debian.songs()
    assert songs["bpm"].between(60, 240).sum() >= 8 and songs["title"].is_unique
    labels = sorted(path.name for path in (debian.folder() / "gtzan" / "genres_original").iterdir())
    ours = read_gtzan(debian.folder() / "gtzan", genres=labels, per_class=2, progress=False)
    free = read_folder(debian.folder() / "gtzan" / "genres_original", per_class=2, progress=False)
    theirs = read_fma(debian.folder() / "fma", per_class=2, progress=False)
    for found in (ours, free, theirs):
        assert not found.skipped and np.abs(found.audio).max(axis=1).min() > 0.001
        assert pd.Series(found.table["path"]).nunique() == len(found)
