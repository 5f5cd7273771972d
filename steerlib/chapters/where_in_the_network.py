"""Shares, figures and tables of the chapter *Where in the network* (``notebooks/where_in_the_network.ipynb``).

A *share* is what a change of run B recovers of the difference to run A, 0 to 1; over pairs, the ratio of the sums.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.stats import rankdata

from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.patching import Contrast, Patch, generate_patched
from steerlib.evidence import stats
from steerlib.evidence.stats import Interval
from steerlib.measure import spectral_centroid, tempo
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed, measured, told
from steerlib.prompts import Attribute
from steerlib.steering import Positions, Steering, SteeringVector
from steerlib.study import Study

__all__ = [
    "agreement",
    "ask",
    "at_one_block",
    "carrying",
    "contrast",
    "control",
    "direction",
    "draw_curves",
    "findings",
    "from_each_layer",
    "one_block_figure",
    "patches",
    "reading_figure",
    "share",
    "source_figure",
    "take",
    "write",
    "written_figure",
]

Changes = Mapping[str, Mapping[int, Patch | Steering]]
_COLOURS = ("#0072B2", "#D55E00", style.PALETTE["baseline"], "#009E73")
PLACES: tuple[Positions, Positions] = ("prefix", "audio")


def take(attribute: Attribute, start: int, count: int) -> Attribute:
    """So many pairs of an attribute, from one on."""
    rows = slice(start, start + count)
    if count < 1 or len(attribute.positive_prompts) < start + count:
        raise ValueError(
            f"attribute {attribute.name!r} has {len(attribute.positive_prompts)} pairs, but {count} from number "
            f"{start} on are asked for: ask for fewer, or use a larger set"
        )
    return replace(
        attribute,
        positive_prompts=attribute.positive_prompts[rows],
        negative_prompts=attribute.negative_prompts[rows],
    )


def contrast(study: Study, name: str, start: int, count: int, seconds: float) -> Contrast:
    """Pairs of one attribute, and the music of both poles."""
    part = take(study.attributes[name], start, count)
    return Contrast(
        study.model,
        part.positive_prompts,
        part.negative_prompts,
        seconds=seconds,
        seed=study.seed,
        sampling=study.sampling,
    )


def direction(study: Study, name: str, start: int, count: int) -> SteeringVector:
    """DiffMean of other pairs than those that are patched."""
    return diff_mean(extract_activations(study.model, take(study.attributes[name], start, count)))


def patches(depth: int, width: int, step: int) -> Changes:
    """What neighbouring blocks read, by the first of them; and every so many layers of the prefix and of the audio."""
    read = {k: Patch(tuple(range(k, k + width)), "attention", "audio") for k in range(depth - width + 1)}
    prefix, audio = ({k: Patch((k,), positions=place) for k in range(0, depth, step)} for place in PLACES)
    return {"read": read, "prefix": prefix, "audio": audio}


def at_one_block(label: str, vector: SteeringVector, multiplier: float, step: int) -> Changes:
    """Every so many blocks, each block's own direction into that block alone, at the prefix or at the audio."""
    blocks = range(0, len(vector.directions), step)
    return {
        f"{label}, {place}": {k: Steering(vector, multiplier, layers=(k,), positions=place) for k in blocks}
        for place in PLACES
    }


def from_each_layer(vector: SteeringVector, multiplier: float, step: int) -> Changes:
    """The direction of one layer into every block (One-to-All), with the same sum of λ as at one block."""
    depth = len(vector.directions)
    sources = {k: Steering(vector, multiplier / depth, source_layer=k) for k in range(0, depth, step)}
    return {"source layer": sources}


