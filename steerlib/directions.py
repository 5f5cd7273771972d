"""Directions that separate two poles of an attribute, one per layer.

DiffMean: paper A section 3.1, equation 1, and paper B section IV-C1. Several attributes at once, "fast but dark":
vectors add up as they are; `orthogonal` and `joint` first take out of each what belongs to the others. `transport` and
`erase_and_set` make maps, which do to a state what it needs.
"""

import operator
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from sklearn.covariance import ledoit_wolf

from steerlib.activations import Activations
from steerlib.prompts import prompts_hash
from steerlib.steering import SteeringMap, SteeringVector

__all__ = [
    "controls",
    "diff_mean",
    "erase_and_set",
    "joint",
    "orthogonal",
    "random_direction",
    "shuffled_direction",
    "subset_directions",
    "transport",
]

_APART = 1e-3
"""Smallest share of a direction that must be left outside the span of others."""


def diff_mean(activations: Activations) -> SteeringVector:
    """Difference of the poles' means at every layer: positive minus negative (paper A equation 1).

    Chapter: *DiffMean directions*.

    Parameters
    ----------
    activations : Activations
        With labels, as `extract_activations` returns them for an `Attribute`.

    Returns
    -------
    SteeringVector
        In the unit of the activations. Its metadata names model, prompts, method, poles and versions.

    Raises
    ------
    ValueError
        If there are no labels, or a pole has no prompts.

    Examples
    --------
    >>> pairs = load_attribute("tempo")                                         # doctest: +SKIP
    >>> vector = diff_mean(extract_activations(model, pairs))                   # doctest: +SKIP
    """
    labels = activations.labels
    if labels is None:
        raise ValueError(
            "diff_mean needs two labelled poles: extract the activations of an Attribute, not of a list"
        )
    if labels.all() or not labels.any():
        raise ValueError(
            f"diff_mean needs prompts of both poles, but all {len(labels)} labels are {bool(labels[0])}"
        )
    values = activations.values.double()
    directions = values[labels].mean(0) - values[~labels].mean(0)
    attribute = activations.attribute
    poles = (
        {}
        if attribute is None
        else {
            "attribute": attribute.name,
            "positive": attribute.positive,
            "negative": attribute.negative,
        }
    )
    metadata = {
        **activations.metadata,
        **poles,
        "method": "DiffMean",
        "prompts_sha256": prompts_hash(activations.prompts),
        "n_positive": int(labels.sum()),
        "n_negative": int((~labels).sum()),
    }
    return SteeringVector(directions, metadata)


def subset_directions(
    activations: Activations, counts: Sequence[int], *, subsets: int = 5, seed: int = 0
) -> dict[tuple[int, int], SteeringVector]:
    """DiffMean directions of random subsets of the prompts (paper A section 4.4, figure 8).

    Chapter: *How many prompts*.

    Parameters
    ----------
    activations : Activations
        Activations of an attribute: as many positive as negative prompts, in matched order. A subset takes whole pairs.
    counts : sequence of int
        Pairs in a subset, which is prompts of each pole.
    subsets : int, default 5
        Random subsets of each size; of all pairs there is one.
    seed : int
        Seeds the draws. A subset depends only on the seed, its count and its number.

    Returns
    -------
    dict
        By (count, number of the subset).

    Raises
    ------
    ValueError
        If there are no matched pairs, a count is not between 1 and the number of pairs, or `subsets` is not
        positive.
    """
    labels = activations.labels
    if labels is None or 2 * int(labels.sum()) != len(labels):
        raise ValueError(
            "subsets are drawn from matched pairs: extract the activations of an Attribute, which has as many "
            "positive as negative prompts"
        )
    pairs = len(labels) // 2
    wrong = [count for count in counts if not 1 <= count <= pairs]
    if wrong or subsets < 1:
        raise ValueError(
            f"counts must lie between 1 and the {pairs} pairs that there are, and subsets be at least 1; got "
            f"counts {list(counts)} and {subsets} subsets"
        )
    poles = [labels.nonzero().flatten(), (~labels).nonzero().flatten()]
    found = {}
    for count in counts:
        for subset in range(subsets if count < pairs else 1):
            drawn = np.random.default_rng([seed, count, subset]).choice(pairs, count, replace=False)
            rows = torch.cat([pole[np.sort(drawn)] for pole in poles])
            part = Activations(
                activations.values[rows],
                labels[rows],
                tuple(activations.prompts[row] for row in rows),
                activations.attribute,
                activations.metadata,
            )
            found[count, subset] = diff_mean(part)
    return found


