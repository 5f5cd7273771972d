"""Sounds, figures and tables of *Concepts in audio* (``notebooks/audio_concepts.ipynb``; paper B, section III)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.activations import Activations, AudioPosition, extract_audio_activations
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.evidence.stats import Interval, check_columns
from steerlib.model import MusicModel
from steerlib.music import datasets
from steerlib.music.datasets import AudioSet, SynTheory
from steerlib.page import figures
from steerlib.page.bottom_line import measured, told
from steerlib.page.players import players
from steerlib.page.style import PALETTE, signed
from steerlib.readout import analysis
from steerlib.readout.baselines import codec_latents, mel_features, untrained
from steerlib.study import Study

__all__ = [
    "Excess",
    "best_layer",
    "best_layers",
    "curves",
    "draw_agreement_by_layer",
    "draw_jaccard_matrix",
    "draw_excess",
    "examples",
    "excess",
    "excess_table",
    "findings",
    "genre_clips",
    "listen",
    "matrices",
    "mean_excess",
    "theory_clips",
    "units",
    "verdict",
]

DECODER = "decoder"
Heard = Mapping[str, Activations]
"""What listeners make of the clips of a concept, by listener; the first is the trained decoder."""


def theory_clips(
    concepts: Sequence[str], recipes: Mapping[str, tuple[SynTheory, str, str]], clips: int, *, seed: int
) -> dict[str, AudioSet]:
    """SynTheory clips of each concept that has a recipe, with as many of each ``label``; silent ones are left out.

    Each label needs four clips, two for either half. Where `clips` is too few for all labels, some are drawn.
    """
    sounds = {}
    for concept in [name for name in concepts if name in recipes]:
        kind, part, label = recipes[concept]
        table = datasets.syntheory(kind).query(part)
        names = table[label].drop_duplicates()
        kept = names.sample(min(len(names), clips // 4), random_state=seed)
        table = table[table[label].isin(kept)]
        drawn = datasets.stratified(table, label, min(clips, len(table)), seed=seed)
        made = datasets.render(drawn.assign(label=drawn[label]), progress=False)
        enough = made.table[~made.table["silent"]].groupby("label")["label"].transform("size") >= 4
        sounds[concept] = made.select(enough[enough].index)
        found = sounds[concept].table["label"].nunique()
        print(f"{concept}: {len(sounds[concept])} clips, {found} of {len(names)} labels, "
              f"{made.table['silent'].sum()} silent left out")  # fmt: skip
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
    """A clip of each of two labels: those of the last concept are open, those of the others folded."""
    for number, (concept, clips) in enumerate(reversed(list(sounds.items()))):
        rows = clips.table["label"].drop_duplicates().index[:2]
        names = [str(clips.table["label"][row]) for row in rows]
        heard = {
            f"{concept} {name}" if name.isdigit() else name: clips.audio[row]
            for name, row in zip(names, rows, strict=True)
        }
        player = players(heard, clips.sample_rate, label=f"{concept}: two labels").data
        fold = "<details open>" if not number else "<details>"
        display(HTML(f"{fold}<summary>Hear two clips that differ in {concept}</summary>{player}</details>"))


def listen(
    model: MusicModel, sounds: AudioSet, position: AudioPosition, *, seed: int
) -> dict[str, Activations]:
    """What the decoder makes of clips, and what listeners make of them that have learnt nothing of music."""
    options: dict[str, Any] = {"position": position, "progress": False}
    return {
        DECODER: extract_audio_activations(model, sounds, **options),
        "untrained decoder": extract_audio_activations(untrained(model, seed=seed), sounds, **options),
        "codec": codec_latents(model, sounds),
        "mel spectrum": mel_features(sounds),
    }


def units(clips: AudioSet) -> "pd.Series[Any]":
    """What is independent among the clips: instruments or tracks, or the clips themselves if those are the labels."""
    table = clips.table
    alike = table["group"].nunique() == table["label"].nunique()
    return pd.Series(table.index.astype(str)) if alike else table["group"]


def curves(
    heard: Mapping[str, Heard], sounds: Mapping[str, AudioSet], *, starts: int, seed: int
) -> dict[str, pd.DataFrame]:
    """Draw the agreement of clusters and labels against the layer, a panel for each concept; return the decoder's."""
    tables: dict[str, pd.DataFrame] = {}
    top, best = 0.0, {}
    axes = _panels(len(heard), (3.2, 2.7), sharey=True)
    for ax, (concept, listeners) in zip(axes, heard.items(), strict=False):
        labels = sounds[concept].table["label"]
        for name, colour in ((DECODER, "#0072B2"), ("untrained decoder", "#999999")):
            table = analysis.clusters(
                listeners[name], labels, groups=units(sounds[concept]), starts=starts, seed=seed
            )
            draw_agreement_by_layer(table, ax, label=name, colour=colour)
            tables.setdefault(concept, table)
            best[name, concept] = table["ari"].max() if name != DECODER else table["ari_low"].max()
            top = max(top, float(table["ari_high"].max()))
        for name, style in (("codec", "--"), ("mel spectrum", ":")):
            flat = analysis.partition(listeners[name], labels, 0, starts=starts, seed=seed)
            ax.axhline(analysis.rand_index(labels, flat), color="#D55E00", linestyle=style, label=name)
        ax.set_title(f"{concept} ({labels.nunique()})")
        ax.label_outer()
    axes[0].set_ylim(-0.1, min(1.02, 1.05 * top))
    names = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(*names, loc="outside upper left", ncols=2, fontsize="small")
    above = {concept: best[DECODER, concept] > best["untrained decoder", concept] for concept in tables}
    yes = "At its best layer, the trained decoder sorts better than an untrained one by {}"
    figures.message(told(above, yes, "no gain over an untrained decoder is shown for {}"))
    plt.show()
    return tables


