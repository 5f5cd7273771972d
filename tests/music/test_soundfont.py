"""The SoundFont: notes sound at their pitch once the tuning is where the renderer looks for it."""

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
