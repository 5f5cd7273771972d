"""The scorecard: each claim of the papers, what was measured for it, and a verdict by a stated rule.

The claims are in ``data/papers/*.yaml``, each with the one check that decides it (`evidence.claims`). A chapter
measures that check and its control, and records both; the chapter "scorecard" reads what all chapters have recorded.

    record("A1", {"tempo": Measured(shift, control=control_range(of_random_directions))}, also=[Check(...)], ...)

**The rule.** A primary check *holds* if its whole 95 % interval lies where the claim puts it and its control does not
get as far; it *fails* if its whole interval lies elsewhere, and is *open* otherwise. With several parts it must hold of
each. A claim is

- ``supported`` if its primary check holds of all parts that can be tested,
- ``not supported`` if it fails of one,
- ``not shown`` otherwise: the sample does not tell,
- ``not testable`` if what the claim takes for granted is not shown to hold on this model; it then counts neither for
  nor against.

Checks beside the primary one are descriptive: they have p-values, adjusted by Holm's method within the claim, and no
part in the verdict.

Layout of the folder of records: ``<claim>.<model>.json``, one file for each claim and model, written aside and
then renamed, so a reader finds all of it or nothing. A new record replaces the old one. A record carries the digest
of its settings (`evidence.frozen`); one of other settings than those of now, or by an older rule, is ``superseded``.
Used by every chapter that measures a claim; the records of other people's runs are files like any others.
"""

import html
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import HTML

from steerlib.evidence.claims import Limit, Primary, claims, declared, paper, primary
from steerlib.evidence.frozen import settings
from steerlib.evidence.stats import Interval, holm
from steerlib.files import write_whole

__all__ = [
    "CHANGES",
    "NOT_RUN",
    "RULE",
    "SUPERSEDED",
    "VERDICTS",
    "Check",
    "Measured",
    "Verdict",
    "cards",
    "claims",
    "paper",
    "read",
    "record",
    "record_open",
]

CHANGES = "changes.csv"
"""File in a folder of records: the verdicts that changed when these records came, and why."""
NOT_RUN = "not run here"
"""Verdict where nothing is recorded."""
SUPERSEDED = "superseded"
"""Verdict of a record by another rule or of other settings than those of now."""
VERDICTS = ("supported", "not supported", "not shown", "not testable", SUPERSEDED, NOT_RUN)
"""All that a claim can come to, in the order of pages."""
RULE = (
    "One check decides each claim. We wrote down the check and its limit before measuring. A check holds if its whole "
    "95 % interval lies where the claim puts it and its control does not reach as far. It fails if its whole interval "
    "lies elsewhere. Otherwise it is open. A claim is supported if its check holds for all its parts, not supported if "
    "it fails for one of them, and not shown otherwise. A part is not testable if the model is not shown to meet a "
    "condition that the claim takes for granted; it then counts neither for nor against the claim. All other numbers "
    "are descriptive."
)
"""The rule in words, for the page."""

_MARKS = {"holds": "✓", "fails": "✗", "open": "○", "not testable": "–"}
_FIELDS = {"format", "claim", "model", "notebook", "profile", "note", "recorded"}
_FORMAT, _OLD = "steerlib.scorecard/2", "steerlib.scorecard/1"


