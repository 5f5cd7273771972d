"""Figures and tables of the chapter *Other attributes* (``notebooks/other_attributes.ipynb``)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML

from steerlib.directions import random_direction
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval
from steerlib.music.corpus import SAMPLE_RATE, Truth
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured, told
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import BASELINE, METRICS, Grid, sweep

__all__ = [
    "cross_effects",
    "effects",
    "findings",
    "follow_words",
    "in_spreads",
    "judges",
    "listen",
    "of_random",
    "steering_and_words",
]


def judges(study: Study, truths: Sequence[Truth], audio: Sequence[npt.NDArray[Any]]) -> pd.DataFrame:
    """How well each attribute's judge tells the poles of composed clips apart.

    Attributes of which the clips do not have both poles are left out.
    """
    rows = []
    for name, attribute in study.attributes.items():
        judge: Any = METRICS[attribute.metric]
        value = judge(np.stack(audio), sample_rate=SAMPLE_RATE)
        pole = np.array([truth.poles().get(name) for truth in truths])
        sides = [value[pole == each] for each in (attribute.positive, attribute.negative)]
        if all(map(len, sides)):
            area, means = _auc(*sides), [pd.Series(side).mean() for side in sides]
            rows.append([name, attribute.metric, area.estimate, area.low, area.high, area.n, *means])
    names = ["attribute", "judge", "AUC", "low", "high", "clips", "mean of first pole", "mean of second pole"]
    return pd.DataFrame(rows, columns=names).set_index("attribute")


def follow_words(study: Study, pairs: int, metrics: Sequence[str]) -> dict[str, Interval]:
    """AUC of the judges between unsteered clips of each attribute's own first prompts, and say so."""
    chosen = {name: each.first(pairs) for name, each in study.attributes.items()}
    sides = {name: (each.positive_prompts, each.negative_prompts) for name, each in chosen.items()}
    prompts = list(dict.fromkeys(prompt for both in sides.values() for side in both for prompt in side))
    clips = sweep(
        study.model,
        prompts,
        BASELINE,
        store=study.store,
        seconds=study.seconds,
        seeds=[study.seed],
        sampling=study.sampling,
        metrics=metrics,
        beats=study.beats,
    )
    found = {}
    for name, attribute in study.attributes.items():
        found[name] = _auc(*(clips[clips["prompt"].isin(side)][attribute.metric] for side in sides[name]))
        poles = f"prompts that say {attribute.positive} against prompts that say {attribute.negative}"
        print(f"{name}: {poles}, AUC {found[name]}")
    return found


def _auc(*sides: npt.ArrayLike) -> Interval:
    """`stats.auc`, or no figure where a judge could tell nothing of a whole side."""
    missing = [int(np.isnan(np.asarray(side, dtype=float)).sum()) for side in sides]
    if any(count == np.size(side) for count, side in zip(missing, sides, strict=True)):
        return Interval(np.nan, np.nan, np.nan, sum(map(np.size, sides)) - sum(missing), sum(missing))
    return stats.auc(*sides)


def effects(trial: Trial, metrics: Sequence[str]) -> pd.DataFrame:
    """The shift of every attribute on every measure, and the spread of the measure over unsteered clips."""
    plain = trial.table[trial.table["multiplier"] == 0].drop_duplicates("key")
    rows = [
        [name, metric, stats.mean_interval(trial.shifts(name, metric=metric)["shift"]), plain[metric].std()]
        for name in trial.study.attributes
        for metric in metrics
    ]
    names = ["attribute", "metric", "shift", "spread"]
    return pd.DataFrame(rows, columns=names).set_index(names[:2])


def in_spreads(row: "pd.Series[Any]") -> Interval:
    """A shift of `effects` in standard deviations of unsteered clips."""
    shift, spread = row["shift"], row["spread"]
    estimate, low, high = (each / spread for each in (shift.estimate, shift.low, shift.high))
    return replace(shift, estimate=estimate, low=low, high=high)


