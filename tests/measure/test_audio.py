"""Audio that cannot be right is refused, and the sounds of a store."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from signals import RATE

from steerlib import measure
from steerlib.sweeps.store import Store


@pytest.mark.parametrize(
    ("audio", "rate", "error", "message"),
    [
        (np.zeros((1, RATE)), None, TypeError, "pass sample_rate"),
        (np.zeros((1, RATE)), 16000.5, TypeError, "whole number of Hz"),
        (np.zeros((1, RATE)), "16000", TypeError, "whole number of Hz"),
        (np.zeros((1, RATE)), 16, ValueError, "is this in kHz"),
        (np.zeros(RATE), RATE, ValueError, r"clip\[None\]"),
        (np.zeros((0, RATE)), RATE, ValueError, "no audio"),
        (np.zeros((1, 0)), RATE, ValueError, "no audio"),
        (np.zeros((RATE, 2)), RATE, ValueError, r"is the array \(samples, clips\)"),
        (np.zeros((1, RATE), dtype=np.int16), RATE, TypeError, "divide 16-bit samples by 32768"),
        (np.full((2, RATE), np.nan), RATE, ValueError, r"clips \[0, 1\] hold NaN"),
    ],
)
def test_audio_that_cannot_be_right_is_refused_with_a_hint(audio, rate, error, message):
    with pytest.raises(error, match=message):
        measure.spectral_centroid(audio, sample_rate=rate)


def test_a_rate_that_contradicts_the_clips_is_refused():
    clips = SimpleNamespace(audio=np.zeros((1, RATE)), sample_rate=RATE)
    with pytest.raises(ValueError, match="leave it out"):
        measure.onset_rate(clips, sample_rate=22050)


def test_clips_are_read_in_the_order_of_the_rows(rng, tmp_path):
    audio = 0.1 * rng.normal(size=(3, 1600)).astype(np.float32)
    store = Store(tmp_path / "store")
    store.append(pd.DataFrame({"key": ["a", "b", "c"]}), audio, sample_rate=16000, audio_format="flac")
    table = store.read().set_index("key").loc[["c", "a"]].reset_index()
    sounds, rate = measure.read_clips(table, tmp_path / "store")
    assert rate == 16000
    np.testing.assert_allclose(sounds, audio[[2, 0]], atol=1e-4)


def test_a_row_without_its_clip_is_refused(tmp_path):
    table = pd.DataFrame({"key": ["a"], "clip": pd.Series([None], dtype="str")})
    with pytest.raises(ValueError, match="1 of 1 rows have a clip missing"):
        measure.read_clips(table, tmp_path)
