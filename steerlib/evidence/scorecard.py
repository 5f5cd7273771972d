"""The scorecard: each claim of the papers, what was measured for it, and a verdict by a stated rule.

The claims are in ``data/papers/*.yaml``: paper A's, paper B's, and the questions of this project. A chapter
measures its claims and records them; the chapter "scorecard" reads what all chapters have recorded. A claim
has one or more *checks*: quantities with a 95 % interval, and the limit that the claim sets to each.

**The rule.** A check *holds* if its whole interval lies on the claimed side of its limit, *fails* if it lies
wholly on the other side, and is *open* otherwise, or where there was too little to make an interval from.
A claim is

- ``supported`` if all checks hold,
- ``not supported`` if none holds and at least one fails,
- ``not shown`` if none holds and none fails: the sample does not tell,
- ``partly`` otherwise.

Layout of the folder of records: ``<claim>.<model>.json``, one file for each claim and model, written aside and
then renamed, so a reader finds all of it or nothing. A new record replaces the old one.
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

from steerlib.evidence.stats import Interval
from steerlib.files import DATA, read_yaml, write_whole

__all__ = ["NOT_RUN", "RULE", "Check", "Verdict", "cards", "claims", "paper", "read", "record"]

NOT_RUN = "not run here"
"""Verdict where nothing is recorded."""
RULE = (
    "A check holds if its whole 95 % interval lies on the claimed side of its limit, fails if it lies wholly on "
    "the other side, and is open otherwise. A claim is supported if all its checks hold, not supported if none "
    "holds and at least one fails, not shown if none holds and none fails, and partly supported otherwise."
)
"""The rule in words, for the page."""

_PAPERS = DATA / "papers"
_MARKS = {"holds": "✓", "fails": "✗", "open": "○"}
_FIELDS = {"format", "claim", "model", "notebook", "profile", "note", "recorded", "verdict", "checks"}
_FORMAT = "steerlib.scorecard/1"


@dataclass(frozen=True)
class Check:
    """One measurable part of a claim.

    Parameters
    ----------
    what : str
        What was measured, in words that stand alone: "tempo toward fast at λ = 0.1".
    interval : Interval
        Its estimate with a 95 % interval.
    above, below : float, optional
        The limit that the claim sets, in the unit of the interval. Exactly one of the two.
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
    unit: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.interval, Interval):
            raise TypeError(
                f"the interval of a check is a stats.Interval, got {type(self.interval).__name__}: "
                "make one with stats.paired_interval, or Interval(estimate, low, high, n)"
            )
        if not self.what.strip():
            raise ValueError("a check needs words for what was measured")
        if (self.above is None) == (self.below is None):
            raise ValueError(
                f"check {self.what!r} has above={self.above} and below={self.below}: give exactly one of them, "
                "the limit that the claim sets"
            )
        if not math.isfinite(self.limit):
            raise ValueError(f"check {self.what!r} has the limit {self.limit}: expected a finite number")

    @property
    def limit(self) -> float:
        """`above` or `below`, whichever was given."""
        return float(self.below if self.above is None else self.above)  # type: ignore[arg-type]

    @property
    def outcome(self) -> str:
        """One of "holds", "fails" and "open"; open too where a limit of the interval is NaN."""
        low, high = self.interval.low, self.interval.high
        over, under = low > self.limit, high < self.limit
        if self.above is None:
            over, under = under, over
        return "holds" if over else "fails" if under else "open"

    @property
    def measured(self) -> str:
        """Estimate, interval, unit and sample size, in one line."""
        unit = f" {self.unit}" if self.unit else ""
        interval = self.interval
        left_out = f", {interval.dropped} not measurable" if interval.dropped else ""
        span = f"[{_number(interval.low)}, {_number(interval.high)}]"
        return f"{_number(interval.estimate)} {span}{unit} (n = {interval.n}{left_out})"

    @property
    def expected(self) -> str:
        """The limit with its sign: "> 0 BPM"."""
        return f"{'<' if self.above is None else '>'} {self.limit:g}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Verdict:
    """What the checks of one claim come to on one model. Displays as a table with the verdict below it.

    Attributes
    ----------
    claim, text, place : str
        The claim's name, its words, and where the paper makes it.
    model : str
        On which it was measured.
    checks : tuple of Check
    note : str
        What the reader should know beside the figures.
    """

    claim: str
    text: str
    place: str
    model: str
    checks: tuple[Check, ...]
    note: str = ""

    @property
    def verdict(self) -> str:
        """One of "supported", "partly", "not shown" and "not supported", by the rule of this module."""
        outcomes = [check.outcome for check in self.checks]
        if all(outcome == "holds" for outcome in outcomes):
            return "supported"
        if "holds" in outcomes:
            return "partly"
        return "not supported" if "fails" in outcomes else "not shown"

    def __str__(self) -> str:
        lines = [f"{self.claim} ({self.place}): {self.text}"]
        lines += [
            f"  {_MARKS[check.outcome]} {check.outcome:5} {check.what}: {check.measured}, claimed {check.expected}"
            for check in self.checks
        ]
        note = f" {self.note}" if self.note else ""
        return "\n".join([*lines, f"Verdict on {self.model}: {self.verdict}.{note}"])

    def _repr_html_(self) -> str:
        def cell(content: str, tag: str = "td") -> str:
            return f"<{tag}>{html.escape(content)}</{tag}>"

        head = "".join(
            cell(title, "th") for title in ("measured here", "estimate [95 %]", "claimed", "check")
        )
        rows = "".join(
            f"<tr>{cell(check.what)}{cell(check.measured)}{cell(check.expected)}"
            f"{cell(f'{_MARKS[check.outcome]} {check.outcome}')}</tr>"
            for check in self.checks
        )
        name = self.verdict.replace(" ", "-")
        note = f" {html.escape(self.note)}" if self.note else ""
        return (
            f'<div class="verdict verdict-{name}"><p><strong>{html.escape(self.claim)}</strong> '
            f"({html.escape(self.place)}): {html.escape(self.text)}</p>"
            f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
            f"<p>Verdict on <code>{html.escape(self.model)}</code>: <strong>{self.verdict}</strong>.{note}</p></div>"
        )


