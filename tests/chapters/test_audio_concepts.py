"""What the decoder adds to what anybody hears."""

import numpy as np
import pandas as pd
import pytest
import torch

from steerlib.activations import Activations
from steerlib.chapters import audio_concepts as chapter
from steerlib.music.datasets import AudioSet

LABELS = np.repeat(["a", "b", "c"], 12)
OPTIONS = {"starts": 2, "shuffles": 20, "swaps": 99, "seed": 0}


@pytest.fixture
def clips():
    table = pd.DataFrame({"label": LABELS, "group": [f"track {i}" for i in range(len(LABELS))]})
    return AudioSet(np.zeros((len(LABELS), 10), np.float32), 16000, table)


def heard(rng, *sizes):
    """Activations whose layers hold the labels as clouds so far apart."""
    centres = rng.normal(size=(3, 8))[np.unique(LABELS, return_inverse=True)[1]]
    layers = [size * centres + rng.normal(size=centres.shape) for size in sizes]
    values = torch.tensor(np.stack(layers, axis=1), dtype=torch.float32)
    return Activations(values, None, tuple(f"clip {i}" for i in range(len(LABELS))))


def test_a_decoder_that_adds_something_has_an_excess_and_a_layer(rng, clips):
    found = chapter.excess({"decoder": heard(rng, 0, 8), "mel spectrum": heard(rng, 0)}, clips, **OPTIONS)
    assert found.value > 0.8 and found.p < 0.05
    assert found.layers == (1, 1) and found.baseline == "mel spectrum"
    assert (found.labels, found.n) == (3, 36)
    assert abs(found.shuffled.mean()) < 0.1 and found.shuffled.max() < found.value


def test_a_decoder_that_hears_what_the_sound_says_anyway_adds_nothing(rng, clips):
    found = chapter.excess(
        {"decoder": heard(rng, 8, 8), "codec": heard(rng, 0), "mel spectrum": heard(rng, 8)}, clips, **OPTIONS
    )
    assert found.agreement["decoder"] > 0.8
    assert found.baseline == "mel spectrum" and abs(found.value) < 0.2 and found.p > 0.1


def test_no_excess_is_seen_where_there_is_none(rng, clips):
    noise = [
        chapter.excess({"decoder": heard(rng, 0, 0, 0), "codec": heard(rng, 0, 0)}, clips, **OPTIONS)
        for _ in range(20)
    ]
    assert abs(np.mean([each.value for each in noise])) < 0.05
    assert sum(each.p < 0.05 for each in noise) <= 3
    mean, shuffled = chapter.mean_excess({str(i): each for i, each in enumerate(noise)})
    assert mean.low < 0 < mean.high and mean.n == 20
    assert shuffled.shape == (20,) and abs(shuffled.mean()) < 0.05


def test_clips_are_independent_by_track_unless_each_track_is_a_label(clips):
    assert chapter.units(clips).tolist() == clips.table["group"].tolist()
    named = AudioSet(clips.audio, 16000, clips.table.assign(group=clips.table["label"]))
    assert chapter.units(named).nunique() == len(LABELS)


def test_the_bottom_line_says_what_the_decoder_adds(rng, clips):
    adds = {"decoder": heard(rng, 0, 8), "mel spectrum": heard(rng, 0)}
    same = {"decoder": heard(rng, 8), "mel spectrum": heard(rng, 8)}
    more, none = (chapter.excess(each, clips, **OPTIONS) for each in (adds, same))
    found, _ = chapter.findings({"genre": more, "chord": more})
    assert found[1].endswith("so the decoder sorts sounds better than plain acoustics do.")
    found, against = chapter.findings({"genre": more, "chord": none, "octave": none})
    assert found[1].endswith("so the decoder is not shown to add anything.")
    assert "a mean over 3 concepts" in against
