"""Sounds, figures and tables of *Concepts in audio* (``notebooks/audio_concepts.ipynb``; paper B, section III)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.activations import Activations
from steerlib.evidence.stats import Interval, check_columns
from steerlib.music import datasets
from steerlib.music.datasets import AudioSet, SynTheory
from steerlib.page import figures
from steerlib.page.players import players
from steerlib.page.style import PALETTE
from steerlib.readout import analysis

__all__ = [
    "agreement",
    "best_layer",
    "best_layers",
    "curves",
    "draw_agreement_by_layer",
    "draw_jaccard_matrix",
    "examples",
    "genre_clips",
    "halves",
    "matrices",
    "theory_clips",
]  # fmt: skip


def theory_clips(
    concepts: Sequence[str], recipes: Mapping[str, tuple[SynTheory, str, str]], clips: int, *, seed: int
) -> dict[str, AudioSet]:
    """SynTheory clips of each concept that has a recipe, with as many of each ``label``; silent ones are left out."""
    sounds = {}
    for concept in [name for name in concepts if name in recipes]:
        kind, part, label = recipes[concept]
        table = datasets.syntheory(kind).query(part)
        drawn = datasets.stratified(table, label, min(clips, len(table)), seed=seed)
        made = datasets.render(drawn.assign(label=drawn[label]), progress=False)
        silent = made.table["silent"]
        sounds[concept] = made.select(~silent)
        print(f"{concept}: {len(sounds[concept])} clips of {len(table)}, {silent.sum()} silent left out")
    return sounds


def genre_clips(
    concepts: Sequence[str], source: str | Path, per_genre: int, *, seed: int
) -> dict[str, AudioSet]:
    """Clips of genres if that is one of the concepts, see `datasets.read_genres`."""
    if "genre" not in concepts:
        return {}
    clips = datasets.read_genres(source, per_genre, seed=seed, progress=False)
    print(f"genre: {len(clips)} clips; files skipped: {len(clips.skipped)}")
    return {"genre": clips}


def examples(sounds: Mapping[str, AudioSet]) -> None:
    """Players of a clip of each of three labels, for each concept."""
    for concept, clips in sounds.items():
        rows = clips.table["label"].drop_duplicates().index[:3]
        heard = {str(clips.table["label"][row]): clips.audio[row] for row in rows}
        display(players(heard, clips.sample_rate, label=f"{concept}: three labels"))


def curves(tables: Mapping[str, pd.DataFrame]) -> None:
    """Agreement of clusters and labels against the layer, a panel for each concept."""
    axes = _panels(len(tables), (3.2, 2.7))
    for ax, (concept, table) in zip(axes, tables.items(), strict=False):
        draw_agreement_by_layer(table, ax, label=f"{concept} ({int(table['labels'][0])})")
    axes[0].legend(fontsize=8)
    plt.show()


def best_layer(table: pd.DataFrame) -> int:
    """The layer with the highest adjusted Rand index."""
    return int(table.loc[table["ari"].idxmax(), "layer"])


def best_layers(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The agreement of each concept at its best layer."""
    rows = [each[each["layer"] == best_layer(each)].assign(concept=name) for name, each in tables.items()]
    shown = ["concept", "labels", "n", "layer", "ari", "ari_low", "ari_high", "nmi", "nmi_low", "nmi_high"]
    return pd.concat(rows)[shown].round(3).set_index("concept")


def matrices(
    heard: Mapping[str, Activations], sounds: Mapping[str, AudioSet], layers: Mapping[str, int], *, seed: int
) -> None:
    """Which label is which cluster, a Jaccard matrix for each concept at its layer."""
    for ax, (concept, layer) in zip(_panels(len(layers), (3.4, 3)), layers.items(), strict=False):
        labels = sounds[concept].table["label"]
        draw_jaccard_matrix(analysis.jaccard(heard[concept], labels, layer, seed=seed), ax)
        ax.set_title(f"{concept}, layer {layer}")
    plt.show()


def halves(
    activations: Activations, labels: "pd.Series[Any]", *, seed: int
) -> list[tuple[Activations, npt.NDArray[Any]]]:
    """Deal every label's clips into two halves, each with its labels."""
    order = labels.sample(frac=1, random_state=seed)
    turn = order.groupby(order).cumcount().sort_index().to_numpy()
    parts = [np.flatnonzero(turn % 2 == part) for part in (0, 1)]
    return [
        (
            replace(activations, values=activations.values[rows], labels=None, prompts=tuple(map(str, rows))),
            labels.to_numpy()[rows],
        )
        for rows in parts
    ]


def agreement(row: "pd.Series[Any]") -> Interval:
    """The adjusted Rand index in a row of `analysis.clusters`; the interval holds 95 % of the runs."""
    return Interval(float(row["ari"]), float(row["ari_low"]), float(row["ari_high"]), int(row["n"]))


def _panels(count: int, size: tuple[float, float]) -> list[Axes]:
    columns = min(3, count)
    return figures.panels(-(-count // columns), columns, size=size)


def draw_agreement_by_layer(table: pd.DataFrame, ax: Axes, *, label: str, colour: str = "#0072B2") -> None:
    """Agreement of clusters with labels at each layer: adjusted Rand index solid, mutual information dashed.

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.analysis.clusters`.
    ax : Axes
    label : str
        What the labels are, for the title.
    colour : str
    """
    check_columns(table, ["layer", *(f"{m}{end}" for m in ("ari", "nmi") for end in ("", "_low", "_high"))])
    for measure, name, style in (("ari", "adjusted Rand index", "-"), ("nmi", "mutual information", "--")):
        ax.fill_between(
            table["layer"],
            table[f"{measure}_low"],
            table[f"{measure}_high"],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        ax.plot(table["layer"], table[measure], color=colour, linestyle=style, label=name)
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set(xlabel="layer", ylabel="agreement (no unit)", ylim=(-0.1, 1.02))
    ax.set_title(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_jaccard_matrix(table: pd.DataFrame, ax: Axes) -> None:
    """Overlap of labels (rows) with their matched clusters (columns), from `steerlib.readout.analysis.jaccard`."""
    image = ax.imshow(table.to_numpy(dtype=float), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="Jaccard index").outline.set_visible(False)
    ax.set_yticks(range(len(table)), labels=[str(name) for name in table.index], fontsize=7)
    ax.set_xticks([])
    ax.set(xlabel="cluster matched to the label", ylabel="label")
