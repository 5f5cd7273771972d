"""What an effect is held against: pushes that mean nothing, the attribute's own words, and what it costs.

A random push changes music too, and words change it without any push. So a chapter on steering measures both beside
its effect (`controls`, `words`, `beside`), and what the effect costs (`quality`), from which λ is chosen.
Chapters: *Steering sweep*, *Held out*.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from steerlib import directions
from steerlib.evidence import stats
from steerlib.evidence.stats import Interval
from steerlib.measure.distance import Distances
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import BASELINE, Grid, sweep

__all__ = ["beside", "controls", "of_random", "quality", "words"]


def controls(
    study: Study,
    *,
    draws: int,
    prompts: int,
    multipliers: Mapping[str, Sequence[float]] | None = None,
    metrics: Sequence[str] = ("bpm", "centroid", "onset_rate"),
) -> Trial:
    """Steer the first so many prompts along directions that should not steer: see `steerlib.directions.controls`.

    As `Study.sweep`: from `layers`, at ± `sizes` or the multipliers of each attribute. The column ``setting`` has the
    attribute that each is a control of, ``attribute`` the name of the direction.
    """
    grids = {}
    for name, factors in (study.poles() if multipliers is None else multipliers).items():
        along = directions.controls(study.activations, name, draws=draws, seed=study.seed)
        grids[name] = Grid(along, factors, [study.layers[name]])
    return study.compare(grids, prompts=prompts, metrics=metrics)


def words(
    study: Study, pairs: int, *, metrics: Sequence[str] = ("bpm", "centroid", "onset_rate")
) -> dict[str, pd.Series]:
    """How far the words of an attribute move its measure: the yardstick of steering.

    Unsteered clips of the first so many pairs of its own prompts: half the difference of a pair, in octaves where
    the measure has any.
    """
    found = {}
    for name, attribute in study.attributes.items():
        sides = (attribute.positive_prompts[:pairs], attribute.negative_prompts[:pairs])
        table = sweep(
            study.model, [*sides[0], *sides[1]], BASELINE, store=study.store, seconds=study.seconds,
            seeds=[study.seed], sampling=study.sampling, metrics=metrics, beats=study.beats,
        )  # fmt: skip
        value = table.set_index("prompt")[attribute.metric]
        value = value.map(np.log2) if attribute.metric in stats.OCTAVES else value
        positive, negative = (value.loc[list(side)].to_numpy() for side in sides)
        found[name] = pd.Series((positive - negative) / 2)
    return found


def beside(trial: Trial, along: Trial, words: Mapping[str, pd.Series] | None = None) -> pd.DataFrame:
    """The shift of each attribute beside that along directions that should not steer, and that of its words.

    Parameters
    ----------
    trial : Trial
        Both poles of each attribute.
    along : Trial
        From `controls`.
    words : mapping of str to Series, optional
        From `words`.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``along``, ``kind`` ("own", "random", "other" or "words"), ``n`` (prompts), ``shift``
        with ``low`` and ``high`` (half the difference of the poles, in ``unit``: octaves where the measure has
        any), ``right`` and ``wrong`` (shares of the prompts that move as intended, and the other way), ``of_words``
        (share of the words' shift).
    """
    rows = []
    for name, attribute in trial.study.attributes.items():
        octaves = attribute.metric in stats.OCTAVES
        own = trial.shifts(name, octaves=octaves)["shift"]
        pushes = {name: ("own", own)}
        part = along.table[along.table["setting"] == name]
        found = stats.shifts(part, value=attribute.metric, by=["attribute"], octaves=octaves)
        for direction, each in found.groupby("attribute", sort=False)["shift"]:
            pushes[str(direction)] = ("random" if str(direction).startswith("random") else "other", each)
        if words is not None:
            pushes["its own words"] = ("words", words[name])
        whole = words[name].mean() if words is not None else np.nan
        for direction, (kind, shift) in pushes.items():
            mean = stats.mean_interval(shift)
            rows.append({
                "attribute": name, "along": direction, "kind": kind, "n": mean.n, "shift": mean.estimate,
                "low": mean.low, "high": mean.high, "unit": "octaves" if octaves else attribute.unit,
                "right": (shift.dropna() > 0).mean(), "wrong": (shift.dropna() < 0).mean(),
                "of_words": mean.estimate / whole,
            })  # fmt: skip
    return pd.DataFrame(rows)


def of_random(beside: pd.DataFrame, name: str) -> Interval:
    """Where the shifts of an attribute along random directions lie, of the table of `beside`."""
    return stats.control_range(beside.query("attribute == @name and kind == 'random'")["shift"])


def quality(trial: Trial, distances: Mapping[str, Distances]) -> pd.DataFrame:
    """What each multiplier costs beyond the unsteered clips: what a budget is drawn from.

    Parameters
    ----------
    trial : Trial
    distances : mapping of str to Distances
        By the name of their embedding.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``multiplier``, ``kappa``, ``nll`` (nats per token) and, by embedding, the Fréchet
        distance as a share of the variance of unsteered clips; of each ``_low`` and ``_high``, 95 %.
    """
    rows = []
    for name, part in trial.parts.items():
        plain = part[part["multiplier"] == 0]
        likelihood = trial.effects(name, "nll").set_index("multiplier")
        for multiplier, steered in part[part["multiplier"] != 0].groupby("multiplier"):
            found = {"nll": stats.effect_of(likelihood.loc[multiplier])}
            for embedding, each in distances.items():
                found[embedding] = each.of(steered, versus=plain, relative=True)
            row = {"attribute": name, "multiplier": multiplier, "kappa": steered["kappa"].mean()}
            for measure, interval in found.items():
                row |= {
                    measure: interval.estimate,
                    f"{measure}_low": interval.low,
                    f"{measure}_high": interval.high,
                }
            rows.append(row)
    return pd.DataFrame(rows)
