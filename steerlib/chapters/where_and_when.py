"""Figures, tables and checks of the chapter *Where and when to inject* (``notebooks/where_and_when.ipynb``)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped]
from IPython.display import display
from matplotlib.axes import Axes

from steerlib.directions import random_direction
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns
from steerlib.measure.distance import Distances
from steerlib.page import figures, style
from steerlib.page.style import INK, PALETTE, signed
from steerlib.steering import Branches, Steps
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import Grid, Strategy

__all__ = [
    "CROSSED",
    "Way",
    "along_random",
    "by_setting",
    "compare",
    "draw_effect_and_quality",
    "effect_and_quality",
    "findings",
    "more",
    "players",
    "scatter",
    "table",
    "unsteered",
    "wanted",
]


@dataclass(frozen=True)
class Way:
    """A way of injecting: a strategy, branches, steps, and a factor on λ, which may differ between attributes."""

    strategy: Strategy = "one_to_all"
    branches: Branches = "both"
    steps: Steps = "all"
    factor: float | Mapping[str, float] = 1

    def factor_of(self, name: str) -> float:
        return self.factor[name] if isinstance(self.factor, Mapping) else self.factor

    def grid(self, study: Study) -> Grid:
        """Both poles of each attribute of the study in this way."""
        sizes = {name: self.factor_of(name) * size for name, size in study.sizes.items()}
        return Grid(
            study.vectors,
            {name: (-size, size) for name, size in sizes.items()},
            None if self.strategy == "all_to_all" else study.layers,
            strategy=self.strategy,
            branches=self.branches,
            steps=self.steps,
        )


CROSSED = {
    "first step, conditional": Way(branches="conditional", steps="first"),
    "first step, unconditional": Way(branches="unconditional", steps="first"),
    "first step, All-to-All": Way("all_to_all", steps="first"),
}
"""Ways that differ from One-to-All in two things."""


def wanted(ways: Mapping[str, Way], *, one_to_one: bool, crossed: bool) -> dict[str, Way]:
    """The ways that were asked for; those that claims are about always are."""
    chosen = {name: way for name, way in ways.items() if one_to_one or way.strategy != "one_to_one"}
    return chosen | (CROSSED if crossed else {})


def compare(study: Study, ways: Mapping[str, Way]) -> Trial:
    """Steer every prompt in every way. The multiplier in the table is λ before the factor: + is the positive pole."""
    table = study.compare({setting: way.grid(study) for setting, way in ways.items()}).table
    factors = [
        ways[setting].factor_of(name)
        for setting, name in zip(table["setting"], table["attribute"], strict=True)
    ]
    return Trial(study, table.assign(multiplier=(table["multiplier"] / factors).round(9)))


def by_setting(
    trial: Trial, *, octaves: bool = False
) -> tuple[dict[tuple[str, str], pd.Series], dict[tuple[str, str], pd.DataFrame]]:
    """The shift of each prompt, and the rows of the steered clips, by attribute and setting."""
    shift, steered = {}, {}
    for name, rows in trial.parts.items():
        doublings = octaves and trial.study.attributes[name].metric in stats.OCTAVES
        shifts = trial.shifts(name, by=["setting"], octaves=doublings)
        for setting in rows["setting"].unique():
            part = shifts[shifts["setting"] == setting].sort_values(["prompt_id", "seed"])
            shift[name, setting] = part["shift"].reset_index(drop=True)
            steered[name, setting] = rows[(rows["setting"] == setting) & (rows["multiplier"] != 0)]
    return shift, steered


def along_random(
    study: Study, ways: Mapping[str, Way], *, draws: int, prompts: int
) -> dict[tuple[str, str], pd.Series]:
    """The mean shift along random directions as long (index: the draw), in octaves, by attribute and setting."""
    grids = {}
    for setting, way in ways.items():
        grid = way.grid(study)
        for name, vector in study.vectors.items():
            random = {f"{k}": random_direction(vector, seed=study.seed + k) for k in range(draws)}
            assert isinstance(grid.multipliers, Mapping)
            layers = None if way.strategy == "all_to_all" else [study.layers[name]]
            grids[f"{name}/{setting}"] = replace(
                grid, vectors=random, multipliers=grid.multipliers[name], layers=layers
            )
    table = study.compare(grids, prompts=prompts).table
    found = {}
    for key, rows in table.groupby("setting", sort=False):
        name, setting = str(key).split("/", 1)
        metric = study.attributes[name].metric
        shifts = stats.shifts(rows, value=metric, by=["attribute"], octaves=metric in stats.OCTAVES)
        found[name, setting] = shifts.groupby("attribute")["shift"].mean()
    return found


def more(
    shift: Mapping[tuple[str, str], pd.Series],
    random: Mapping[tuple[str, str], pd.Series],
    names: Iterable[str],
    than: str,
    *,
    relative: bool = False,
) -> Measured:
    """By how much One-to-All shifts further than another way, of all attributes together, and so along random ones.

    Parameters
    ----------
    shift : mapping of (str, str) to Series
        Of each prompt, from `by_setting`.
    random : mapping of (str, str) to Series
        Of each draw, from `along_random`.
    names : iterable of str
        Attributes; with several, the mean of a prompt's.
    than : str
        The other way.
    relative : bool
        As a share of the mean shift of the two, of which the difference is independent where both mean nothing.
    """
    names, over = list(names), 1.0
    own, other, drawn = (
        sum(each) / len(names)
        for each in zip(
            *(
                (shift[n, "One-to-All"], shift[n, than], random[n, "One-to-All"] - random[n, than])
                for n in names
            ),
            strict=True,
        )
    )
    if relative:
        over = float(abs((own + other).mean() / 2))
    return Measured(stats.mean_interval((own - other) / over), control=stats.control_range(drawn / over))


def findings(study: Study, both: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    found = []
    for name, rows in both.groupby("attribute", sort=False):
        rows = rows.dropna(subset=["shift"]).sort_values("shift", ascending=False)
        if len(rows) > 1:
            first, last = rows.iloc[0], rows.iloc[-1]
            unit = study.attributes[str(name)].unit
            own = rows.loc[rows["setting"] == "One-to-All", "shift"]
            start = f"One-to-All shifts {name} by {signed(own.iloc[0], '+.0f')} {unit}. " if len(own) else ""
            found.append(
                f"{start}“{first['setting']}” shifts {name} furthest ({signed(first['shift'], '+.0f')} {unit}), and "
                f"“{last['setting']}” least ({signed(last['shift'], '+.0f')} {unit})."
            )
    few = (
        "Layer and λ were chosen for One-to-All, which favours it, and the means are over "
        f"{len(study.prompts)} prompts."
    )
    return found[:3] or ["Too few clips could be measured to tell."], few


def effect_and_quality(trial: Trial, ways: Mapping[str, Way], distances: Distances) -> pd.DataFrame:
    """The shift and the Fréchet distance of each way (paper A, section 3.3 and appendix A, which give no figures)."""
    shift, steered = by_setting(trial)
    rows = []
    for (name, setting), shifts in shift.items():
        moved = stats.mean_interval(shifts)
        fad = distances.of(steered[name, setting])
        size = ways[setting].factor_of(name) * trial.study.sizes[name]
        rows.append([name, setting, size, moved.estimate, moved.low, moved.high, fad.estimate, fad.low,
                     fad.high, moved.n, moved.dropped])  # fmt: skip
    intervals = [each + end for each in ("shift", "fad") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["attribute", "setting", "λ", *intervals, "n", "dropped"])


def unsteered(trial: Trial, distances: Distances) -> Interval:
    """The Fréchet distance that chance alone makes, without steering."""
    return distances.of(trial.table[trial.table["multiplier"] == 0].drop_duplicates("key"))


def table(study: Study, both: pd.DataFrame, plain: Interval) -> pd.DataFrame:
    """The numbers of `effect_and_quality`, and the distance that unsteered clips have by chance."""
    units = ", ".join(f"{attribute.unit} ({name})" for name, attribute in study.attributes.items())
    print(
        f"shift in {units}; FAD in embedding units²; {study.model.name}, n prompts\n"
        f"not steered: FAD {plain.estimate:.2f} [{plain.low:.2f}, {plain.high:.2f}]"
    )
    digits = {name: 4 if name == "λ" else 2 for name in both.select_dtypes("float")}
    return both.set_index(["attribute", "setting"]).round(digits)


def scatter(study: Study, both: pd.DataFrame, plain: Interval) -> None:
    """Shift and Fréchet distance of each way, a panel for each attribute; a band where unsteered clips lie."""
    axes = figures.panels(len(study.attributes), size=(9, 3.8))
    for ax, (name, attribute) in zip(axes, study.attributes.items(), strict=True):
        quantity = style.METRIC_LABELS.get(attribute.metric, attribute.metric)
        draw_effect_and_quality(both[both["attribute"] == name], ax, quantity=quantity)
        ax.axhspan(plain.low, plain.high, color=style.PALETTE["baseline"], alpha=0.15, linewidth=0)
        ax.set_title(name, loc="left")
    plt.show()


def players(trial: Trial, prompt: int) -> None:
    """One prompt in each way, toward the positive pole of each attribute."""
    for name, rows in trial.parts.items():
        rows = rows[(rows["prompt_id"] == prompt) & (rows["multiplier"] >= 0)].drop_duplicates("key")
        labels = [row.setting if row.multiplier else "not steered" for row in rows.itertuples()]
        pole = trial.study.attributes[name].positive
        label = f"{trial.study.prompts[prompt]}: toward {pole}"
        display(trial.study.players(rows, labels, label=label))


def draw_effect_and_quality(table: pd.DataFrame, ax: Axes, *, quantity: str) -> None:
    """Effect of each setting against its distance from unsteered music: to the right and low is good.

    Parameters
    ----------
    table : DataFrame
        One row a setting: ``setting`` (its name), ``shift``, ``shift_low``, ``shift_high``, ``fad``,
        ``fad_low`` and ``fad_high``. Settings are numbered in the order of the rows; the legend tells the
        names.
    ax : Axes
    quantity : str
        What shifts, with its unit.
    """
    check_columns(
        table, ["setting", *(f"{m}{end}" for m in ("shift", "fad") for end in ("", "_low", "_high"))]
    )
    colours = sns.color_palette("colorblind", 10)
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    for number, row in enumerate(table.itertuples(), start=1):
        colour = colours[(number - 1) % 10]
        ax.plot([row.shift_low, row.shift_high], [row.fad, row.fad], color=colour, linewidth=1.2)
        ax.plot([row.shift, row.shift], [row.fad_low, row.fad_high], color=colour, linewidth=1.2)
        ax.plot(row.shift, row.fad, "o", color=colour, markersize=5, label=f"{number} {row.setting}")
        ax.annotate(str(number), (row.shift, row.fad), xytext=(4, 4), textcoords="offset points", color=INK)
    ax.set(xlabel=f"shift of {quantity}", ylabel="Fréchet audio distance (embedding units²)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)