def paper(name: str) -> dict[str, Any]:
    """What a paper published, from ``data/papers/<name>.yaml``: "a" is paper A, "b" paper B."""
    content: dict[str, Any] = read_yaml(_PAPERS / f"{name}.yaml")
    return content


def claims() -> pd.DataFrame:
    """All claims of ``data/papers/*.yaml``: paper A's, paper B's, then the project's own questions.

    Returns
    -------
    DataFrame
        Columns ``claim`` (its name: "A3"), ``paper`` (key of the bibliography), ``place``, ``text``; in the
        order of the files.

    Raises
    ------
    ValueError
        If a claim lacks a field, or two have one name.
    """
    rows: list[dict[str, str]] = []
    for path in sorted(_PAPERS.glob("*.yaml")):
        content = read_yaml(path)
        for entry in content.get("claims") or []:
            missing = {"id", "place", "claim"} - set(entry)
            if missing:
                raise ValueError(f"{path}: the claim {entry} lacks {sorted(missing)}")
            rows.append(
                {
                    "claim": str(entry["id"]),
                    "paper": str(content.get("paper", path.stem)),
                    "place": entry["place"],
                    "text": entry["claim"],
                }
            )
    table = pd.DataFrame(rows, columns=["claim", "paper", "place", "text"])
    twice = table.claim[table.claim.str.casefold().duplicated()]
    if len(twice):
        raise ValueError(f"{_PAPERS} names the claim {twice.iloc[0]} twice; each needs a name of its own")
    return table


