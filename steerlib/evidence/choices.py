"""Settings chosen on the evaluation set by a stated rule, and kept for the chapters that come after.

Paper A takes the source layer whose direction steers "strongest and cleanest" (section 4.2) and λ = 1.25 as "a
good trade-off" (section 4.5), and then tests both on prompts that it has not seen. Here each choice has a rule,
so that it is made the same way on every model.

The layer: the relative change of the mean metric is turned to the *intended* direction (a fall toward the negative
pole counts as positive); a layer is as good as the lower 95 % limit of the worse of its two poles. So neither a
single strong pole nor a wide interval wins. The size of λ: the largest that costs no more than the attribute's words
(`beyond_words`) plus a margin (`strongest`), whatever its effect. Where a rule allows nothing, that is the result, and
nothing is taken in its place.

Choices are small JSON files in the stores of the chapters that make them. They never come from the held-out
prompts. Used in the chapters *Layer scan*, *Steering sweep*, *Held out* and *Control*.
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

__all__ = [
    "NLL_MARGIN",
    "RULE",
    "Choice",
    "best",
    "beyond_words",
    "intended",
    "load",
    "same_depth",
    "save",
    "strongest",
    "take",
    "worst_pole",
]

RULE = "the setting whose worse pole has the highest low end of its 95 % interval (change in the intended direction)"
"""The rule in words, for the page."""

NLL_MARGIN = 0.5
"""Nats per token by which steering toward a pole may make music less likely, beyond what the pole's words do."""

_FORMAT = "steerlib.choices/1"


@dataclass(frozen=True)
class Choice:
    """Settings by attribute, and a sentence on where they come from.

    Attributes
    ----------
    what : str
        What was chosen: "source layer".
    values : mapping of str to number or None
        By attribute; None where the rule allows nothing.
    source : str
        For the page: the file and its rule.
    """

    what: str
    values: Mapping[str, float | None]
    source: str

    @property
    def allowed(self) -> dict[str, float]:
        """The values that there are."""
        return {name: value for name, value in self.values.items() if value is not None}

    def __str__(self) -> str:
        barred = [name for name in self.values if name not in self.allowed]
        words = ", ".join(f"{value:g} for {name}" for name, value in self.allowed.items())
        none = f"No {self.what} is allowed for {', '.join(barred)}: left out from here on." if barred else ""
        return " ".join(filter(None, [f"{self.what}: {words}." if words else "", none, f"{self.source}."]))


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


def beyond_words(quality: pd.DataFrame, words: pd.DataFrame) -> pd.DataFrame:
    """By how much steering toward a pole costs more than the words of that pole, where those cost anything.

    Bright music is far from music that is not, and less likely, however it was asked for: steering is not charged
    for what words cost, too. Of the two comparisons, with unsteered clips and with words, each measure takes the one
    with the lower upper limit, so that words that make music *more* likely take nothing away.

    Parameters
    ----------
    quality, words : DataFrame
        From `steerlib.yardsticks.quality` and `quality_of_words`.

    Returns
    -------
    DataFrame
        As `quality`. The limits of a difference of two independent estimates are recovered from the limits of each
        (MOVER: Zou and Donner, 2008).
    """
    both = quality.assign(side=np.sign(quality["multiplier"])).merge(
        words.drop(columns="kappa").rename(columns={"multiplier": "side"}),
        on=["attribute", "side"], how="left", suffixes=("", "_words"), validate="many_to_one",
    )  # fmt: skip
    found = quality.copy()
    for measure in [name.removesuffix("_high") for name in quality if name.endswith("_high")]:
        names = [measure, f"{measure}_low", f"{measure}_high"]
        own, low, high = (both[name].to_numpy() for name in names)
        asked, asked_low, asked_high = (both[f"{name}_words"].to_numpy() for name in names)
        beyond = own - asked
        limits = (
            beyond - np.hypot(own - low, asked_high - asked),
            beyond + np.hypot(high - own, asked - asked_low),
        )
        found.loc[limits[1] < high, names] = np.stack([beyond, *limits], axis=1)[limits[1] < high]
    return found