@dataclass(frozen=True)
class Check:
    """A descriptive figure beside the primary check of a claim, with the limit that it is held against.

    Parameters
    ----------
    what : str
        What was measured, in words that stand alone: "tempo toward fast at λ = 0.1".
    interval : Interval
        Its estimate with a 95 % interval.
    above, below : float, optional
    within : (float, float), optional
        The limit or the margins, in the unit of the interval. Exactly one of the three.
    unit : str, default ""
        Such as "BPM".

    Raises
    ------
    TypeError
        If `interval` is no `stats.Interval`.
    ValueError
        If `what` is empty, or not exactly one finite limit is given.

    Examples
    --------
    >>> Check("tempo toward fast", Interval(30.0, 22.0, 39.0, 24), above=0, unit="BPM").outcome
    'holds'
    """

    what: str
    interval: Interval
    _: KW_ONLY
    above: float | None = None
    below: float | None = None
    within: tuple[float, float] | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        _check_interval(self.interval, "the interval of a check")
        if not self.what.strip():
            raise ValueError("a check needs words for what was measured")
        try:
            _ = self.limit
        except ValueError as error:
            raise ValueError(f"check {self.what!r}: {error}") from None

    @property
    def limit(self) -> Limit:
        return Limit(above=self.above, below=self.below, within=self.within, unit=self.unit)

    @property
    def outcome(self) -> str:
        """One of "holds", "fails" and "open"; open too where a limit of the interval is NaN."""
        return self.limit.outcome(self.interval)

    @property
    def measured(self) -> str:
        """Estimate, interval, unit and sample size, in one line."""
        return _words(self.interval, self.unit)


@dataclass(frozen=True)
class Measured:
    """A primary check, or one part of it, as measured.

    Parameters
    ----------
    interval : Interval
        The estimate with its 95 % interval, in the unit that the claim declares.
    control : Interval
        Where 95 % of results of the declared control lie, same quantity, same unit: `stats.control_range`.
    testable : Interval, optional
        The quantity that must hold for the claim to be testable, for claims that declare one.
    """

    interval: Interval
    _: KW_ONLY
    control: Interval | None = None
    testable: Interval | None = None

    def __post_init__(self) -> None:
        _check_interval(self.interval, "what was measured")
        for name in ("control", "testable"):
            if getattr(self, name) is not None:
                _check_interval(getattr(self, name), f"the {name}")


