"""Stored rows and the code that measured them: a metric that gives other numbers has another version."""

import numpy as np
import pytest

from steerlib.engine.generation import Run
from steerlib.measure.registry import METRICS, VERSIONS
from steerlib.model import MusicModel
from steerlib.music.datasets import pocket_clips
from steerlib.sweeps.grid import BASELINE, sweep


class Sounds:
    """Two sounds of eight seconds: a major chord with clicks at 120 BPM, and brighter clicks at 90 BPM."""

    sample_rate = 16000

    def __init__(self):
        times = np.arange(8 * self.sample_rate) / self.sample_rate
        chord = sum(np.sin(2 * np.pi * hertz * times) for hertz in (220, 277.18, 329.63)) / 10
        self.audio = np.stack([chord + self.clicks(120, 1000), self.clicks(90, 3000)]).astype(np.float32)

    def clicks(self, bpm, hertz):
        audio, number = np.zeros(8 * self.sample_rate), np.arange(800)
        click = np.sin(2 * np.pi * hertz * number / self.sample_rate) * np.exp(-number / 200) / 2
        for beat in np.arange(0, 7.9, 60 / bpm):
            audio[round(beat * self.sample_rate) :][:800] += click
        return audio


# What the version of each metric gives. To a change on purpose belongs a higher version in `VERSIONS`, so that stored
# rows are measured anew.
NUMBERS = {
    ("bpm", 1): [63.492063, 51.042110],
    ("centroid", 1): [449.165992, 3099.255067],
    ("onset_rate", 1): [1.875, 1.375],
    ("rms", 1): [-17.809414, -29.312733],
    ("mode", 1): [0.287102, -0.059554],
    ("mode", 2): [0.287102, np.nan],  # clicks at 3000 Hz have no key
    ("sure_bpm", 1): [63.492063, 51.042110],
    ("pulse", 1): [120.302504, 90.125046],
    ("cutoff", 1): [2308.728359, np.nan],
    ("attacks", 1): [2.0, 1.375],
    ("loudness", 1): [-18.463930, -26.058442],
    ("third", 1): [1.441412, -0.073693],
}


@pytest.mark.parametrize("name", METRICS)
def test_a_metric_gives_the_numbers_of_its_version(name):
    # the judge of tempo hears beats in music only
    sounds = pocket_clips(1, classes=["rock", "folk"], progress=False) if "bpm" in name else Sounds()
    expected = NUMBERS[name, VERSIONS.get(name, 1)]
    assert METRICS[name](sounds) == pytest.approx(expected, rel=1e-4, nan_ok=True), (
        f"{name} gives other numbers: raise its version in steerlib.measure.registry.VERSIONS, and note them here"
    )


def test_rows_that_another_version_of_a_metric_measured_are_not_taken(
    tiny_model, tiny_processor, tmp_path, monkeypatch
):
    def keys():
        table = sweep(
            MusicModel(tiny_model, tiny_processor), ["a rock song"], BASELINE, store=tmp_path / "store", seconds=0.2,
            metrics=("centroid",), run=Run(progress=False),
        )  # fmt: skip
        return table["key"].tolist()

    first = keys()
    assert keys() == first
    monkeypatch.setitem(VERSIONS, "mode", 9)  # another metric: nothing changes
    assert keys() == first
    monkeypatch.setitem(VERSIONS, "centroid", 2)
    assert keys() != first
