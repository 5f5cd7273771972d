"""The claims, each with the one check that decides it, written down before anything is measured.

A claim in ``data/papers/*.yaml`` declares its *primary check*. The verdict comes from this check alone; whatever
else a chapter measures for a claim is descriptive. An example::

    - id: A1
      place: "section 4.5, Table 1"
      claim: "Steering moves each attribute by 20 % to 40 %."
      short: steering moves each attribute by 20 % to 40 %     # optional: in plain words, within a sentence
      check:
        what: each attribute on held-out prompts, half the distance between its two poles
        quantity: shift                  # short, for axes and tables
        unit: octaves
        above: 0.26                      # or below: 0.26, or within: [-0.1, 0.1]; the same for all parts, or by part
        control: random directions of the same length
        parts: [tempo, timbre]           # optional: the check must hold of each
        testable:                        # optional: what must hold for the claim to be testable at all
          {what: AUC of the attribute's own prompts, unsteered, unit: "", above: 0.7}
        chapter: held_out                # the notebook that measures it
        since: 2026-11-30                # on which day the check was written down in this form

The *control* is what could pass for the effect without being it: the same quantity along random directions, with
shuffled labels, in an untrained network. A check is not passed by what its control reaches as well.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import t as student

from steerlib.evidence.stats import Interval
from steerlib.files import DATA, read_yaml

__all__ = ["Limit", "Primary", "claims", "paper", "primary"]

_PAPERS = DATA / "papers"
_NEEDED = ("what", "quantity", "unit", "control", "chapter", "since")
_LIMITS = ("above", "below", "within")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a claim asks of a quantity: to lie above, below, or within.

    Parameters
    ----------
    above, below : float, optional
    within : (float, float), optional
        Margins of equivalence. Exactly one of the three is given, in `unit`.
    unit : str, default ""

    Raises
    ------
    ValueError
        Unless exactly one finite limit is given, margins in increasing order.
    """

    above: float | None = None
    below: float | None = None
    within: tuple[float, float] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        given = [name for name in _LIMITS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a check needs exactly one of above, below and within; {', '.join(given) or 'none'} given"
            )
        low, high = self.bounds
        if math.isnan(low) or math.isnan(high) or not low < high or math.isinf(low) and math.isinf(high):
            raise ValueError(
                f"the limit {given[0]}: {getattr(self, given[0])} is no finite number, or no range"
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """Between which the quantity is claimed to lie; one of them infinite for a one-sided limit."""
        if self.within is not None:
            return float(self.within[0]), float(self.within[1])
        if self.above is not None:
            return float(self.above), math.inf
        return -math.inf, float(self.below)  # type: ignore[arg-type]

    def outcome(self, interval: Interval) -> str:
        """ "holds" if the whole interval lies where it is claimed to, "fails" if none of it does, or else "open".

        For margins this is the procedure of two one-sided tests (Schuirmann, 1987), each at 2.5 %.
        """
        low, high = self.bounds
        if interval.low > low and interval.high < high:
            return "holds"
        return "fails" if interval.high < low or interval.low > high else "open"

    def reached_by(self, control: Interval, estimate: float) -> bool:
        """Whether a control gets as far as an estimate: then the check does not tell the two apart.

        `control` is the range in which 95 % of results of the control lie (`stats.control_range`). Against margins,
        a control reaches if it lies within them as well. A control of unknown range is taken to reach.
        """
        if self.within is not None:
            return self.outcome(control) == "holds"
        return not (estimate > control.high if self.above is not None else estimate < control.low)

    def p(self, interval: Interval) -> float:
        """One-sided p-value that belongs to the interval: of the limit, or the larger of the two of margins."""
        low, high = self.bounds
        if math.isnan(interval.low) or math.isnan(interval.high):
            return math.nan
        t = float(student.ppf(0.975, interval.df))
        chances = [
            float(student.sf(t * distance / half, interval.df)) if half > 0 else float(distance <= 0)
            for limit, distance, half in (
                (low, interval.estimate - low, interval.estimate - interval.low),
                (high, high - interval.estimate, interval.high - interval.estimate),
            )
            if math.isfinite(limit)
        ]
        return math.nan if any(map(math.isnan, chances)) else max(chances)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        low, high = self.bounds
        if self.within is not None:
            return f"{low:g} to {high:g}{unit}"
        return f"> {low:g}{unit}" if self.above is not None else f"< {high:g}{unit}"


@dataclass(frozen=True)
class Primary:
    """The declared check of one claim.

    Attributes
    ----------
    claim, text, place : str
        The claim's name, its words, and where the paper makes it.
    what, quantity : str
        What is measured, in words that stand alone, and its short name.
    limits : mapping of str to Limit
        By part; all the same unless the claim has one for each. A check without parts has the one part "".
    control : str
    needs : (str, Limit), optional
        What must hold for the claim to be testable on a model, and its limit.
    chapter, since : str
    """

    claim: str
    text: str
    place: str
    what: str
    quantity: str
    limits: Mapping[str, Limit]
    control: str
    chapter: str
    since: str
    needs: tuple[str, Limit] | None = None

    def limit(self, part: str) -> Limit:
        """The limit of one part; a check that declares no parts has one limit for all."""
        return self.limits.get(part, self.limits.get("")) or next(iter(self.limits.values()))

    @property
    def parts(self) -> tuple[str, ...]:
        """Declared parts; empty if the check may be measured in any."""
        return tuple(name for name in self.limits if name)

    @property
    def unit(self) -> str:
        return next(iter(self.limits.values())).unit


def paper(name: str) -> dict[str, Any]:
    """What a paper published, from ``data/papers/<name>.yaml``: "a" is paper A, "b" paper B."""
    content: dict[str, Any] = read_yaml(_PAPERS / f"{name}.yaml")
    return content


def claims() -> pd.DataFrame:
    """All claims of ``data/papers/*.yaml``: paper A's, paper B's, then the project's own questions.

    Returns
    -------
    DataFrame
        Columns ``claim`` (its name: "A3"), ``paper`` (key of the bibliography), ``place``, ``text``, ``short`` (the
        same in plain words, for a sentence), ``check`` (the mapping that declares its primary check, or None); in the
        order of the files.

    Raises
    ------
    ValueError
        If a claim lacks a field, or two have one name.
    """
    rows: list[dict[str, Any]] = []
    for path in sorted(_PAPERS.glob("*.yaml")):
        content = unchanged(path)
        for entry in content.get("claims") or []:
            missing = {"id", "place", "claim"} - set(entry)
            if missing:
                raise ValueError(f"{path}: the claim {entry} lacks {sorted(missing)}")
            row = {"claim": str(entry["id"]), "paper": str(content.get("paper", path.stem))}
            words = {"text": entry["claim"], "short": entry.get("short", entry["claim"].rstrip("."))}
            rows.append(row | words | {"place": entry["place"], "check": entry.get("check")})
    table = pd.DataFrame(rows, columns=["claim", "paper", "place", "text", "short", "check"])
    twice = table.claim[table.claim.str.casefold().duplicated()]
    if len(twice):
        raise ValueError(f"{_PAPERS} names the claim {twice.iloc[0]} twice; each needs a name of its own")
    return table


def unchanged(path: Path) -> Any:
    """What a YAML file holds, read again only when the file has changed. Not to be written to."""
    return _read(path, path.stat().st_mtime_ns)


@cache
def _read(path: Path, changed: int) -> Any:
    return read_yaml(path)


def primary(claim: str) -> Primary:
    """The primary check that ``data/papers`` declares for a claim.

    Raises
    ------
    ValueError
        If there is no such claim, it declares no check, or the check lacks something; the message names it.
    """
    known = claims().set_index("claim")
    if claim not in known.index:
        raise ValueError(
            f"there is no claim {claim!r}; data/papers has {', '.join(known.index)}. Add it there, with its place"
        )
    row = known.loc[claim]
    return declared(claim, row["text"], row["place"], row["check"])


def declared(claim: str, text: str, place: str, check: Any) -> Primary:
    """A primary check from the mapping that declares it; see the top of this module."""
    if not isinstance(check, Mapping):
        raise ValueError(
            f"claim {claim} declares no primary check: add one to its entry in data/papers before anything is "
            f"measured, check: {{{', '.join(_NEEDED)}, and one of {', '.join(_LIMITS)}}}"
        )
    missing = [name for name in _NEEDED if check.get(name) is None or not str(check[name]) and name != "unit"]
    unknown = sorted(set(check) - {*_NEEDED, *_LIMITS, "parts", "testable"})
    if missing or unknown:
        wrong = [f"lacks {', '.join(missing)}"] if missing else []
        wrong += [f"has {', '.join(map(str, unknown))}, which no check has"] if unknown else []
        raise ValueError(f"the primary check of claim {claim} {' and '.join(wrong)}: see data/papers")
    parts = [str(part) for part in check.get("parts") or [""]]
    try:
        limits = {part: _limit(check, part) for part in parts}
        needs = check.get("testable")
        condition = (str(needs["what"]), _limit(needs, "")) if needs else None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the primary check of claim {claim} has no proper limit: {error}") from error
    words = {name: str(check[name]) for name in ("what", "quantity", "control", "chapter", "since")}
    return Primary(claim, text, place, limits=limits, needs=condition, **words)


def _limit(given: Mapping[str, Any], part: str) -> Limit:
    """The limit for a part, of a mapping that has one for all parts, or some for some of them."""
    one: dict[str, Any] = {"unit": str(given.get("unit") or "")}
    for name in _LIMITS:
        value = given.get(name)
        value = value.get(part) if isinstance(value, Mapping) else value
        if value is not None:
            one[name] = tuple(map(float, value)) if name == "within" else float(value)
    if part and len(one) == 1:
        raise ValueError(f"the part {part!r} has none")
    return Limit(**one)