def random_direction(
    vector: SteeringVector, *, seed: int, within: Activations | None = None
) -> SteeringVector:
    """A direction that means nothing: at each layer as long as that of `vector`, and drawn at random.

    The control that paper A lacks: what does a push of this length do, whatever its direction? Chapters: *Steering
    sweep*, *Held out*, *Known truth and controls*.

    Parameters
    ----------
    vector : SteeringVector
    seed : int
    within : Activations, optional
        Draw from a Gaussian with the covariance of these activations within their poles, so that the push goes where
        activations vary; by default uniformly on the sphere.
    """
    generator = torch.Generator().manual_seed(seed)
    if within is None:
        noise = torch.randn(vector.directions.shape, generator=generator)
    else:
        values = within.values
        if within.labels is not None:
            poles = [values[within.labels], values[~within.labels]]
            values = torch.cat([pole - pole.mean(dim=0) for pole in poles])
        weights = torch.randn(len(values), generator=generator)
        noise = ((values - values.mean(dim=0)) * weights[:, None, None]).sum(dim=0)
    return _as_long_as(
        vector, noise, method="random" if within is None else "random in covariance", seed=seed
    )


def shuffled_direction(activations: Activations, *, seed: int, pairs: int | None = None) -> SteeringVector:
    """DiffMean after the poles of half of the pairs were swapped, made as long as that of all right poles.

    What the recipe finds in the same prompts where there is nothing to be found. Chapters: *Steering sweep*, *Held
    out*, *How many prompts*.

    Parameters
    ----------
    activations : Activations
        Of an attribute.
    seed : int
    pairs : int, optional
        So many pairs, drawn at random; all by default.

    Raises
    ------
    ValueError
        If there are no two pairs of prompts.
    """
    labels = activations.labels
    if labels is None or len(labels) < 4 or 2 * int(labels.sum()) != len(labels):
        raise ValueError(
            "poles are shuffled in pairs: extract the activations of an Attribute with two pairs or more"
        )
    order = np.random.default_rng(seed).permutation(len(labels) // 2)[:pairs]
    differences = (activations.values[labels] - activations.values[~labels])[order]
    signs = torch.ones(len(differences))
    signs[: len(differences) // 2] = -1
    mixed = (differences * signs[:, None, None]).mean(dim=0)
    return _as_long_as(diff_mean(activations), mixed, method="DiffMean of shuffled poles", seed=seed)


def controls(
    activations: Mapping[str, Activations], name: str, *, draws: int, seed: int = 0
) -> dict[str, SteeringVector]:
    """Directions that should not steer an attribute, each as long as its own: what an effect must exceed.

    Parameters
    ----------
    activations : mapping of str to Activations
        By attribute.
    name : str
        The attribute that is steered.
    draws : int
        Random directions; every second is drawn within the covariance of the activations.
    seed : int

    Returns
    -------
    dict of str to SteeringVector
        "random 1" and on, "shuffled poles", and the directions of the other attributes by their names.
    """
    own = activations[name]
    vector = diff_mean(own)
    found = {
        f"random {k + 1}": random_direction(vector, seed=seed + k, within=own if k % 2 else None)
        for k in range(draws)
    }
    found["shuffled poles"] = shuffled_direction(own, seed=seed)
    for other, theirs in activations.items():
        if other != name:
            found[other] = _as_long_as(
                vector, diff_mean(theirs).directions, method="DiffMean", attribute=other
            )
    return found


def orthogonal(vectors: Mapping[str, SteeringVector]) -> dict[str, SteeringVector]:
    """Directions at right angles to each other at each layer, by Gram and Schmidt in the order given.

    The first stays as it is. Each of the others loses what it has in common with those before it, and is made as long
    as it was, so that λ means a push of the same length. Chapter: *Mixtures*.

    Parameters
    ----------
    vectors : mapping of str to SteeringVector
        By attribute. If they will act from different source layers, give ``vector.everywhere(layer)`` of each: what
        must be orthogonal is what is added to the same block.

    Returns
    -------
    dict of str to SteeringVector

    Raises
    ------
    ValueError
        If there is no vector, they come from different models, or at some layer one is zero or a mixture of those
        before it.
    """
    factors, lengths = _factors(vectors)
    found = {}
    for k, (name, vector) in enumerate(vectors.items()):
        about = {**vector.metadata, "method": "orthogonal", "to": list(vectors)[:k]}
        rest = factors[..., k] * lengths[:, k, None].sign()
        found[name] = _as_long_as(vector, rest, **about) if k else vector
    return found


def joint(activations: Mapping[str, Activations]) -> dict[str, SteeringVector]:
    """The effect of each attribute on the activations with the others held fixed, as a linear decoder reads them.

    At each layer one least-squares regression decodes all attributes at once from the activations H of all prompts,
    y = Hᵀ Σ⁻¹ D with D the DiffMean directions and Σ the covariance of H within the prompts of an attribute (shrunk
    after Ledoit and Wolf, 2004). Regressing H on what was decoded gives B = D (Dᵀ Σ⁻¹ D)⁻¹: along the direction of an
    attribute the decoder reads a change of that attribute and none of the others. (Regressing H on the words instead
    gives DiffMean again, for each prompt names one attribute.) The order does not matter. Each direction is as long as
    its DiffMean, so that λ means a push of the same length. Chapter: *Mixtures*.

    Parameters
    ----------
    activations : mapping of str to Activations
        By attribute, as for `diff_mean`, all from one model.

    Returns
    -------
    dict of str to SteeringVector

    Raises
    ------
    ValueError
        As `orthogonal` does of the DiffMean directions.
    """
    vectors = {name: diff_mean(each) for name, each in activations.items()}
    _factors(vectors)
    centred = torch.cat([each.values - each.values.mean(dim=0) for each in activations.values()]).double()
    found = torch.stack([vector.directions for vector in vectors.values()], dim=2).double()
    for layer, directions in enumerate(found):  # (hidden, attributes)
        covariance = torch.from_numpy(ledoit_wolf(centred[:, layer].numpy(), assume_centered=True)[0])
        decoder = torch.linalg.solve(covariance, directions)
        found[layer] = directions @ torch.linalg.inv(directions.T @ decoder)
    return {
        name: _as_long_as(
            vector, found[..., k], **{**vector.metadata, "method": "joint", "with": list(vectors)}
        )
        for k, (name, vector) in enumerate(vectors.items())
    }


def transport(activations: Activations) -> SteeringMap:
    """The affine map, dimension by dimension, that makes activations of one pole look like those of the other.

    Linear-AcT (Rodriguez et al., 2025): the least-squares line through the sorted values of both poles, which is the
    optimal transport between them where both have one shape. At λ = 1 mean and spread of a pole become those of the
    other; DiffMean moves the mean alone. Chapter: *Methods*.

    Parameters
    ----------
    activations : Activations
        With as many rows of either pole, from where the map will act: of audio, for ``positions="audio"``.

    Returns
    -------
    SteeringMap

    Raises
    ------
    ValueError
        If there are no labels, or not as many rows of both poles, two at least.
    """
    positive, negative = _poles(activations)
    shifts, scales = [], []
    for source, target in ((negative, positive), (positive, negative)):
        ranks = [(pole - pole.mean(dim=0)).sort(dim=0).values for pole in (source, target)]
        spread = (ranks[0] ** 2).sum(dim=0)
        slope = torch.where(spread > 0, (ranks[0] * ranks[1]).sum(dim=0) / spread, 1.0)
        shifts.append(target.mean(dim=0) - slope * source.mean(dim=0))
        scales.append(slope - 1)
    none = torch.zeros_like(torch.stack(shifts))
    origin = activations.values.double().mean(dim=0)
    about = {**activations.metadata, "method": "transport (AcT)"}
    return SteeringMap(torch.stack(shifts), torch.stack(scales), none, none, origin, about)


def erase_and_set(activations: Activations) -> SteeringMap:
    """The map that erases what a linear reader can tell of an attribute, and sets it to a pole's mean.

    The reader is the linear discriminant w = Σ⁻¹Δ, with Δ the DiffMean direction and Σ the covariance within the poles
    (shrunk after Ledoit and Wolf, 2004). Taking ``(w . h) Δ / (w . Δ)`` from a state is the smallest change that leaves
    nothing to read linearly (LEACE: Belrose et al., 2023); the mean of the pole is put in its place. At λ = 1 every
    state reads as that mean, whatever it was. Chapter: *Methods*.

    Parameters
    ----------
    activations : Activations
        As for `transport`.

    Returns
    -------
    SteeringMap

    Raises
    ------
    ValueError
        As `transport`.
    """
    positive, negative = _poles(activations)
    delta = positive.mean(dim=0) - negative.mean(dim=0)
    within = torch.cat([pole - pole.mean(dim=0) for pole in (positive, negative)])
    read = torch.zeros_like(delta)
    for layer, direction in enumerate(delta):
        covariance = torch.from_numpy(ledoit_wolf(within[:, layer].numpy(), assume_centered=True)[0])
        weights = torch.linalg.solve(covariance, direction)
        read[layer] = weights / (weights @ direction)
    levels = torch.stack([(pole.mean(dim=0) * read).sum(dim=1, keepdim=True) for pole in (positive, negative)])
    about = {**activations.metadata, "method": "erase and set (LEACE)"}
    both = delta.expand(2, -1, -1)
    return SteeringMap(
        levels * both, torch.zeros_like(both), read.expand(2, -1, -1), both, activations.values.mean(dim=0), about
    )


def _poles(activations: Activations) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows (rows, layers, hidden), float64, of the positive and of the negative pole."""
    labels = activations.labels
    if labels is None or labels.sum() < 2 or 2 * int(labels.sum()) != len(labels):
        raise ValueError(
            "a map is made of as many activations of either pole, at least two: give labels of both"
        )
    values = activations.values.double()
    return values[labels], values[~labels]


def _factors(vectors: Mapping[str, SteeringVector]) -> tuple[torch.Tensor, torch.Tensor]:
    """Q (layers, hidden, attributes) of the directions, and the diagonal of R; raises if they are dependent."""
    if not vectors:
        raise ValueError("there are no vectors: give at least one, such as {'tempo': diff_mean(activations)}")
    reduce(operator.add, vectors.values())  # refuses those of different models
    stacked = torch.stack([vector.directions for vector in vectors.values()], dim=2).double()
    factors, upper = torch.linalg.qr(stacked)
    left = upper.diagonal(dim1=1, dim2=2)
    for k, (name, vector) in enumerate(vectors.items()):
        for what, flat in (
            ("is zero", vector.norms == 0),
            (
                f"points along {' and '.join(list(vectors)[:k])}, or a mixture of them,",
                left[:, k].abs() <= _APART * vector.norms,
            ),
        ):
            if flat.any():
                layers = flat.nonzero().flatten().tolist()
                raise ValueError(
                    f"the direction of {name!r} {what} at the layers {layers}: nothing of it is left to steer by; "
                    "leave it out, or take it from other prompts or another layer"
                )
    return factors, left


def _as_long_as(vector: SteeringVector, directions: torch.Tensor, **about: Any) -> SteeringVector:
    """Directions made as long as those of a vector, layer by layer."""
    length = vector.norms[:, None] / directions.norm(dim=1, keepdim=True)
    same = {
        key: vector.metadata[key]
        for key in ("model", "revision", "weights", "versions")
        if key in vector.metadata
    }
    return SteeringVector(directions * length, {**same, **about})
