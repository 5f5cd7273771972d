"""Levels in mel bands as an embedding: what they hear, and the share of variance that a distance is."""

import numpy as np
import pandas as pd
import pytest

from steerlib.measure.distance import embed_clips, frechet_setting
from steerlib.measure.spectrum import mel_statistics

RATE = 16000


def test_a_full_scale_tone_is_at_0_db_in_its_band_and_silence_at_the_floor():
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * RATE) / RATE).astype(np.float32)
    found = mel_statistics(np.stack([tone, 0 * tone]), sample_rate=RATE, window=1.0)
    assert found.shape == (2, 2, 32)
    assert found[0, :, :16].max() == pytest.approx(0, abs=3) and found[0, :, 0].max() < -60
    assert np.allclose(found[1, :, :16], -80) and np.allclose(found[1, :, 16:], 0)


def test_a_window_longer_than_the_clip_is_refused():
    with pytest.raises(ValueError, match="window is 3.0 s but the clips last 2.00 s"):
        mel_statistics(np.zeros((1, 2 * RATE), np.float32), sample_rate=RATE, window=3.0)
    with pytest.raises(ValueError, match="embedding must be one of clap, mel"):
        embed_clips(pd.DataFrame({"key": [], "clip": []}), ".", embedding="fft")


def test_half_a_standard_deviation_is_a_quarter_of_the_variance_in_any_unit(rng):
    for unit in (1.0, 1000.0):
        reference, other = unit * rng.normal(size=(2, 400, 4, 3))
        keys = [f"{kind}{i}" for kind in "ros" for i in range(400)]
        moved = other + unit / 2  # in each of three dimensions
        embeddings = dict(zip(keys, [*reference, *other, *moved], strict=True))

        def rows(kind, multiplier):
            names = [f"{kind}{i}" for i in range(400)]
            prompts = [f"prompt {i}" for i in range(400)]
            return pd.DataFrame(
                {
                    "key": names,
                    "prompt": prompts,
                    "prompt_id": range(400),
                    "seed": 0,
                    "multiplier": multiplier,
                }
            )

        share = frechet_setting(
            rows("s", 0.1), rows("r", 0.0), embeddings, versus=rows("o", 0.0), relative=True
        )
        assert share.estimate == pytest.approx(0.25, abs=0.05) and share.low < 0.25 < share.high
