"""Figures from tables: each takes a tidy DataFrame (or arrays) and the `ax` to draw on.

The figures follow paper A: activations (figure 2), layer scan (4), multipliers (5), cosines (6), Fréchet
distance (7), number of prompts (8) and spectrograms (9), with what the paper leaves out: bands are 95 %
intervals. Colours and labels are those of `steerlib.page.style`; call its `use_style` once before drawing.
"""

import html
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from steerlib.evidence.stats import check_columns
from steerlib.page.style import METRIC_LABELS, PALETTE, pole_colour, signed
from steerlib.prompts import Attribute
from steerlib.readout.analysis import knee

__all__ = [
    "check_one_attribute",
    "check_one_row_each",
    "cross_effects",
    "kappa_axis",
    "legend",
    "mark_knee",
    "message",
    "metric_label",
    "panels",
    "pole",
    "score_effects",
]

COLUMN = 9.0
"""Width of the book's column in inches, at which a figure's text is as large as set."""


def panels(
    rows: int, columns: int = 1, *, size: tuple[float, float] = (4.2, 3.4), **options: Any
) -> list[Axes]:
    """Axes of a grid of panels, row after row, each of `size` inches; `options` as for ``plt.subplots``.

    One row that is wider than the book's column goes on in further rows; axes that are left over are taken away.
    """
    wanted = rows * columns
    if rows == 1 and size[0] * columns > COLUMN:
        columns = max(1, int(COLUMN // size[0]))
        rows = -(-wanted // columns)
    shape = (size[0] * columns, size[1] * rows)
    axes = list(plt.subplots(rows, columns, figsize=shape, squeeze=False, **options)[1].flat)
    for spare in axes[wanted:]:
        spare.remove()
    return axes[:wanted]


def message(sentence: str) -> None:
    """Say above the figure that is shown next what it shows, as a line of the page: it wraps on a phone.

    The sentence must follow from the data that are drawn: `steerlib.page.bottom_line.told` makes such sentences.
    """
    display(HTML(f'<p class="figure-message">{html.escape(sentence, quote=False)}</p>'))


def score_effects(table: pd.DataFrame, ax: Axes, *, quantity: str) -> None:
    """Effects with their intervals, one row each, and a line at no effect.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``effect``, ``low`` and ``high``, and if wanted ``kind``, which gives the colour.
    ax : Axes
    quantity : str
        For the axis.
    """
    check_columns(table, ["name", "effect", "low", "high"])
    colours = ["#009E73", "#D55E00", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9"]
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    names = list(dict.fromkeys(table["name"]))
    for number, (kind, part) in enumerate(table.groupby(kinds, sort=False)):
        height = np.array([names.index(name) for name in part["name"]]) + 0.18 * (
            number - (kinds.nunique() - 1) / 2
        )
        errors = np.abs(part[["low", "high"]].to_numpy(dtype=float).T - part["effect"].to_numpy(dtype=float))
        ax.errorbar(
            part["effect"], height, xerr=errors, fmt="o", markersize=5, color=colours[number % 6], label=kind
        )
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set_yticks(range(len(names)), labels=names)
    ax.invert_yaxis()
    ax.set(xlabel=quantity)
    if "kind" in table:
        legend(ax)


def cross_effects(
    table: pd.DataFrame,
    ax: Axes,
    *,
    quantity: str = "shift (standard deviations)",
    reach: float | None = None,
    form: str = "+.2f",
) -> None:
    """Which steering moves which measure: a matrix of shifts.

    Cells whose 95 % interval lies wholly on one side of 0 have a frame. A shift of NaN is a dash.

    Parameters
    ----------
    table : DataFrame
        Columns ``attribute``, ``metric``, ``shift``, ``low`` and ``high``, all three in one unit for all metrics, such
        as the standard deviation over unsteered clips; one row a cell, in the order to be drawn.
    ax : Axes
    quantity : str
        For the bar of colours.
    reach : float, optional
        The shift with the fullest colour; larger ones have it, too. By default the largest, at least 1.
    form : str
        Format of a shift.
    """
    check_columns(table, ["attribute", "metric", "shift", "low", "high"])
    check_one_row_each(table, ["attribute", "metric"])
    attributes, metrics = list(table["attribute"].unique()), list(table["metric"].unique())
    matrix = table.pivot(index="attribute", columns="metric", values="shift").loc[attributes, metrics]
    reach = reach or max(1.0, float(np.nanmax(np.abs(matrix.to_numpy()), initial=0)))
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    for row in table.itertuples():
        x, y = metrics.index(row.metric), attributes.index(row.attribute)
        ink = "white" if abs(row.shift) > 0.6 * reach else "black"
        told = signed(row.shift, form) if np.isfinite(row.shift) else "–"
        ax.text(x, y, told, ha="center", va="center", color=ink if told != "–" else None)
        if row.low > 0 or row.high < 0:
            frame = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="black", linewidth=2)
            ax.add_patch(frame)
    ax.set_xticks(range(len(metrics)), [METRIC_LABELS.get(name, name).split(" (")[0] for name in metrics])
    ax.set_yticks(range(len(attributes)), attributes)
    ax.set(xlabel="measure", ylabel="steered attribute")
    bar = ax.figure.colorbar(image, ax=ax, label=quantity, shrink=0.85)
    bar.outline.set_visible(False)


def legend(ax: Axes) -> None:
    """Above the axes, where it covers no data; narrow, for the axes shrink to what stands above them."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0.2,
        columnspacing=0.8,
        fontsize="small",
        handlelength=1.2,
        handletextpad=0.4,
    )


def check_one_attribute(table: pd.DataFrame) -> None:
    if table.empty:
        raise ValueError("there is nothing to draw: the table has no rows")
    names = list(table["attribute"].dropna().unique()) if "attribute" in table else []
    if len(names) > 1:
        raise ValueError(
            f"this figure shows one attribute, the table has {names}: filter it, one ax for each"
        )


def pole(attribute: Attribute, multiplier: float) -> tuple[str, str]:
    name = attribute.positive if multiplier > 0 else attribute.negative
    return name, pole_colour(name, multiplier > 0)


def metric_label(summary: pd.DataFrame) -> tuple[str, str]:
    """What was measured, without and with its unit."""
    names = summary["metric"].unique()
    if len(names) > 1:
        raise ValueError(
            f"this figure shows one metric, the table has {list(names)}: filter it, one ax for each"
        )
    label = METRIC_LABELS.get(names[0], names[0])
    return label.split(" (")[0], label


def kappa_axis(ax: Axes, table: pd.DataFrame) -> None:
    """A second axis under that of the size of λ: κ, the strength that means the same on every model.

    Parameters
    ----------
    ax : Axes
        With the size of λ on its x axis.
    table : DataFrame
        With columns ``multiplier`` and ``kappa``, in proportion to each other, as for one vector and source layer.
    """
    steered = table[table["multiplier"] != 0]
    factor = float((steered["kappa"] / steered["multiplier"].abs()).median())
    if np.isfinite(factor) and factor > 0:

        def forward(size: Any) -> Any:
            return size * factor

        def backward(kappa: Any) -> Any:
            return kappa / factor

        below = ax.secondary_xaxis(-0.3, functions=(forward, backward))
        below.set_xlabel("strength κ")


def mark_knee(ax: Axes, x: npt.ArrayLike, y: npt.ArrayLike, colour: str) -> None:
    at = knee(x, y)
    if np.isfinite(at):
        ax.axvline(at, color=colour, linestyle=":", linewidth=1.2, label=f"knee at {at:.2g}")


def check_one_row_each(table: pd.DataFrame, key: list[str]) -> None:
    repeated = table.duplicated(key)
    if repeated.any():
        raise ValueError(
            f"several rows for the same {', '.join(key)} (such as "
            f"{tuple(table.loc[repeated, key].iloc[0])}): filter the table to what the figure is about"
        )
