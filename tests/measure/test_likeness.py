"""Likeness of signals that differ in a known way."""

import numpy as np
import pytest
from signals import RATE, clicks, tone

from steerlib import measure


def test_a_clip_is_like_itself():
    audio = (clicks([0.2, 0.7, 1.1, 1.6], seconds=2) + tone(440, amplitude=0.1))[None]
    assert measure.chroma_correlation(audio, audio, sample_rate=RATE)[0] == pytest.approx(1)
    assert measure.onset_envelope_correlation(audio, audio, sample_rate=RATE)[0] == pytest.approx(1)
    assert measure.log_spectral_distance(audio, audio, sample_rate=RATE)[0] == 0


def test_log_spectral_distance_of_a_scaled_clip_is_the_gain_in_decibels(rng):
    noise = 0.1 * rng.normal(size=(1, 2 * RATE))
    assert measure.log_spectral_distance(noise, noise / 2, sample_rate=RATE)[0] == pytest.approx(
        6.02, abs=0.05
    )


def test_log_spectral_distance_is_at_most_the_floor(rng):
    noise = 0.1 * rng.normal(size=(1, 2 * RATE))
    distance = measure.log_spectral_distance(noise, np.zeros_like(noise), sample_rate=RATE)[0]
    assert 40 < distance <= 60


def test_chroma_tells_the_same_chord_in_another_octave_from_another_chord():
    chord = tone(261.63) + tone(329.63) + tone(392.00)
    octave = tone(523.25) + tone(659.26) + tone(783.99)
    other = tone(277.18) + tone(369.99) + tone(466.16)
    same, different = measure.chroma_correlation(
        np.stack([chord, chord]), np.stack([octave, other]), sample_rate=RATE
    )
    assert same > 0.8 and different < 0.2


def test_the_onset_envelope_follows_rhythm_not_pitch():
    rhythm = [0.2, 0.5, 1.1, 1.6]
    envelope = np.sqrt(np.abs(clicks(rhythm, seconds=2)))
    high, low = envelope * tone(3000), envelope * tone(1500)
    shifted = np.roll(low, RATE // 6)
    same, late = measure.onset_envelope_correlation(
        np.stack([high, high]), np.stack([low, shifted]), sample_rate=RATE
    )
    assert same > 0.7 and late < 0.3


def test_a_silent_reference_has_no_likeness():
    silent, loud = np.zeros((1, RATE)), tone(440, seconds=1)[None]
    for metric in (
        measure.chroma_correlation,
        measure.onset_envelope_correlation,
        measure.log_spectral_distance,
    ):
        assert np.isnan(metric(silent, loud, sample_rate=RATE)[0])


def test_clips_of_other_lengths_cannot_be_compared():
    with pytest.raises(ValueError, match="compared in pairs"):
        measure.log_spectral_distance(tone(440)[None], tone(440, seconds=1)[None], sample_rate=RATE)
