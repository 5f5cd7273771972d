"""What the judges know: the thresholds belong to the shipped judges, and strange sounds are called strange."""

import numpy as np
import pytest
from signals import RATE

from steerlib import measure
from steerlib.files import DATA, digest
from steerlib.measure import degrade, known
from steerlib.music.datasets import pocket_clips


@pytest.fixture(scope="module")
def composed():
    return pocket_clips(2, classes=["rock", "folk", "jazz", "classical"], seed=1, progress=False)


def test_the_thresholds_were_fixed_for_the_tracker_that_is_shipped():
    tracker = (DATA / "pocket" / "beats.ckpt").read_bytes()
    assert known.learned()["tracker"] == digest(tracker), "run `python -m steerlib.pocket thresholds`"


def test_the_threshold_of_tempo_keeps_what_it_promises_on_the_clips_that_fixed_it():
    answers = known.learned()["answers"]
    right = sum(each["answered"] * each["right"] for each in answers if each["right"] is not None)
    assert right / sum(each["answered"] for each in answers) >= 0.945  # of rounded shares
    wrecked = [each["answered"] for each in answers if each["clips"] in ("noise 1", "frames in random order")]
    assert len(wrecked) == 2 and max(wrecked) < 0.1


def test_composed_clips_are_known_and_noise_a_filter_and_silence_are_not(composed, rng):
    strange = np.concatenate(
        [
            degrade.noise(composed.audio, 0.9),
            degrade.highpass(composed.audio, 4),
            degrade.lowpass(composed.audio, 5),
            np.zeros_like(composed.audio[:1]),
        ]
    )
    assert known.known(composed.audio, sample_rate=RATE).mean() >= 0.75
    assert not known.known(strange, sample_rate=RATE).any()


def test_level_is_not_strange(composed):
    quiet = known.strangeness(composed.audio / 30, sample_rate=RATE)
    np.testing.assert_allclose(quiet, known.strangeness(composed.audio, sample_rate=RATE), rtol=1e-3)


def test_clap_names_a_style_for_noise_unless_it_may_abstain(composed):
    audio = np.concatenate([composed.audio[:2], degrade.noise(composed.audio[:1], 1.0)])
    told = measure.clap_scores(audio, ["rock", "folk", "jazz"], sample_rate=RATE)
    sure = measure.clap_scores(audio, ["rock", "folk", "jazz"], sample_rate=RATE, abstain=True)
    assert np.isfinite(told).all() and np.isnan(sure[2]).all()
    np.testing.assert_allclose(sure[:2], told[:2])
    with pytest.raises(ValueError, match="pocket model's CLAP alone"):
        measure.clap_scores(audio, ["rock", "folk"], sample_rate=RATE, model="elsewhere", abstain=True)


def test_without_the_file_the_error_says_how_to_make_it(monkeypatch, tmp_path):
    monkeypatch.setattr(known, "FILE", tmp_path / "none.json")
    known.learned.cache_clear()
    with pytest.raises(FileNotFoundError, match="steerlib.pocket thresholds"):
        known.learned()
    known.learned.cache_clear()
