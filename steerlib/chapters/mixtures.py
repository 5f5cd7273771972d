"""Clips, shares and figures of the chapter *Mixtures* (``notebooks/mixtures.ipynb``).

A *square* has the nine clips of a prompt: each of two attributes toward its negative pole, not at all, and toward its
positive pole. The edges of the square show what a direction does alone, its corners what both do together. Effects are
half the difference between the poles, in octaves where the measure has any; shares are of the effect alone.
"""

import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes

from steerlib.directions import random_direction
from steerlib.engine.generation import Run
from steerlib.evidence import scorecard, stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.measure import tempo
from steerlib.page import explorables, figures
from steerlib.page.bottom_line import listed, measured, told
from steerlib.page.style import INK, METRIC_LABELS, PALETTE, number, signed
from steerlib.prompts import say
from steerlib.steering import Steering, SteeringVector
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import sweep_cells

__all__ = [
    "against",
    "angles",
    "check_two",
    "cross_talk",
    "draw_cross_talk",
    "draw_squares",
    "effects",
    "findings",
    "listen",
    "shares",
    "squares",
    "table_of_ways",
]

_SIGNS = (-1, 0, 1)


def check_two(study: Study) -> None:
    """Raise unless there are two attributes to mix; if earlier chapters allow one alone, record that and end here."""
    names = list(study.attributes)
    if len(names) > 2:
        raise ValueError(f"a square has two attributes, got {len(names)}: {listed(names)}")
    if len(names) < 2:
        note = f"A mixture takes two attributes, and there is only {names[0]}, which earlier chapters allow."
        scorecard.record_open(study.chapter, model=study.model.name, folder=study.scores, note=note)
        display(study.bottom_line([note], "More prompts might allow another."))
        raise SystemExit


# --- clips --------------------------------------------------------------------------------------------------


def squares(
    study: Study,
    ways: Mapping[str, Mapping[str, SteeringVector]],
    *,
    draws: int,
    control_prompts: int,
) -> pd.DataFrame:
    """The square of every prompt, mixed in each way and asked for in words, and with random directions.

    Parameters
    ----------
    study : Study
        Of two attributes, with `sizes` and `layers`.
    ways : mapping of str to (mapping of str to SteeringVector)
        What is added to each block at λ = 1, by way and attribute.
    draws : int
        Random directions as long as an attribute's own that take its place beside the other: the corners alone.
    control_prompts : int
        So many of the prompts are steered along them.

    Returns
    -------
    DataFrame
        Columns ``way``, ``instead`` (the attribute whose place a random direction takes; ""), one for each attribute
        (-1, 0, 1), ``prompt_id``, ``said`` (the prompt without words for the poles), those of `sweep_cells`.
    """
    first, second = study.attributes
    corners = [place for place in product(_SIGNS, _SIGNS) if all(place)]
    plain = next(iter(ways.values()))
    kinds = [(way, "", pushes, list(product(_SIGNS, _SIGNS)), study.prompts) for way, pushes in ways.items()]
    kinds += [
        (f"random {k + 1}", name, {**plain, name: _random(study, name, k)}, corners, study.prompts[:control_prompts])
        for name in (first, second)
        for k in range(draws)
    ]  # fmt: skip
    records = []
    for way, instead, pushes, places, prompts in kinds:
        for place in places:
            terms = [
                pushes[name] * (sign * study.sizes[name])
                for name, sign in zip(study.attributes, place, strict=True)
                if sign
            ]
            steering = (Steering(reduce(operator.add, terms)),) if terms else ()
            for number_, prompt in enumerate(prompts):
                records.append((way, instead, *place, number_, prompt, prompt, steering))
    for place in product(_SIGNS, _SIGNS):
        words = [
            each.positive if sign > 0 else each.negative
            for each, sign in zip(study.attributes.values(), place, strict=True) if sign
        ]  # fmt: skip
        records += [
            ("words", "", *place, k, prompt, say(prompt, words), ()) for k, prompt in enumerate(study.prompts)
        ]
    names = ["way", "instead", first, second, "prompt_id", "said", "prompt", "steering"]
    return sweep_cells(
        study.model, pd.DataFrame(records, columns=names).assign(seed=study.seed), store=study.store,
        seconds=study.seconds, sampling=study.sampling, metrics=_metrics(study), beats=study.beats, run=Run(),
    )  # fmt: skip


