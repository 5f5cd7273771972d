"""Figures, tables and checks of the chapter *Where and when to inject* (``notebooks/where_and_when.ipynb``)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes

from steerlib.directions import random_direction
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns
from steerlib.measure.distance import Distances
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed, measured
from steerlib.page.style import PALETTE
from steerlib.steering import Branches, Steps
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import Grid, Strategy

__all__ = [
    "CROSSED",
    "Way",
    "along_random",
    "by_setting",
    "compare",
    "draw",
    "draw_effect_and_quality",
    "effect_and_quality",
    "findings",
    "more",
    "players",
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


_FIRST = "first step only"
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
    for name, rows in both.dropna(subset=["shift"]).groupby("attribute", sort=False):
        unit = study.attributes[str(name)].unit
        far = {
            row["setting"]: measured(
                Interval(row["shift"], row["shift_low"], row["shift_high"], row["n"]), unit
            )
            for _, row in rows.sort_values("shift", ascending=False).iterrows()
        }
        fair = [setting for setting in far if setting == "One-to-All" or setting.endswith("equal push")]
        if len(fair) > 1:
            own = f", “One-to-All” by {far['One-to-All']}" if "One-to-All" in fair[1:-1] else ""
            found.append(
                f"At an equal push, “{fair[0]}” shifts {name} furthest ({far[fair[0]]}){own} and “{fair[-1]}” least "
                f"({far[fair[-1]]})."
            )
        if _FIRST in far:
            found.append(f"A push at the first step alone shifts {name} by {far[_FIRST]}.")
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


def draw(study: Study, both: pd.DataFrame, plain: Interval) -> None:
    """Shift and Fréchet distance of each way, two panels for each attribute; a band where unsteered clips lie."""
    count = both["setting"].nunique()
    axes = figures.panels(
        len(study.attributes), 2, size=(4.4, 0.32 * count + 1), sharey="row", width_ratios=[1.2, 1]
    )
    for (name, attribute), left, right in zip(study.attributes.items(), axes[::2], axes[1::2], strict=True):
        quantity = style.METRIC_LABELS.get(attribute.metric, attribute.metric)
        draw_effect_and_quality(both[both["attribute"] == name], left, right, quantity=quantity)
        right.axvspan(plain.low, plain.high, color=style.PALETTE["baseline"], alpha=0.15, linewidth=0)
        left.set_title(f"{name}: how far it steers", loc="left")
        right.set_title("how far it drifts", loc="left")
    figures.message(_further(both))
    plt.show()


def _further(both: pd.DataFrame) -> str:
    """Which settings are shown to shift further than One-to-All: whose interval lies beyond its own."""
    found = {}
    for name, rows in both.groupby("attribute", sort=False):
        own = rows.loc[rows["setting"] == "One-to-All", "shift_high"].max()
        found[str(name)] = [f"“{each}”" for each in rows.loc[rows["shift_low"] > own, "setting"]]
    said = [f"{listed(names) if names else 'nothing'} for {name}" for name, names in found.items()]
    return f"Shown to steer further than “One-to-All”: {listed(said)}"


def players(trial: Trial, prompt: int) -> None:
    """One prompt in each way, toward the positive pole of each attribute."""
    for name, rows in trial.parts.items():
        rows = rows[(rows["prompt_id"] == prompt) & (rows["multiplier"] >= 0)].drop_duplicates("key")
        labels = [row.setting if row.multiplier else "not steered" for row in rows.itertuples()]
        pole = trial.study.attributes[name].positive
        label = f"{trial.study.prompts[prompt]}: toward {pole}"
        display(trial.study.players(rows, labels, label=label))


def draw_effect_and_quality(table: pd.DataFrame, left: Axes, right: Axes, *, quantity: str) -> None:
    """The shift of each setting, and its distance from unsteered music, side by side.

    Parameters
    ----------
    table : DataFrame
        One row a setting: ``setting`` (its name), ``shift``, ``shift_low``, ``shift_high``, ``fad``,
        ``fad_low`` and ``fad_high``.
    left, right : Axes
        Of the shift, with the names of the settings, and of the distance.
    quantity : str
        What shifts, with its unit.
    """
    check_columns(
        table, ["setting", *(f"{m}{end}" for m in ("shift", "fad") for end in ("", "_low", "_high"))]
    )
    for ax, what in ((left, "shift"), (right, "fad")):
        ends = table[[f"{what}_low", f"{what}_high"]].to_numpy(dtype=float).T
        ax.errorbar(
            table[what], range(len(table)), xerr=abs(ends - table[what].to_numpy(dtype=float)), fmt="o",
            markersize=5, color=style.LOW,
        )  # fmt: skip
    left.axvline(0, color=PALETTE["baseline"], linewidth=1)
    left.set_yticks(range(len(table)), labels=list(table["setting"]))
    left.set_ylim(len(table) - 0.5, -0.5)
    left.set(xlabel=f"shift of {quantity}")
    right.set(xlabel="Fréchet audio distance")
    right.tick_params(labelleft=False)