def record(
    claim: str,
    checks: Sequence[Check],
    *,
    model: str,
    folder: str | Path,
    notebook: str,
    profile: str | None = None,
    note: str = "",
) -> Verdict:
    """Judge one claim on one model by its checks, and write the result into the folder of records.

    Parameters
    ----------
    claim : str
        Name in ``data/papers/*.yaml``, such as "A3".
    checks : sequence of Check
        At least one.
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
        If the claim is unknown, or there is no check.
    OSError
        If the folder cannot be written to.
    """
    if Path(model).expanduser().is_dir():  # as `hf download --local-dir facebook--musicgen-melody` makes it
        model = Path(model).expanduser().resolve().name.replace("--", "/", 1)
    known = claims().set_index("claim")
    if claim not in known.index:
        raise ValueError(
            f"there is no claim {claim!r}; data/papers has {', '.join(known.index)}. Add it there, with its place"
        )
    if not checks:
        raise ValueError(f"claim {claim} was given no check: a verdict needs at least one measured quantity")
    verdict = Verdict(claim, known.text[claim], known.place[claim], model, tuple(checks), note)
    content = {
        "format": _FORMAT,
        "claim": claim,
        "model": model,
        "notebook": notebook,
        "profile": profile or os.environ.get("STEERLIB_PROFILE") or "by hand",
        "note": note,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "verdict": verdict.verdict,
        "checks": [
            {
                "what": check.what,
                "interval": {
                    # JSON has no NaN.
                    name: None if math.isnan(value) else value
                    for name, value in asdict(check.interval).items()
                },
                "above": check.above,
                "below": check.below,
                "unit": check.unit,
                "outcome": check.outcome,
            }
            for check in checks
        ],
    }
    _write(Path(folder), f"{claim}.{_slug(model)}.json", content)
    return verdict


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
        One row for each claim and model: the columns of `claims`, ``model``, ``verdict`` (`NOT_RUN` where
        nothing is recorded), ``checks`` (tuple of `Check`), ``notebook``, ``profile``, ``note``, ``recorded``
        (ISO 8601, UTC). The models are `models`, then all others found, in the order of the alphabet; if
        there is none at all, each claim has one row whose model is missing.

    Raises
    ------
    ValueError
        If a file is no record, or of a claim that is not known; the message names the file.
    """
    known = claims()
    folders = [folder] if isinstance(folder, str | Path) else folder
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for path in (file for one in folders for file in sorted(Path(one).glob("*.json"))):
        entry = _load(path)
        if entry["claim"] not in set(known.claim):
            raise ValueError(f"{path} is about the claim {entry['claim']!r}, which data/papers does not have")
        found[entry["claim"], entry["model"]] = entry
    shown: list[str | None] = [*dict.fromkeys([*models, *sorted(model for _, model in found)])]
    nothing: dict[str, Any] = {"verdict": NOT_RUN, "checks": (), "notebook": "", "profile": "", "note": ""}
    rows = [
        {**claim, "model": model, **(found.get((claim["claim"], model or "")) or {**nothing, "recorded": ""})}
        for claim in known.to_dict("records")
        for model in shown or [None]
    ]
    return pd.DataFrame(rows)


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
        checks = "".join(
            f"<li>{_MARKS[check.outcome]} {html.escape(f'{check.what}: {check.measured}')}; "
            f"claimed {html.escape(check.expected)}: {check.outcome}</li>"
            for check in row.checks
        )
        note = f"<p>{html.escape(row.note)}</p>" if row.note else ""
        return (
            f'<div class="verdict verdict-{row.verdict.replace(" ", "-")}"><p>{model}'
            f"<strong>{row.verdict}</strong>{source if row.checks else ''}</p>"
            f"{f'<ul>{checks}</ul>' if checks else ''}{note}</div>"
        )

    claimed = [
        f'<div class="claim"><p><strong>{html.escape(str(name))}</strong> {html.escape(rows.text.iloc[0])} '
        f"<small>({html.escape(rows.place.iloc[0])})</small></p>{''.join(map(line, rows.itertuples()))}</div>"
        for name, rows in table.groupby("claim", sort=False)
    ]
    return HTML(f'<div class="claims">{"".join(claimed)}</div>')


def _load(path: Path) -> dict[str, Any]:
    """One record, its verdict made anew from its checks: the rule counts, not what the file says of it."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping) or content.get("format") != _FORMAT or _FIELDS - set(content):
            raise ValueError(f"expected the fields {sorted(_FIELDS)} with format {_FORMAT!r}")
        checks = tuple(
            Check(
                check["what"],
                _interval(check["interval"]),
                above=check["above"],
                below=check["below"],
                unit=check["unit"],
            )
            for check in content["checks"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is no record of the scorecard: {error}. Delete it or record it again"
        ) from error
    entry = {name: content[name] for name in ("claim", "model", "notebook", "profile", "note", "recorded")}
    verdict = Verdict(content["claim"], "", "", content["model"], checks).verdict
    return {**entry, "checks": checks, "verdict": verdict if checks else NOT_RUN}


def _interval(fields: Mapping[str, Any]) -> Interval:
    estimate, low, high = (math.nan if fields[k] is None else fields[k] for k in ("estimate", "low", "high"))
    return Interval(estimate, low, high, fields["n"], fields["dropped"])


def _write(folder: Path, name: str, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / name, text.encode(), durable=True)
    except OSError as error:
        raise OSError(f"cannot write the record to {folder}: {error}") from error


def _slug(model: str) -> str:
    """A model's name as part of a file's name: "facebook/musicgen-melody" -> "facebook--musicgen-melody"."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", model.strip("/").replace("/", "--")) or "model"


def _number(value: float) -> str:
    """Three significant digits, with no exponent between 0.001 and 100,000."""
    if math.isnan(value):
        return "?"
    digits = 3 if value == 0 else min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:.{digits}f}" if 1e-3 <= abs(value) < 1e5 else f"{value:.3g}"
