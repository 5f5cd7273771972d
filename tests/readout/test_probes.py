"""Probes find a direction that was put in, nothing where there is none, and never see a test track."""

import numpy as np
import pytest
import torch

from steerlib.activations import Activations
from steerlib.readout.probes import (
    grouped_splits,
    head_directions,
    nested_accuracy,
    probe_accuracy,
    probe_directions,
    scaled,
)

CLASSES = ("folk", "pop", "rock")


@pytest.fixture
def planted(rng):
    """Three classes of 40 clips, 20 tracks each; at layer 1 each class has its own axis, layer 0 is noise."""
    labels = np.repeat(CLASSES, 40)
    groups = np.char.add(labels, np.tile(np.repeat(np.arange(20), 2), 3).astype(str))
    values = rng.normal(0, 1, (120, 2, 16)).astype(np.float32)
    for number, name in enumerate(CLASSES):
        values[labels == name, 1, number] += 4
    names = tuple(f"clip {i}" for i in range(120))
    return Activations(torch.from_numpy(values), None, names), labels, groups


@pytest.mark.parametrize("method", ["diffmean", "bce", "mse"])
@pytest.mark.parametrize("against", ["rest", "folk", "one-hot"])
def test_directions_have_length_one_and_point_to_the_target(planted, method, against):
    activations, labels, _ = planted
    vector = probe_directions(activations, labels, "rock", against=against, method=method)
    torch.testing.assert_close(vector.norms, torch.ones(2))
    assert vector.directions[1, 2] > 0.6  # the axis of rock
    assert vector.directions[1, 0] < -0.2  # away from folk
    assert abs(vector.directions[1, 5]) < 0.3
    assert vector.metadata["positive"] == "rock"


def test_a_pair_uses_no_other_class(planted):
    activations, labels, _ = planted
    changed = activations.values.clone()
    changed[torch.from_numpy(labels == "pop")] = 1e3
    other = Activations(changed, None, activations.prompts)
    for method in ("diffmean", "bce", "mse"):
        one, two = (
            probe_directions(each, labels, "rock", against="folk", method=method)
            for each in (activations, other)
        )
        torch.testing.assert_close(one.directions, two.directions)


def test_the_rest_is_balanced_and_even(planted):
    activations, labels, _ = planted
    vector = probe_directions(activations, labels, "rock", against="rest")
    assert vector.metadata["n_positive"] == vector.metadata["n_negative"] == 40
    assert probe_directions(activations, labels, "rock", against="one-hot").metadata["n_negative"] == 80


def test_the_mse_probe_is_ridge_regression_in_closed_form(planted):
    activations, labels, _ = planted
    vector = probe_directions(activations, labels, "rock", against="folk", penalty=3.0)
    rows = labels != "pop"
    x = activations.values[rows, 1].double().numpy()
    x = x - x.mean(axis=0)
    x = x / np.sqrt((x**2).mean())
    y = (labels[rows] == "rock") - 0.5
    weights = np.linalg.solve(x.T @ x + 3.0 * np.eye(16), x.T @ y)
    np.testing.assert_allclose(vector.directions[1].numpy(), weights / np.linalg.norm(weights), atol=1e-4)


def test_a_scaled_vector_has_the_mean_norm_of_each_layer(planted):
    activations, labels, _ = planted
    vector = scaled(probe_directions(activations, labels, "rock"), activations)
    torch.testing.assert_close(vector.norms, activations.values.norm(dim=2).mean(dim=0))


def test_accuracy_is_high_where_the_classes_are_and_chance_elsewhere_or_for_shuffled_labels(planted):
    activations, labels, groups = planted
    table = probe_accuracy(activations, labels, groups)
    cells = table.set_index(["layer", "loss", "labels"])
    for loss in ("bce", "mse"):
        assert cells.loc[(1, loss, "true"), "accuracy"] > 0.95
        assert cells.loc[(0, loss, "true"), "low"] < 1 / 3 + 0.1
        assert (
            cells.loc[(1, loss, "shuffled"), "low"] < 1 / 3 < cells.loc[(1, loss, "shuffled"), "high"] + 0.1
        )
    assert table["chance"].to_numpy() == pytest.approx(1 / 3)
    assert (table["n"] == 120).all()
    pair = probe_accuracy(activations, labels, groups, target="rock", against="pop", control=False)
    assert set(pair["labels"]) == {"true"}
    assert (pair["chance"] == 0.5).all() and (pair["n"] == 80).all()


