"""Figures and tables of the chapter *Known truth and controls* (``notebooks/known_truth.ipynb``)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.activations import (
    Activations,
    AudioPosition,
    extract_activations,
    extract_audio_activations,
    hear,
)
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns
from steerlib.model import MusicModel
from steerlib.music.corpus import SAMPLE_RATE, Truth
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed, moved, told
from steerlib.page.style import PALETTE
from steerlib.readout.baselines import codec_latents, mel_features, untrained
from steerlib.readout.decoding import decodability
from steerlib.steering import SteeringVector
from steerlib.study import Study, Trial

__all__ = [
    "against_random",
    "best_without",
    "control",
    "cosines",
    "draw_forest",
    "draw_layer_curves",
    "effects",
    "findings",
    "heard",
    "listen",
    "read_and_hear",
    "readable",
    "readable_curves",
    "readable_table",
    "shifts",
    "words_alone",
    "without_training",
]

Numbers = Mapping[str, npt.NDArray[Any]]
Shifts = Mapping[tuple[str, str], "pd.Series[float]"]


def read_and_hear(
    model: MusicModel,
    truths: Sequence[Truth],
    audio: Sequence[npt.NDArray[Any]],
    positions: Sequence[AudioPosition],
) -> dict[str, Activations]:
    """The decoder's states at the end of each caption, and at each position of each clip that it hears."""
    seen = {"caption read, EOS": extract_activations(model, [truth.caption for truth in truths])}
    captions = tuple(truth.caption for truth in truths)
    heard = hear(model, np.stack(audio), [(each, "residual") for each in positions], sample_rate=SAMPLE_RATE)
    return seen | {
        f"clip heard, {each}": replace(found, prompts=captions)
        for each, found in zip(positions, heard, strict=True)
    }


def readable(study: Study, seen: Mapping[str, Activations], number: Numbers) -> pd.DataFrame:
    """Held-out R² (``value``) of each attribute's number, by layer and by what was read or heard (``series``)."""
    parts = [
        decodability(each, number[name], seed=study.seed).assign(attribute=name, series=series)
        for name in study.attributes
        for series, each in seen.items()
    ]
    return pd.concat(parts, ignore_index=True).rename(columns={"r2": "value"})


def words_alone(study: Study, truths: Sequence[Truth], number: Numbers) -> dict[str, Interval]:
    """R² of each attribute's number from nothing but the pole that the caption names, or that it names none."""
    found = {}
    for name, attribute in study.attributes.items():
        poles = (attribute.positive, attribute.negative)
        named = np.array([[truth.mentioned.get(name) == pole for pole in poles] for truth in truths])
        row = decodability(named[:, None].astype(float), number[name], seed=study.seed).iloc[0]
        found[name] = Interval(row["r2"], row["low"], row["high"], int(row["n"]))
    return found


def readable_curves(study: Study, read: pd.DataFrame, words: Mapping[str, Interval]) -> None:
    """R² against the layer, a panel for each attribute; dashed: what the words of the caption alone explain."""
    for ax, name in zip(_panels(study, 3.6, sharey=True), study.attributes, strict=True):
        draw_layer_curves(read[read["attribute"] == name], ax, ylabel="held-out R² of the true number")
        ax.axhline(words[name].estimate, color=style.PALETTE["baseline"], linestyle="--", linewidth=1)
        ax.set_title(name, loc="left", pad=36)
    heard = read[read["series"].str.startswith("clip heard")].groupby("attribute")["value"].max()
    said = [f"{100 * heard[name]:.0f} % of the variance of {name}" for name in study.attributes]
    figures.message(f"From clips that the model hears, a regression reads up to {listed(said)}")
    plt.show()


def readable_table(study: Study, read: pd.DataFrame, words: Mapping[str, Interval]) -> pd.DataFrame:
    """R² at the source layers, for listeners without training too, and what the caption's words alone explain."""
    rows = [
        [row.attribute, row.series, row.layer, f"{row.value:.2f} [{row.low:.2f}, {row.high:.2f}]", row.n]
        for row in read[read["layer"] == read["attribute"].map(study.layers)].itertuples()
    ] + [
        [name, "the words of the caption alone", "", f"{r2.estimate:.2f} [{r2.low:.2f}, {r2.high:.2f}]", r2.n]
        for name, r2 in words.items()
    ]
    names = ["attribute", "from", "layer", "R² [95 %]", "clips"]
    return pd.DataFrame(rows, columns=names).set_index(["attribute", "from"])


