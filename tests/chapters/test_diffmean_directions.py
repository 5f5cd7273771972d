"""The chapter *DiffMean directions*: what two components tell, and whether blocks can be looked for."""

import numpy as np
import pytest
import torch

from steerlib.activations import Activations
from steerlib.chapters import diffmean_directions as chapter


def prompts_apart(rng, distance, pairs=30):
    """Activations of 6 layers x 16 with unit noise, the poles so far apart along the first dimension."""
    values = torch.tensor(rng.normal(size=(2 * pairs, 6, 16))).float()
    values[:pairs, :, 0] += distance
    return Activations(values, torch.arange(2 * pairs) < pairs, tuple(f"song {i}" for i in range(2 * pairs)))


def test_poles_that_lie_apart_are_told_apart_in_a_plane_and_shuffled_ones_are_not(rng):
    apart = prompts_apart(rng, distance=8)
    found = chapter.plane_auc(apart, 2)
    control = chapter.plane_auc_of_shuffled(apart, 2, draws=8)
    assert found.estimate > 0.99 and found.n == 60
    assert control.n == 8 and control.estimate < 0.7 and control.high < found.low


def test_a_difference_that_no_component_shows_is_not_found_in_a_plane(rng):
    hidden = prompts_apart(rng, distance=0)
    hidden.values[:, :, 1:3] *= 20  # two components that say nothing of the poles
    hidden.values[:30, :, 0] += 3
    assert chapter.plane_auc(hidden, 2).estimate < 0.75


@pytest.mark.parametrize(("shared", "testable"), [(True, False), (False, True)])
def test_blocks_can_be_looked_for_only_where_directions_change(rng, shared, testable):
    activations = prompts_apart(rng, distance=0)
    directions = np.repeat(np.eye(16)[:1] if shared else np.eye(16)[:6], 6 if shared else 1, axis=0)
    activations.values[:30] += 20 * torch.tensor(directions).float()
    found = chapter.blocks_measured(activations, draws=3)
    assert (found.testable.high < 0.9) == testable
    assert found.control.n == 3
