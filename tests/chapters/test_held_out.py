"""The chapter *Held-out prompts*: the prompt that is shown, and the paper's own table."""

from types import SimpleNamespace

import numpy as np
import pandas as pd

from steerlib.chapters import held_out
from steerlib.study import Trial


def test_the_prompt_that_is_shown_has_the_median_distance_between_the_poles():
    bright = {0: 900.0, 1: 500.0, 2: np.nan, 3: 700.0}
    rows = [(prompt, value * sign / 2, 0.1 * sign) for prompt, value in bright.items() for sign in (-1, 1)]
    table = pd.DataFrame(rows, columns=["prompt_id", "centroid", "multiplier"])
    study = SimpleNamespace(attributes={"timbre": SimpleNamespace(metric="centroid")})
    trial = Trial(study, table.assign(attribute="timbre"))
    assert held_out.typical_prompt(trial, "timbre") == 3
    assert trial.typical("timbre")["multiplier"].tolist() == [-0.1, 0.1]


def test_changes_of_the_paper_are_recomputed_from_its_means():
    table = held_out.table_1_of_the_paper()
    assert table.loc[("tempo", "fast"), "change (%)"] == "+30.8"  # it prints 30.1
    assert table.loc[("tempo", "fast"), "printed (%)"] == 30.1
