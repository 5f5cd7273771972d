"""Separation, blocks and knees where they were put on purpose, and none where there are none."""

from itertools import combinations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from steerlib.activations import Activations
from steerlib.prompts import Attribute
from steerlib.readout.analysis import (
    _segmentations,
    clusters,
    jaccard,
    knee,
    partition,
    rand_index,
    separation,
    similarity_blocks,
    subset_agreement,
)

PAIRS = 20
ATTRIBUTE = Attribute(
    name="tempo",
    positive="fast",
    negative="slow",
    metric="bpm",
    unit="BPM",
    positive_prompts=tuple(f"a fast song {i}" for i in range(PAIRS)),
    negative_prompts=tuple(f"a slow song {i}" for i in range(PAIRS)),
)


def activations_of(layers):
    """Activations from arrays (positive prompts first), one for each layer."""
    return Activations(
        values=torch.tensor(np.stack(layers, axis=1), dtype=torch.float32),
        labels=torch.arange(2 * PAIRS) < PAIRS,
        prompts=ATTRIBUTE.positive_prompts + ATTRIBUTE.negative_prompts,
        attribute=ATTRIBUTE,
    )


def cosines_of(directions):
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return unit @ unit.T


def blocks_of(rng, sizes, *, noise=0.5, hidden=64):
    centres = rng.normal(size=(len(sizes), hidden))
    return cosines_of(np.repeat(centres, sizes, axis=0) + noise * rng.normal(size=(sum(sizes), hidden)))


# --- separation ---


def test_poles_that_lie_apart_separate_and_noise_does_not(rng):
    noise = rng.normal(size=(2 * PAIRS, 8))
    apart = noise + 6 * (np.arange(2 * PAIRS) < PAIRS)[:, None]
    table = separation(activations_of([noise, apart])).set_index("layer")
    assert table.loc[1, "auc"] == 1 and table.loc[1, "silhouette"] > 0.6
    assert table.loc[0, "auc_low"] < 0.5 and abs(table.loc[0, "silhouette"]) < 0.1
    for name in ("auc", "silhouette"):
        assert (table[f"{name}_low"] <= table[name]).all() and (table[name] <= table[f"{name}_high"]).all()


def test_a_readable_direction_need_not_make_clusters(rng):
    values = 10 * rng.normal(size=(2 * PAIRS, 8))
    values[:, 0] = np.where(np.arange(2 * PAIRS) < PAIRS, 1, -1) + 0.1 * rng.normal(size=2 * PAIRS)
    row = separation(activations_of([values])).iloc[0]
    assert row.auc > 0.95 and row.silhouette < 0.05


def test_prompts_of_a_pair_are_never_split_between_training_and_test(rng):
    # A prompt all but equals its partner at the other pole: who knows the one gets the other wrong.
    content = rng.normal(size=(PAIRS, 64))
    values = np.concatenate([content, content]) + 0.01 * rng.normal(size=(2 * PAIRS, 64))
    assert 0.3 < separation(activations_of([values])).auc.item() < 0.7


def test_activations_without_poles_cannot_be_separated():
    unlabelled = Activations(values=torch.zeros(3, 1, 4), labels=None, prompts=("a", "b", "c"))
    with pytest.raises(ValueError, match="from an Attribute"):
        separation(unlabelled)
    with pytest.raises(ValueError, match="prompts of each pole"):
        separation(activations_of([np.zeros((2 * PAIRS, 4))]), folds=PAIRS + 1)


# --- blocks ---


@pytest.mark.parametrize("sizes", [(5, 8, 6), (10, 10), (3, 3, 3, 3), (2, 12)])
def test_blocks_are_found_where_they_were_put(rng, sizes):
    ends = np.cumsum(sizes)
    found = similarity_blocks(blocks_of(rng, sizes))
    assert found.bounds == tuple((int(e - s), int(e - 1)) for s, e in zip(sizes, ends, strict=True))
    assert found.within > 0.7 > 0.3 > found.between
    assert found.silhouette > 0.5


def test_the_division_is_the_best_of_all(rng):
    directions = rng.normal(size=(9, 4))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)

    def spread(cuts):
        parts = np.split(directions, cuts)
        return sum(((part - part.mean(axis=0)) ** 2).sum() for part in parts)

    for count, bounds in enumerate(_segmentations(directions @ directions.T, 5), start=1):
        best = min(spread(cuts) for cuts in combinations(range(1, 9), count - 1))
        assert spread([first for first, _ in bounds[1:]]) == pytest.approx(best)


@pytest.mark.parametrize("noise", [0.1, 100.0])
def test_layers_that_all_agree_or_all_differ_are_one_block(rng, noise):
    found = similarity_blocks(blocks_of(rng, (14,), noise=noise))
    assert found.bounds == ((0, 13),)
    assert np.isnan(found.silhouette) and np.isnan(found.between)


def test_a_single_layer_is_a_block():
    assert similarity_blocks([[1.0]]).bounds == ((0, 0),)


def test_directions_that_flip_their_sign_are_two_blocks(rng):
    direction = rng.normal(size=16)
    matrix = cosines_of(np.stack([direction] * 4 + [-direction] * 5) + 0.1 * rng.normal(size=(9, 16)))
    assert similarity_blocks(matrix).bounds == ((0, 3), (4, 8))


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((2, 3)), "square"),
        (np.array([[1.0, np.nan], [np.nan, 1.0]]), "is a direction zero"),
        (np.array([[1.0, 0.5], [0.1, 1.0]]), "symmetric"),
        (np.array([[2.0, 0.5], [0.5, 2.0]]), "1 on the diagonal"),
    ],
)
def test_what_is_no_matrix_of_cosines_is_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        similarity_blocks(matrix)