@dataclass(frozen=True)
class Verdict:
    """What the primary check of one claim comes to on one model. Displays as a table with the verdict below it.

    Attributes
    ----------
    check : Primary
        As the claim declares it.
    model : str
        On which it was measured.
    parts : mapping of str to Measured
    also : tuple of Check
        Descriptive figures.
    note : str
        What the reader should know beside the figures.
    """

    check: Primary
    model: str
    parts: Mapping[str, Measured]
    also: tuple[Check, ...] = ()
    note: str = ""

    def outcome(self, part: str) -> str:
        """What one part comes to: "holds", "fails", "open" or "not testable"."""
        limit, measured = self.check.limit(part), self.parts[part]
        needs = self.check.needs
        if needs and (measured.testable is None or needs[1].outcome(measured.testable) != "holds"):
            return "not testable"
        found = limit.outcome(measured.interval)
        reached = measured.control is None or limit.reached_by(measured.control, measured.interval.estimate)
        return "open" if found == "holds" and reached else found

    @property
    def outcomes(self) -> dict[str, str]:
        """What each part comes to; a declared part that was not measured is open."""
        return {
            **dict.fromkeys(self.check.parts, "open"),
            **{part: self.outcome(part) for part in self.parts},
        }

    @property
    def verdict(self) -> str:
        """One of "supported", "not shown", "not supported" and "not testable", by the rule of this module."""
        found = [outcome for outcome in self.outcomes.values() if outcome != "not testable"]
        if self.parts and not found:
            return "not testable"
        if "fails" in found:
            return "not supported"
        return "supported" if found and set(found) == {"holds"} else "not shown"

    @property
    def also_p(self) -> list[float]:
        """P-values of the descriptive figures, adjusted by Holm's method."""
        return [float(p) for p in holm([check.limit.p(check.interval) for check in self.also])]

    def table(self) -> pd.DataFrame:
        """The parts of the primary check: what was measured, claimed, and reached by the control, in words."""
        rows = []
        for part, outcome in self.outcomes.items():
            limit, measured, needs = self.check.limit(part), self.parts.get(part), self.check.needs
            unit = limit.unit
            rows.append({
                "part": part,
                "measured": _words(measured.interval, unit) if measured else "not measured",
                "claimed": str(limit),
                "control": _words(measured.control, unit, "draws") if measured and measured.control else "",
                "testable": f"{_words(measured.testable, needs[1].unit)}, needs {needs[1]}"
                if measured and measured.testable and needs else "",
                "outcome": outcome,
            })  # fmt: skip
        return pd.DataFrame(rows, columns=["part", "measured", "claimed", "control", "testable", "outcome"])

    def __str__(self) -> str:
        check = self.check
        lines = [
            f"{check.claim} ({check.place}): {check.text}",
            f"  decided by {check.quantity}: {check.what}",
        ]
        for row in self.table().itertuples():
            part = f"{row.part}: " if row.part else ""
            lines.append(f"  {_MARKS[row.outcome]} {row.outcome} {part}{row.measured}, claimed {row.claimed}")
            lines += [f"      control, {check.control}: {row.control}"] if row.control else []
            lines += (
                [f"      testable by {check.needs[0]}: {row.testable}"]
                if row.testable and check.needs
                else []
            )
        for also, p in zip(self.also, self.also_p, strict=True):
            lines.append(f"  · {also.what}: {also.measured}, against {also.limit} p = {_number(p)} (Holm)")
        note = f" {self.note}" if self.note else ""
        return "\n".join([*lines, f"Verdict on {self.model}: {self.verdict}.{note}"])

    def _repr_html_(self) -> str:
        claim, place, text = (
            html.escape(each) for each in (self.check.claim, self.check.place, self.check.text)
        )
        note = f" {html.escape(self.note)}" if self.note else ""
        return (
            f'<div class="verdict verdict-{self.verdict.replace(" ", "-")}">'
            f"<p><strong>{claim}</strong> ({place}): {text}</p>{self.details()}"
            f"<p>Verdict on <code>{html.escape(self.model)}</code>: <strong>{self.verdict}</strong>.{note}</p></div>"
        )

    def details(self) -> str:
        """The primary check with its control and its parts, then the descriptive figures, as HTML."""
        check, rows = self.check, []
        for row in self.table().itertuples():
            beside = f"<br><small>control: {html.escape(row.control)}</small>" if row.control else ""
            if row.testable and check.needs:
                beside += f"<br><small>{html.escape(check.needs[0])}: {html.escape(row.testable)}</small>"
            rows.append(
                f"<tr><td>{html.escape(row.part)}</td><td>{html.escape(row.measured)}{beside}</td>"
                f"<td>{html.escape(row.claimed)}</td><td>{_MARKS[row.outcome]} {row.outcome}</td></tr>"
            )
        also = "".join(
            f"<li>{html.escape(f'{each.what}: {each.measured}; against {each.limit}, p = {_number(p)}')}</li>"
            for each, p in zip(self.also, self.also_p, strict=True)
        )
        also = (
            f"<details><summary>Descriptive numbers (p-values by Holm's method)</summary><ul>{also}</ul></details>"
            if also
            else ""
        )
        return (
            f"<p>Decided by <em>{html.escape(check.quantity)}</em>: {html.escape(check.what)}; control: "
            f"{html.escape(check.control)} <small>(written down {html.escape(check.since)})</small></p>"
            '<table class="table"><thead><tr><th>part</th><th>estimate [95 %]</th><th>claimed</th><th>check</th></tr>'
            f"</thead><tbody>{''.join(rows)}</tbody></table>{also}"
        )


