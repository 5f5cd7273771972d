"""Labelled audio: SynTheory has the published counts; folders are read as published, or the error says why not."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from steerlib.music.datasets import (
    AudioSet,
    pocket_clips,
    read_fma,
    read_folder,
    read_genres,
    read_gtzan,
    render,
    stratified,
    syntheory,
)

RATE = 8000


def write(path, seconds, rng, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, rng.normal(0, 0.1, round(seconds * rate)), rate)


# --- SynTheory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rows", "classes"),
    [
        ("notes", 9936, {"pitch_class": 12, "octave": 9, "instrument": 92}),
        ("chords", 13248, {"root": 12, "chord_type": 4, "inversion": 3, "instrument": 92}),
        ("progressions", 20976, {"key": 12, "progression": 19, "instrument": 92}),
        ("tempos", 4025, {"bpm": 161, "click": 5, "offset": 5}),
    ],
)
def test_syntheory_has_the_published_counts_and_balanced_classes(kind, rows, classes):
    table = syntheory(kind)
    assert len(table) == rows
    for name, count in classes.items():
        assert table[name].nunique() == count
        assert table[name].value_counts().nunique() == 1


def test_chords_and_progressions_are_those_of_music_theory():
    chords = syntheory("chords").drop_duplicates(["root", "chord_type", "inversion"])
    chords = chords.set_index(["root", "chord_type", "inversion"])["pitches"]
    assert chords["C", "major", "root"] == ((60, 64, 67),) * 4
    assert chords["C", "minor", "first"] == ((72, 63, 67),) * 4
    assert chords["B", "diminished", "second"] == ((83, 86, 77),) * 4
    progressions = syntheory("progressions").drop_duplicates(["key", "progression"])
    progressions = progressions.set_index(["key", "progression"])["pitches"]
    assert progressions["C", "ionian 1451"] == ((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67))
    assert progressions["A", "aeolian 1251"][1] == (71, 74, 77)  # diminished on the second degree


def test_rendered_notes_last_four_seconds_and_sound_at_their_pitch():
    table = syntheory("notes").query("program in (0, 13, 24, 40, 73) and pitch in (57, 69, 76)")
    notes = render(table, progress=False)
    assert notes.audio.shape == (15, 64000)
    assert notes.sample_rate == 16000
    assert not notes.table["silent"].any()
    spectrum = np.abs(np.fft.rfft(notes.audio))
    spectrum[:, :200] = 0  # below 50 Hz
    for row, pitch in zip(spectrum, notes.table["pitch"], strict=True):
        harmonic = row.argmax() / 4 / (440 * 2 ** ((pitch - 69) / 12))
        semitones = 12 * np.log2(harmonic / round(harmonic))
        assert abs(semitones) < 0.4


def test_notes_at_which_the_renderer_fails_at_its_usual_rate_end():
    table = syntheory("notes").query("program in (7, 13) and pitch in (88, 92, 107)")
    assert render(table, progress=False).audio.shape == (6, 64000)


def test_clicks_have_their_tempo_and_their_offset():
    table = syntheory("tempos").query("bpm == 120 and click == 'woodblock_light'")
    clicks = render(table, progress=False)
    envelope = np.abs(clicks.audio).reshape(5, 400, 160).max(axis=2)  # 100 a second
    envelope = envelope - envelope.mean(axis=1, keepdims=True)
    period = [np.correlate(row, row, "full")[400 + 30 : 400 + 70].argmax() + 31 for row in envelope]
    assert period == pytest.approx([50] * 5, abs=1)
    assert len({row.tobytes() for row in clicks.audio}) == 5


def test_a_stratified_sample_has_as_many_of_each_class():
    sample = stratified(syntheory("notes"), "pitch_class", 30, seed=1)
    assert len(sample) == 30
    assert set(sample["pitch_class"].value_counts()) == {2, 3}
    assert sample.index.is_monotonic_increasing
    with pytest.raises(ValueError, match="cannot hold each of 12 classes"):
        stratified(syntheory("notes"), "pitch_class", 5)


def test_bad_requests_for_syntheory_are_refused():
    with pytest.raises(ValueError, match="kind must be one of notes"):
        syntheory("scales")
    with pytest.raises(ValueError, match="'program' and 'pitches' are needed"):
        render(pd.DataFrame({"a": [1]}))
    with pytest.raises(ValueError, match="no rows"):
        render(syntheory("notes").head(0))


# --- our own clips ------------------------------------------------------------------------------------------


def test_pocket_clips_are_balanced_and_each_is_a_group_of_its_own():
    made = pocket_clips(2, classes=("rock", "folk"), progress=False)
    assert made.table["label"].tolist() == ["folk", "folk", "rock", "rock"]
    assert made.table["group"].nunique() == 4
    assert made.audio.shape == (4, 128000)
    by_lead = pocket_clips(1, by="lead", classes=("flute", "violin"), seed=3, progress=False)
    assert by_lead.table["label"].tolist() == by_lead.table["lead"].tolist() == ["flute", "violin"]
    with pytest.raises(ValueError, match="at least two of rock"):
        pocket_clips(1, classes=("rock", "polka"))
    with pytest.raises(ValueError, match="by must be one of style, lead"):
        pocket_clips(1, by="genre")


# --- folders ------------------------------------------------------------------------------------------------


def test_a_folder_is_cut_into_segments_with_balanced_labels(tmp_path, rng):
    for label, seconds in (("calm", 2.5), ("wild", 1.2)):
        for number in range(3):
            write(tmp_path / label / f"{number}.wav", seconds, rng)
    found = read_folder(tmp_path, seconds=1, sample_rate=RATE, progress=False)
    assert found.table["label"].value_counts().to_dict() == {"calm": 3, "wild": 3}
    assert found.audio.shape == (6, RATE)
    assert found.table["group"].nunique() == 6  # one segment of every track before a second of any
    original = soundfile.read(tmp_path / "calm" / "0.wav", dtype="float32")[0][:RATE]
    row = found.table.query("path == 'calm/0.wav'").index[0]
    np.testing.assert_array_equal(found.audio[row], original)


def test_unreadable_and_short_files_are_listed_not_lost(tmp_path, rng):
    for label in ("a", "b"):
        for number in range(2):
            write(tmp_path / label / f"{number}.wav", 1.5, rng)
    (tmp_path / "a" / "broken.wav").write_bytes(b"not audio")
    write(tmp_path / "b" / "short.wav", 0.5, rng)
    found = read_folder(tmp_path, seconds=1, sample_rate=RATE, progress=False)
    assert len(found) == 4
    assert [text.split(" (")[0] for text in found.skipped] == [
        "a/broken.wav: cannot be read",
        "b/short.wav: shorter than 1 s",
    ]


def test_labels_may_come_from_a_csv_with_groups(tmp_path, rng):
    for name in ("x", "y", "z"):
        write(tmp_path / f"{name}.wav", 1.0, rng, rate=16000)
    csv = tmp_path / "labels.csv"
    csv.write_text("path,label,group\nx.wav,one,artist\ny.wav,one,artist\nz.wav,two,other\n")
    found = read_folder(tmp_path, labels=csv, seconds=1, sample_rate=RATE, progress=False)
    assert found.table["label"].tolist() == ["one", "two"]
    assert found.table["group"].tolist() == ["artist", "other"]
    assert found.audio.shape == (2, RATE)  # resampled
    csv.write_text("file,genre\nx.wav,one\n")
    with pytest.raises(ValueError, match=r"has columns \['file', 'genre'\], expected 'path' and 'label'"):
        read_folder(tmp_path, labels=csv)


def test_another_layout_says_what_was_found_and_what_was_expected(tmp_path, rng):
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_folder(tmp_path / "nowhere")
    write(tmp_path / "loose.wav", 1, rng)
    with pytest.raises(ValueError, match=r"audio in 0 subfolders \(loose.wav\)"):
        read_folder(tmp_path)
    with pytest.raises(ValueError, match="is not GTZAN: expected subfolders blues.*found loose.wav"):
        read_gtzan(tmp_path)
    with pytest.raises(ValueError, match="is not FMA: expected fma_metadata/tracks.csv.*found loose.wav"):
        read_fma(tmp_path)


def test_a_label_with_too_few_segments_is_named(tmp_path, rng):
    write(tmp_path / "many" / "0.wav", 3, rng)
    write(tmp_path / "few" / "0.wav", 1, rng)
    with pytest.raises(ValueError, match="label 'few' has 1 usable segments of 1 s, 2 are needed"):
        read_folder(tmp_path, seconds=1, per_class=2, progress=False)


def test_gtzan_is_read_as_published_and_its_faulty_file_is_skipped(tmp_path, rng):
    for genre in ("jazz", "rock"):
        for number in (53, 54):
            write(tmp_path / "genres_original" / genre / f"{genre}.{number:05d}.wav", 2, rng)
    (tmp_path / "genres_original" / "jazz" / "jazz.00054.wav").write_bytes(b"\0" * 100)
    found = read_gtzan(tmp_path, genres=("jazz", "rock"), seconds=1, sample_rate=RATE, progress=False)
    assert found.table["label"].value_counts().to_dict() == {"jazz": 2, "rock": 2}
    assert set(found.table["group"]) == {"jazz.00053", "rock.00053", "rock.00054"}
    assert found.skipped[0].startswith("jazz/jazz.00054.wav: cannot be read")
    with pytest.raises(ValueError, match="no genres"):
        read_gtzan(tmp_path, genres=("jazz", "polka"))


def test_fma_is_read_as_published_with_artists_as_groups(tmp_path, rng):
    header = "track_id,artist,track\n,id,genre_top\n"
    (tmp_path / "fma_metadata").mkdir()
    tracks = tmp_path / "fma_metadata" / "tracks.csv"
    tracks.write_text(header + "2,7,Rock\n3,7,Rock\n1005,8,Hip-Hop\n1006,9,Hip-Hop\n9999,9,Rock\n")
    for name in ("000/000002", "000/000003", "001/001005", "001/001006"):
        write(tmp_path / "fma_small" / f"{name}.mp3", 2.2, rng, rate=16000)
    found = read_fma(tmp_path, seconds=1, sample_rate=RATE, progress=False)
    assert found.table["label"].value_counts().to_dict() == {"Hip-Hop": 4, "Rock": 4}
    assert set(found.table["group"]) == {"artist 7", "artist 8", "artist 9"}
    with pytest.raises(ValueError, match="no tracks of top genres"):
        read_fma(tmp_path, genres=["Polka"])


def test_a_set_whose_table_does_not_fit_its_audio_is_refused():
    with pytest.raises(ValueError, match="for the 2 rows"):
        AudioSet(np.zeros((1, 10), np.float32), 8000, pd.DataFrame({"label": ["a", "b"]}))


def test_genres_come_from_any_of_the_sources(tmp_path, rng):
    made = read_genres("pocket", 1, classes=["rock", "jazz"], progress=False)
    assert made.table["label"].tolist() == ["jazz", "rock"]
    for label in ("calm", "wild", "odd"):
        write(tmp_path / label / "0.wav", 10, rng)
    found = read_genres(tmp_path, 1, classes=["calm", "odd"], progress=False)
    assert found.table["label"].tolist() == ["calm", "odd"]
    assert len(found.audio) == 2
    with pytest.raises(ValueError, match=r"has no label \['polka'\]"):
        read_genres(tmp_path, 1, classes=["calm", "polka"], progress=False)
    assert found.select([True, False]).table["label"].tolist() == ["calm"]
