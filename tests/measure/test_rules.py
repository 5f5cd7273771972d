"""Judges by rule on sound of known truth, degradations, and what two judges say together."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr
from signals import RATE, clicks

from steerlib.evidence.stats import Interval, auc
from steerlib.measure import degrade, rules
from steerlib.music import corpus


@pytest.fixture(scope="module")
def composed():
    truths, audio = zip(*corpus.stream(range(corpus.HELD_OUT, corpus.HELD_OUT + 24), workers=0), strict=True)
    return truths, np.stack(audio)


@pytest.mark.parametrize("bpm", [52.3, 90.0, 133.7, 199.1])
def test_the_comb_finds_the_pulse_of_clicks_up_to_octaves(bpm):
    found = rules.pulse(clicks(np.arange(0.1, 8, 60 / bpm), seconds=8)[None], sample_rate=RATE)
    assert rules.octave_distance(found, bpm)[0] < np.log2(1.01)


def test_the_comb_is_right_up_to_octaves_on_most_composed_clips_that_it_answers_for(composed):
    truths, audio = composed
    found = rules.pulse(audio, sample_rate=RATE)
    told = np.isfinite(found)
    wrong = rules.octave_distance(found, [truth.bpm for truth in truths])[told] > np.log2(1.04)
    assert told.mean() > 0.3 and wrong.mean() < 0.15


def test_the_comb_cannot_tell_of_silence_or_of_two_tempi(rng):
    halves = np.concatenate([np.arange(0.1, 4, 0.5), np.arange(4, 8, 60 / 171)])
    audio = np.stack([np.zeros(8 * RATE), clicks(halves, seconds=8)])
    assert np.isnan(rules.pulse(audio, sample_rate=RATE)).all()


def test_the_comb_cannot_tell_the_pulse_of_a_single_click():
    assert np.isnan(rules.pulse(clicks([1.0], seconds=3)[None], sample_rate=RATE, steady=np.inf))


def test_the_fitted_cutoff_orders_composed_clips_and_follows_a_filter(composed):
    truths, audio = composed
    found = rules.cutoff(audio, sample_rate=RATE)
    told = np.isfinite(found)
    true = np.log2([truth.cutoff for truth in truths])
    assert np.corrcoef(np.log2(found[told]), true[told])[0, 1] > 0.7
    darker = rules.cutoff(degrade.lowpass(audio, 3.0), sample_rate=RATE)
    assert np.nanmean(np.log2(darker / found)) < -0.2


def test_the_third_and_the_attacks_order_composed_clips_as_they_were_composed(composed):
    truths, audio = composed
    major = np.array([truth.mode == "major" for truth in truths])
    third = rules.third(audio, sample_rate=RATE)
    assert auc(third[major], third[~major]).estimate > 0.6
    energy = [truth.energy for truth in truths]
    assert spearmanr(rules.attacks(audio, sample_rate=RATE), energy).statistic > 0.3


def test_the_third_of_a_chord_is_its_mode_and_silence_has_neither_third_nor_attacks():
    times = np.arange(4 * RATE) / RATE
    chords = [
        sum(np.sin(2 * np.pi * 261.63 * 2 ** (note / 12) * times) for note in notes) / 10
        for notes in ((0, 4, 7, 12), (0, 3, 7, 12))
    ]
    major, minor, silent = rules.third(np.stack([*chords, np.zeros_like(times)]), sample_rate=RATE)
    assert major > 0 > minor and np.isnan(silent)
    assert rules.attacks(np.zeros((1, RATE)), sample_rate=RATE)[0] == 0


def test_attacks_of_clicks_are_as_many_as_the_clicks():
    found = rules.attacks(clicks(np.arange(0.1, 8, 0.5), seconds=8)[None], sample_rate=RATE)
    assert found[0] == pytest.approx(2, abs=0.15)


def test_octave_distance_folds_halves_and_doubles():
    np.testing.assert_allclose(rules.octave_distance([60, 240, 90], 120), [0, 0, 2 - np.log2(3)], atol=1e-12)


@pytest.mark.parametrize("name", degrade.DEGRADATIONS)
def test_a_degradation_is_nothing_at_degree_0_and_the_same_each_time(rng, name):
    audio = rng.normal(scale=0.1, size=(2, RATE * 2)).astype(np.float32)
    change = degrade.DEGRADATIONS[name]
    np.testing.assert_array_equal(change(audio, 0.0), audio)
    once = change(audio, 0.75, seed=3)
    assert once.shape != audio.shape or not np.array_equal(once, audio)
    np.testing.assert_array_equal(once, change(audio, 0.75, seed=3))


@pytest.mark.parametrize("change", [degrade.speed, degrade.stretch])
def test_speed_and_stretch_move_the_pulse_by_the_factor_they_say(change):
    audio = clicks(np.arange(0.1, 8, 0.6), seconds=8)[None].astype(np.float32)
    found = rules.pulse(change(audio, 0.3), sample_rate=RATE)
    assert rules.octave_distance(found, 100 * 2**0.3)[0] < np.log2(1.02)


def test_a_codec_is_passed_as_often_as_said_and_its_frames_change_places(rng):
    class Frames:
        """A codec whose code is the audio itself, in frames of 1000 samples."""

        passed = 0

        def encode(self, audio):
            self.passed += 1
            return SimpleNamespace(audio_codes=audio.reshape(len(audio), 8, 1000).transpose(1, 2)[None])

        def decode(self, codes, scales):
            assert len(scales) == codes.shape[1]
            return SimpleNamespace(audio_values=codes[0].transpose(1, 2).flatten(1)[:, None])

    audio, network = rng.normal(size=(2, 8000)).astype(np.float32), Frames()
    np.testing.assert_array_equal(degrade.codec(audio, 3, network=network), audio)
    assert network.passed == 3
    np.testing.assert_array_equal(degrade.shuffle(audio, 0, network=network), audio)
    moved = degrade.shuffle(audio, 1, network=network, seed=1)
    assert not np.array_equal(moved, audio)
    np.testing.assert_array_equal(
        np.sort(moved.reshape(2, 8, 1000), 1), np.sort(audio.reshape(2, 8, 1000), 1)
    )


def test_noise_keeps_the_level_and_a_splice_keeps_the_samples(rng):
    audio = rng.normal(scale=0.1, size=(2, RATE * 4)).astype(np.float32)
    assert degrade.noise(audio, 0.5, seed=1).std() == pytest.approx(0.1, rel=0.03)
    np.testing.assert_array_equal(np.sort(degrade.splice(audio, 0.6), axis=1), np.sort(audio, axis=1))


def test_degrees_that_cannot_be_are_refused():
    audio = np.zeros((1, RATE), dtype=np.float32)
    with pytest.raises(ValueError, match="share from 0 to 1"):
        degrade.noise(audio, 2.0)
    with pytest.raises(ValueError, match="between 0 and 8000 Hz"):
        degrade.highpass(audio, 9.0)


@pytest.mark.parametrize(
    ("low", "high", "outcome", "said"),
    [(0.1, 0.5, "holds", "agree"), (-0.1, 0.5, "open", "disagree"), (-0.5, -0.1, "open", "disagree")],
)
def test_a_check_holds_only_if_both_judges_say_so(low, high, outcome, said):
    judges = {"tracker": Interval(0.4, 0.2, 0.6, 24), "comb": Interval((low + high) / 2, low, high, 20, 4)}
    check = rules.agree("tempo", judges, above=0, unit="octaves")
    assert check.outcome == outcome and f"judges {said}" in check.what
    assert (check.interval.n, check.interval.dropped) == (20, 4)


def test_two_judges_that_both_deny_make_a_check_fail_and_one_judge_makes_none():
    no = Interval(-0.4, -0.6, -0.2, 24)
    assert rules.agree("tempo", {"a": no, "b": no}, above=0).outcome == "fails"
    with pytest.raises(ValueError, match="needs two"):
        rules.agree("tempo", {"a": no}, above=0)