def cosines(study: Study, found: Mapping[str, Mapping[str, SteeringVector]]) -> None:
    """Cosine of DiffMean with other directions, layer by layer; grey: where 95 % of random directions lie."""
    chance, shares = 1.96 / np.sqrt(study.model.width), []
    for ax, (name, vector) in zip(_panels(study, 3.6, sharey=True), study.vectors.items(), strict=True):
        curves = [
            pd.DataFrame({"value": vector.cosine_similarity(other).diagonal().numpy(), "series": label})
            for label, other in found[name].items()
        ]
        table = pd.concat(curves).rename_axis("layer").reset_index()
        outside = table.loc[table["series"] == "filter, clip heard", "value"]
        draw_layer_curves(table, ax, ylabel="cosine with DiffMean")
        ax.axhspan(-chance, chance, color=style.PALETTE["baseline"], alpha=0.2, linewidth=0)
        ax.set_title(name, loc="left", pad=36)
        shares.append(f"{(outside > chance).sum()} of {len(outside)} layers for {name}")
    figures.message(
        f"The filter from heard clips is closer to DiffMean than random directions are at {listed(shares)}",
    )
    plt.show()


def without_training(
    study: Study, audio: Sequence[npt.NDArray[Any]], position: AudioPosition, number: Numbers
) -> pd.DataFrame:
    """R² (``value``) of each attribute's number for listeners that have learnt nothing of music (``series``).

    The mel spectrum, the codec's latents, and at the source layer the decoder with its blocks drawn at random.
    """
    clips, rate = np.stack(audio), SAMPLE_RATE
    random = untrained(study.model, seed=study.seed)
    heard = {
        "untrained decoder": extract_audio_activations(random, clips, sample_rate=rate, position=position),
        "codec": codec_latents(study.model, clips, sample_rate=rate),
        "mel spectrum": mel_features(clips, sample_rate=rate),
    }
    parts = []
    for name, layer in study.layers.items():
        for series, each in heard.items():
            values = each.values[:, [layer]] if series == "untrained decoder" else each.values
            found = decodability(values.numpy(), number[name], seed=study.seed)
            parts.append(found.assign(attribute=name, series=series, layer=layer))
    return pd.concat(parts, ignore_index=True).rename(columns={"r2": "value"})


def best_without(others: pd.DataFrame, name: str) -> Interval:
    """The highest R² of `without_training` for an attribute, with its interval."""
    rows = others[others["attribute"] == name]
    best = rows.loc[rows["value"].idxmax()]
    return Interval(best["value"], best["low"], best["high"], int(best["n"]))


def against_random(
    shift: Shifts, randoms: int
) -> tuple[dict[tuple[str, str], Interval], dict[str, Interval]]:
    """The mean shift along each direction, and where that along random ones lies, by attribute."""
    along = {each: stats.mean_interval(values) for each, values in shift.items()}
    reach = {
        name: stats.control_range([along[name, f"random {k + 1}"].estimate for k in range(randoms)])
        for name, _ in along
    }
    return along, reach


def findings(
    study: Study,
    decoded: Mapping[str, Measured],
    along: Mapping[tuple[str, str], Interval],
    reach: Mapping[str, Interval],
) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    read, shifted, against = [], [], []
    for name in study.attributes:
        shift = along[name, "DiffMean"]
        if name in decoded and np.isfinite([shift.low, shift.high, decoded[name].interval.estimate]).all():
            read.append(f"{100 * decoded[name].interval.estimate:.0f} % of the variance of {name}")
            shifted.append(f"{name} by {moved(shift, 'octaves')}")
        if np.isfinite(reach[name].high):
            against.append(f"{name} by {moved(reach[name].high, 'octaves')}")
    found = [
        f"In clips that the model hears, a linear regression decodes {listed(read)}.",
        f"Steering along DiffMean changes {listed(shifted)}.",
    ]
    random = (
        f"Random directions of the same length may change {listed(against)}."
        if against
        else "No control could be measured."
    )
    return (
        found if read else ["Too few clips could be measured to tell."],
        f"{random} All of this comes from one small model, whose music is composed by rules.",
    )


def shifts(trial: Trial, *, octaves: bool = False) -> dict[tuple[str, str], "pd.Series[float]"]:
    """How far each prompt is shifted, by attribute and direction."""
    found = {}
    for (name, direction), rows in trial.table.groupby(["setting", "attribute"], sort=False):
        metric = trial.study.attributes[name].metric
        found[name, direction] = stats.shifts(rows, value=metric, by=["attribute"], octaves=octaves)["shift"]
    return found