def record(
    claim: str,
    measured: Mapping[str, Measured] | Measured,
    *,
    also: Sequence[Check] = (),
    model: str,
    folder: str | Path,
    notebook: str,
    profile: str | None = None,
    note: str = "",
) -> Verdict:
    """Judge one claim on one model by its primary check, and write the result into the folder of records.

    Parameters
    ----------
    claim : str
        Name in ``data/papers/*.yaml``, such as "A3", with its primary check.
    measured : Measured, or mapping of str to Measured
        The check as measured, with its control; by part if it has several.
    also : sequence of Check
        Descriptive figures, which have no part in the verdict.
    model : str
        On which they were measured: "pocket", a folder, or a name such as "facebook/musicgen-melody".
    folder : path-like
        Made if it does not exist.
    notebook : str
        That measured it, without ``.ipynb``: the scorecard links to its page.
    profile : str, optional
        Name of the experiment; default the one that the book is being made with (environment variable
        ``STEERLIB_PROFILE``), or "by hand".
    note : str, default ""
        One sentence on what the figures do not say.

    Returns
    -------
    Verdict

    Raises
    ------
    ValueError
        If the claim is unknown or declares no primary check, nothing was measured, a part is not one of those
        declared, or a control or the condition of being testable is missing. Nothing is written.
    OSError
        If the folder cannot be written to.
    """
    if Path(model).expanduser().is_dir():  # as `hf download --local-dir facebook--musicgen-melody` makes it
        model = Path(model).expanduser().resolve().name.replace("--", "/", 1)
    check = primary(claim)
    parts = {"": measured} if isinstance(measured, Measured) else dict(measured)
    _check_parts(check, parts)
    verdict = Verdict(check, model, parts, tuple(also), note)
    profile = profile or os.environ.get("STEERLIB_PROFILE") or "by hand"
    content = {
        "format": _FORMAT,
        "claim": claim,
        "model": model,
        "notebook": notebook,
        "profile": profile,
        "settings": settings(claim, profile),
        "note": note,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": verdict.verdict,
        "check": claims().set_index("claim")["check"][claim],
        "parts": {
            part: {name: _fields(getattr(each, name)) for name in ("interval", "control", "testable")}
            | {"outcome": verdict.outcome(part)}
            for part, each in parts.items()
        },
        "also": [
            {**asdict(each), "interval": _fields(each.interval), "outcome": each.outcome} for each in also
        ],
    }
    file = Path(folder) / f"{claim}.{_slug(model)}.json"
    _write(file, content)
    return verdict


def record_open(chapter: str, *, model: str, folder: str | Path, note: str) -> None:
    """Record the claims of a chapter that could measure nothing, such as for want of an allowed λ, and print them."""
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    unknown = Measured(nothing, control=nothing, testable=nothing)
    for claim, check in claims().set_index("claim")["check"].items():
        if check and check.get("chapter") == chapter:
            parts = dict.fromkeys(check.get("parts") or [""], unknown)
            print(record(str(claim), parts, model=model, folder=folder, notebook=chapter, note=note))


def read(folder: str | Path | Sequence[str | Path], *, models: Sequence[str] = ()) -> pd.DataFrame:
    """All claims, joined with what was recorded for them on each model.

    Parameters
    ----------
    folder : path-like or sequence of path-like
        Folders of records; where two hold the same claim and model, the later one counts. A folder that does
        not exist holds nothing.
    models : sequence of str
        Models that get a row for every claim, even if nothing was recorded for them.

    Returns
    -------
    DataFrame
        One row for each claim and model: ``claim``, ``paper``, ``place``, ``text``, ``short``, ``model``, ``verdict``
        (one of `VERDICTS`), ``found`` (its `Verdict`, or None where there is nothing, or a record by the old rule),
        ``notebook``, ``profile``, ``settings`` (digest), ``note``, ``recorded`` (ISO 8601, UTC). The models are
        `models`, then all others found, in the order of the alphabet; if there is none at all, each claim has one row
        whose model is missing.

    Raises
    ------
    ValueError
        If a file is no record, or of a claim that is not known, or if valid records of one model are of several
        profiles; the message names the files.
    """
    known = claims()
    folders = [folder] if isinstance(folder, str | Path) else folder
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in (file for one in folders for file in sorted(Path(one).glob("*.json"))):
        entry = _load(path, known)
        found[entry["claim"], entry["model"]] = entry
    _check_one_run(found.values())
    shown: list[str | None] = [*dict.fromkeys([*models, *sorted(model for _, model in found)])]
    nothing: dict[str, Any] = {"verdict": NOT_RUN, "found": None}
    nothing |= dict.fromkeys(("notebook", "profile", "settings", "note", "recorded"), "")
    rows = [
        {**claim, "model": model, **(found.get((claim["claim"], model or "")) or nothing)}
        for claim in known.drop(columns="check").to_dict("records")
        for model in shown or [None]
    ]
    return pd.DataFrame(rows).drop(columns="path", errors="ignore")