def _random(study: Study, name: str, draw: int) -> SteeringVector:
    return random_direction(study.vectors[name], seed=study.seed + draw).everywhere(study.layers[name])


def _metrics(study: Study) -> list[str]:
    return [attribute.metric for attribute in study.attributes.values()]


def angles(ways: Mapping[str, Mapping[str, SteeringVector]]) -> pd.DataFrame:
    """Cosines between what is added for both attributes, and of each with what is added in the first way."""
    plain, rows = next(iter(ways.values())), []
    for way, pushes in ways.items():
        row = {"way": way, " and ".join(pushes): _cosine(*pushes.values())}
        rows.append(
            row | {f"{name} and its DiffMean": _cosine(push, plain[name]) for name, push in pushes.items()}
        )
    return pd.DataFrame(rows).set_index("way")


def _cosine(one: SteeringVector, other: SteeringVector) -> float:
    """Mean over the layers."""
    return float((one.unit().directions * other.unit().directions).sum(dim=1).mean())


# --- what became of each effect -----------------------------------------------------------------------------


def effects(table: pd.DataFrame, metrics: Mapping[str, str]) -> pd.DataFrame:
    """What each direction does in each square.

    Parameters
    ----------
    table : DataFrame
        From `squares`.
    metrics : mapping of str to str
        The measures of the two attributes.

    Returns
    -------
    DataFrame
        A row for each ``way``, ``instead``, ``attribute`` and ``prompt_id``: ``alone`` (on its own measure, the other
        at 0; NaN without edges), ``mixed`` (on its own measure, mean over both poles of the other) and ``across`` (on
        the measure of the other, likewise).
    """
    rows = []
    for (way, instead), part in table.groupby(["way", "instead"], sort=False):
        wide = {name: _wide(part, metric, metrics) for name, metric in metrics.items()}
        for axis, name in enumerate(metrics):
            [other] = [each for each in metrics if each != name]
            found = {
                "alone": _effect(wide[name], axis, 0),
                "mixed": (_effect(wide[name], axis, 1) + _effect(wide[name], axis, -1)) / 2,
                "across": (_effect(wide[other], axis, 1) + _effect(wide[other], axis, -1)) / 2,
            }
            about = {"way": way, "instead": instead, "attribute": name}
            rows.append(pd.DataFrame(found).reset_index().assign(**about))
    names = ["way", "instead", "attribute", "prompt_id", "alone", "mixed", "across"]
    return pd.concat(rows, ignore_index=True)[names]


def _wide(part: pd.DataFrame, metric: str, names: Iterable[str]) -> pd.DataFrame:
    """A measure, in octaves where it has any, by prompt and place in the square."""
    value = part[metric].where(part[metric] > 0).map(np.log2) if metric in stats.OCTAVES else part[metric]
    return part.assign(value=value).pivot(index="prompt_id", columns=list(names), values="value")


def _effect(wide: pd.DataFrame, axis: int, at: int) -> "pd.Series[float]":
    """Half the difference between the poles along an axis, by prompt, with the other attribute held at -1, 0 or 1."""
    up, down = ((sign, at) if axis == 0 else (at, sign) for sign in (1, -1))
    known = up in wide.columns and down in wide.columns
    return (wide[up] - wide[down]) / 2 if known else pd.Series(np.nan, wide.index)


def shares(found: pd.DataFrame, way: str = "sum") -> dict[str, Interval]:
    """What is left of each effect in the mixture, and what goes to the other measure: "tempo kept", "tempo off-axis".

    *Kept* is what a direction does to its own measure in the corners over what it does alone; *off-axis* what it does
    there to the other's measure over what the other does to it alone. Where that effect alone is not the intended way,
    there is no share.
    """
    own = {
        name: part.set_index("prompt_id") for name, part in _of(found, way).groupby("attribute", sort=False)
    }
    told = {}
    for name, part in own.items():
        [other] = [each for key, each in own.items() if key != name]
        told[f"{name} kept"] = _share(part["mixed"], part["alone"])
        told[f"{name} off-axis"] = _share(part["across"], other["alone"])
    return told


