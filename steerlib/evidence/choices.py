"""Settings chosen on the evaluation set by a stated rule, and kept for the chapters that come after.

Paper A takes the source layer whose direction steers "strongest and cleanest" (section 4.2) and λ = 1.25 as "a
good trade-off" (section 4.5), and then tests both on prompts that it has not seen. Here the choice has a rule,
so that it is made the same way on every model. The relative change of the mean metric is turned to the
*intended* direction (a fall toward the negative pole counts as positive); a setting is as good as the lower
95 % limit of the worse of its two poles. So neither a single strong pole nor a wide interval wins.

Choices are small JSON files in the stores of the chapters that make them. They never come from the held-out
prompts. Used in the chapters *Layer scan*, *Steering sweep* and *Held out*.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from steerlib.evidence.stats import Interval, check_columns
from steerlib.files import write_whole

__all__ = ["RULE", "Choice", "best", "intended", "load", "same_depth", "save", "worst_pole"]

RULE = "the setting whose worse pole has the highest lower 95 % limit of the relative change in the intended direction"
"""The rule in words, for the page."""

_FORMAT = "steerlib.choices/1"


@dataclass(frozen=True)
class Choice:
    """Settings by attribute, and a sentence on where they come from.

    Attributes
    ----------
    values : mapping of str to number
        Source layer or multiplier by attribute.
    source : str
        For the page: the file and its rule, or that there was none and the fallback holds.
    """

    values: Mapping[str, float]
    source: str


def intended(row: "pd.Series[Any]", *, relative: bool = False) -> Interval:
    """The effect in one row of `stats.summarise`, turned to the direction that its multiplier intends.

    Parameters
    ----------
    row : Series
        With ``multiplier``, ``n``, ``dropped`` and the columns of the effect.
    relative : bool, default False
        In percent of the baseline instead of the unit of the metric.

    Returns
    -------
    Interval
        Positive where the metric moved toward the pole that was steered to.

    Examples
    --------
    >>> slower = {"multiplier": -1, "effect": -30, "low": -40, "high": -20, "n": 24, "dropped": 0}
    >>> print(intended(pd.Series(slower)))
    30 [20, 40] (n = 24)
    """
    names = ("relative", "relative_low", "relative_high") if relative else ("effect", "low", "high")
    factor = float(np.sign(row["multiplier"])) * (100 if relative else 1)
    estimate, *limits = (factor * float(row[name]) for name in names)
    low, high = sorted(limits)
    return Interval(estimate, low, high, int(row["n"]), int(row["dropped"]))


def worst_pole(summary: pd.DataFrame, *, by: str) -> "pd.Series[float]":
    """How good each setting is: the lower limit of its worse pole, as the rule of this module has it.

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise`, of one attribute.
    by : str
        Column of the setting, such as "source_layer".

    Returns
    -------
    Series
        By setting, in percent; NaN where a pole has no interval. Above 0 where both poles are shown to move
        the metric as intended.

    Raises
    ------
    ValueError
        If a column is missing, or the summary mixes attributes or several multipliers of one sign.
    """
    needed = [by, "multiplier", "relative", "relative_low", "relative_high", "n", "dropped"]
    check_columns(summary, needed, what="the summary")
    poles = pd.DataFrame({by: summary[by], "sign": np.sign(summary["multiplier"])})
    mixed = "attribute" in summary and summary["attribute"].nunique() > 1
    if mixed or poles.duplicated().any():
        raise ValueError(
            f"the summary has several rows for one {by} and pole: choose for one attribute, and among settings "
            "that differ in nothing else"
        )
    limits = [intended(row, relative=True).low for _, row in summary.iterrows()]
    return poles.assign(limit=limits).groupby(by)["limit"].agg(lambda limit: limit.min(skipna=False))


def best(summary: pd.DataFrame, *, by: str) -> Any:
    """The setting that the rule chooses, or None if no setting has an interval for every pole.

    Parameters
    ----------
    summary, by
        See `worst_pole`.

    Returns
    -------
    int or float or None
        A value of the column `by`; of equals the smallest.
    """
    limits = worst_pole(summary, by=by).dropna()
    return None if limits.empty else getattr(limits.idxmax(), "item", limits.idxmax)()


def save(
    path: str | Path, values: Mapping[str, float | None], *, what: str, model: str, rule: str = RULE
) -> None:
    """Write a choice for the chapters that come after.

    Parameters
    ----------
    path : path-like
        The JSON file; its folder exists, as that of a store does.
    values : mapping of str to number or None
        By attribute; an attribute with None, for which nothing could be chosen, is left out.
    what : str
        What was chosen: "source layer".
    model : str
        For which it holds.
    rule : str
    """
    chosen = {name: value for name, value in values.items() if value is not None}
    content = {"format": _FORMAT, "what": what, "model": model, "rule": rule, "values": chosen}
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def load(path: str | Path, attributes: Sequence[str], *, model: str, fallback: float) -> Choice:
    """Read what an earlier chapter chose, or take the fallback and say so.

    Parameters
    ----------
    path : path-like
        As `save` wrote it; need not exist.
    attributes : sequence of str
    model : str
        A choice made for another model does not count.
    fallback : number
        For attributes without a choice.

    Returns
    -------
    Choice

    Raises
    ------
    ValueError
        If the file exists but is no choice.
    """
    path = Path(path)
    found: dict[str, float] = {}
    source = f"There is no {path}"
    if path.is_file():
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["format"] != _FORMAT:
                raise ValueError(f"format {content['format']!r}")
            what, rule, of, values = (content[name] for name in ("what", "rule", "model", "values"))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not a choice of settings ({error}): delete it and run again"
            ) from error
        if of == model:
            found = {name: values[name] for name in attributes if name in values}
            source = f"From {path}, {what} for {', '.join(found) or 'none of these attributes'}: {rule}"
        else:
            source = f"{path} was chosen for {of}, not for {model}"
    rest = [name for name in attributes if name not in found]
    if rest:
        source += f". Fallback parameter for {', '.join(rest)}: {fallback:g}"
    return Choice({name: found.get(name, fallback) for name in attributes}, f"{source}.")


def same_depth(first: int, last: int, *, of: int, to: int) -> tuple[int, ...]:
    """Layers at the depth of a paper's layers, in a model with another number of blocks.

    The one place where the papers' layer numbers, counted from 1, become ours, counted from 0: blocks `first`
    to `last` of `of` fill a stretch of the stack, and a block of ours lies at that depth if its middle does.

    Parameters
    ----------
    first, last : int
        1-based and both included, as the papers have them.
    of : int
        Blocks of the papers' model: 48 of facebook/musicgen-melody.
    to : int
        Blocks of the model at hand.

    Returns
    -------
    tuple of int
        0-based layers; empty if no middle falls into the stretch.

    Raises
    ------
    ValueError
        Unless 1 <= first <= last <= of, and to >= 1.

    Examples
    --------
    >>> same_depth(10, 18, of=48, to=12)
    (2, 3, 4)
    """
    if not 1 <= first <= last <= of or to < 1:
        raise ValueError(
            f"layers {first} to {last} of {of}, in a model of {to}: the papers count from 1 to their last block"
        )
    return tuple(k for k in range(to) if 2 * to * (first - 1) <= (2 * k + 1) * of <= 2 * to * last)
