"""Which judge measures the clips of which model."""

import numpy as np
import pandas as pd
import pytest
import soundfile
from signals import RATE, tone

from steerlib import measure
from steerlib.measure.registry import METRICS, SECOND, add_columns


def test_only_the_pocket_model_is_judged_by_the_pocket_judges():
    assert measure.judges("pocket") == (None, None)
    assert measure.judges("facebook/musicgen-melody") == ("final0", "laion/clap-htsat-unfused")
    assert measure.judges("pocket", beats="mine.ckpt") == ("mine.ckpt", None)
    assert measure.judges("elsewhere", clap="mine") == ("final0", "mine")


def test_every_metric_that_has_a_second_judge_is_another_metric_than_it():
    assert set(SECOND) | set(SECOND.values()) <= set(METRICS)
    assert all(METRICS[first] is not METRICS[second] for first, second in SECOND.items())


def test_metrics_of_kept_clips_are_added_by_name_and_each_clip_is_measured_once(tmp_path, monkeypatch):
    for name, hertz in (("a", 300), ("b", 2000)):
        soundfile.write(tmp_path / f"{name}.flac", tone(hertz, seconds=2), RATE)
    table = pd.DataFrame({"clip": ["b.flac", "a.flac", "b.flac"], "bpm": [1.0, 2.0, 3.0]}, index=[5, 6, 9])
    asked = []

    def counted(audio, *, sample_rate):
        asked.append(len(audio))
        return measure.spectral_centroid(audio, sample_rate=sample_rate)

    monkeypatch.setitem(METRICS, "centroid", counted)
    found = add_columns(table, tmp_path, ["bpm", "centroid"])
    assert asked == [2] and list(found.index) == [5, 6, 9] and found["bpm"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(found["centroid"], [2000, 300, 2000], rtol=0.05)
    assert add_columns(table, tmp_path, ["bpm"]) is table
    with pytest.raises(ValueError, match="unknown metrics"):
        add_columns(table, tmp_path, ["loud"])
