"""Figures, tables and checks of the chapter *Layer scan* (``notebooks/layer_scan.ipynb``)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.directions import random_direction
from steerlib.evidence import choices, scorecard, stats
from steerlib.evidence.stats import Interval, check_columns
from steerlib.page import figures
from steerlib.page.bottom_line import listed, moved
from steerlib.page.style import PALETTE, signed
from steerlib.prompts import Attribute
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import Grid

__all__ = [
    "choice",
    "curves",
    "draw_layer_scan",
    "effects",
    "findings",
    "inject",
    "injection_curves",
    "of_random",
    "players",
    "shift",
    "split",
]


def curves(trial: Trial) -> None:
    """The change of each attribute's measure against the source layer (paper A, figure 4)."""
    axes = figures.panels(1, len(trial.parts))
    for ax, (name, attribute) in zip(axes, trial.study.attributes.items(), strict=True):
        draw_layer_scan(trial.effects(name), ax, attribute=attribute)
    limits = {name: choices.worst_pole(trial.effects(name), by="source_layer") for name in trial.parts}
    shown = listed([f"{(each > 0).sum()} of {len(each)} layers for {name}" for name, each in limits.items()])
    figures.message(f"Both poles are shown to move as intended from {shown}")
    plt.show()


def choice(limits: Mapping[str, "pd.Series[float]"], best: Mapping[str, int | None]) -> pd.DataFrame:
    """Say which layer was chosen for each attribute, and give the limits that it was chosen by."""
    for name, layer in best.items():
        if layer is None:
            print(f"{name}: no layer could be measured toward both poles, so none is chosen")
            continue
        limit = limits[name][layer]
        print(f"{name}: layer {layer}; low end of its worse pole {limit:+.1f} %: " + (
            "both poles are shown to move as intended" if limit > 0
            else "the best of those tried, but NOT shown to move both poles"))  # fmt: skip
    table = pd.DataFrame(limits).round(1).rename_axis("source layer")
    return table.add_suffix(": low end of the worse pole (%)")


def players(trial: Trial, prompt: int) -> None:
    """One prompt with the direction of each layer, toward the positive pole of each attribute."""
    for name, rows in trial.parts.items():
        rows = rows[(rows["prompt_id"] == prompt) & (rows["multiplier"] >= 0)]
        rows = rows.drop_duplicates("key").sort_values("multiplier")
        labels = [
            f"layer {row.source_layer}" if row.multiplier else "not steered" for row in rows.itertuples()
        ]
        pole = trial.study.attributes[name].positive
        label = f"{trial.study.prompts[prompt]}, toward {pole}"
        display(trial.study.players(rows, labels, label=label))


def split(layers: Sequence[int], depth: int) -> tuple[list[int], list[int]]:
    """Scanned layers at the depth of the paper's most effective ones, and the others (paper A, section 4.2)."""
    paper = scorecard.paper("a")["layers"]
    first, last = paper["most_effective"]
    stretch = choices.same_depth(first, last, of=paper["blocks"], to=depth)
    middle, rest = [k for k in layers if k in stretch], [k for k in layers if k not in stretch]
    print(
        f"the paper's layers {first} to {last} of {paper['blocks']} lie at the depth of our layers {list(stretch)} of "
        f"{depth} (counted from 0); scanned: {middle} in the stretch, {rest} outside"
    )
    if not (middle and rest):
        raise ValueError(f"scan layers inside and outside of {list(stretch)}, not only {list(layers)}")
    return middle, rest


def inject(study: Study, layers: Sequence[int], multiplier: float, *, prompts: int) -> Trial:
    """Add the direction of each layer after its own block alone, as much of it as One-to-All adds in all."""
    size = multiplier * study.model.depth
    grid = Grid(study.vectors, (-size, size), layers, strategy="one_to_one")
    return study.compare(grid, prompts=prompts)


def injection_curves(trial: Trial) -> None:
    """The shift against the block at which it is injected (paper A, figure 4, in its other reading)."""
    axes, shown = figures.panels(1, len(trial.parts)), []
    for ax, name in zip(axes, trial.parts, strict=True):
        means = pd.DataFrame(
            [(layer, *_limits(each)) for layer, each in shift(trial, name).items()],
            columns=["layer", "shift", "low", "high"],
        )
        ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
        ax.fill_between(means["layer"], means["low"], means["high"], alpha=0.2, linewidth=0)
        ax.plot(means["layer"], means["shift"], marker="o", markersize=4)
        ax.set(xlabel="block at which it is added", ylabel=f"shift ({_unit(trial.study, name)})")
        ax.set_title(name, loc="left")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        shown.append(f"{(means['low'] > 0).sum()} of {len(means)} blocks for {name}")
    figures.message(f"Added after one block alone, the direction is shown to steer at {listed(shown)}")
    plt.show()


def _limits(values: "pd.Series[float]") -> tuple[float, float, float]:
    mean = stats.mean_interval(values)
    return mean.estimate, mean.low, mean.high