def strongest(quality: pd.DataFrame, margins: Mapping[str, float]) -> float | None:
    """The largest size of λ within a budget of quality, or None if no size is.

    A size is within the budget if at both poles the upper 95 % limit of every measure of damage lies below its
    margin, and that of all smaller sizes too. So a setting is not let through because little is known of it, and a
    larger sample lets through more.

    Parameters
    ----------
    quality : DataFrame
        A row for each multiplier but 0, of one attribute: ``multiplier`` and, for each measure of damage, its upper
        limit in a column such as ``nll_high``; NaN is not below any margin.
    margins : mapping of str to float
        By measure: {"nll": 0.2} has the margin of the column ``nll_high``.

    Returns
    -------
    float or None

    Raises
    ------
    ValueError
        If there is no margin, a column is missing, or a size lacks one of its poles.

    Examples
    --------
    >>> limits = {0.01: 0.05, 0.02: 0.15, 0.05: 0.9}
    >>> rows = [{"multiplier": sign * size, "nll_high": high} for size, high in limits.items() for sign in (-1, 1)]
    >>> strongest(pd.DataFrame(rows), {"nll": 0.2})
    0.02
    """
    if not margins:
        raise ValueError("there is no margin: give at least one, such as {'nll': 0.2}")
    check_columns(quality, ["multiplier", *(f"{name}_high" for name in margins)], what="the table of quality")
    steered = quality[quality["multiplier"] != 0]
    size = steered["multiplier"].abs()
    lonely = size[size.map(size.value_counts()) != 2]
    if len(lonely):
        raise ValueError(
            f"the size {lonely.iloc[0]:g} of λ does not have one row for each pole: sweep with minus and plus each size"
        )
    inside = pd.DataFrame({name: steered[f"{name}_high"] < margin for name, margin in margins.items()}).all(
        axis=1
    )
    allowed = inside.groupby(size).all().sort_index().cummin()
    return float(allowed[allowed].index.max()) if allowed.any() else None


def save(
    path: str | Path, values: Mapping[str, float | None], *, what: str, model: str, rule: str = RULE
) -> None:
    """Write a choice for the chapters that come after.

    Parameters
    ----------
    path : path-like
        The JSON file; its folder exists, as that of a store does.
    values : mapping of str to number or None
        By attribute; None where the rule allows nothing, which those chapters are told.
    what : str
        What was chosen: "source layer".
    model : str
        For which it holds.
    rule : str
    """
    content = {"format": _FORMAT, "what": what, "model": model, "rule": rule, "values": dict(values)}
    write_whole(path, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())


def load(path: str | Path, attributes: Sequence[str], *, model: str) -> Choice:
    """Read what an earlier chapter chose.

    Parameters
    ----------
    path : path-like
        As `save` wrote it.
    attributes : sequence of str
    model : str

    Returns
    -------
    Choice
        Its values are None where the rule allows nothing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no choice, was made for another model, or says nothing about an attribute. Nothing is taken in its
        place.
    """
    path = Path(path)
    instead = "run the chapter that makes this choice first, or name no file, to set the value by hand"
    if not path.is_file():
        raise FileNotFoundError(f"there is no choice of settings at {path}: {instead}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        what, rule, of, values = (content[name] for name in ("what", "rule", "model", "values"))
        found = {name: values[name] for name in attributes if name in values}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a choice of settings ({error}): delete it and run again") from error
    if of != model:
        raise ValueError(f"{path} was chosen for {of}, not for {model}: {instead}")
    rest = [name for name in attributes if name not in found]
    if rest:
        raise ValueError(
            f"{path} has no {what} for {', '.join(rest)}, only for {', '.join(values)}: {instead}"
        )
    return Choice(what, found, f"From {'/'.join(Path(path).parts[-2:])}, by the rule: {rule}")


def take(path: str | Path, attributes: Sequence[str], *, what: str, model: str, by_hand: float) -> Choice:
    """`load`, or the value set by hand for all attributes if no file is named."""
    if str(path):
        return load(path, attributes, model=model)
    return Choice(what, dict.fromkeys(attributes, by_hand), "Set by hand")


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