def _of(found: pd.DataFrame, way: str) -> pd.DataFrame:
    return found[(found["way"] == way) & (found["instead"] == "")]


def _share(effect: "pd.Series[float]", alone: "pd.Series[float]", **options: Any) -> Interval:
    share = stats.ratio_interval(effect, alone, **options)
    return share if alone.mean() > 0 else replace(share, low=np.nan, high=np.nan)


def against(found: pd.DataFrame) -> dict[str, Measured]:
    """The parts of C2: the shares in the sum, and those of random directions in the place of the attribute's own.

    A push that does nothing does nothing off its axis either. So *off-axis* is left open for a direction that does no
    more to its own measure than random ones.
    """
    alone, parts, told = _of(found, "sum").groupby("attribute", sort=False)["alone"].mean(), {}, shares(found)
    for name, other in zip(alone.index, reversed(alone.index), strict=True):
        drawn = found[(found["instead"] == name) & (found["attribute"] == name)]
        drawn = drawn.groupby("way")[["mixed", "across"]].mean()
        kept, away = told[f"{name} kept"], told[f"{name} off-axis"]
        reach = stats.control_range(drawn["mixed"] / alone[name])
        if not kept.estimate > reach.high:
            away = replace(away, low=np.nan, high=np.nan)
        parts[f"{name} kept"] = Measured(kept, control=reach)
        parts[f"{name} off-axis"] = Measured(
            away, control=stats.control_range(drawn["across"] / alone[other])
        )
    return parts


def table_of_ways(table: pd.DataFrame, found: pd.DataFrame) -> pd.DataFrame:
    """Each way to mix: what each direction does alone (octaves), what is kept, what goes off-axis, what it costs."""
    rows, names = [], list(found["attribute"].unique())
    steps = table[names].abs().sum(axis=1)
    base = table[(table["way"] == "sum") & (steps == 0)].set_index("prompt_id")["nll"]
    excess = table["nll"] - table["prompt_id"].map(base)
    for way in found["way"].drop_duplicates():
        part = (table["way"] == way) & (table["instead"] == "")
        if not part.any():
            continue
        share = shares(found, way)
        for name, each in _of(found, way).groupby("attribute", sort=False):
            rows.append({
                "way": way, "attribute": name, "alone": stats.mean_interval(each["alone"]),
                "kept": share[f"{name} kept"], "off-axis": share[f"{name} off-axis"],
                "nll of one": excess[part & (steps == 1)].mean(), "nll of both": excess[part & (steps == 2)].mean(),
            })  # fmt: skip
    for name in names:
        drawn = found[(found["instead"] != "") & (found["instead"] != name) & (found["attribute"] == name)]
        alone = _of(found, "sum").query("attribute == @name").set_index("prompt_id")["alone"]
        kept = _share(drawn["mixed"], drawn["prompt_id"].map(alone), clusters=drawn["prompt_id"])
        rows.append({"way": "random in place of the other", "attribute": name, "kept": kept})
    told = pd.DataFrame(rows).set_index(["way", "attribute"])
    for column in ("alone", "kept", "off-axis"):
        told[column] = [
            measured(each, sign=False) if isinstance(each, Interval) else "" for each in told[column]
        ]
    return told.round(2).astype(object).fillna("")


# --- cross-talk ---------------------------------------------------------------------------------------------