def cards(table: pd.DataFrame) -> HTML:
    """The table of `read` for the page: each claim with its place, and below it what each model says to it.

    Parameters
    ----------
    table : DataFrame
        As `read` returns it, or some of its rows.

    Returns
    -------
    IPython.display.HTML
    """

    def line(row: Any) -> str:
        model = f"<code>{html.escape(row.model)}</code>: " if isinstance(row.model, str) else ""
        source = f" <small>({html.escape(row.notebook)}, profile {html.escape(row.profile)})</small>"
        note = f"<p>{html.escape(row.note)}</p>" if row.note else ""
        return (
            f'<div class="verdict verdict-{row.verdict.replace(" ", "-")}"><p>{model}'
            f"<strong>{row.verdict}</strong>{source if row.notebook else ''}</p>"
            f"{row.found.details() if row.found else ''}{note}</div>"
        )

    claimed = [
        f'<div class="claim" id="claim-{html.escape(str(name))}" data-verdict="{rows.verdict.iloc[0]}">'
        f"<p><strong>{html.escape(str(name))}</strong> {html.escape(rows.text.iloc[0])} "
        f"<small>({html.escape(rows.place.iloc[0])})</small></p>{''.join(map(line, rows.itertuples()))}</div>"
        for name, rows in table.groupby("claim", sort=False)
    ]
    return HTML(f'<div class="claims">{"".join(claimed)}</div>')


def _check_interval(value: object, what: str) -> None:
    if not isinstance(value, Interval):
        raise TypeError(
            f"{what} is a stats.Interval, got {type(value).__name__}: "
            "make one with stats.paired_interval, or Interval(estimate, low, high, n)"
        )


def _check_parts(check: Primary, parts: Mapping[str, Measured]) -> None:
    """Raise a ValueError that names what is missing for the primary check of a claim."""
    if not parts:
        raise ValueError(f"claim {check.claim} was given nothing measured: it is decided by {check.what}")
    unknown = [part for part in parts if check.parts and part not in check.parts]
    if unknown:
        raise ValueError(
            f"claim {check.claim} is decided in the parts {', '.join(check.parts)}, not {', '.join(map(repr, unknown))}"
        )
    for part, each in parts.items():
        of = f"claim {check.claim}{f', {part}' if part else ''}"
        if each.control is None:
            raise ValueError(
                f"{of}: the control is missing ({check.control}). Measure the same quantity on it, and give "
                "Measured(interval, control=stats.control_range(...))"
            )
        if check.needs and each.testable is None:
            raise ValueError(
                f"{of}: whether it can be tested is missing. Give Measured(..., testable=interval) of "
                f"{check.needs[0]}, which must be {check.needs[1]}"
            )


def _check_one_run(entries: Any) -> None:
    """Raise a ValueError if records of one model that count are of several profiles."""
    first: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry["verdict"] == SUPERSEDED:
            continue
        before = first.setdefault(entry["model"], entry)
        if before["profile"] != entry["profile"]:
            raise ValueError(
                f"{before['path']} is of the profile {before['profile']}, {entry['path']} of {entry['profile']}: one "
                "table holds one run of a model. Keep the records of each profile in a folder of their own"
            )


