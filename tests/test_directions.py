"""DiffMean: the difference of the poles' means, and where it comes from."""

import pytest
import torch

from steerlib.activations import Activations, extract_activations
from steerlib.directions import diff_mean
from steerlib.prompts import Attribute

ATTRIBUTE = Attribute(
    "tempo", "fast", "slow", "bpm", "BPM", ("fast rock", "a fast song"), ("slow rock", "a slow song")
)


def activations(values, labels):
    return Activations(
        torch.as_tensor(values), torch.as_tensor(labels), tuple(f"p{i}" for i in range(len(labels)))
    )


def test_diff_mean_is_the_mean_of_the_positive_pole_minus_that_of_the_negative(rng):
    values = rng.normal(size=(5, 3, 4)).astype("float32")
    vector = diff_mean(activations(values, [True, False, True, False, False]))
    expected = values[[0, 2]].mean(0) - values[[1, 3, 4]].mean(0)
    torch.testing.assert_close(vector.directions, torch.as_tensor(expected))
    assert (vector.metadata["n_positive"], vector.metadata["n_negative"]) == (2, 3)


def test_swapping_the_poles_negates_the_direction(rng):
    values = rng.normal(size=(4, 3, 4)).astype("float32")
    vector = diff_mean(activations(values, [True, True, False, False]))
    swapped = diff_mean(activations(values, [False, False, True, True]))
    assert torch.equal((-vector).directions, swapped.directions)


def test_a_shift_of_one_pole_is_recovered_exactly(rng):
    negative = rng.normal(size=(3, 2, 4)).astype("float32")
    shift = rng.normal(size=(2, 4)).astype("float32")
    both = torch.as_tensor(negative).repeat(2, 1, 1)
    both[:3] += torch.as_tensor(shift)
    vector = diff_mean(activations(both, [True] * 3 + [False] * 3))
    torch.testing.assert_close(vector.directions, torch.as_tensor(shift), rtol=1e-5, atol=1e-6)


def test_the_metadata_tells_where_a_vector_comes_from(tiny_model, tiny_processor):
    vector = diff_mean(extract_activations(tiny_model, tiny_processor, ATTRIBUTE, progress=False))
    expected = {
        "attribute": "tempo",
        "positive": "fast",
        "negative": "slow",
        "method": "DiffMean",
        "site": "residual",
    }
    assert expected.items() <= vector.metadata.items()
    assert {
        "model",
        "revision",
        "weights",
        "prompts_sha256",
        "versions",
        "position",
    } <= vector.metadata.keys()
    assert (vector.norms > 0).all()


def test_missing_labels_or_a_missing_pole_are_refused():
    with pytest.raises(ValueError, match="extract the activations of an Attribute"):
        diff_mean(Activations(torch.zeros(2, 3, 4), None, ("a", "b")))
    with pytest.raises(ValueError, match="both poles, but all 2 labels are True"):
        diff_mean(activations(torch.zeros(2, 3, 4), [True, True]))
