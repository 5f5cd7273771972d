"""Halves of which one chooses a layer and the other is judged."""

import numpy as np
import pandas as pd
import torch

from steerlib.activations import Activations
from steerlib.chapters import audio_concepts as chapter


def test_each_label_is_dealt_evenly_and_keeps_its_activations():
    labels = pd.Series(["major"] * 5 + ["minor"] * 4)
    values = torch.arange(9.0)[:, None, None].repeat(1, 2, 3)
    heard = Activations(values, None, tuple(f"clip {number}" for number in range(9)))
    halves = chapter.halves(heard, labels, seed=0)
    rows = [part.values[:, 0, 0].int().tolist() for part, _ in halves]
    assert sorted(rows[0] + rows[1]) == list(range(9))
    for numbers, (_, names) in zip(rows, halves, strict=True):
        assert names.tolist() == labels[numbers].tolist()
    counts = [pd.Series(names).value_counts() for _, names in halves]
    assert np.abs(counts[0] - counts[1]).max() <= 1