def cross_talk(trials: Sequence[Trial]) -> pd.DataFrame:
    """What each direction does to the measure of each attribute, in units of what that attribute's own does to it.

    Parameters
    ----------
    trials : sequence of Trial
        Both poles of each attribute, on the same prompts.

    Returns
    -------
    DataFrame
        ``attribute`` (steered), ``metric``, ``shift``, ``low``, ``high`` (1 is the own effect), ``n``, ``own``
        (whether the measure is the attribute's own); NaN where the own effect is not told from 0.
    """
    owners = {each.metric: name for trial in trials for name, each in trial.study.attributes.items()}
    moved = {
        (name, metric): _shifts(trial, name, metric)
        for trial in map(_with_tempo, trials)
        for name in trial.study.attributes
        for metric in owners
    }  # fmt: skip
    rows = []
    for (name, metric), shift in moved.items():
        owner = owners[metric]
        found = stats.ratio_interval(*shift.align(moved[owner, metric], join="inner"))
        share = found.estimate if np.isfinite(found.low) else np.nan
        rows.append((name, metric, share, found.low, found.high, found.n, owner == name))
    return pd.DataFrame(rows, columns=["attribute", "metric", "shift", "low", "high", "n", "own"])


def _shifts(trial: Trial, name: str, metric: str) -> "pd.Series[float]":
    found = trial.shifts(name, metric=metric, octaves=metric in stats.OCTAVES)
    return found.set_index("prompt_id")["shift"]


def _with_tempo(trial: Trial) -> Trial:
    """With a column of BPM by the study's own judge, measured on the clips that were kept."""
    study, rows = trial.study, trial.table
    if "bpm" in rows:
        return trial
    once = rows.drop_duplicates("clip")
    found = tempo(study.sounds(once), sample_rate=study.model.sample_rate, checkpoint=study.beats)
    return Trial(study, rows.join(pd.Series(found, once["clip"], name="bpm"), on="clip"))


# --- figures ------------------------------------------------------------------------------------------------


