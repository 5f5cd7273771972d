"""DiffMean: the difference of the poles' means, and where it comes from."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf

from steerlib.activations import Activations, extract_activations
from steerlib.directions import (
    controls,
    diff_mean,
    erase_and_set,
    joint,
    orthogonal,
    random_direction,
    shuffled_direction,
    subset_directions,
    transport,
)
from steerlib.prompts import Attribute
from steerlib.steering import SteeringVector, add_direction

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


def test_the_metadata_tells_where_a_vector_comes_from(tiny):
    vector = diff_mean(extract_activations(tiny, ATTRIBUTE, progress=False))
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


# --- few prompts, and no prompts at all ---


def matched(rng, pairs=20, noise=1.0):
    """Activations in matched pairs: a music of its own for each pair, and one direction between the poles."""
    music, shift = rng.normal(size=(pairs, 2, 16)), rng.normal(size=(2, 16))
    poles = [music + sign * shift / 2 + noise * rng.normal(size=music.shape) for sign in (1, -1)]
    return activations(np.concatenate(poles).astype("float32"), [True] * pairs + [False] * pairs)


def test_the_subset_of_all_pairs_is_diff_mean_and_there_is_one_of_it(rng):
    acts = matched(rng)
    found = subset_directions(acts, [2, 20], subsets=3)
    assert list(found) == [(2, 0), (2, 1), (2, 2), (20, 0)]
    torch.testing.assert_close(found[20, 0].directions, diff_mean(acts).directions)
    assert not torch.equal(found[2, 0].directions, found[2, 1].directions)
    assert found[2, 0].metadata["n_positive"] == found[2, 0].metadata["n_negative"] == 2


def test_a_subset_takes_whole_pairs_so_that_what_a_pair_shares_cancels(rng):
    acts = matched(rng, noise=0.0)
    for vector in subset_directions(acts, [1, 5], subsets=4).values():
        torch.testing.assert_close(vector.directions, diff_mean(acts).directions, rtol=1e-4, atol=1e-5)


def test_a_subset_does_not_depend_on_what_else_is_drawn(rng):
    acts = matched(rng)
    alone = subset_directions(acts, [5], subsets=2, seed=7)
    beside = subset_directions(acts, [2, 5, 10], subsets=4, seed=7)
    assert torch.equal(alone[5, 1].directions, beside[5, 1].directions)


@pytest.mark.parametrize(("counts", "subsets"), [([0], 1), ([21], 1), ([2], 0)])
def test_subsets_that_cannot_be_drawn_are_refused(rng, counts, subsets):
    with pytest.raises(ValueError, match="between 1 and the 20 pairs"):
        subset_directions(matched(rng), counts, subsets=subsets)
    with pytest.raises(ValueError, match="matched pairs"):
        subset_directions(activations(rng.normal(size=(3, 2, 4)), [True, True, False]), [1])


def test_a_random_direction_has_the_lengths_of_the_vector_and_little_else(rng):
    vector = diff_mean(activations(rng.normal(size=(8, 3, 512)).astype("float32"), [True] * 4 + [False] * 4))
    control = random_direction(vector, seed=1)
    torch.testing.assert_close(control.norms, vector.norms)
    assert vector.cosine_similarity(control).abs().max() < 0.2
    assert torch.equal(control.directions, random_direction(vector, seed=1).directions)
    assert not torch.equal(control.directions, random_direction(vector, seed=2).directions)


def lying_in_a_plane(rng, pairs=20):
    """Activations of 3 layers x 32 whose noise lies in the first two of 32 dimensions, poles apart along the third."""
    values = np.zeros((2 * pairs, 3, 32))
    values[:, :, :2] = rng.normal(size=(2 * pairs, 3, 2))
    values[:pairs, :, 2] += 5
    labels = torch.arange(2 * pairs) < pairs
    return Activations(torch.tensor(values).float(), labels, tuple(f"prompt {k}" for k in range(2 * pairs)))


def test_a_random_direction_within_the_covariance_goes_where_activations_vary(rng):
    activations = lying_in_a_plane(rng)
    vector = diff_mean(activations)
    control = random_direction(vector, seed=1, within=activations)
    assert torch.allclose(control.norms, vector.norms)
    assert control.directions[:, 2:].abs().max() < 1e-4 * vector.norms.min()  # not along what parts the poles
    assert not torch.equal(
        control.directions, random_direction(vector, seed=2, within=activations).directions
    )


def test_shuffled_poles_leave_no_trace_of_the_attribute(rng):
    activations = lying_in_a_plane(rng)
    control = shuffled_direction(activations, seed=0)
    assert torch.allclose(control.norms, diff_mean(activations).norms)
    assert control.directions[:, 2].abs().max() < 1e-4 * control.norms.min()
    with pytest.raises(ValueError, match="shuffled in pairs"):
        shuffled_direction(Activations(torch.zeros(2, 3, 32), None, ("a", "b")), seed=0)


def test_controls_are_random_shuffled_and_of_other_attributes_all_of_one_length(rng):
    several = {"tempo": lying_in_a_plane(rng), "timbre": lying_in_a_plane(rng)}
    found = controls(several, "tempo", draws=3)
    assert list(found) == ["random 1", "random 2", "random 3", "shuffled poles", "timbre"]
    length = diff_mean(several["tempo"]).norms
    assert all(torch.allclose(each.norms, length) for each in found.values())
    along = found["timbre"].cosine_similarity(diff_mean(several["timbre"])).diagonal()
    assert torch.allclose(along, torch.ones(3), atol=1e-5)


# --- several attributes at once ---


@pytest.fixture
def three(rng):
    """Activations of three attributes whose directions have much in common; 12 pairs, 4 layers, 8 dimensions."""
    found, common = {}, rng.normal(size=(4, 8))
    for name in ("tempo", "timbre", "energy"):
        values = rng.normal(size=(24, 4, 8)).astype("float32")
        values[:12] += (2 * common + rng.normal(size=(4, 8))).astype("float32")
        found[name] = activations(values, [True] * 12 + [False] * 12)
    return found


def cosines(one, other):
    return (one.unit().directions * other.unit().directions).sum(dim=1)


def test_orthogonal_directions_are_orthogonal_at_each_layer_and_as_long_as_before(three):
    plain = {name: diff_mean(each) for name, each in three.items()}
    found = orthogonal(plain)
    assert torch.equal(found["tempo"].directions, plain["tempo"].directions)
    for one, other in itertools.combinations(found, 2):
        assert cosines(plain[one], plain[other]).abs().max() > 0.3
        torch.testing.assert_close(cosines(found[one], found[other]), torch.zeros(4), atol=1e-5, rtol=0)
    for name, vector in plain.items():
        torch.testing.assert_close(found[name].norms, vector.norms)
        assert (cosines(found[name], vector) > 0).all()


def test_joint_directions_move_the_common_decoder_along_their_own_attribute_alone(three):
    found = joint(three)
    centred = torch.cat([each.values - each.values.mean(dim=0) for each in three.values()]).double()
    plain = [diff_mean(each).directions.double() for each in three.values()]
    for layer in range(4):
        covariance, _ = ledoit_wolf(centred[:, layer].numpy(), assume_centered=True)
        decoder = np.linalg.solve(covariance, np.stack([each[layer] for each in plain], axis=1))
        read = np.stack([each.directions[layer] for each in found.values()]) @ decoder
        assert (np.diag(read) > 0).all()
        assert np.abs(read - np.diag(np.diag(read))).max() < 1e-4 * np.diag(read).min()
    for name, each in three.items():
        torch.testing.assert_close(found[name].norms, diff_mean(each).norms)


def test_joint_directions_do_not_depend_on_the_order(three):
    there, back = joint(three), joint(dict(reversed(three.items())))
    for name in three:
        torch.testing.assert_close(there[name].directions, back[name].directions)


def test_one_vector_alone_stays_as_it_is(three):
    alone = diff_mean(three["tempo"])
    assert orthogonal({"tempo": alone})["tempo"] is alone
    torch.testing.assert_close(joint({"tempo": three["tempo"]})["tempo"].directions, alone.directions)


def test_vectors_of_two_models_are_not_mixed():
    one, other = (SteeringVector(torch.eye(2, 4), {"model": name}) for name in ("pocket", "melody"))
    with pytest.raises(ValueError, match="different models cannot be added: pocket .* and melody"):
        orthogonal({"tempo": one, "timbre": other})
    with pytest.raises(ValueError, match="there are no vectors"):
        orthogonal({})


def test_a_direction_that_is_zero_or_a_mixture_of_the_others_is_refused_by_name_and_layer(three):
    plain = {name: diff_mean(each) for name, each in three.items()}
    mixed = plain["tempo"].directions + 2 * plain["timbre"].directions
    mixed[[0, 2]] = plain["energy"].directions[[0, 2]]
    with pytest.raises(ValueError, match=r"'energy' points along tempo and timbre.* at the layers \[1, 3\]"):
        orthogonal({**plain, "energy": SteeringVector(mixed)})
    zero = plain["timbre"].directions.clone()
    zero[1] = 0
    with pytest.raises(ValueError, match=r"'timbre' is zero at the layers \[1\]: .* leave it out"):
        orthogonal({**plain, "timbre": SteeringVector(zero)})
    with pytest.raises(ValueError, match=r"'again' points along tempo.* leave it out"):
        joint({"tempo": three["tempo"], "again": three["tempo"]})


# --- maps ---


def applied(found, values, pole):
    """Activations (rows, layers, hidden) under a map at its full strength."""
    shift, terms = found.toward(1.0 if pole else -1.0)
    return add_direction(torch.as_tensor(values, dtype=torch.float32), shift, terms=terms)


def test_transport_recovers_an_affine_map_of_every_dimension_in_both_directions(rng):
    negative = rng.normal(size=(6, 2, 4))
    slope, shift = rng.uniform(0.5, 2, size=(2, 4)), rng.normal(size=(2, 4))
    positive = (slope * negative + shift)[[3, 0, 5, 1, 2, 4]]  # in which order the rows come does not matter
    found = transport(activations(np.concatenate([positive, negative]), [True] * 6 + [False] * 6))
    torch.testing.assert_close(applied(found, negative, True), torch.as_tensor(slope * negative + shift).float())
    back = applied(found, positive, False).sort(dim=0).values
    torch.testing.assert_close(back, torch.as_tensor(negative).sort(dim=0).values.float())


def test_transport_moves_means_as_diff_mean_does_and_leaves_constants_alone(rng):
    values = rng.normal(size=(8, 2, 4))
    values[:, :, 3] = 5
    heard = activations(values, [True, False] * 4)
    moved = applied(transport(heard), values[1::2], True).mean(dim=0) - torch.as_tensor(values[1::2]).mean(dim=0)
    torch.testing.assert_close(moved, diff_mean(heard).directions, check_dtype=False, atol=1e-5, rtol=1e-4)
    assert torch.equal(transport(heard).scale[..., 3], torch.zeros(2, 2))


@pytest.mark.parametrize("pole", [True, False])
def test_after_erase_and_set_every_state_reads_as_the_mean_of_the_pole(rng, pole):
    values = rng.normal(size=(12, 2, 4)) @ rng.normal(size=(4, 4))
    labels = np.array([True, False] * 6)
    values[labels] += rng.normal(size=(2, 4))
    found = erase_and_set(activations(values, labels))
    strangers = rng.normal(size=(5, 2, 4)) * 3
    read = (applied(found, strangers, pole) * found.read[0]).sum(dim=2)
    level = (torch.as_tensor(values[labels == pole]).mean(dim=0) * found.read[0]).sum(dim=1)
    torch.testing.assert_close(read, level.expand(5, -1).float(), check_dtype=False)
    change = applied(found, strangers, pole) - torch.as_tensor(strangers)
    along = diff_mean(activations(values, labels)).directions
    cosines = torch.nn.functional.cosine_similarity(change, along.expand(5, -1, -1), dim=2).abs()
    torch.testing.assert_close(cosines, torch.ones(5, 2), check_dtype=False)


@pytest.mark.parametrize("make", [transport, erase_and_set])
@pytest.mark.parametrize("labels", [[True, True, True, False], [True, True, True, True], None])
def test_a_map_needs_as_many_rows_of_both_poles(rng, make, labels):
    values = torch.as_tensor(rng.normal(size=(4, 2, 4)))
    heard = Activations(values, None if labels is None else torch.tensor(labels), tuple("abcd"))
    with pytest.raises(ValueError, match="as many activations of either pole, at least two"):
        make(heard)