def _unit(study: Study, name: str) -> str:
    attribute = study.attributes[name]
    return "octaves" if attribute.metric in stats.OCTAVES else attribute.unit


def of_random(
    study: Study,
    middle: Sequence[int],
    rest: Sequence[int],
    multiplier: float,
    *,
    draws: int,
    prompts: int,
) -> dict[str, Interval]:
    """Where the difference between two layers lies if their directions are random, by attribute.

    Of each draw, the direction of one layer inside the paper's stretch and of one outside.
    """
    pair = [middle[len(middle) // 2], rest[len(rest) // 2]]
    grids = {
        name: Grid(
            {f"random {k}": random_direction(vector, seed=study.seed + k) for k in range(draws)},
            (-multiplier, multiplier),
            pair,
        )
        for name, vector in study.vectors.items()
    }
    table, found = study.compare(grids, prompts=prompts).table, {}
    for name, attribute in study.attributes.items():
        octaves = attribute.metric in stats.OCTAVES
        rows = table[table["setting"] == name]
        shifts = stats.shifts(rows, value=attribute.metric, by=["attribute", "source_layer"], octaves=octaves)
        means = shifts.groupby(["attribute", "source_layer"])["shift"].mean().unstack()
        found[name] = stats.control_range(means[pair[0]] - means[pair[1]])
    return found


def findings(
    study: Study,
    limits: Mapping[str, "pd.Series[float]"],
    best: Mapping[str, int | None],
    cosines: Mapping[str, Interval],
    inject: Trial,
) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    chosen = listed(
        [f"{'no layer' if layer is None else f'layer {layer}'} for {name}" for name, layer in best.items()]
    )
    alike = listed([f"{cosine.estimate:.2f} for {name}" for name, cosine in cosines.items()])
    most = []
    for name in cosines:
        means = shift(inject, name).mean().dropna()
        if len(means):
            most.append(f"{name} most at block {means.idxmax()}, by {moved(means.max(), _unit(study, name))}")
    proven = [name for name, layer in best.items() if layer is not None and limits[name][layer] > 0]
    rest = [name for name, layer in best.items() if layer is not None and name not in proven]
    found = [f"The rule chooses {chosen}."]
    if proven:
        found.append(f"For {listed(proven)}, both poles are shown to move as intended.")
    if rest:
        found.append(f"For {listed(rest)}, no layer is shown to move both poles as intended.")
    against = (
        "A scan of source layers cannot tell apart layers whose directions agree, and neighbouring layers have a mean "
        f"cosine of {alike}."
    )
    if most:
        against += f" Added after one block alone, the directions change {listed(most)}."
    return found, against


def shift(trial: Trial, name: str) -> pd.DataFrame:
    """The shift of each prompt (rows) by the direction of each layer (columns), in octaves where there are any."""
    octaves = trial.study.attributes[name].metric in stats.OCTAVES
    shifts = trial.shifts(name, by=["source_layer"], octaves=octaves)
    wide = shifts.pivot(index="prompt_id", columns="source_layer", values="shift")
    return wide.set_axis(wide.columns.astype(int), axis="columns")


def effects(trial: Trial) -> pd.DataFrame:
    """The effect of each layer's direction on the attribute's own measure."""
    shown = ["attribute", "source_layer", "multiplier", "kappa", "n", "dropped", "baseline", "mean", "effect"]
    return trial.all_effects[[*shown, "low", "high", "octaves", "right", "wrong"]].round(2)


def draw_layer_scan(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Relative effect of the direction of each layer (paper A, figure 4); bands are 95 % intervals.

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise` by attribute, source layer and multiplier; of one attribute. A row
        without a source layer (All-to-All) becomes a dashed line across.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(
        summary, ["metric", "source_layer", "multiplier", "relative", "relative_low", "relative_high"]
    )
    figures.check_one_attribute(summary)
    quantity, _ = figures.metric_label(summary)
    figures.check_one_row_each(summary, ["source_layer", "multiplier"])
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    strengths = sorted(summary["multiplier"].abs().unique())
    for multiplier, part in reversed(list(summary.groupby("multiplier"))):
        name, colour = figures.pole(attribute, float(multiplier))
        alpha = 0.4 + 0.6 * (strengths.index(abs(multiplier)) + 1) / len(strengths)
        layers = part[part["source_layer"].notna()].sort_values("source_layer")
        x = layers["source_layer"].astype(int)
        ax.fill_between(
            x,
            100 * layers["relative_low"],
            100 * layers["relative_high"],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        label = f"{name} (λ = {signed(float(multiplier), '+g')})"
        ax.plot(x, 100 * layers["relative"], color=colour, alpha=alpha, marker="o", markersize=4, label=label)
        for level in 100 * part.loc[part["source_layer"].isna(), "relative"]:
            ax.axhline(
                level, color=colour, alpha=alpha, linestyle="--", linewidth=1.2, label=f"{label}, All-to-All"
            )
    ax.set(xlabel="source layer of the direction", ylabel=f"change of {quantity} (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figures.legend(ax)