def best_layer(table: pd.DataFrame) -> int:
    """The layer with the highest adjusted Rand index."""
    return int(table.loc[table["ari"].idxmax(), "layer"])


def best_layers(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The agreement of each concept at the decoder's best layer."""
    rows = [each[each["layer"] == best_layer(each)].assign(concept=name) for name, each in tables.items()]
    shown = ["concept", "labels", "n", "layer", "ari", "ari_low", "ari_high", "nmi"]
    return pd.concat(rows)[shown].round(3).set_index("concept")


def matrices(
    heard: Mapping[str, Heard], sounds: Mapping[str, AudioSet], layers: Mapping[str, int], *, seed: int
) -> None:
    """Which label is which cluster of the decoder, a Jaccard matrix for each concept at its layer."""
    axes, overlap = _panels(len(layers), (3.0, 3.9)), {}
    for ax, (concept, layer) in zip(axes, layers.items(), strict=False):
        labels = sounds[concept].table["label"]
        found = analysis.partition(heard[concept][DECODER], labels, layer, seed=seed)
        draw_jaccard_matrix(analysis.jaccard(labels, found), ax)
        ax.set_title(f"{concept}, layer {layer}")
        overlap[concept] = float(np.diag(np.asarray(ax.images[0].get_array())).mean())
    scale = axes[0].figure.colorbar(axes[0].images[0], ax=axes, label="Jaccard index", shrink=0.5, aspect=30)
    scale.outline.set_visible(False)
    most, least = (pick(overlap, key=overlap.__getitem__) for pick in (max, min))
    figures.message(
        f"A label and its cluster share {100 * overlap[most]:.0f} % of their clips for {most}, and "
        f"{100 * overlap[least]:.0f} % for {least}, on average",
    )
    plt.show()


@dataclass(frozen=True, eq=False)
class Excess:
    """By how much the decoder's clusters agree better with the labels of a concept than the best baseline's.

    Attributes
    ----------
    agreement : mapping of str to float
        Adjusted Rand index of each listener, on clips on which its layer was not chosen.
    baseline : str
        The best listener that is not the decoder.
    p : float
        Of a permutation test: the decoder's and the baseline's clusters swapped for whole instruments or tracks.
    shuffled : ndarray
        The excess with shuffled labels, once for each shuffle.
    layers : tuple of int
        The decoder's layer, as chosen on either half.
    labels, n : int
        Labels and clips.
    """

    agreement: Mapping[str, float]
    baseline: str
    p: float
    shuffled: npt.NDArray[np.floating[Any]]
    layers: tuple[int, ...]
    labels: int
    n: int

    @property
    def value(self) -> float:
        """The excess."""
        return self.agreement[DECODER] - self.agreement[self.baseline]


def excess(
    heard: Heard, clips: AudioSet, *, starts: int, shuffles: int, swaps: int = 999, seed: int
) -> Excess:
    """Compare the decoder with the baselines, each at a layer that was chosen on the other half of the clips.

    Every label's clips are dealt into two halves. Each half is clustered for itself at every layer; it chooses the
    layer for the other, and the two results are averaged. Labels take no part in the clusters, so that shuffled ones
    go through the same choice of layer and of the best baseline.
    """
    labels = clips.table["label"].astype(str).to_numpy()
    rng, groups = np.random.default_rng(seed), np.unique(units(clips), return_inverse=True)[1]
    turn = (
        pd.Series(labels)
        .sample(frac=1, random_state=seed)
        .pipe(lambda order: order.groupby(order).cumcount())
    )
    halves = [np.flatnonzero(turn.sort_index().to_numpy() % 2 == part) for part in (0, 1)]
    found = {
        name: [_partitions(each, half, labels, starts, seed) for half in halves]
        for name, each in heard.items()
    }
    agreement, chosen = _agreement(found, halves, labels)
    baseline = max(list(heard)[1:], key=agreement.__getitem__)
    shuffled = []
    for _ in range(shuffles):
        by_chance, _ = _agreement(found, halves, rng.permutation(labels))
        shuffled.append(by_chance[DECODER] - max(by_chance[name] for name in list(heard)[1:]))
    pairs = [
        [
            analysis.matched(labels[half], found[name][part][chosen[name][1 - part]])
            for name in (DECODER, baseline)
        ]
        for part, half in enumerate(halves)
    ]

    def difference(swap: npt.NDArray[np.bool_]) -> float:
        parts = []
        for half, (one, other) in zip(halves, pairs, strict=True):
            mask = swap[groups[half]]
            ours, theirs = np.where(mask, other, one), np.where(mask, one, other)
            parts.append(analysis.rand_index(labels[half], ours) - analysis.rand_index(labels[half], theirs))
        return float(np.mean(parts))

    count = groups.max() + 1
    observed = difference(np.zeros(count, dtype=bool))
    as_far = sum(difference(rng.random(count) < 0.5) >= observed - 1e-12 for _ in range(swaps))
    return Excess(
        agreement, baseline, (1 + as_far) / (1 + swaps), np.array(shuffled), tuple(chosen[DECODER]),
        len(np.unique(labels)), len(labels),
    )  # fmt: skip


def mean_excess(found: Mapping[str, Excess]) -> tuple[Interval, npt.NDArray[np.floating[Any]]]:
    """The mean excess over concepts with its interval over concepts, and the same of each shuffle of the labels."""
    return (
        stats.mean_interval([each.value for each in found.values()]),
        np.mean([each.shuffled for each in found.values()], axis=0),
    )


def verdict(study: Study, found: Mapping[str, Excess]) -> Verdict:
    """Judge B1 by the mean excess over concepts, with shuffled labels as its control."""
    mean, shuffled = mean_excess(found)
    return study.verdict("B1", Measured(mean, control=stats.control_range(shuffled, symmetric=False)))


def findings(found: Mapping[str, Excess]) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    match = {concept: each.agreement[DECODER] for concept, each in found.items()}
    best, worst = max(match, key=match.__getitem__), min(match, key=match.__getitem__)
    mean, shuffled = mean_excess(found)
    means = (
        "so the decoder sorts sounds better than plain acoustics do"
        if mean.low > 0
        else "so plain acoustics sort sounds better than the decoder does"
        if mean.high < 0
        else "so the decoder is not shown to add anything"
    )
    return [
        f"Clusters of the decoder's activations match the labels of {best} best (adjusted Rand index "
        f"{match[best]:.2f}) and those of {worst} least ({match[worst]:.2f}); 1 is a perfect match and 0 is chance.",
        f"The index minus that of the best listener that has learnt nothing about music is {measured(mean)}, {means}.",
    ], (
        f"This is a mean over {len(found)} concepts, with few clips of each label; with shuffled labels it reaches "
        f"{signed(float(np.max(shuffled)), '.2g')}. k-means finds only round clusters."
    )


def excess_table(found: Mapping[str, Excess]) -> pd.DataFrame:
    """Agreement of each listener, by concept; what the decoder adds, and how often swapping gives as much."""
    rows = [
        {
            "concept": concept, "labels": each.labels, "clips": each.n, **each.agreement,
            "excess": each.value, "p": each.p,
        }
        for concept, each in found.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).round(3).set_index("concept")


def draw_excess(found: Mapping[str, Excess]) -> None:
    """Adjusted Rand index of every listener, a row for each concept."""
    [ax] = figures.panels(1, size=(6.5, 0.45 * len(found) + 1.2))
    looks = {DECODER: ("o", "#0072B2"), "untrained decoder": ("s", "#999999"), "codec": ("^", "#D55E00"),
             "mel spectrum": ("v", "#E69F00")}  # fmt: skip
    for place, each in enumerate(found.values()):
        ax.plot(
            [each.agreement[DECODER], each.agreement[each.baseline]],
            [place] * 2,
            color="#999999",
            linewidth=1,
        )
        for name, (marker, colour) in looks.items():
            ax.plot(
                each.agreement[name], place, marker, color=colour, label=None if place else name, linestyle=""
            )
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set_yticks(range(len(found)), labels=list(found))
    ax.invert_yaxis()
    ax.set(xlabel="adjusted Rand index on clips that did not choose the layer")
    figures.legend(ax)
    figures.message(
        told(
            {concept: each.value > 0 for concept, each in found.items()},
            "The decoder’s clusters fit best for {}",
            "a listener that has learnt nothing does as well for {}",
        ),
    )
    plt.show()


def _partitions(
    heard: Activations, rows: npt.NDArray[np.intp], labels: npt.NDArray[Any], starts: int, seed: int
) -> list[npt.NDArray[np.intp]]:
    """The clusters of some of the clips at every layer, as many as labels."""
    part = Activations(heard.values[rows], None, tuple(map(str, rows)))
    return [
        analysis.partition(part, labels[rows], layer, starts=starts, seed=seed)
        for layer in range(part.values.shape[1])
    ]


def _agreement(
    found: Mapping[str, Sequence[Sequence[npt.NDArray[np.intp]]]],
    halves: Sequence[npt.NDArray[np.intp]],
    labels: npt.NDArray[Any],
) -> tuple[dict[str, float], dict[str, list[int]]]:
    """Each listener's agreement at the layer that the other half chose, and the layers that the halves chose."""
    agreement, chosen = {}, {}
    for name, parts in found.items():
        table = np.array([
            [analysis.rand_index(labels[half], clusters) for clusters in part]
            for half, part in zip(halves, parts, strict=True)
        ])  # fmt: skip
        chosen[name] = [int(each) for each in table.argmax(axis=1)]
        agreement[name] = float(np.mean([table[0, chosen[name][1]], table[1, chosen[name][0]]]))
    return agreement, chosen


def _panels(count: int, size: tuple[float, float], **options: Any) -> list[Axes]:
    columns = min(3, count)
    return figures.panels(-(-count // columns), columns, size=size, **options)


def draw_agreement_by_layer(table: pd.DataFrame, ax: Axes, *, label: str, colour: str = "#0072B2") -> None:
    """Adjusted Rand index of clusters with labels at each layer, with its interval.

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.analysis.clusters`.
    ax : Axes
    label : str
        Whose clusters these are, for the legend.
    colour : str
    """
    check_columns(table, ["layer", "ari", "ari_low", "ari_high"])
    ax.fill_between(
        table["layer"], table["ari_low"], table["ari_high"], color=colour, alpha=0.15, linewidth=0
    )
    ax.plot(table["layer"], table["ari"], color=colour, label=label)
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set(xlabel="layer", ylabel="adjusted Rand index")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_jaccard_matrix(table: pd.DataFrame, ax: Axes) -> None:
    """Overlap of labels (rows) with their matched clusters (columns), from `steerlib.readout.analysis.jaccard`."""
    ax.imshow(table.to_numpy(dtype=float), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    shown = slice(None, None, -(-len(table) // 20))  # more names than that would cover each other
    ax.set_yticks(range(len(table))[shown], labels=[str(name) for name in table.index[shown]], fontsize=10)
    ax.set_xticks([])
    ax.set(xlabel="its cluster")
