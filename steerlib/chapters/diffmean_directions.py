"""Figures, tables and checks of the chapter *DiffMean directions* (``notebooks/diffmean_directions.ipynb``)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped]
import torch
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.activations import Activations
from steerlib.directions import diff_mean
from steerlib.evidence import scorecard, stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns
from steerlib.page import explorables, figures
from steerlib.page.bottom_line import listed, measured, told
from steerlib.page.style import pole_colour
from steerlib.prompts import Attribute, load_attribute
from steerlib.readout.analysis import Blocks, neighbour_cosine, similarity_blocks
from steerlib.steering import SteeringVector

__all__ = [
    "attributes",
    "blocks_measured",
    "blocks_redrawn",
    "clouds",
    "cosines",
    "draw_activation_kde",
    "draw_cosine_matrix",
    "draw_separation_by_layer",
    "findings",
    "drag",
    "film",
    "lengths",
    "paper_layer",
    "plane_auc",
    "plane_auc_of_shuffled",
    "separation",
    "tell",
]


def drag(activations: Activations, layer: int, pairs: int = 6) -> HTML:
    """The first pairs of prompts, to be dragged: across is along Δ of all prompts, upwards what varies most besides."""
    positive, names = _sides(activations)
    values = activations.values[:, layer].numpy().astype(float)
    values -= values.mean(axis=0)
    delta = values[np.array(positive)].mean(axis=0) - values[np.logical_not(positive)].mean(axis=0)
    across = values @ (delta / np.linalg.norm(delta))
    rest = values - np.outer(across, delta / np.linalg.norm(delta))
    points = np.column_stack([across, PCA(n_components=1).fit_transform(rest)])
    rows = [*np.flatnonzero(positive)[:pairs], *np.flatnonzero(np.logical_not(positive))[:pairs]]
    return explorables.drag(
        points[rows], [positive[row] for row in rows], [activations.prompts[row] for row in rows], names
    )


def film(activations: Activations, separated: pd.DataFrame, start: int) -> HTML:
    """All prompts on two principal components, layer after layer; each layer is turned to match the one before."""
    positive, names = _sides(activations)
    layers: dict[int, npt.NDArray[np.float64]] = {}
    said, before = {}, None
    for layer in range(activations.values.shape[1]):
        pca = PCA(n_components=2)
        points = pca.fit_transform(activations.values[:, layer].numpy().astype(float))
        if before is not None:
            points = points @ orthogonal_procrustes(points, before)[0]
        layers[layer] = before = points
        row = separated.loc[separated["layer"] == layer].iloc[0]
        said[layer] = (
            f"this plane holds {100 * pca.explained_variance_ratio_.sum():.0f} % of the variance; a linear "
            f"classifier tells the poles apart with an AUC of {row.auc:.2f} [{row.auc_low:.2f}, {row.auc_high:.2f}]"
        )
    return explorables.film(layers, positive, activations.prompts, names, said, start=start)


def _sides(activations: Activations) -> tuple[list[bool], tuple[str, str]]:
    """Which prompts are of the positive pole, and the names of both poles."""
    if activations.labels is None or activations.attribute is None:
        raise ValueError("these activations have no poles: extract them from an Attribute, not from a list")
    return activations.labels.bool().tolist(), (
        activations.attribute.positive,
        activations.attribute.negative,
    )


def clouds(activations: Activations, layers: Sequence[int]) -> None:
    """Prompts on the two principal components of their activations, a panel a layer (paper A, figure 2)."""
    for ax, layer in zip(figures.panels(1, len(layers), size=(3.0, 3.0)), layers, strict=True):
        draw_activation_kde(activations, layer, ax)
    apart = {f"layer {layer}": plane_auc(activations, layer).low > 0.5 for layer in layers}
    attribute = activations.attribute
    poles = f"{attribute.positive} and {attribute.negative}" if attribute else "Opposite"
    yes, no = (
        f"two dimensions {verb} {poles.lower()} prompts apart at {{}}" for verb in ("tell", "do not tell")
    )
    figures.message(told(apart, yes, no))
    plt.show()


def separation(table: pd.DataFrame) -> None:
    """Silhouette and linear AUC by layer, from `readout.analysis.separation`."""
    ax = plt.subplots(figsize=(6, 3.2))[1]
    draw_separation_by_layer(table, ax)
    apart = int((table["auc_low"] > 0.5).sum())
    least = table["auc"].min()
    figures.message(
        f"A linear classifier tells the poles apart at {apart} of {len(table)} layers; its least AUC is {least:.2f}",
    )
    plt.show()


def cosines(vector: SteeringVector, blocks: Blocks) -> None:
    """Cosines between the directions of all layers, the blocks framed (paper A, figure 6)."""
    matrix, ax = vector.cosine_similarity().numpy(), plt.subplots(figsize=(4.6, 4))[1]
    draw_cosine_matrix(matrix, ax, blocks=blocks)
    count = len(blocks.bounds)
    figures.message(
        f"{'Two layers’ directions have' if count > 1 else 'All layers’ directions have'} a cosine of at least "
        f"{matrix.min():.2f}; {count} {'blocks' if count > 1 else 'block'}",
    )
    plt.show()


def lengths(activations: Activations, vector: SteeringVector) -> Any:
    """How long the direction and the mean activation are at each layer."""
    stream = activations.values.norm(dim=2).mean(0)
    table = pd.DataFrame({"length of the direction": vector.norms, "mean length of an activation": stream})
    table["share"] = table.iloc[:, 0] / table.iloc[:, 1]
    return table.astype(float).rename_axis("layer").T.style.format("{:.2f}")


def tell(title: str, blocks: Blocks, separated: pd.DataFrame) -> None:
    """Say which blocks were found, and where the poles separate best."""
    bounds = ", ".join(f"{first}-{last}" for first, last in blocks.bounds)
    print(
        f"{title}: blocks of layers {bounds}; cosine within blocks {blocks.within:.2f}, "
        f"between {blocks.between:.2f}"
    )
    best = separated.loc[separated["auc"].idxmax()]
    print(
        f"highest linear AUC {best.auc:.2f} [{best.auc_low:.2f}, {best.auc_high:.2f}] "
        f"at layer {best.layer:.0f}; at layer 0 it is {separated['auc'][0]:.2f}"
    )


def paper_layer(depth: int) -> int:
    """The layer of so many, 0-based, at the depth of paper A's figure 2: its layer 14, counted from 1."""
    return round(13.5 / scorecard.paper("a")["layers"]["blocks"] * depth - 0.5)