def _load(path: Path, known: pd.DataFrame) -> dict[str, Any]:
    """One record, its verdict made anew from what was measured: the rule counts, not what the file says of it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (
            not isinstance(content, Mapping)
            or content.get("format") not in (_FORMAT, _OLD)
            or _FIELDS - set(content)
        ):
            raise ValueError(f"expected the fields {sorted(_FIELDS)} with format {_FORMAT!r}")
        if content["claim"] not in set(known["claim"]):
            raise ValueError(f"data/papers does not have the claim {content['claim']!r}")
        names = ("claim", "model", "notebook", "profile", "note", "recorded")
        entry = {name: content[name] for name in names} | {"path": path, "settings": "", "found": None}
        if content["format"] == _OLD:
            why = "by the old rule, in which every check counted and none had to have a control"
            return entry | {"verdict": SUPERSEDED, "note": _superseded(entry, why)}
        row = known.set_index("claim").loc[content["claim"]]
        check = declared(content["claim"], row["text"], row["place"], content["check"])
        parts = {
            str(part): Measured(
                _interval(each["interval"]),
                control=_interval(each["control"]),
                testable=_interval(each["testable"]) if each["testable"] else None,
            )
            for part, each in content["parts"].items()
        }
        _check_parts(check, parts)
        also = tuple(
            Check(
                each["what"],
                _interval(each["interval"]),
                above=each["above"],
                below=each["below"],
                within=tuple(each["within"]) if each["within"] else None,
                unit=each["unit"],
            )
            for each in content["also"]
        )
        digest = content["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of the scorecard: {error}. Delete it or record it again"
        ) from error
    found = Verdict(check, content["model"], parts, also, content["note"])
    entry |= {"settings": digest, "found": found, "verdict": found.verdict}
    if digest != settings(content["claim"], content["profile"]):
        why = "with another check, other parameters or other prompts than the present ones"
        entry |= {"verdict": SUPERSEDED, "note": _superseded(entry, why)}
    return entry


def _superseded(entry: Mapping[str, Any], why: str) -> str:
    note = f" {entry['note']}" if entry["note"] else ""
    return f"Superseded: recorded on {entry['recorded'][:10]} {why}. Run {entry['notebook']} again.{note}"


def _interval(fields: Mapping[str, Any]) -> Interval:
    estimate, low, high = (math.nan if fields[k] is None else fields[k] for k in ("estimate", "low", "high"))
    return Interval(estimate, low, high, fields["n"], fields["dropped"], fields["df"] or math.inf)


def _fields(interval: Interval | None) -> dict[str, Any] | None:
    """The fields of an interval; JSON has neither NaN nor infinity, and the limits of no interval are NaN."""
    if interval is None:
        return None
    return {name: value if math.isfinite(value) else None for name, value in asdict(interval).items()}


def _write(file: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode(), durable=True)
    except OSError as error:
        raise OSError(f"cannot write the record to {file.parent}: {error}") from error


def _slug(model: str) -> str:
    """A model's name as part of a file's name: "facebook/musicgen-melody" -> "facebook--musicgen-melody"."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", model.strip("/").replace("/", "--")) or "model"


def _words(interval: Interval, unit: str, count: str = "n") -> str:
    """Estimate, interval, unit and sample size, in one line."""
    left_out = f", {interval.dropped} not measurable" if interval.dropped else ""
    span = f"[{_number(interval.low)}, {_number(interval.high)}]"
    number = f"n = {interval.n}" if count == "n" else f"{interval.n} {count}"
    return f"{_number(interval.estimate)} {span}{f' {unit}' if unit else ''} ({number}{left_out})"


def _number(value: float) -> str:
    """Three significant digits, with no exponent between 0.001 and 100,000."""
    if not math.isfinite(value):
        return "?" if math.isnan(value) else "∞" if value > 0 else "-∞"
    digits = 3 if value == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{digits}f}" if 1e-3 <= abs(value) < 1e5 or value == 0 else f"{value:.3g}"