def draw_squares(study: Study, table: pd.DataFrame, found: pd.DataFrame) -> None:
    """For each way the nine points of its square, and how far the corners lie from where the edges add up to."""
    whole = {name: shares(found)[f"{name} kept"].low > 0.8 for name in study.attributes}
    yes, no = (f"in the sum, over 80 % of the effect is {what} for {{}}" for what in ("kept", "not shown to be kept"))
    figures.message(told(whole, yes, no))
    ways = table.loc[table["instead"] == "", "way"].drop_duplicates().tolist()
    metrics = {name: each.metric for name, each in study.attributes.items()}
    poles = {name: {1: each.positive, -1: each.negative} for name, each in study.attributes.items()}
    axes = figures.panels(-(-len(ways) // 2), 2, size=(4.3, 3.9), sharex=True, sharey=True)
    for ax, way in zip(axes, ways, strict=False):
        part = table[(table["way"] == way) & (table["instead"] == "")]
        draw_square(part, metrics, poles, ax)
        share = {name: shares(found, way)[f"{name} kept"].estimate for name in metrics}
        kept = [f"{name} keeps {100 * each:.0f} %" for name, each in share.items() if np.isfinite(each)]
        ax.set_title(f"{way}: " + (", ".join(kept) or "cannot be told"))
    for spare in axes[len(ways) :]:
        spare.remove()
    plt.show()


def draw_square(
    part: pd.DataFrame, metrics: Mapping[str, str], poles: Mapping[str, Mapping[int, str]], ax: Axes
) -> None:
    """One square: mean changes from the middle; arrows lead from the sum of two edges to the corner."""
    wide = [_wide(part, metric, metrics) for metric in metrics.values()]
    points = [each.sub(each[0, 0], axis=0).mean() for each in wide]
    at = {place: np.array([each[place] for each in points]) for place in product(_SIGNS, _SIGNS)}
    expected = {place: at[place[0], 0] + at[0, place[1]] for place in at}
    ring = [(-1, -1), (-1, 1), (1, 1), (1, -1), (-1, -1)]
    ax.plot(*np.array([expected[place] for place in ring]).T, "--", color=PALETTE["baseline"], linewidth=1)
    for sign in _SIGNS:
        for line in ([(sign, other) for other in _SIGNS], [(other, sign) for other in _SIGNS]):
            ax.plot(*np.array([at[place] for place in line]).T, color=INK, linewidth=1, alpha=0.6)
    for place, point in at.items():
        ax.plot(*point, "o", color=PALETTE["positive" if all(place) else "baseline"], markersize=6)
        if all(place) and np.isfinite([point, expected[place]]).all():  # no clip of short ones may have a tempo
            arrow = {"arrowstyle": "->", "color": PALETTE["positive"]}
            ax.annotate("", tuple(point), tuple(expected[place]), arrowprops=arrow)
            words = ", ".join(poles[name][sign] for name, sign in zip(metrics, place, strict=True))
            side = np.sign(np.nan_to_num(point - at[0, 0]))
            ax.annotate(
                words,
                tuple(point),
                6 * side,
                textcoords="offset points",
                ha="left" if side[0] > 0 else "right",
                va="bottom" if side[1] > 0 else "top",
            )
    ax.margins(0.4, 0.2)
    labels = [f"change of {METRIC_LABELS[metric].split(' (')[0]} (octaves)" for metric in metrics.values()]
    ax.set(xlabel=labels[0], ylabel=labels[1])


def draw_cross_talk(table: pd.DataFrame) -> None:
    """The matrix of `cross_talk`, and above it the largest effect beside an own one."""
    figures.message(largest(table))
    count = table["attribute"].nunique()
    _, ax = plt.subplots(figsize=(7.5, 0.7 * count + 1.8))
    figures.cross_effects(table, ax, quantity="share of the measure's own effect", reach=2.0)
    plt.show()


def largest(table: pd.DataFrame) -> str:
    """The effect beside an own one that is largest for certain, in words."""
    aside = table[~table["own"] & ((table["low"] > 0) | (table["high"] < 0))]
    if aside.empty:
        return "No direction is shown to move the measure of another"
    row = aside.loc[aside[["low", "high"]].abs().min(axis=1).idxmax()]
    measure = METRIC_LABELS.get(row["metric"], row["metric"]).split(" (")[0]
    owner = table.loc[table["own"] & (table["metric"] == row["metric"]), "attribute"].iloc[0]
    share = signed(round(100 * row["shift"]))
    return (
        f"The direction of {row['attribute']} moves the {measure} by {share} % of what that of {owner} does"
    )


def listen(study: Study, table: pd.DataFrame, *, prompts: int) -> HTML:
    """The nine clips of the sum for the first prompts, as a square to drag over."""
    rows = table[(table["way"] == "sum") & (table["prompt_id"] < prompts)]
    (first, one), (second, two) = study.attributes.items()
    keys = [
        (row[first] * study.sizes[first], row[second] * study.sizes[second], row["said"])
        for row in rows.to_dict("records")
    ]
    readouts = [
        {key: f"{number(value)} {each.unit}" for key, value in zip(keys, rows[each.metric], strict=True)}
        for each in (one, two)
    ]
    return explorables.pad(
        dict(zip(keys, study.sounds(rows), strict=True)),
        study.model.sample_rate,
        attributes=((first, one.positive, one.negative), (second, two.positive, two.negative)),
        readouts=(readouts[0], readouts[1]),
    )


def findings(verdict: Verdict, found: pd.DataFrame, cross: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    names = list(found["attribute"].unique())

    def told(kind: str, way: str) -> str:
        share = shares(found, way)
        return listed(
            [f"{measured(share[f'{name} {kind}'], share=True, sign=False)} for {name}" for name in names]
        )

    said = [
        f"In the sum of both vectors, a direction keeps {told('kept', 'sum')} of what it does alone. "
        f"What it does to the other's measure is {told('off-axis', 'sum')}. "
        f"The claim that directions can be mixed ({verdict.check.claim}) is **{verdict.verdict}**.",
        f"If the prompt asks for both in words, these keep {told('kept', 'words')}.",
        f"{largest(cross)}.",
    ]
    reach = [
        f"{number(100 * each.control.high)} % for {part.removesuffix(' kept')}"
        for part, each in verdict.parts.items()
        if part.endswith("kept") and each.control
    ]
    count = max(each.interval.n for each in verdict.parts.values())
    return said, (
        f"Random directions in the place of its own reach up to {listed(reach)}. All of this comes from one model and "
        f"{count} prompts, and each λ was chosen for its direction alone."
    )
