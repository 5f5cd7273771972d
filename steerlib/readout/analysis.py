"""Questions asked of activations and directions: do the poles separate, which layers agree, where does a
curve bend?

Paper A shows a projection of one layer (figure 2), sees three blocks in a matrix of cosines (figure 6) and a
sharp rise of a curve (figure 7) by eye. The functions here put a number and a stated method to each.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import normalized_mutual_info_score, silhouette_samples, silhouette_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.activations import Activations
from steerlib.evidence.stats import Interval, auc, jackknife_interval, mean_interval

__all__ = [
    "Blocks",
    "clusters",
    "jaccard",
    "knee",
    "matched",
    "neighbour_cosine",
    "partition",
    "rand_index",
    "separation",
    "similarity_blocks",
    "subset_agreement",
]

Labels: TypeAlias = Sequence[Any] | npt.NDArray[Any] | pd.Series

_NO_STRUCTURE = 0.25  # Kaufman and Rousseeuw (1990): a silhouette up to 0.25 shows no substantial structure


@dataclass(frozen=True)
class Blocks:
    """Contiguous blocks of similar layers.

    Attributes
    ----------
    bounds : tuple of (int, int)
        First and last layer of each block, both included, 0-based.
    within, between : float
        Mean cosine of two different layers of one block, and of two blocks; NaN where there are none.
    silhouette : float
        Silhouette of the blocks with distance 1 - cosine, -1 to 1; NaN for a single block.
    """

    bounds: tuple[tuple[int, int], ...]
    within: float
    between: float
    silhouette: float


def separation(activations: Activations, *, folds: int = 5, seed: int = 0) -> pd.DataFrame:
    """How well the two poles of an attribute separate, layer by layer (beside paper A, figure 2).

    Two measures: the silhouette of the two poles (Euclidean, in the activations as they are: are these two
    clusters?) and the AUC of a linear classifier (logistic regression on standardised activations: is the
    attribute readable along some direction?). The classifier scores only prompts that it has not seen, and
    the two prompts of a matched pair are always seen or unseen together.

    Parameters
    ----------
    activations : Activations
        With labels.
    folds : int
        Cross-validation folds.
    seed : int
        Seeds the folds.

    Returns
    -------
    DataFrame
        One row a layer: ``layer``, ``silhouette`` (-1 to 1), ``silhouette_low``, ``silhouette_high``, ``auc``
        (0.5 is chance), ``auc_low``, ``auc_high``; 95 % intervals over pairs,
        which hold the clusters and the classifiers fixed.

    Raises
    ------
    ValueError
        If there are no labels, or fewer prompts of a pole than folds.
    """
    if activations.labels is None:
        raise ValueError("these activations have no labels: extract them from an Attribute, not from a list")
    labels = activations.labels.numpy().astype(bool)
    fewest = int(min(labels.sum(), (~labels).sum()))
    if folds < 2 or fewest < folds:
        raise ValueError(
            f"{folds} folds need at least 2 folds and {folds} prompts of each pole, got {fewest}"
        )
    pairs = _pairs(activations)
    splits = list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, pairs))
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    rows = []
    for layer, values in enumerate(activations.values.numpy().transpose(1, 0, 2)):
        silhouette = mean_interval(silhouette_samples(values, labels), clusters=pairs)
        scores = cross_val_predict(classifier, values, labels, cv=splits, method="decision_function")
        area = auc(scores[labels], scores[~labels], clusters=(pairs[labels], pairs[~labels]))
        rows.append(
            {
                "layer": layer,
                "silhouette": silhouette.estimate,
                "silhouette_low": silhouette.low,
                "silhouette_high": silhouette.high,
                "auc": area.estimate,
                "auc_low": area.low,
                "auc_high": area.high,
            }
        )
    return pd.DataFrame(rows)


def neighbour_cosine(matrix: npt.ArrayLike) -> Interval:
    """Mean cosine of the directions of neighbouring layers: near 1, all layers share one direction.

    Then a scan of layers compares a direction with itself, and says nothing about where in the network it acts.
    Chapters: *DiffMean directions*, *Layer scan*.

    Parameters
    ----------
    matrix : array_like, shape (layers, layers)
        As for `similarity_blocks`.
    """
    return mean_interval(np.asarray(matrix, dtype=float).diagonal(offset=1))


def similarity_blocks(matrix: npt.ArrayLike, *, max_blocks: int = 8) -> Blocks:
    """Divide layers into contiguous blocks whose directions agree (paper A, figure 6, by a stated method).

    Contiguous k-means of the unit directions, solved exactly by dynamic programming. Within-block squared
    distance to the block's mean direction needs cosines only: for layers i..j it is ``(j - i + 1) -
    sum(C[i..j, i..j]) / (j - i + 1)``, so that no scale has to be chosen, and long blocks are not favoured as
    they are by the mean cosine. The number of blocks is that of the highest silhouette (distance 1 - cosine);
    if that is at most 0.25, the layers form one block.

    Parameters
    ----------
    matrix : array_like, shape (layers, layers)
        Cosines of the directions: symmetric, 1 on the diagonal; `SteeringVector.cosine_similarity` gives it.
    max_blocks : int
        Most blocks to try.

    Returns
    -------
    Blocks

    Raises
    ------
    ValueError
        If the matrix is no matrix of cosines, or has NaN (a direction of zero length).
    """
    cosines = np.asarray(matrix, dtype=float)
    if cosines.ndim != 2 or cosines.shape[0] != cosines.shape[1] or not len(cosines):
        raise ValueError(f"need a square matrix (layers, layers), got shape {cosines.shape}")
    if not np.isfinite(cosines).all():
        at = np.flatnonzero(~np.isfinite(cosines).all(axis=1)).tolist()
        raise ValueError(f"layers {at} have cosines that are not finite: is a direction zero? Leave it out")
    if not np.allclose(cosines, cosines.T, atol=1e-4) or not np.allclose(np.diag(cosines), 1, atol=1e-3):
        raise ValueError(
            "need a matrix of cosines of one set of directions: symmetric, with 1 on the diagonal"
        )
    if max_blocks < 1:
        raise ValueError(f"max_blocks is {max_blocks}, but there is at least one block")
    layers = len(cosines)
    distance = np.maximum(1 - (cosines + cosines.T) / 2, 0)
    np.fill_diagonal(distance, 0)
    best, best_silhouette = [(0, layers - 1)], _NO_STRUCTURE
    for bounds in _segmentations(cosines, min(max_blocks, layers - 1))[1:]:
        silhouette = float(silhouette_score(distance, _members(bounds), metric="precomputed"))
        if silhouette > best_silhouette:
            best, best_silhouette = bounds, silhouette
    members = _members(best)
    same = members[:, None] == members
    apart = ~np.eye(layers, dtype=bool)
    return Blocks(
        bounds=tuple(best),
        within=float(cosines[same & apart].mean()) if (same & apart).any() else float("nan"),
        between=float(cosines[~same].mean()) if len(best) > 1 else float("nan"),
        silhouette=best_silhouette if len(best) > 1 else float("nan"),
    )


def clusters(
    activations: Activations,
    labels: Labels,
    *,
    groups: Labels | None = None,
    layers: Sequence[int] | None = None,
    starts: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """How well k-means clusters of each layer's activations agree with known labels (paper B section III).

    As many clusters as labels; the best of `starts` random starts. Two measures: the adjusted Rand index (0 is
    chance, 1 agreement) and normalised mutual information (0 to 1; of few clips and many labels well above 0 by
    chance). Chapter: *Concepts in audio*.

    Parameters
    ----------
    activations : Activations
    labels : sequence of str, shape (N,)
    groups : sequence of str, shape (N,), optional
        Clips that are not independent, such as those of one instrument. By default each clip by itself.
    layers : sequence of int, optional
        All by default.
    starts : int
    seed : int

    Returns
    -------
    DataFrame
        One row a layer: ``layer``, ``ari`` with ``ari_low`` and ``ari_high`` (95 % Student interval of a jackknife
        over ten blocks of groups, each time clustered anew from the centres of all), ``nmi``, ``labels`` (how
        many) and ``n``.

    Raises
    ------
    ValueError
        If labels do not fit, or there are not at least two of them with two clips each.
    """
    names = _class_names(activations, labels)
    units = np.arange(len(names)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    kinds, rows = len(np.unique(names)), []
    for layer in range(activations.values.shape[1]) if layers is None else layers:
        values = activations.values[:, layer].numpy()
        fitted = KMeans(kinds, n_init=starts, random_state=seed).fit(values)

        def without(kept: npt.NDArray[Any], values: Any = values, fitted: KMeans = fitted) -> float:
            part = np.isin(units, kept)
            again = KMeans(kinds, init=fitted.cluster_centers_, n_init=1).fit_predict(values[part])
            return rand_index(names[part], again)

        blocks = min(10, len(np.unique(units)))
        ari = jackknife_interval(without, np.unique(units), blocks=blocks, seed=seed)
        rows.append(
            {
                "layer": layer,
                "ari": rand_index(names, fitted.labels_),
                "ari_low": ari.low,
                "ari_high": ari.high,
                "nmi": normalized_mutual_info_score(names, fitted.labels_),
                "labels": kinds,
                "n": len(names),
            }
        )
    return pd.DataFrame(rows)


def partition(
    activations: Activations, labels: Labels, layer: int, *, starts: int = 10, seed: int = 0
) -> npt.NDArray[np.intp]:
    """The k-means cluster of each clip at one layer, numbered so that cluster k is matched to the k-th label.

    As many clusters as labels, matched one to one so that the sum of their Jaccard indices is largest (Hungarian
    algorithm).

    Returns
    -------
    ndarray, shape (N,)
        0 to (labels - 1), in the order of the sorted labels.
    """
    kinds = len(np.unique(_class_names(activations, labels)))
    values = activations.values[:, layer].numpy()
    return matched(labels, KMeans(kinds, n_init=starts, random_state=seed).fit_predict(values))


def matched(labels: Labels, clusters: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
    """Clusters renumbered so that cluster k is matched to the k-th label, as in `partition`."""
    order = linear_sum_assignment(_overlap(labels, clusters), maximize=True)[1]
    return np.argsort(order)[clusters]


def jaccard(labels: Labels, clusters: npt.NDArray[np.intp]) -> pd.DataFrame:
    """Overlap of each label with each cluster of `partition` (paper B section III): agreement is a bright diagonal.

    Returns
    -------
    DataFrame, shape (labels, clusters)
        Jaccard index, ``|both| / |either|``, between 0 and 1.
    """
    kinds = np.unique(np.asarray(labels).astype(str))
    columns = [f"cluster {number}" for number in range(len(kinds))]
    return pd.DataFrame(_overlap(labels, clusters), index=kinds, columns=columns)


def rand_index(one: Labels, other: Labels) -> float:
    """The adjusted Rand index of two groupings, as scikit-learn has it, and faster: permutations need thousands."""
    rows, columns = (np.unique(np.asarray(each), return_inverse=True)[1] for each in (one, other))
    table = np.bincount(rows * (columns.max() + 1) + columns)

    def pairs(counts: npt.NDArray[Any]) -> float:
        return float((counts * (counts - 1)).sum() / 2)

    both, first, second = pairs(table), pairs(np.bincount(rows)), pairs(np.bincount(columns))
    every = len(rows) * (len(rows) - 1) / 2
    chance, most = first * second / every, (first + second) / 2
    return 1.0 if most == chance else (both - chance) / (most - chance)


def _overlap(labels: Labels, found: npt.NDArray[np.intp]) -> npt.NDArray[np.floating[Any]]:
    """Jaccard index of each label with each cluster."""
    kinds, truth = np.unique(np.asarray(labels).astype(str), return_inverse=True)
    of_label, of_cluster = truth[:, None] == range(len(kinds)), found[:, None] == range(len(kinds))
    both = of_label.T.astype(int) @ of_cluster.astype(int)
    overlap: npt.NDArray[np.floating[Any]] = both / np.maximum(
        of_label.sum(0)[:, None] + of_cluster.sum(0) - both, 1
    )
    return overlap


def _class_names(activations: Activations, labels: Any) -> npt.NDArray[np.str_]:
    names = np.asarray(labels).astype(str)
    if names.shape != (len(activations),):
        raise ValueError(
            f"labels must have shape ({len(activations)},), one for each clip, got {names.shape}"
        )
    counts = pd.Series(names).value_counts()
    if len(counts) < 2 or counts.min() < 2:
        raise ValueError(
            f"clusters need at least two labels with two clips each, got {dict(counts.tail(5))} (the rarest)"
        )
    return names


def knee(x: npt.ArrayLike, y: npt.ArrayLike) -> float:
    """Where a curve bends: the joint of the best continuous fit of two straight lines (for paper A, figure
    7).

    Parameters
    ----------
    x, y : array_like, shape (N,)
        Points of the curve, in any order; those with NaN are left out.

    Returns
    -------
    float
        In the unit of `x`, between the second smallest and the second largest of its values. NaN if fewer
        than 5 points are left or two lines leave over half of the squared error of one line: then there is no
        knee to speak of.
    """
    points = np.column_stack([np.asarray(x, dtype=float), np.asarray(y, dtype=float)])
    points = points[~np.isnan(points).any(axis=1)]
    points = points[np.argsort(points[:, 0])]
    levels = np.unique(points[:, 0])
    if len(levels) < 5:
        return float("nan")
    xs, ys = points.T

    def error(*columns: npt.NDArray[Any]) -> float:
        design = np.column_stack([np.ones_like(xs), xs, *columns])
        return float(((ys - design @ np.linalg.lstsq(design, ys, rcond=None)[0]) ** 2).sum())

    joints = np.linspace(levels[1], levels[-2], 201)
    errors = [error(np.maximum(xs - joint, 0)) for joint in joints]
    straight = error()
    tiny = 1e-12 * float((ys**2).sum())  # of a line that fits but for rounding
    return float(joints[np.argmin(errors)]) if min(errors) + tiny < straight / 2 else float("nan")


def subset_agreement(
    activations: Activations, counts: Sequence[int], *, subsets: int = 50, seed: int = 0
) -> pd.DataFrame:
    """How well DiffMean directions of few prompts agree with that of all, and with each other (for paper A,
    figure 8).

    The cosine with the direction of *all* prompts must reach 1, since the subset becomes the whole. So each
    subset is also compared with a second one that shares no prompt with it; what those two agree on is not
    theirs alone. Needs no generation.

    Parameters
    ----------
    activations : Activations
        Activations of an attribute, in matched pairs: positive prompts first, as `extract_activations` returns them.
    counts : sequence of int
        Pairs in a subset, which is prompts of each pole.
    subsets : int
        Random subsets of each size.
    seed : int

    Returns
    -------
    DataFrame
        Columns ``prompts`` (the count), ``subset``, ``layer``, ``with_all`` and ``with_other`` (cosines; NaN
        where two disjoint subsets are more than there is) and ``length`` (norm of the subset's direction
        over that of all prompts).

    Raises
    ------
    ValueError
        If there are no matched pairs, or a count is not between 1 and their number.
    """
    labels = activations.labels
    if labels is None or 2 * int(labels.sum()) != len(labels):
        raise ValueError("subsets are drawn from matched pairs: extract the activations of an Attribute")
    values = activations.values.numpy().astype(float)
    apart = values[labels.numpy()] - values[~labels.numpy()]  # (pairs, layers, hidden)
    pairs = len(apart)
    wrong = [count for count in counts if not 1 <= count <= pairs]
    if wrong:
        raise ValueError(f"counts must lie between 1 and the {pairs} pairs that there are, got {wrong}")
    whole = apart.mean(axis=0)

    def cosine(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return (a * b).sum(axis=1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))

    rows = []
    for count in counts:
        for subset in range(subsets):
            order = np.random.default_rng([seed, count, subset]).permutation(pairs)
            direction = apart[order[:count]].mean(axis=0)
            other = (
                apart[order[count : 2 * count]].mean(axis=0)
                if 2 * count <= pairs
                else np.full_like(whole, np.nan)
            )
            columns = {
                "prompts": count,
                "subset": subset,
                "layer": np.arange(len(whole)),
                "with_all": cosine(direction, whole),
                "with_other": cosine(direction, other),
                "length": np.linalg.norm(direction, axis=1) / np.linalg.norm(whole, axis=1),
            }
            rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def _segmentations(cosines: npt.NDArray[Any], most: int) -> list[list[tuple[int, int]]]:
    """The best division into 1, 2, ..., `most` contiguous blocks."""
    layers = len(cosines)
    sums = np.zeros((layers + 1, layers + 1))
    sums[1:, 1:] = cosines.cumsum(axis=0).cumsum(axis=1)
    cost = np.full((layers + 1, layers + 1), np.inf)  # of a block of layers i to j - 1
    for i in range(layers):
        for j in range(i + 1, layers + 1):
            cost[i, j] = (j - i) - (sums[j, j] - 2 * sums[i, j] + sums[i, i]) / (j - i)
    total, starts = cost[0], []
    found = [[(0, layers - 1)]]
    for _ in range(2, most + 1):
        options = total[:, None] + cost  # the last block starts at row i
        starts.append(options.argmin(axis=0))
        total = options.min(axis=0)
        bounds, end = [], layers
        for start in reversed(starts):
            bounds.append((int(start[end]), end - 1))
            end = int(start[end])
        found.append([(0, end - 1), *reversed(bounds)])
    return found


def _members(bounds: list[tuple[int, int]]) -> npt.NDArray[np.intp]:
    return np.repeat(np.arange(len(bounds)), [last - first + 1 for first, last in bounds])


def _pairs(activations: Activations) -> npt.NDArray[np.intp]:
    """Number of the matched pair of each prompt; without an attribute, each prompt by itself."""
    attribute = activations.attribute
    names: list[Hashable] = list(range(len(activations.prompts)))
    if attribute is not None:
        poles = (attribute.positive_prompts, attribute.negative_prompts)
        number = {prompt: i for prompts in poles for i, prompt in enumerate(prompts)}
        names = [number.get(prompt, prompt) for prompt in activations.prompts]
    return np.unique([str(name) for name in names], return_inverse=True)[1]
