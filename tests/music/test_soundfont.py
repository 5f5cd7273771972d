"""The SoundFont: notes sound at their pitch once the tuning is where the renderer looks for it."""

import struct
from pathlib import Path

import numpy as np
import pretty_midi
import pytest
from symusic import Note, Score, Synthesizer, Tempo, Track

from steerlib.music.soundfont import tuned_soundfont


def semitones_off(path, program, pitch):
    """Distance of the strongest partial from the nearest harmonic of the note."""
    score = Score(480)
    score.tempos.append(Tempo(0, qpm=120))
    track = Track(program=program, is_drum=False)
    track.notes.append(Note(0, 960, pitch, 64))
    score.tracks.append(track)
    audio = Synthesizer(sf_path=str(path), sample_rate=44100, quality=4).render(score, stereo=False)[0]
    spectrum = np.abs(np.fft.rfft(np.asarray(audio[:44100]) * np.hanning(44100)))
    spectrum[:50] = 0  # Hz
    harmonic = spectrum.argmax() / (440 * 2 ** ((pitch - 69) / 12))
    return 12 * np.log2(harmonic / max(round(harmonic), 1))


@pytest.mark.parametrize(
    ("program", "pitch"), [(0, 57), (24, 60), (40, 57), (73, 69)]
)  # piano, guitar, violin, flute
def test_notes_sound_at_their_pitch(program, pitch):
    assert abs(semitones_off(tuned_soundfont(), program, pitch)) < 0.4


def test_the_original_file_is_the_one_that_is_out_of_tune_and_stays_as_it_is():
    original = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2")
    before = original.stat().st_size
    assert tuned_soundfont() != original
    assert original.stat().st_size == before
    assert abs(semitones_off(original, 0, 57)) > 1  # if this ever fails, symusic was mended: drop the copy


def test_the_loop_goes_on_behind_each_sample_that_ends_with_it():
    original = Path(pretty_midi.__file__).with_name("TimGM6mb.sf2").read_bytes()
    content = tuned_soundfont().read_bytes()
    points = np.frombuffer(content, "<i2", 2_893_608, content.index(b"smpl") + 8)
    mended = 0
    for (_, before, *_), (_, stop, loop, loop_end) in zip(headers(original), headers(content), strict=False):
        assert stop == max(before, loop_end + 8)
        if behind := stop - before:
            mended += 1
            same = loop + (np.arange(before, stop) - loop) % (loop_end - loop)
            np.testing.assert_array_equal(points[stop - behind : stop], points[same])
    assert mended > 50


def headers(content):
    """Start, end and the loop's start and end of each sample."""
    at = content.index(b"shdr")
    table = content[at + 8 : at + 8 + struct.unpack_from("<I", content, at + 4)[0] - 46]
    return [struct.unpack_from("<4I", table, record + 20) for record in range(0, len(table), 46)]


def test_a_looped_note_is_rendered_alike_each_time_and_without_a_click():
    score = Score(480)
    score.tempos.append(Tempo(0, qpm=130.96))
    track = Track(program=56, is_drum=False)
    track.notes.append(Note(0, 2304, 62, 90))  # a trumpet's loop that ends with its sample
    score.tracks.append(track)
    sounds = []
    for _ in range(3):
        synthesizer = Synthesizer(sf_path=str(tuned_soundfont()), sample_rate=48000, quality=4)
        sounds += [np.asarray(synthesizer.render(score, stereo=False)[0]) for _ in range(2)]
    for sound in sounds:
        np.testing.assert_array_equal(sound, sounds[0])
    assert np.abs(np.diff(sounds[0])).max() < 0.2  # a click is a jump of half the scale and more
