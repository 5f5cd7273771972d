"""Figures, tables and checks of the chapter *DiffMean directions* (``notebooks/diffmean_directions.ipynb``)."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from steerlib.activations import Activations
from steerlib.evidence import scorecard
from steerlib.evidence.stats import Interval
from steerlib.page import figures
from steerlib.readout.analysis import Blocks, similarity_blocks
from steerlib.steering import SteeringVector

__all__ = ["blocks_redrawn", "clouds", "cosines", "lengths", "paper_layer", "separation", "tell"]


def clouds(activations: Activations, layers: Sequence[int]) -> None:
    """Prompts on the two principal components of their activations, a panel a layer (paper A, figure 2)."""
    for ax, layer in zip(figures.panels(1, len(layers), size=(3.4, 3.2)), layers, strict=True):
        figures.activation_kde(activations, layer, ax)
    plt.show()


def separation(table: pd.DataFrame) -> None:
    """Silhouette and linear AUC by layer, from `readout.analysis.separation`."""
    figures.separation_by_layer(table, plt.subplots(figsize=(6, 3.2))[1])
    plt.show()


def cosines(vector: SteeringVector, blocks: Blocks) -> None:
    """Cosines between the directions of all layers, the blocks framed (paper A, figure 6)."""
    figures.cosine_matrix(
        vector.cosine_similarity().numpy(), plt.subplots(figsize=(4.6, 4))[1], blocks=blocks
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


def blocks_redrawn(
    activations: Activations, blocks: Blocks, *, draws: int = 200, seed: int = 0
) -> tuple[Interval, Interval]:
    """How many blocks there are, and the cosine within them minus that between them (paper A, section 4.2).

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
    narrow, wide = np.percentile([_gap(each) for each in found], [2.5, 97.5])
    return Interval(len(blocks.bounds), few, many, half), Interval(_gap(blocks), narrow, wide, half)


def _gap(blocks: Blocks) -> float:
    return blocks.within - blocks.between if len(blocks.bounds) > 1 else 0.0