def effects(trial: Trial, shift: Shifts) -> pd.DataFrame:
    """The shift along each direction, and the drift: what it does whichever way it points."""
    rows = []
    for (name, direction), part in trial.table.groupby(["setting", "attribute"], sort=False):
        size, metric = trial.study.sizes[name], trial.study.attributes[name].metric
        wide = part.pivot(index="prompt_id", columns="multiplier", values=metric)
        drift = stats.paired_interval((wide[size] + wide[-size]) / 2, wide[0.0])
        rows.append([name, direction, stats.mean_interval(shift[name, direction]), drift])
    names = ["attribute", "direction", "shift", "drift"]
    return pd.DataFrame(rows, columns=names).set_index(names[:2])


def control(study: Study, table: pd.DataFrame) -> None:
    """The shifts of `effects`, a panel for each attribute; random directions are grey."""
    for ax, (name, attribute) in zip(_panels(study, 3.0), study.attributes.items(), strict=True):
        rows = pd.DataFrame(map(asdict, table.loc[name, "shift"])).assign(label=table.loc[name].index)
        rows["colour"] = "#0072B2"
        rows.loc[rows["label"].str.startswith("random"), "colour"] = style.PALETTE["baseline"]
        draw_forest(rows, ax, xlabel=f"shift toward {attribute.positive} ({attribute.unit})")
        ax.set_title(name, loc="left")
    beyond = {name: _beyond(table.loc[name, "shift"]) for name in study.attributes}
    figures.message(
        told(
            beyond,
            "DiffMean shifts {} further than any random direction",
            "a random direction may shift {} as far as DiffMean",
        ),
    )
    plt.show()


def _beyond(shifts: "pd.Series[Any]") -> bool:
    """Whether the whole interval of DiffMean lies beyond what the random directions reach, on either side."""
    random = [abs(each.estimate) for name, each in shifts.items() if str(name).startswith("random")]
    return bool(shifts["DiffMean"].low > max(random, default=np.inf))


def listen(trial: Trial) -> None:
    """The first prompt, not steered and steered along each direction."""
    table = trial.table[(trial.table["prompt_id"] == 0) & (trial.table["multiplier"] >= 0)]
    for name, rows in table.groupby("setting", sort=False):
        rows = rows.drop_duplicates("key").sort_values("multiplier")
        labels = rows["attribute"].where(rows["multiplier"] != 0, "not steered")
        title = f"{trial.study.prompts[0]}: +λ along each direction, {name}"
        display(trial.study.players(rows, list(labels), label=title))


def heard(trial: Trial) -> pd.DataFrame:
    """The clips along DiffMean of the first attribute, for the prompt with the median effect."""
    name, table = next(iter(trial.study.attributes)), trial.table
    rows = table[(table["setting"] == name) & (table["attribute"] == "DiffMean")]
    return Trial(trial.study, rows.assign(attribute=name)).typical(name)


def _panels(study: Study, height: float, **options: Any) -> list[Any]:
    return figures.panels(1, len(study.attributes), size=(4.4, height), **options)


def draw_layer_curves(table: pd.DataFrame, ax: Axes, *, ylabel: str) -> None:
    """One curve a series over the layers, with 95 % bands where there are any.

    Parameters
    ----------
    table : DataFrame
        Columns ``layer``, ``series`` (label of the curve) and ``value``, and if wanted ``low`` and ``high``.
    ax : Axes
    ylabel : str
        With its unit.
    """
    check_columns(table, ["layer", "series", "value"])
    figures.check_one_row_each(table, ["layer", "series"])
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    for number, (series, part) in enumerate(table.groupby("series", sort=False)):
        part, colour = part.sort_values("layer"), colours[number % len(colours)]
        if {"low", "high"} <= set(part):
            ax.fill_between(part["layer"], part["low"], part["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(part["layer"], part["value"], color=colour, marker="o", markersize=4, label=series)
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.legend(ax)


def draw_forest(table: pd.DataFrame, ax: Axes, *, xlabel: str) -> None:
    """Estimates with their 95 % intervals, one below the other, around the line of no effect.

    Parameters
    ----------
    table : DataFrame
        Columns ``label``, ``estimate``, ``low`` and ``high``, and if wanted ``colour``; the first row is drawn
        on top.
    ax : Axes
    xlabel : str
        With its unit.
    """
    check_columns(table, ["label", "estimate", "low", "high"])
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    for y, row in enumerate(table.itertuples()):
        colour = getattr(row, "colour", "#0072B2")
        ax.plot([row.low, row.high], [y, y], color=colour)
        ax.plot(row.estimate, y, "o", color=colour, markersize=5)
    ax.set_yticks(range(len(table)), table["label"])
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)