def test_a_probe_that_could_know_the_track_gains_nothing_from_it(rng):
    """Each track has a signature and a random label: only a leak would let a probe do better than chance."""
    groups = np.repeat(np.arange(24), 6)
    labels = np.array(["a", "b"])[np.repeat(rng.permutation(24) % 2, 6)]
    values = rng.normal(0, 3, (24, 1, 64))[groups] + rng.normal(0, 0.1, (144, 1, 64))
    activations = Activations(torch.from_numpy(values).float(), None, tuple(map(str, range(144))))
    grouped = probe_accuracy(activations, labels, groups, control=False)
    assert (grouped["accuracy"] < 0.75).all()  # 24 tracks: chance has a wide spread
    leaky = probe_accuracy(activations, labels, np.arange(144), control=False)
    assert (leaky["accuracy"] > 0.95).all()


def test_no_group_is_on_both_sides_and_a_poor_class_is_named():
    labels, groups = ["a"] * 8 + ["b"] * 8, [0, 0, 1, 1, 2, 2, 3, 3] + [4, 4, 4, 4, 5, 5, 5, 5]
    for train, test in grouped_splits(labels, groups, folds=2):
        assert not set(np.asarray(groups)[train]) & set(np.asarray(groups)[test])
    with pytest.raises(ValueError, match=r"3 grouped folds need 3 tracks .* 'b' has 2"):
        grouped_splits(labels, groups, folds=3)
    with pytest.raises(ValueError, match="at least two classes"):
        grouped_splits(["a", "a"], [0, 1], folds=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "polka"}, "no class 'polka'"),
        ({"target": "rock", "against": "rock"}, "to tell 'rock' from 'rock'"),
        ({"target": "rock", "method": "svm"}, "method must be one of"),
        ({"target": "rock", "labels": ["rock"]}, r"labels must have shape \(120,\)"),
    ],
)
def test_bad_requests_are_refused(planted, change, message):
    activations, labels, _ = planted
    with pytest.raises(ValueError, match=message):
        probe_directions(activations, **({"labels": labels} | change))


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_nested_accuracy_finds_the_layer_and_is_high_there(planted, loss):
    found = nested_accuracy(*planted, loss=loss, penalties=[1.0, 100.0])
    assert found.layers == (1,) * 4
    assert found.accuracy.estimate > 0.95 and found.accuracy.high <= 1
    assert found.chance == pytest.approx(1 / 3) and found.accuracy.n == 120
    pair = nested_accuracy(*planted, loss=loss, target="rock", against="folk", penalties=[10.0])
    assert pair.accuracy.n == 80 and pair.accuracy.estimate > 0.95


def test_the_best_of_many_layers_of_noise_is_no_better_than_chance_if_chosen_inside(rng):
    labels, groups = np.repeat(["a", "b"], 30), np.arange(60).astype(str)
    nested, best = [], []
    for seed in range(8):
        values = torch.tensor(rng.normal(size=(60, 12, 16)), dtype=torch.float32)
        noise = Activations(values, None, tuple(map(str, range(60))))
        nested.append(
            nested_accuracy(noise, labels, groups, loss="mse", penalties=[10.0], seed=seed).right.mean()
        )
        scan = probe_accuracy(noise, labels, groups, losses=["mse"], control=False, seed=seed)
        best.append(scan["accuracy"].max())
    assert abs(np.mean(nested) - 0.5) < 0.06
    assert np.mean(best) > 0.58


# --- heads ---


def test_the_head_that_knows_is_found_and_pushed_through_its_part_of_the_projection(tiny, rng):
    labels = torch.tensor([True, False] * 12)
    values = torch.as_tensor(rng.normal(size=(24, tiny.depth, tiny.width)), dtype=torch.float32)
    count = tiny.stack.layers[0].self_attn.num_heads
    width = tiny.width // count
    values[labels, 1, width : width + 2] += 6
    heard = Activations(values, labels, tuple(map(str, range(24))), None, {"site": "heads"})
    found = head_directions(tiny, heard, heads=1)
    (layer, head, accuracy), *rest = found.metadata["heads"]
    assert (layer, head, rest) == (1, 1, []) and accuracy > 0.95
    assert found.directions[[0, 2]].abs().max() == 0
    part = tiny.stack.layers[1].self_attn.out_proj.weight[:, width : 2 * width].detach()
    push = torch.linalg.lstsq(part, found.directions[1]).solution
    torch.testing.assert_close(part @ push, found.directions[1], atol=1e-4, rtol=1e-3)
    assert push[:2].min() > 0 and push[:2].norm() > 0.8 * push.norm()


def test_heads_need_labels_their_own_activations_and_enough_of_them(tiny):
    values = torch.zeros(4, tiny.depth, tiny.width)
    labels = torch.tensor([True, False] * 2)
    with pytest.raises(ValueError, match="site='heads', labels="):
        head_directions(tiny, Activations(values, labels, tuple("abcd"), None, {"site": "residual"}))
    with pytest.raises(ValueError, match="heads must be 1 to the"):
        head_directions(tiny, Activations(values, labels, tuple("abcd"), None, {"site": "heads"}), heads=999)