def plane_auc(
    activations: Activations, layer: int, *, labels: npt.NDArray[np.bool_] | None = None, seed: int = 0
) -> Interval:
    """AUC of a linear classifier on the two first principal components, on pairs left out (paper A, figure 2).

    The components are those of the other pairs; `labels` replace those of the activations.
    """
    assert activations.labels is not None
    truth = activations.labels.numpy().astype(bool) if labels is None else labels
    half = len(truth) // 2
    pairs = np.arange(len(truth)) % half
    values = activations.values[:, layer].numpy().astype(float)
    model = make_pipeline(PCA(n_components=2), StandardScaler(), LogisticRegression(max_iter=1000))
    folds = GroupKFold(min(5, half), shuffle=True, random_state=seed)
    scores = cross_val_predict(model, values, truth, groups=pairs, cv=folds, method="decision_function")
    return stats.auc(scores[truth], scores[~truth], clusters=(pairs[truth], pairs[~truth]))


def plane_auc_of_shuffled(activations: Activations, layer: int, *, draws: int, seed: int = 0) -> Interval:
    """Where that AUC lies if the poles of half of the pairs are swapped."""
    half, found = len(activations) // 2, []
    for draw in range(draws):
        swapped = np.isin(
            np.arange(2 * half) % half, np.random.default_rng([seed, draw]).permutation(half)[: half // 2]
        )
        labels = (np.arange(2 * half) < half) ^ swapped
        found.append(plane_auc(activations, layer, labels=labels, seed=seed).estimate)
    return stats.control_range(found, symmetric=False)


def attributes(names: Sequence[str], pairs: int) -> dict[str, Attribute]:
    """Attributes by name, with their first so many pairs."""
    return {name: load_attribute(name).first(pairs) for name in names}


def blocks_measured(activations: Activations, *, draws: int, resamples: int = 200, seed: int = 0) -> Measured:
    """How many blocks of layers there are, how many with the layers in random order, and whether it can be told."""
    cosines = diff_mean(activations).cosine_similarity().numpy()
    number = blocks_redrawn(activations, similarity_blocks(cosines), draws=resamples, seed=seed)
    rng, counts = np.random.default_rng(seed), []
    for _ in range(draws):
        order = rng.permutation(len(cosines))
        counts.append(float(len(similarity_blocks(cosines[np.ix_(order, order)]).bounds)))
    control = stats.control_range(counts, symmetric=False)
    return Measured(number, control=control, testable=neighbour_cosine(cosines))


def findings(attribute: Attribute, plane: Interval, parts: Mapping[str, Measured]) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    poles = f"{attribute.positive} from prompts that say {attribute.negative}"
    found = [
        "A linear classifier that sees two numbers of each activation, its first principal components, tells prompts "
        f"that say {poles} with an AUC of {measured(plane, sign=False)}, on prompts that it was not trained on."
    ]
    alike = [
        f"{each.testable.estimate:.2f} for {name}"
        for name, each in parts.items()
        if each.testable is not None
    ]
    if alike:
        found.append(
            f"From one layer to the next, the direction has a mean cosine of {listed(alike)}; 1 is the same direction."
        )
    return found, (
        "Opposite prompts contain different words, and the text encoder tells these apart before the decoder begins."
    )


def blocks_redrawn(activations: Activations, blocks: Blocks, *, draws: int = 200, seed: int = 0) -> Interval:
    """How many blocks there are (paper A, section 4.2).

    Pairs of prompts are drawn again with replacement, and the blocks found anew each time.
    """
    half = len(activations) // 2
    differences = activations.values[:half] - activations.values[half:]
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        drawn = differences[torch.from_numpy(rng.integers(half, size=half))].mean(0)
        found.append(similarity_blocks(SteeringVector(drawn).cosine_similarity().numpy()))
    few, many = np.percentile([len(each.bounds) for each in found], [2.5, 97.5])
    return Interval(len(blocks.bounds), few, many, half)


def draw_activation_kde(activations: Activations, layer: int, ax: Axes) -> None:
    """Activations of the two poles at one layer, projected on two principal components (paper A, figure 2).

    Points are prompts; contours are seaborn's Gaussian kernel density of each pole (Scott's bandwidth), outside
    of which lie 20, 40, 60 and 80 % of its mass. Poles of fewer than 5 prompts, or on a line, have points only.

    Parameters
    ----------
    activations : Activations
        With labels and at least 3 prompts.
    layer : int
        0-based; the residual stream at the output of that block.
    ax : Axes
    """
    if activations.labels is None:
        raise ValueError("these activations have no labels: extract them from an Attribute, not from a list")
    layers = activations.values.shape[1]
    if not 0 <= layer < layers:
        raise ValueError(f"layer {layer} does not exist: these activations have layers 0 to {layers - 1}")
    labels = activations.labels.numpy().astype(bool)
    pca = PCA(n_components=2)
    points = pca.fit_transform(activations.values[:, layer].numpy().astype(float))
    attribute = activations.attribute
    names = (attribute.positive, attribute.negative) if attribute else ("positive", "negative")
    for name, positive in zip(names, (True, False), strict=True):
        cloud = points[labels == positive]
        colour = pole_colour(name, positive)
        if _is_plane(cloud):
            x, y = cloud.T
            levels = [0.2, 0.4, 0.6, 0.8, 1.0]
            sns.kdeplot(x=x, y=y, levels=levels, fill=True, color=colour, alpha=0.25, ax=ax)
            sns.kdeplot(x=x, y=y, levels=levels[:-1], color=colour, alpha=0.7, linewidths=0.8, ax=ax)
        ax.scatter(cloud[:, 0], cloud[:, 1], s=14, color=colour, label=name, linewidths=0)
    shares = 100 * pca.explained_variance_ratio_
    ax.set(
        xlabel=f"component 1 ({shares[0]:.0f} % of variance)",
        ylabel=f"component 2 ({shares[1]:.0f} % of variance)",
    )
    ax.set_title(f"layer {layer}", loc="right")
    figures.legend(ax)


def draw_separation_by_layer(table: pd.DataFrame, ax: Axes) -> None:
    """Separation of the poles at each layer, as `steerlib.readout.analysis.separation` measures it (beside figure 2).

    Parameters
    ----------
    table : DataFrame
        Columns ``layer``, and ``auc`` and ``silhouette`` each with ``_low`` and ``_high``.
    ax : Axes
    """
    measures = {"auc": ("linear classifier (AUC)", "#009E73"), "silhouette": ("silhouette", "#CC79A7")}
    check_columns(table, ["layer", *(f"{m}{end}" for m in measures for end in ("", "_low", "_high"))])
    for measure, (label, colour) in measures.items():
        ax.plot(table["layer"], table[measure], color=colour, marker="o", markersize=4, label=label)
        ax.fill_between(
            table["layer"],
            table[f"{measure}_low"],
            table[f"{measure}_high"],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
    ax.axhline(0.5, color="#009E73", linestyle=":", linewidth=1, label="AUC by chance")
    ax.set(xlabel="layer", ylabel="separation (no unit)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.legend(ax)


def draw_cosine_matrix(matrix: npt.ArrayLike, ax: Axes, *, blocks: Blocks | None = None) -> None:
    """Cosine similarity of the directions of all layers (paper A, figure 6).

    Parameters
    ----------
    matrix : array_like, shape (layers, layers)
        For instance ``vector.cosine_similarity()``.
    ax : Axes
    blocks : Blocks, optional
        Outlined, from `steerlib.readout.analysis.similarity_blocks`.
    """
    cosines = np.asarray(matrix, dtype=float)
    least = max(-1.0, math.floor(10 * cosines.min()) / 10)  # a scale from -1 would show one colour
    image = ax.imshow(cosines, cmap="cividis", vmin=least, vmax=1)
    bar = ax.figure.colorbar(image, ax=ax, label="cosine similarity", shrink=0.85)
    bar.outline.set_visible(False)
    for first, last in blocks.bounds if blocks else ():
        size = last - first + 1
        ax.add_patch(
            Rectangle((first - 0.5, first - 0.5), size, size, fill=False, edgecolor="white", linewidth=2)
        )
    ax.set(xlabel="layer", ylabel="layer")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))


def _is_plane(cloud: npt.NDArray[np.float64]) -> bool:
    """Whether points are enough for a density in two dimensions, and not all on a line."""
    centred = cloud - cloud.mean(axis=0)
    return len(cloud) >= 5 and bool(np.linalg.matrix_rank(centred, tol=1e-6 * np.abs(centred).max()) == 2)