def ask(contrast: Contrast, changes: Changes, *, donors: Sequence[str] | None = None) -> pd.DataFrame:
    """What each change gains of the log-odds.

    Returns
    -------
    DataFrame
        One row for each change and pair: ``series``, ``layer``, ``pair``, ``gained`` (nats a token, over run B) and
        ``whole`` (run A's over run B's).
    """
    flat = {f"{series}/{layer}": change for series, each in changes.items() for layer, change in each.items()}
    table = contrast.log_odds(flat, donors=donors)
    names = table["change"].str.rsplit("/", n=1, expand=True)
    return pd.DataFrame(
        {
            "series": names[0],
            "layer": names[1].astype(int),
            "pair": table["pair"],
            "gained": table["log_odds"] - table["negative"],
            "whole": table["positive"] - table["negative"],
        }
    ).sort_values(["series", "layer", "pair"], ignore_index=True)


def share(rows: pd.DataFrame) -> Interval:
    """The share that one change recovers, with an interval over pairs."""
    return stats.ratio_interval(rows["gained"], rows["whole"])


def carrying(asked: pd.DataFrame) -> tuple[Interval, int]:
    """The share of the window that carries most, chosen for each pair by the others; and the window of most choices."""
    gained = asked[asked["series"] == "read"].pivot(index="layer", columns="pair", values="gained")
    whole = asked.drop_duplicates("pair").set_index("pair")["whole"]
    others = gained.sum(axis=1).to_numpy()[:, None] - gained.to_numpy()
    best = others.argmax(axis=0)  # all are divided by the same whole
    chosen = pd.DataFrame({"gained": gained.to_numpy()[best, range(len(best))], "whole": whole.to_numpy()})
    return share(chosen), int(gained.index[np.bincount(best).argmax()])


def control(contrast: Contrast, width: int, draws: int) -> Interval:
    """What `carrying` finds in states of other prompts that say the same as run B, its own best window too."""
    changes = {"read": patches(contrast.model.depth, width, 1)["read"]}
    own = contrast.negative
    found = [carrying(ask(contrast, changes, donors=own[turn:] + own[:turn])) for turn in range(1, draws + 1)]
    return stats.control_range([share.estimate for share, _ in found], symmetric=False)


def agreement(asked: pd.DataFrame, one: str, other: str, *, resamples: int = 2000, seed: int = 0) -> Interval:
    """Spearman's rank correlation of two curves over layers, with a bootstrap interval over pairs."""
    sums = [
        asked[asked["series"] == series].pivot(index="pair", columns="layer", values="gained")
        for series in (one, other)
    ]
    layers = sums[0].columns.intersection(sums[1].columns)
    values = np.stack([each[layers].to_numpy() for each in sums])  # (2, pairs, layers)
    draws = np.random.default_rng(seed).integers(values.shape[1], size=(resamples, values.shape[1]))
    low, high = np.nanquantile(_correlation(values[:, draws].sum(axis=2)), [0.025, 0.975])
    return Interval(float(_correlation(values.sum(axis=1))), float(low), float(high), values.shape[1])