def of_random(
    study: Study, multiplier: float, layer: int, table: pd.DataFrame, *, draws: int, prompts: int
) -> dict[str, Interval]:
    """Where such shifts lie along random directions as long as an attribute's own."""
    grids = {
        name: Grid(
            {f"random {k}": random_direction(vector, seed=study.seed + k) for k in range(draws)},
            (-multiplier, multiplier),
            [layer],
        )
        for name, vector in study.vectors.items()
    }
    metrics = list(table.index.get_level_values("metric").unique())
    made, found = study.compare(grids, prompts=prompts, metrics=metrics).table, {}
    for name, attribute in study.attributes.items():
        rows = made[made["setting"] == name]
        shifts = stats.shifts(rows, value=attribute.metric, by=["attribute"])
        spread = table.loc[(name, attribute.metric), "spread"]
        found[name] = stats.control_range(shifts.groupby("attribute")["shift"].mean() / spread)
    return found


def findings(parts: Mapping[str, Measured], trial: Trial) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    told = {
        name: each
        for name, each in parts.items()
        if np.isfinite([each.interval.low, each.interval.high]).all()
    }
    shifts = [f"{name} by {measured(each.interval)}" for name, each in told.items()]
    if not told:
        return [
            "Too few clips could be measured to tell."
        ], "Without a measurement there is nothing to doubt."
    wrong = []
    for name in told:
        shift = trial.shifts(name)["shift"].dropna()
        wrong.append(f"{100 * (shift < 0).mean():.0f} % for {name}")
    return [f"In standard deviations of unsteered clips, steering shifts {listed(shifts)}."], (
        f"The share of prompts that move the wrong way is {listed(wrong)}, and no layer was chosen for these "
        "attributes."
    )


def cross_effects(study: Study, table: pd.DataFrame) -> None:
    """The shifts of `effects` in standard deviations, attributes against measures."""
    limits = [(each.estimate, each.low, each.high) for each in table["shift"]]
    scaled = pd.DataFrame(limits, table.index, ["shift", "low", "high"]).div(table["spread"], axis=0)
    sizes = scaled["shift"].abs().unstack("metric")
    own = {name: sizes.loc[name].idxmax() == each.metric for name, each in study.attributes.items()}
    yes, no = "the measure that moves most is its own for {}", "another measure moves most for {}"
    figures.message(told(own, yes, no))
    count = scaled.index.get_level_values("attribute").nunique()
    figures.cross_effects(scaled.reset_index(), plt.subplots(figsize=(6.5, 0.7 * count + 1.6))[1])
    plt.show()


def steering_and_words(trial: Trial, table: pd.DataFrame, words: Mapping[str, Interval]) -> pd.DataFrame:
    """Each attribute on its own measure: the shift, and how well steering and words tell the poles apart."""
    rows = []
    for name, attribute in trial.study.attributes.items():
        metric, part = attribute.metric, trial.parts[name]
        steered = _auc(part[part["multiplier"] > 0][metric], part[part["multiplier"] < 0][metric])
        poles = f"{attribute.positive} > {attribute.negative}"
        shown = (table.loc[(name, metric), "shift"], steered, words[name])
        rows.append([name, poles, attribute.unit, *map(str, shown)])
    names = [
        "attribute",
        "poles",
        "unit",
        "shift toward the first",
        "AUC, steered clips",
        "AUC, its own prompts",
    ]
    return pd.DataFrame(rows, columns=names).set_index("attribute")


def listen(trial: Trial, name: str, label: str, **options: Any) -> HTML:
    """The first prompt toward the negative pole of an attribute, not steered, and toward the positive one."""
    rows, attribute = trial.parts[name], trial.study.attributes[name]
    rows = rows[rows["prompt_id"] == 0].sort_values("multiplier")
    labels = [attribute.negative, "not steered", attribute.positive]
    return trial.study.players(rows, labels, label=f"{trial.study.prompts[0]}: {label}", **options)
