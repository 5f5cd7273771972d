"""Sparse features: a dictionary that is there is found, and so is the feature of an attribute."""

import pytest
import torch

from steerlib.readout.features import feature_for, train_sparse


@pytest.fixture(scope="module")
def world():
    """States that are sums of two or three of eight directions, and how much of each is in them."""
    draws = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(16, 16, generator=draws))[0][:8]
    amounts = torch.rand(3000, 8, generator=draws) * (torch.rand(3000, 8, generator=draws) < 0.3)
    return basis, amounts, amounts @ basis + 0.5


@pytest.fixture(scope="module")
def code(world):
    return train_sparse(world[2], features=16, active=4, steps=400, batch=256, rate=5e-3, progress=False)


def test_a_dictionary_is_found_in_sums_of_few_of_its_directions(world, code):
    basis, _, states = world
    assert code.explained(states) > 0.9
    assert ((basis @ code.dictionary.T).max(dim=1).values > 0.9).sum() >= 6
    torch.testing.assert_close(code.dictionary.norm(dim=1), torch.ones(16))


def test_a_code_has_no_more_features_than_it_may(world, code):
    found = code.encode(world[2][:50])
    assert ((found > 0).sum(dim=1) <= 4).all() and (found >= 0).all()


def test_the_same_seed_gives_the_same_dictionary(world):
    some = {"features": 16, "active": 4, "steps": 5, "batch": 64, "progress": False}
    one, same, other = (train_sparse(world[2], seed=seed, **some).dictionary for seed in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_the_features_of_both_poles_are_chosen(world, code):
    basis, amounts, _ = world
    loud = amounts.clone()[:400].reshape(20, 20, 8)
    labels = torch.arange(20) < 10
    loud[labels, :, 2], loud[~labels, :, 2] = 0.9, 0.0
    loud[labels, :, 5], loud[~labels, :, 5] = 0.0, 0.9
    found = feature_for(code, loud @ basis + 0.5, labels, layers=3)
    assert found.auc == (1.0, 1.0) and found.vector.directions.shape == (3, 16)
    direction = found.vector.unit().directions[1]
    assert direction @ basis[2] > 0.5 and direction @ basis[5] < -0.5


def test_bad_sizes_and_a_single_pole_are_refused(world, code):
    states = world[2]
    with pytest.raises(ValueError, match=r"two or more, got \(1, 16\)"):
        train_sparse(states[:1])
    with pytest.raises(ValueError, match="active must be between 1 and the 8 features, got 9"):
        train_sparse(states, features=8, active=9)
    with pytest.raises(ValueError, match="all labels are the same"):
        feature_for(code, states[:40].reshape(4, 10, 16), torch.ones(4, dtype=torch.bool), layers=3)
