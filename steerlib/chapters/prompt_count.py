"""Figures, tables and checks of the chapter *How many prompts* (``notebooks/prompt_count.ipynb``)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from steerlib.directions import shuffled_direction
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured
from steerlib.page.style import PALETTE, signed
from steerlib.prompts import Attribute
from steerlib.readout.analysis import subset_agreement
from steerlib.steering import SteeringVector
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import Grid

__all__ = [
    "agreement",
    "curves",
    "draw_agreement_curve",
    "draw_prompt_count_curve",
    "findings",
    "nearest",
    "of_shuffled",
    "per_prompt",
    "players",
    "plus_one",
    "shifts",
    "sweep",
    "unit",
]

_ALIKE = 0.9
"""Least mean cosine of two directions that a figure calls alike."""
Drawn = Mapping[tuple[int, int], SteeringVector]
"""Directions by the number of prompts, and the number of the draw."""


def agreement(study: Study, counts: Sequence[int], *, draws: int) -> pd.DataFrame:
    """How directions of few prompts agree with that of all, and with each other (beside paper A, figure 8)."""
    parts = {}
    axes = figures.panels(1, len(study.attributes), size=(4.5, 3.4), sharey=True)
    for ax, (name, activations) in zip(axes, study.activations.items(), strict=True):
        layer = study.layers[name]
        possible = [count for count in counts if count <= len(activations) // 2]
        table = subset_agreement(activations, possible, subsets=draws, seed=study.seed)
        draw_agreement_curve(table, ax, layer=layer)
        ax.set_title(name, loc="left", pad=36)
        parts[name] = (
            table[table["layer"] == layer].groupby("prompts")[["with_all", "with_other", "length"]].mean()
        )
    few = {name: part.index[part["with_other"] > _ALIKE] for name, part in parts.items()}
    said = [
        f"{min(each)} prompts for {name}" if len(each) else f"no number tried for {name}"
        for name, each in few.items()
    ]
    figures.message(
        f"Two directions of different prompts are alike (cosine above {_ALIKE}) from {listed(said)} on",
    )
    plt.show()
    means = pd.concat(parts, names=["attribute"]).round(2)
    return means.rename(columns={"with_all": "cosine with all", "with_other": "cosine with others"})


def sweep(study: Study, drawn: Mapping[str, Drawn]) -> Trial:
    """Steer with every direction of each attribute; columns ``prompts`` and ``subset`` say which."""
    names = {
        f"{name}/{count}/{subset}": (name, count, subset)
        for name, directions in drawn.items()
        for count, subset in directions
    }
    table = study.sweep(
        {each: study.poles()[name] for each, (name, _, _) in names.items()},
        {each: study.layers[name] for each, (name, _, _) in names.items()},
        vectors={each: drawn[name][count, subset] for each, (name, count, subset) in names.items()},
    ).table
    labels = pd.DataFrame(
        [names[each] for each in table["attribute"]], table.index, columns=["attribute", "prompts", "subset"]
    )
    return Trial(study, table.assign(**labels))


def curves(trial: Trial) -> None:
    """The effect against the number of prompts that the direction was made of (paper A, figure 8)."""
    axes = figures.panels(1, len(trial.parts), size=(4.5, 3.4))
    by = ("attribute", "prompts", "subset", "multiplier")
    for ax, (name, attribute) in zip(axes, trial.study.attributes.items(), strict=True):
        summary = stats.summarise(trial.parts[name], value=attribute.metric, by=by)
        draw_prompt_count_curve(summary, ax, attribute=attribute)
    means = {name: per_prompt(trial, name).mean() for name in trial.parts}
    shares = [f"{name} {100 * each.iloc[0] / each.iloc[-1]:.0f} % as far" for name, each in means.items()
              if each.iloc[-1] > 0]  # fmt: skip
    least, most = (next(iter(means.values())).index[end] for end in (0, -1))
    figures.message(
        f"Directions of {least} prompts shift {listed(shares)} as those of {most} prompts"
        if shares
        else f"Not even directions of {most} prompts shift the music as intended",
    )
    plt.show()


def shifts(trial: Trial) -> pd.DataFrame:
    """The shift by the number of prompts, with intervals over neutral prompts and over draws."""
    rows = []
    for name in trial.parts:
        for count, part in trial.shifts(name, by=["prompts", "subset"]).groupby("prompts"):
            over, draws = (
                stats.mean_interval(part["shift"], clusters=part[by]) for by in ("prompt_id", "subset")
            )
            limits = [
                "–" if np.isnan(each.low) else f"[{each.low:.1f}, {each.high:.1f}]" for each in (over, draws)
            ]
            rows.append([name, count, part["subset"].nunique(), over.estimate, *limits, over.n, over.dropped])
    names = ["attribute", "prompts", "draws", "shift", "other prompts", "other draws", "n", "not measurable"]
    print("shift toward the first pole in BPM (tempo) or Hz (timbre), with 95 % confidence intervals")
    return pd.DataFrame(rows, columns=names).set_index(["attribute", "prompts"]).round(1)


def players(trial: Trial, prompt: int, *, counts: Sequence[int]) -> None:
    """One neutral prompt, steered with the first draw of each of `counts` prompts."""
    for name, rows in trial.parts.items():
        attribute = trial.study.attributes[name]
        rows = rows[(rows["prompt_id"] == prompt) & (rows["subset"] == 0) & rows["prompts"].isin(counts)]
        rows = rows.drop_duplicates("key").sort_values(["multiplier", "prompts"])
        labels = [
            f"{attribute.positive if row.multiplier > 0 else attribute.negative}, {row.prompts} prompts"
            if row.multiplier
            else "not steered"
            for row in rows.itertuples()
        ]
        display(trial.study.players(rows, labels, label=f"{trial.study.prompts[prompt]}: {name}"))


def nearest(counts: Sequence[int], wanted: int) -> int:
    """The number of prompts nearest to one that is wanted; the greatest, which is all prompts, does not count."""
    counts = sorted(counts)
    return min(counts[:-1] or counts, key=lambda count: abs(count - wanted))


def plus_one(change: Interval) -> Interval:
    """A relative change as a share of what it is a change of."""
    return replace(change, estimate=1 + change.estimate, low=1 + change.low, high=1 + change.high)


def unit(study: Study, name: str) -> str:
    attribute = study.attributes[name]
    return "octaves" if attribute.metric in stats.OCTAVES else attribute.unit


def of_shuffled(study: Study, name: str, pairs: int, whole: float, *, draws: int) -> Interval:
    """Where the share of the whole shift lies for directions of so many pairs whose poles are shuffled."""
    vectors = {
        f"shuffled {k}": shuffled_direction(study.activations[name], seed=study.seed + k, pairs=pairs)
        for k in range(draws)
    }
    table = study.compare(Grid(vectors, study.poles()[name], [study.layers[name]])).table
    metric = study.attributes[name].metric
    found = stats.shifts(table, value=metric, by=["attribute"], octaves=metric in stats.OCTAVES)
    return stats.control_range(found.groupby("attribute")["shift"].mean() / whole)


def findings(study: Study, name: str, few: int, share: Measured) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    if np.isnan([share.interval.low, share.interval.high]).any():
        return [
            "Too few clips could be measured to tell."
        ], "Without a measurement there is nothing to doubt."
    far = measured(share.interval, share=True, sign=False)
    found = f"Directions of {few} prompts for each pole shift {name} {far} as far "
    against = f"The interval rests on {share.interval.n} neutral prompts"
    if share.control is not None and np.isfinite(share.control.high):
        reach = f"{100 * share.control.high:.0f} %"
        against += f", and directions from as many prompts with shuffled poles reach up to {reach}"
    return [f"{found}as the direction of all {len(study.activations[name]) // 2}."], f"{against}."


def per_prompt(trial: Trial, name: str) -> pd.DataFrame:
    """The shift of each neutral prompt (rows), mean over draws, by the number of prompts (columns).

    In octaves where the measure has any.
    """
    octaves = trial.study.attributes[name].metric in stats.OCTAVES
    table = trial.shifts(name, by=["prompts", "subset"], octaves=octaves)
    return table.groupby(["prompts", "prompt_id"])["shift"].mean().unstack("prompts")


def draw_prompt_count_curve(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Effect against the number of prompts that the direction was made of (paper A, figure 8).

    Points are random subsets of prompts, the line their mean, the band their range.

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise` by attribute, ``prompts`` (how many a pole), ``subset`` and
        multiplier.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(summary, ["metric", "prompts", "subset", "multiplier", "effect"])
    figures.check_one_attribute(summary)
    _, quantity = figures.metric_label(summary)
    figures.check_one_row_each(summary, ["prompts", "subset", "multiplier"])
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    for multiplier, part in reversed(list(summary.groupby("multiplier"))):
        name, colour = figures.pole(attribute, float(multiplier))
        spread = part.groupby("prompts")["effect"].agg(["mean", "min", "max"])
        ax.fill_between(spread.index, spread["min"], spread["max"], color=colour, alpha=0.2, linewidth=0)
        ax.scatter(part["prompts"], part["effect"], color=colour, s=10, alpha=0.6, linewidths=0)
        ax.plot(
            spread.index,
            spread["mean"],
            color=colour,
            label=f"{name} (λ = {signed(float(multiplier), '+g')})",
        )
    counts = sorted(summary["prompts"].unique())
    _count_axis(ax, counts)
    ax.set(xlabel="prompts of each pole", ylabel=f"change of {quantity}")
    figures.legend(ax)


def draw_agreement_curve(table: pd.DataFrame, ax: Axes, *, layer: int) -> None:
    """How well directions of few prompts agree with that of all, and with each other (beside paper A, figure 8).

    Lines are means over random subsets, bands hold 95 % of the subsets. The second curve ends at half of the
    prompts, beyond which two subsets cannot be disjoint.

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.analysis.subset_agreement`.
    ax : Axes
    layer : int
        Layer whose directions are compared.
    """
    check_columns(table, ["prompts", "layer", "with_all", "with_other"])
    part = table[table["layer"] == layer]
    if part.empty:
        raise ValueError(f"the table has no layer {layer}: it has {sorted(table['layer'].unique())}")
    curves = {
        "with_all": ("with the direction of all prompts", "#009E73"),
        "with_other": ("with that of equally many others", "#CC79A7"),
    }
    for column, (label, colour) in curves.items():
        groups = part.dropna(subset=[column]).groupby("prompts")[column]
        mean = groups.mean()
        ax.fill_between(
            mean.index, groups.quantile(0.025), groups.quantile(0.975), color=colour, alpha=0.2, linewidth=0
        )
        ax.plot(mean.index, mean, color=colour, marker="o", markersize=4, label=label)
    _count_axis(ax, sorted(part["prompts"].unique()))
    ax.set(xlabel="prompts of each pole", ylabel="cosine similarity")
    ax.set_title(f"layer {layer}", loc="right")
    ax.legend(loc="lower right", fontsize="small")  # where the curves have left room


def _count_axis(ax: Axes, counts: Sequence[int]) -> None:
    """A logarithmic x axis with ticks at the counts that were tried."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(counts))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
