"""Figures, tables and checks of the chapter *Steering sweep* (``notebooks/steering_sweep.ipynb``)."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from myst_nb import glue

from steerlib.evidence import choices, stats
from steerlib.evidence.stats import Interval, check_columns
from steerlib.page import figures
from steerlib.page.style import PALETTE
from steerlib.prompts import Attribute
from steerlib.readout.analysis import knee
from steerlib.study import Distances, Pole, Study, Trial

__all__ = [
    "best_below",
    "curves",
    "distance_curves",
    "draw_fad_curve",
    "draw_multiplier_curve",
    "effects",
    "knees",
    "sliders",
    "smoothness",
    "strongest",
]


def sliders(trial: Trial, prompts: int) -> None:
    """A slider over λ for each attribute and prompt; the first of an attribute is kept for the front page."""
    for number, (name, rows) in enumerate(trial.parts.items()):
        for prompt in range(prompts):
            one = rows[rows["prompt_id"] == prompt]
            slider = trial.study.slider(one, trial.study.attributes[name], spectrogram=True)
            display(slider)
            if prompt == 0:
                glue(f"front_{name}" if number else "front", slider, display=False)


def curves(trial: Trial) -> None:
    """The measures against λ, a row of panels for each attribute, its own measure first (paper A, figure 5)."""
    measures = {
        name: list(dict.fromkeys([each.metric, "bpm", "centroid", "onset_rate"]))
        for name, each in trial.study.attributes.items()
    }
    columns = max(map(len, measures.values()))
    axes = iter(figures.panels(len(measures), columns, size=(3.0, 3.0)))
    for name, metrics in measures.items():
        for metric in metrics:
            draw_multiplier_curve(
                trial.effects(name, metric), next(axes), attribute=trial.study.attributes[name]
            )
    plt.show()


def effects(trial: Trial) -> pd.DataFrame:
    """The effect of each λ on the attribute's own measure."""
    shown = [
        "attribute",
        "multiplier",
        "n",
        "dropped",
        "baseline",
        "mean",
        "effect",
        "low",
        "high",
        "relative",
    ]
    return trial.all_effects[shown].set_index(["attribute", "multiplier"]).round(2)


def strongest(trial: Trial) -> None:
    """Say for each pole at which λ the shift in the intended direction is largest, its interval beyond 0."""
    for pole in trial.poles():
        rows = trial.all_effects.query("attribute == @pole.key and multiplier * @pole.sign > 0")
        intended = {row.multiplier: choices.intended(row) for _, row in rows.iterrows()}
        shown = {value: effect for value, effect in intended.items() if effect.low > 0}
        where = f"{trial.study.model.name}, toward {pole.name}"
        if not shown:
            print(f"{where}: at no λ does the interval lie wholly on the intended side of 0")
            continue
        best = max(shown, key=lambda value: shown[value].estimate)
        print(f"{where}: strongest intended shift at λ = {best:g}: {shown[best]} {pole.unit}")


def distance_curves(study: Study, distances: Distances) -> None:
    """The Fréchet distance against λ, a panel for each attribute (paper A, figure 7)."""
    for ax, (name, attribute) in zip(
        figures.panels(len(study.attributes), size=(6.5, 3.6)), study.attributes.items(), strict=True
    ):
        rows = distances.table[distances.table["attribute"] == name]
        draw_fad_curve(rows, ax, attribute=attribute)
    plt.show()


def knees(trial: Trial, distances: Distances) -> pd.DataFrame:
    """Say where each pole's distance has a knee, and give the distances."""
    for pole in trial.poles():
        table = distances.table
        curve = table[(table["attribute"] == pole.key) & (table["multiplier"] * pole.sign >= 0)]
        found = knee(curve["multiplier"].abs(), curve["fad"])
        print(f"toward {pole.name}: " + (
            "no knee: one line fits nearly as well as two, or there are under 5 points"
            if np.isnan(found) else f"knee at |λ| = {found:.3g}"))  # fmt: skip
    return distances.table.set_index(["attribute", "multiplier"]).drop(columns="source_layer").round(2)


