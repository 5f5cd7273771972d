"""Numbers that were put into activations are found, at the layers and along the directions where they were put."""

import numpy as np
import pytest
import torch

from steerlib.activations import Activations
from steerlib.readout.decoding import decodability, ridge_direction

ROWS, HIDDEN = 120, 8


@pytest.fixture
def truth(rng):
    return rng.normal(size=ROWS)


def activations_of(*layers):
    values = torch.tensor(np.stack(layers, axis=1), dtype=torch.float32)
    return Activations(values, None, tuple(f"clip {i}" for i in range(len(values))))


def test_a_number_is_decoded_where_it_is_and_nowhere_else(rng, truth):
    along = rng.normal(size=HIDDEN)
    noise = rng.normal(size=(ROWS, HIDDEN))
    table = decodability(activations_of(noise, 3 * truth[:, None] * along + noise), truth)
    assert table.columns.tolist() == ["layer", "r2", "low", "high", "n"]
    assert table.r2[1] > 0.9 and table.high[0] < 0.2
    assert ((table.low < table.r2) & (table.r2 < table.high)).all()


def test_rows_of_one_group_are_held_out_together(rng):
    singer = np.repeat(np.arange(20), 6)  # each row tells its group and nothing else
    truth = rng.normal(size=20)[singer]
    values = np.eye(20)[singer][:, None] + 0.01 * rng.normal(size=(ROWS, 1, 20))
    assert decodability(values, truth).r2[0] > 0.9
    assert decodability(values, truth, groups=singer).r2[0] < 0.2


def test_the_pattern_is_where_the_number_moves_and_the_filter_also_cancels_what_disturbs(rng, truth):
    disturbance = rng.normal(size=ROWS)
    values = 0.05 * rng.normal(size=(ROWS, HIDDEN))
    values[:, 0] += truth + disturbance
    values[:, 1] += disturbance  # tells nothing of the number, but what to subtract
    acts = activations_of(values)
    pattern, weights = (
        ridge_direction(acts, truth, kind=kind).directions[0] for kind in ("pattern", "filter")
    )
    assert pattern[0] > 0.95
    assert weights[0] == pytest.approx(0.7, abs=0.05) and weights[1] == pytest.approx(-0.7, abs=0.05)
    torch.testing.assert_close(pattern.norm(), torch.tensor(1.0))


def test_the_direction_points_to_where_the_number_grows(rng, truth):
    acts = activations_of(truth[:, None] * np.ones(HIDDEN) + rng.normal(size=(ROWS, HIDDEN)))
    for kind in ("filter", "pattern"):
        up, down = (ridge_direction(acts, sign * truth, kind=kind).directions for sign in (1, -1))
        assert up.sum() > 0
        torch.testing.assert_close(up, -down, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:, 0], y), "shape"),
        (lambda x, y: (x, y[1:]), "shape"),
        (lambda x, y: (x, np.where(np.arange(ROWS) == 3, np.nan, y)), "finite"),
    ],
)
def test_what_cannot_be_decoded_is_refused(rng, truth, change, message):
    with pytest.raises(ValueError, match=message):
        decodability(*change(rng.normal(size=(ROWS, 2, HIDDEN)), truth))


def test_too_few_groups_for_the_folds_are_refused(rng, truth):
    values = rng.normal(size=(ROWS, 1, HIDDEN))
    with pytest.raises(ValueError, match="3 groups cannot be divided into 5 folds"):
        decodability(values, truth, groups=np.arange(ROWS) % 3)
    with pytest.raises(ValueError, match="filter, pattern"):
        ridge_direction(activations_of(values[:, 0]), truth, kind="weights")