def _correlation(curves: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Spearman's of two curves (2, ..., layers)."""
    ranks = rankdata(curves, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(axis=-1))
    return np.asarray((ranks[0] * ranks[1]).sum(axis=-1) / (spread[0] * spread[1]))


def write(
    study: Study, name: str, start: int, count: int, layers: Sequence[int], seconds: float
) -> pd.DataFrame:
    """Music in which the blocks after a layer read A's prompt, and all others B's.

    Returns
    -------
    DataFrame
        One row for each layer and pair: ``layer`` (-1: all blocks read A's, the last: none does), ``pair``, and
        ``gained`` and ``whole`` in octaves of the attribute's measure.
    """
    part, depth = take(study.attributes[name], start, count), study.model.depth
    asked = sorted({-1, *layers, depth - 1})
    clips = generate_patched(
        study.model,
        part.positive_prompts * len(asked),
        part.negative_prompts * len(asked),
        [Patch((layer,), positions="prefix") for layer in asked for _ in range(count)],
        seconds=seconds,
        seed=study.seed,
        sampling=study.sampling,
    )
    values = tempo(clips, checkpoint=study.beats) if part.metric == "bpm" else spectral_centroid(clips)
    octaves = np.log2(values).reshape(len(asked), count)
    gained, whole = octaves - octaves[-1], np.broadcast_to(octaves[0] - octaves[-1], octaves.shape)
    return pd.DataFrame(
        {
            "layer": np.repeat(asked, count),
            "pair": np.tile(range(count), len(asked)),
            "gained": gained.ravel(),
            "whole": whole.ravel(),
        }
    )


def findings(
    study: Study,
    carried: Mapping[str, tuple[Interval, int]],
    chance: Mapping[str, Interval],
    written: Mapping[str, pd.DataFrame],
    width: int,
) -> tuple[list[str], str]:
    """What this run found, and what speaks against it, in sentences."""
    shares = [
        f"{measured(found, share=True, sign=False)} of the words' effect for {name} (blocks {first} to "
        f"{first + width - 1} of {study.model.depth})"
        for name, (found, first) in carried.items()
    ]
    most = max(range_.high for range_ in chance.values())
    found = [
        f"What {width} neighbouring blocks read carries {listed(shares)}.",
        f"Activations of other prompts that say the same carry {100 * most:.0f} % at most.",
    ]
    found.append(
        f"In written music, switching the prompt after a layer still changes {_still(study, written)}."
    )
    pairs = min(interval.n for interval, _ in carried.values())
    return found, f"This rests on {pairs} pairs of prompts, on short music and on one trained model."


# --- figures --------------------------------------------------------------------------------------------------


def reading_figure(
    study: Study, asked: Mapping[str, pd.DataFrame], controls: Mapping[str, Interval], width: int
) -> None:
    """What neighbouring blocks carry; grey: what they carry of another prompt that says the same."""
    for ax, (name, table) in zip(_panels(study, sharey=True), asked.items(), strict=True):
        chance = controls[name]
        ax.axhspan(chance.low, chance.high, color=style.PALETTE["baseline"], alpha=0.2, linewidth=0)
        draw_curves(table, {"read": "patched"}, ax)
        ax.axhline(0.5, color=style.INK, linestyle=":", linewidth=1)
        ax.set(title=f"{name}, {table['pair'].nunique()} pairs", xlabel=f"first of {width} blocks")
    carried = {name: carrying(table)[0] for name, table in asked.items()}
    shares = {name: f"{name} ({100 * each.estimate:.0f} %)" for name, each in carried.items()}
    beyond = {shares[name]: each.low > controls[name].high for name, each in carried.items()}
    yes = f"{width} neighbouring blocks carry more than chance of what the words do, for {{}}"
    figures.message(told(beyond, yes, f"{width} blocks are not shown to carry more than chance for {{}}"))
    plt.show()


def one_block_figure(study: Study, asked: Mapping[str, pd.DataFrame]) -> None:
    """Patching and a push at one block, by layer: the prefix above, the audio below."""
    axes = figures.panels(2, len(asked), size=(4.4, 3.2), sharex=True)
    for row, place in enumerate(PLACES):
        for ax, (name, table) in zip(axes[row * len(asked) :], asked.items(), strict=False):
            names = {place: "A's activations", f"DiffMean, {place}": "DiffMean", f"random, {place}": "random"}
            draw_curves(table, names, ax, legend=row == 0)
            ax.set_title(f"{name}, {place}", loc="left", pad=36 if row == 0 else 6)
    crossed = {name: _crossing(table) for name, table in asked.items()}
    at = {
        name if layer is None else f"{name} (layer {layer})": layer is not None
        for name, layer in crossed.items()
    }
    yes = "What the words do passes from the prompt’s positions to the music’s, for {}"
    figures.message(told(at, yes, "for {}, it does not pass from the prompt’s positions to the music’s"))
    plt.show()


def _crossing(table: pd.DataFrame) -> int | None:
    """The first layer at which the music's positions carry more than the prompt's, if the first layer's do not."""
    shares = [
        pd.Series(
            {layer: share(rows).estimate for layer, rows in table[table["series"] == place].groupby("layer")}
        )
        for place in PLACES
    ]
    later = shares[1].gt(shares[0])
    return int(later.idxmax()) if later.any() and not later.iloc[0] else None


def source_figure(study: Study, asked: Mapping[str, pd.DataFrame]) -> None:
    """The same push from each source layer into all blocks, beside the push into one block alone."""
    for ax, (name, table) in zip(_panels(study, sharey=True), asked.items(), strict=True):
        draw_curves(
            table, {"source layer": "from layer k, into all", "DiffMean, audio": "into block k, audio"}, ax
        )
        ax.set_title(name, loc="left", pad=36)
    figures.message(_of_sources(asked))
    plt.show()


def _of_sources(asked: Mapping[str, pd.DataFrame]) -> str:
    """By how much the share differs between source layers, and between blocks that are pushed."""
    ranges = []
    for name, table in asked.items():
        parts = [
            table[table["series"] == series].groupby("layer")
            for series in ("source layer", "DiffMean, audio")
        ]
        source, block = (np.ptp([100 * share(rows).estimate for _, rows in part]) for part in parts)
        ranges.append(f"{source:.0f} points between source layers and {block:.0f} between blocks for {name}")
    return f"The share of the words’ effect differs by {listed(ranges)}"


def written_figure(study: Study, written: Mapping[str, pd.DataFrame]) -> None:
    """What music gains, in octaves, when only the blocks after a layer read the other prompt."""
    for ax, (name, table) in zip(_panels(study), written.items(), strict=True):
        attribute = study.attributes[name]
        for layer, rows in table.groupby("layer"):
            found = stats.mean_interval(rows["gained"])
            ax.plot([layer, layer], [found.low, found.high], color=_COLOURS[0])
            ax.plot(layer, found.estimate, "o", color=_COLOURS[0], markersize=5)
        ax.axhline(0, color=style.PALETTE["baseline"], linewidth=1)
        unit = style.METRIC_LABELS.get(attribute.metric, attribute.metric).split(" (")[0]
        ax.set(
            title=f"{unit}, {table['pair'].nunique()} pairs",
            xlabel=f"blocks after this one read “{attribute.positive}”",
            ylabel=f"octaves above “{attribute.negative}”",
        )
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.message(f"Switching the prompt after a layer still changes {_still(study, written)}")
    plt.show()


def _still(study: Study, written: Mapping[str, pd.DataFrame]) -> str:
    """Up to which layer a switch of the prompt is shown to change each attribute, of the layers but the last."""
    half = []
    for name, rows in written.items():
        inner = rows[(rows["layer"] >= 0) & (rows["layer"] < study.model.depth - 1)].dropna()
        wide = [int(layer) for layer, part in inner.groupby("layer") if share(part).low > 0]
        half.append(f"{name} {f'up to layer {max(wide)}' if wide else 'at no layer that was tried'}")
    return listed(half)


def draw_curves(table: pd.DataFrame, names: Mapping[str, str], ax: Axes, *, legend: bool = True) -> None:
    """Shares over layers with their 95 % bands, one curve a series.

    Parameters
    ----------
    table : DataFrame
        As `ask` returns it.
    names : mapping of str to str
        Series to be drawn, and what the legend calls them.
    ax : Axes
    legend : bool, default True
        Say what the curves are, if there are several.
    """
    stats.check_columns(table, ["series", "layer", "gained", "whole"])
    ax.axhline(0, color=style.PALETTE["baseline"], linewidth=1)
    for colour, (series, label) in zip(_COLOURS, names.items(), strict=False):
        part = table[table["series"] == series]
        found = pd.DataFrame([vars(share(rows)) for _, rows in part.groupby("layer")])
        layers = sorted(part["layer"].unique())
        ax.fill_between(layers, found["low"], found["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(layers, found["estimate"], color=colour, marker="o", markersize=4, label=label)
    ax.set(xlabel="layer", ylabel="share of the words' effect")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if legend and len(names) > 1:
        figures.legend(ax)


def _panels(study: Study, **options: bool) -> list[Axes]:
    return figures.panels(1, len(study.attributes), size=(4.4, 3.3), **options)
