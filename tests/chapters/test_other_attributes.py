"""What the chapter *Other attributes* makes of its clips."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from steerlib.chapters import other_attributes as chapter
from steerlib.chapters.other_attributes import _auc
from steerlib.evidence.stats import Interval
from steerlib.prompts import load_attribute


def test_a_judge_that_can_tell_nothing_of_one_side_gives_no_figure_and_no_error():
    found = _auc([np.nan, np.nan], [1.0, np.nan])
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert (found.n, found.dropped) == (1, 3)
    assert _auc([2.0, np.nan], [1.0, 0.0]).estimate == 1


def test_the_figure_says_which_directions_move_their_own_measure_most(monkeypatch):
    shown = []
    monkeypatch.setattr(chapter.figures, "message", shown.append)
    attributes = {name: load_attribute(name) for name in ("loudness", "energy")}
    index = pd.MultiIndex.from_product([attributes, ["rms", "onset_rate"]], names=["attribute", "metric"])
    shifts = [Interval(value, value - 0.1, value + 0.1, 9) for value in (2.0, 0.1, -1.0, 0.5)]
    table = pd.DataFrame({"shift": shifts, "spread": 1.0}, index)
    chapter.cross_effects(SimpleNamespace(attributes=attributes), table)
    plt.close("all")
    assert shown == [
        "The measure that moves most is its own for loudness; another measure moves most for energy"
    ]