def best_below(summary: pd.DataFrame, limit: float) -> float | None:
    """The size of λ below a limit that the rule of `choices.best` prefers, and say so.

    Where no size lies below the limit, the smallest is taken.
    """
    sizes = summary.assign(size=summary["multiplier"].abs())
    allowed = sizes[sizes["size"] < limit]
    found = choices.best(allowed if len(allowed) else sizes[sizes["size"] == sizes["size"].min()], by="size")
    shown = "at no λ" if limit == np.inf else f"from |λ| = {limit:g} on"
    name = summary["attribute"].iloc[0]
    print(f"{name}: the distance is shown to be greater {shown}; chosen: {found}")
    return found


def smoothness(pole: Pole, up_to: float | None) -> Interval:
    """Rank correlation of |λ| and the metric within a prompt, up to a size of λ, averaged over prompts."""
    rows = pole.rows[pole.rows["multiplier"].abs() <= (up_to or pole.rows["multiplier"].abs().max())]
    wide = rows.pivot(index="multiplier", columns="prompt_id", values=pole.metric)
    order = wide.reset_index().corr(method="spearman")["multiplier"].drop("multiplier")
    return stats.mean_interval(order)


def draw_multiplier_curve(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Metric against the size of the multiplier, one curve for each pole (paper A, figure 5).

    Bands are the 95 % intervals of the paired effect, drawn around the mean: they tell the distance from the
    baseline, not the spread of clips. The knee of a curve, where there is one, is marked
    (`steerlib.readout.analysis.knee`).

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise`, of one attribute and one source layer.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(summary, ["metric", "multiplier", "baseline", "mean", "low", "high", "n"])
    figures.check_one_attribute(summary)
    _, quantity = figures.metric_label(summary)
    figures.check_one_row_each(summary, ["multiplier"])
    baseline = float(summary.loc[summary["n"].idxmax(), "baseline"])
    ax.axhline(baseline, color=PALETTE["baseline"], linestyle="--", linewidth=1, label="baseline (λ = 0)")
    for sign in (1, -1):
        part = summary[np.sign(summary["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = figures.pole(attribute, sign)
        part = part.assign(size=part["multiplier"].abs()).sort_values("size")
        x = np.append(0, part["size"])
        mean = np.append(baseline, part["mean"])
        low = np.append(baseline, part["baseline"] + part["low"])
        high = np.append(baseline, part["baseline"] + part["high"])
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=colour, marker="o", markersize=4, label=f"toward {name}")
        figures.mark_knee(ax, x, mean, colour)
    ax.set(xlabel="size of the multiplier |λ|", ylabel=quantity)
    figures.legend(ax)


def draw_fad_curve(table: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Fréchet audio distance against the size of the multiplier, one curve for each pole (paper A, figure 7).

    Parameters
    ----------
    table : DataFrame
        Columns ``attribute``, ``multiplier``, ``fad``, ``fad_low`` and ``fad_high`` (for instance from
        `steerlib.evidence.stats.jackknife_interval`), and if wanted ``fad_infinity`` (dashed); one row a multiplier.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(table, ["multiplier", "fad", "fad_low", "fad_high"])
    figures.check_one_attribute(table)
    figures.check_one_row_each(table, ["multiplier"])
    for sign in (1, -1):
        part = table[np.sign(table["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = figures.pole(attribute, sign)
        part = pd.concat([table[table["multiplier"] == 0], part])
        part = part.assign(size=part["multiplier"].abs()).sort_values("size")
        ax.fill_between(part["size"], part["fad_low"], part["fad_high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(part["size"], part["fad"], color=colour, marker="o", markersize=4, label=f"toward {name}")
        if "fad_infinity" in part:
            ax.plot(
                part["size"],
                part["fad_infinity"],
                color=colour,
                linestyle="--",
                linewidth=1.2,
                label=f"toward {name}, infinite samples",
            )
        figures.mark_knee(ax, part["size"], part["fad"], colour)
    ax.set(xlabel="size of the multiplier |λ|", ylabel="Fréchet audio distance (embedding units²)")
    figures.legend(ax)
