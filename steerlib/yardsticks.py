"""What an effect is held against: pushes that mean nothing, the attribute's own words, and what it costs.

A random push changes music too, and words change it without any push. So a chapter on steering measures both beside
its effect (`controls`, `words`, `beside`), and what the effect and its words cost (`quality`, `quality_of_words`), from
which `evidence.choices` chooses λ.
Chapters: *Steering sweep*, *Held out*.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from steerlib import directions
from steerlib.engine.generation import Run
from steerlib.evidence import stats
from steerlib.evidence.stats import Interval
from steerlib.measure.distance import EMBEDDINGS, Distances, check_windows, embed_clips
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import BASELINE, Grid, sweep, sweep_cells

__all__ = ["beside", "controls", "of_random", "quality", "quality_of_words", "words"]


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
    for name, each in study.attributes.items():
        attribute = each.first(pairs)
        sides = (attribute.positive_prompts, attribute.negative_prompts)
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
    """What each multiplier costs compared with the unsteered clips.

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
    return pd.concat([_quality(part, distances) for part in trial.parts.values()], ignore_index=True)


def _quality(table: pd.DataFrame, distances: Mapping[str, Distances]) -> pd.DataFrame:
    """`quality` of one attribute."""
    plain, rows = table[table["multiplier"] == 0], []
    likelihood = stats.summarise(table, value="nll").set_index("multiplier")
    for (name, multiplier), part in table[table["multiplier"] != 0].groupby(["attribute", "multiplier"]):
        row = {"attribute": name, "multiplier": multiplier, "kappa": part["kappa"].mean()}
        found = {"nll": stats.effect_of(likelihood.loc[multiplier])}
        found |= {of: each.of(part, versus=plain, relative=True) for of, each in distances.items()}
        for measure, interval in found.items():
            row |= {
                measure: interval.estimate,
                f"{measure}_low": interval.low,
                f"{measure}_high": interval.high,
            }
        rows.append(row)
    return pd.DataFrame(rows)


def quality_of_words(study: Study, pairs: int, *, window: float | None) -> pd.DataFrame:
    """What the words of an attribute cost when the prompt says them, in the measures of `quality`.

    Unsteered clips of the first so many pairs, at each pole compared with what the two prompts of the pair have in
    common: "Quick reggae in a garden" with "reggae in a garden". Pairs that share no word are passed over.

    Parameters
    ----------
    study : Study
    pairs : int
    window : float or None
        Seconds of sound in one embedding; None for no distances.

    Returns
    -------
    DataFrame
        As `quality`; the multiplier is 1 for the words of the positive pole, -1 for those of the negative.

    Raises
    ------
    ValueError
        If fewer than two pairs of an attribute share a word, or they are too few for a Fréchet distance.
    """
    cells = []
    for name, attribute in study.attributes.items():
        sides = {0: attribute.shared_prompts, 1: attribute.positive_prompts, -1: attribute.negative_prompts}
        some = [index for index, shared in enumerate(sides[0]) if shared][:pairs]
        if len(some) < 2:
            raise ValueError(
                f"the two prompts of a pair of {name} have no word in common in all pairs but {len(some)}: what its "
                "words cost is measured against the words that both share; write pairs that differ in nothing else"
            )
        if window is not None:
            check_windows(len(some), study.seconds, window=window, clap=study.clap, extrapolate=False)
        cells += [
            (name, side, index, sides[side][index], seed, sides[0][index], 0, ())
            for side in sides
            for index in some
            for seed in ((study.seed,) if side else (study.seed, study.seed + 1))
        ]
    names = ["attribute", "multiplier", "prompt_id", "prompt", "seed", "shared", "source_layer", "steering"]
    table = sweep_cells(
        study.model, pd.DataFrame(cells, columns=names), store=study.store, seconds=study.seconds,
        sampling=study.sampling, metrics=("centroid",), beats=study.beats, run=Run(progress=True),
    )  # fmt: skip
    table["prompt"] = table["shared"]  # distances are taken between clips of one prompt
    found = []
    for _, part in table.groupby("attribute", sort=False):
        again = part["seed"] != study.seed
        pair = part[~again], part[again]
        distances = {
            name: Distances(
                *pair, embed_clips(part, study.store, window=window, clap=study.clap, embedding=name)
            )
            for name in EMBEDDINGS
            if window is not None
        }
        found.append(_quality(pair[0], distances))
    return pd.concat(found, ignore_index=True)
