"""Centroids, onsets, levels and modes of signals whose truth is known."""

import numpy as np
import pytest
from signals import RATE, clicks, tone

from steerlib import measure


@pytest.mark.parametrize("rate", [16000, 22050, 32000])
@pytest.mark.parametrize("frequency", [440, 1000, 3000])
def test_the_centroid_of_a_tone_is_its_frequency_at_any_rate(frequency, rate):
    audio = tone(frequency, rate=rate)[None]
    assert measure.spectral_centroid(audio, sample_rate=rate)[0] == pytest.approx(frequency, rel=0.03)


def test_the_centroid_weighs_frames_by_energy():
    audio = np.concatenate([tone(500, amplitude=0.5), tone(5000, amplitude=0.05)])[None]
    expected = (500 * 0.5**2 + 5000 * 0.05**2) / (0.5**2 + 0.05**2)
    assert measure.spectral_centroid(audio, sample_rate=RATE)[0] == pytest.approx(expected, rel=0.05)


def test_the_centroid_of_equal_tones_lies_between_them():
    audio = (tone(1000) + tone(3000))[None]
    assert measure.spectral_centroid(audio, sample_rate=RATE)[0] == pytest.approx(2000, rel=0.03)


def test_silence_has_no_centroid_and_no_onsets():
    audio = np.stack([np.zeros(2 * RATE), tone(440)])
    centroid = measure.spectral_centroid(audio, sample_rate=RATE)
    assert np.isnan(centroid[0]) and np.isfinite(centroid[1])
    assert measure.onset_rate(audio, sample_rate=RATE)[0] == 0


@pytest.mark.parametrize("rate_of_clicks", [2, 4, 7])
def test_the_onset_rate_counts_noise_bursts(rate_of_clicks):
    audio = clicks(np.arange(0.1, 7.95, 1 / rate_of_clicks), seconds=8)[None]
    assert measure.onset_rate(audio, sample_rate=RATE)[0] == pytest.approx(rate_of_clicks, abs=0.26)


def test_each_clip_has_its_own_value(rng):
    audio = np.stack([tone(500), tone(2000), 0.1 * rng.normal(size=2 * RATE)])
    for metric in (measure.spectral_centroid, measure.onset_rate):
        together = metric(audio, sample_rate=RATE)
        alone = [metric(clip[None], sample_rate=RATE)[0] for clip in audio]
        np.testing.assert_allclose(together, alone)


def test_the_level_of_a_band_is_that_of_the_tones_in_it():
    time = np.arange(2 * RATE) / RATE
    audio = (np.sin(2 * np.pi * 500 * time) + 0.1 * np.sin(2 * np.pi * 3000 * time))[None]
    low, high = (
        measure.band_level(audio, sample_rate=RATE, **band) for band in ({"high": 2000}, {"low": 2000})
    )
    assert low[0] == pytest.approx(-3.01, abs=0.01)
    assert high[0] == pytest.approx(-23.01, abs=0.01)
    assert measure.band_level(0.5 * audio, sample_rate=RATE, low=2000)[0] == pytest.approx(-29.03, abs=0.01)


def test_bands_add_up_to_the_whole_and_silence_has_no_level(rng):
    audio = 0.1 * rng.normal(size=(2, RATE))
    audio[1] = 0
    parts = [measure.band_level(audio, sample_rate=RATE, low=a, high=a + 4000) for a in (0, 4000)]
    whole = 10 * np.log10((audio[0] ** 2).mean())
    assert 10 * np.log10(sum(10 ** (part[0] / 10) for part in parts)) == pytest.approx(whole, abs=0.01)
    assert np.isnan(parts[0][1])


def test_a_band_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="within 0 to 8000 Hz"):
        measure.band_level(np.ones((1, RATE)), sample_rate=RATE, low=9000)


def chord(*pitches):
    return sum(tone(440 * 2 ** ((pitch - 69) / 12), amplitude=0.1) for pitch in pitches)


@pytest.mark.parametrize("tonic", [55, 60, 66])
def test_major_cadences_lie_above_minor_ones_in_any_key(tonic):
    third = {"major": 4, "minor": 3}
    cadences = [
        np.concatenate(
            [chord(*(tonic + root + step for step in (-12, 0, third[mode], 7))) for root in (0, 5, 0)]
        )
        for mode in ("major", "minor")
    ]
    major, minor = measure.mode(np.stack(cadences).astype(np.float32), sample_rate=RATE)
    assert major > 0 > minor


def test_silence_has_no_mode():
    assert np.isnan(measure.mode(np.zeros((1, RATE)), sample_rate=RATE)).all()