# --- knee ---


def test_the_knee_is_where_two_lines_meet(rng):
    x = np.linspace(0, 5, 21)
    y = 1 + 0.2 * x + 4 * np.maximum(x - 1.6, 0) + 0.1 * rng.normal(size=21)
    order = rng.permutation(21)
    assert knee(x[order], y[order]) == pytest.approx(1.6, abs=0.15)


def test_a_straight_or_random_curve_has_no_knee(rng):
    x = np.linspace(0, 5, 21)
    assert np.isnan(knee(x, 2 * x + 1))
    assert np.isnan(knee(x, 2 * x + 0.3 * rng.normal(size=21)))
    assert np.isnan(knee(x, np.ones(21)))
    assert np.isnan(knee([0, 1, 2, 3], [0, 0, 0, 5]))


# --- clusters -----------------------------------------------------------------------------------------------


@pytest.fixture
def clouds(rng):
    """Layer 0: noise; layer 1: three clouds, one for each label."""
    labels = np.repeat(["a", "b", "c"], 30)
    values = rng.normal(0, 1, (90, 2, 8))
    values[:, 1, 0] += 20 * np.repeat([0, 1, 2], 30)
    return Activations(torch.from_numpy(values).float(), None, tuple(map(str, range(90)))), labels


def test_clusters_agree_with_labels_where_they_are_clouds_and_not_in_noise(clouds):
    table = clusters(*clouds).set_index("layer")
    assert abs(table.loc[0, "ari"]) < 0.1
    assert table.loc[1, "ari"] > 0.8
    assert (table["ari_low"] <= table["ari"]).all() and (table["ari"] <= table["ari_high"]).all()
    assert table.loc[1, "nmi"] > table.loc[0, "nmi"]
    assert clusters(*clouds, layers=[1])["layer"].tolist() == [1]


def test_clips_of_one_group_are_left_out_together(clouds):
    activations, labels = clouds
    groups = np.arange(len(labels)) % 15
    alone, together = (
        clusters(activations, labels, groups=each, layers=[0]).iloc[0] for each in (None, groups)
    )
    assert alone["ari"] == together["ari"]
    assert alone["ari_high"] != together["ari_high"]


def test_the_interval_of_the_agreement_covers_what_other_clips_would_give(rng):
    centres, labels = rng.normal(size=(4, 6)), np.repeat(np.arange(4), 15)
    found = []
    for seed in range(60):
        values = torch.tensor(1.4 * centres[labels] + rng.normal(size=(60, 6)), dtype=torch.float32)
        heard = Activations(values[:, None], None, tuple(map(str, range(60))))
        found.append(clusters(heard, labels, starts=3, seed=seed).iloc[0])
    expected = np.mean([each["ari"] for each in found])
    assert 0.2 < expected < 0.8
    assert np.mean([each["ari_low"] <= expected <= each["ari_high"] for each in found]) > 0.88


def test_the_rand_index_is_that_of_scikit_learn(rng):
    for kinds in (2, 5, 20):
        one, other = rng.integers(kinds, size=(2, 60))
        assert rand_index(one, other) == pytest.approx(adjusted_rand_score(one, other))
        assert rand_index(one.astype(str), one) == 1
    assert rand_index([0] * 5, [1] * 5) == 1


def test_clusters_are_numbered_as_the_labels_that_they_are_matched_to(clouds):
    activations, labels = clouds
    found = partition(activations, labels, 1)
    assert np.array(["a", "b", "c"])[found].tolist() == list(labels)
    overlap = jaccard(labels, found)
    assert overlap.index.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(overlap.to_numpy(), np.eye(3))
    noise = jaccard(labels, partition(activations, labels, 0)).to_numpy()
    assert 0 < noise.max() < 0.6


def test_labels_with_a_single_clip_are_refused(clouds):
    activations, labels = clouds
    with pytest.raises(ValueError, match="two labels with two clips each"):
        clusters(activations, ["odd", *labels[1:]])
    with pytest.raises(ValueError, match=r"labels must have shape \(90,\)"):
        partition(activations, labels[:5], 0)


# --- directions of few prompts ---


def test_small_subsets_agree_less_and_the_whole_agrees_with_itself(rng):
    shift = rng.normal(size=16)
    noise = [rng.normal(size=(2 * PAIRS, 16)) for _ in range(2)]
    poles = np.where(np.arange(2 * PAIRS) < PAIRS, 0.5, -0.5)[:, None] * shift
    table = subset_agreement(activations_of([poles + noise[0], noise[1]]), [1, 5, 10, PAIRS], subsets=20)
    mean = table.groupby(["layer", "prompts"])[["with_all", "with_other", "length"]].mean()
    assert mean.with_all[0].is_monotonic_increasing and mean.with_all[0, PAIRS] == pytest.approx(1)
    assert mean.with_other[0].iloc[:3].is_monotonic_increasing and np.isnan(mean.with_other[0, PAIRS])
    assert mean.length[0, 1] > 1.5 and mean.length[0, PAIRS] == pytest.approx(1)
    # Where there is no direction, a half of the prompts agrees with the whole, but not with the other half.
    assert mean.with_all[1, 10] > 0.5 and abs(mean.with_other[1, 10]) < 0.2


def test_counts_that_there_are_not_enough_pairs_for_are_refused(rng):
    with pytest.raises(ValueError, match=f"between 1 and the {PAIRS} pairs"):
        subset_agreement(activations_of([rng.normal(size=(2 * PAIRS, 4))]), [PAIRS + 1])
