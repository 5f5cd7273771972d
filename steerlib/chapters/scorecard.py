"""Pictures and tables of the chapter *Scorecard* (``notebooks/scorecard.ipynb``), from the records of all chapters."""

import html
import json
import math
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.ticker import FuncFormatter
from myst_nb import glue

from steerlib.evidence.claims import Limit
from steerlib.evidence.frozen import PROFILES, frozen
from steerlib.evidence.scorecard import CHANGES, NOT_RUN, SUPERSEDED, VERDICTS, Measured, Verdict
from steerlib.files import DATA
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed

__all__ = [
    "changes",
    "count",
    "coverage",
    "filters",
    "findings",
    "forest",
    "front_page",
    "larger_samples",
    "settings",
    "tiles",
]

_PAPERS = {"facchiano2025": "paper A", "panda2025": "paper B"}
_MARKS = {"supported": "✓", "not supported": "✗", "not shown": "○", "not testable": "–", SUPERSEDED: "↻"}
_COLOURS = {"holds": "#009E73", "fails": "#D55E00", "open": "#56B4E9"}


def tiles(table: pd.DataFrame, model: str) -> HTML:
    """A map of all claims on one model: a tile each, by paper, with the mark of its verdict; leads to its card."""
    rows = []
    here = table[table["model"] == model]
    for name, part in here.groupby(here["paper"].map(_PAPERS).fillna("our own"), sort=False):
        cells = "".join(
            f'<a class="tile verdict-{row.verdict.replace(" ", "-")}" href="#claim-{row.claim}" '
            f'title="{html.escape(f"{row.verdict}: {row.text}", quote=True)}">{row.claim} '
            f'<span aria-label="{row.verdict}">{_MARKS.get(row.verdict, "")}</span></a>'
            for row in part.itertuples()
        )
        rows.append(f'<div class="tiles"><span class="tiles-of">{name}</span>{cells}</div>')
    key = " ".join(f"<span>{mark} {verdict}</span>" for verdict, mark in _MARKS.items())
    return HTML(f'<div class="tile-map">{"".join(rows)}<p class="tile-key">{key}</p></div>')


def filters() -> HTML:
    """Choices of which cards to show, by verdict; without a script."""
    choices = "".join(
        f'<label><input type="radio" name="shown" id="show-{name.replace(" ", "-")}"'
        f"{' checked' if name == 'all' else ''}> {name}</label> "
        for name in ("all", *VERDICTS)
    )
    return HTML(f'<fieldset class="claim-filters"><legend>Show claims that are</legend>{choices}</fieldset>')


def bar(limit: Limit, measured: Measured) -> float:
    """What a primary check must exceed: its limit, or what its control reaches if that is more; NaN for margins."""
    if limit.above is None or measured.control is None:
        return math.nan
    return max(limit.above, measured.control.high)


def parts(table: pd.DataFrame, model: str) -> pd.DataFrame:
    """The parts of all primary checks with a lower limit that were measured on a model, in units of that bar."""
    rows: list[dict[str, Any]] = []
    for row in table[(table["model"] == model) & (table["verdict"] != SUPERSEDED)].itertuples():
        for part, measured in row.found.parts.items() if row.found else ():
            unit, outcome = bar(row.found.check.limit(part), measured), row.found.outcome(part)
            scaled = [each / unit for each in _three(measured)] if unit > 0 else [math.nan]
            if outcome != "not testable" and np.isfinite(scaled).all():
                label = f"{row.claim} {part}".strip()
                names = ("label", "claim", "estimate", "low", "high", "outcome")
                rows.append(dict(zip(names, (label, row.claim, *scaled, outcome), strict=True)))
    return pd.DataFrame(rows, columns=["label", "claim", "estimate", "low", "high", "outcome"])


def forest(table: pd.DataFrame, model: str) -> None:
    """All primary checks on one axis: 1 is what each must exceed, its limit or the reach of its control."""
    shown = parts(table, model)
    if shown.empty:
        print(f"No primary check with an interval was recorded on {model}.")
        return
    _, ax = plt.subplots(figsize=(6.5, 0.24 * len(shown) + 0.9))
    for y, row in enumerate(shown.itertuples()):
        low, high = np.clip((row.low, row.high), -4, 40)
        ax.plot([low, high], [y, y], color=_COLOURS[row.outcome])
        ax.plot(np.clip(row.estimate, -4, 40), y, "o", color=_COLOURS[row.outcome], markersize=5)
    for outcome, colour in _COLOURS.items():
        ax.plot([], [], "o-", color=colour, markersize=5, label=outcome)
    ax.axvline(1, color=style.PALETTE["baseline"], linewidth=1)
    ax.set_xscale("symlog", linthresh=2, linscale=1.4)
    ticks = [-4, -2, -1, 0, 1, 2, 5, 10, 20, 40]
    ax.set_xticks(
        [tick for tick in ticks if shown["low"].min() - 3 <= tick <= max(3, shown["high"].max() * 1.5)]
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.signed(value)))
    ax.set_yticks(range(len(shown)), shown["label"])
    ax.invert_yaxis()
    ax.set_xlabel("primary check, in units of what it must exceed")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0)
    tally = shown["outcome"].value_counts().reindex(list(_COLOURS), fill_value=0)
    figures.message(
        f"Of {len(shown)} checks, {tally['holds']} held, {tally['fails']} failed and {tally['open']} stayed open",
    )
    plt.show()


def findings(table: pd.DataFrame, model: str, larger: pd.DataFrame) -> tuple[list[str], str]:
    """What the scorecard comes to on a model, and what speaks against it.

    The verdicts of the records with the papers' sample sizes come first, if there are any, and are named one by one.
    """
    first = larger if _tally(larger, model)[0] else table
    found, here = [], first[first["model"] == model].set_index("claim")
    if first is larger:
        measured, tally = _tally(larger, model)
        found.append(f"With the papers' sample sizes, {measured} of {len(here)} claims were measured: {tally}.")
    told = {
        name: listed([
            f"{row.short} ({row.Index}{_beside(row.found)})" for row in here[here["verdict"] == name].itertuples()
        ])
        for name in ("supported", "not supported")
    }  # fmt: skip
    sentences = [f"**{name.capitalize()}**: {words}." for name, words in told.items() if words]
    if sentences:
        found.append(" ".join(sentences))
    measured, tally = _tally(table, model)
    found.append(f"In this run, {measured} of {len(here)} claims were measured: {tally}.")
    return found, f"{settings(first, model)} All of this comes from one model, trained once."


def _beside(found: Verdict | None) -> str:
    """Which parts of a claim could not be tested, so that a verdict on the others is not taken for all."""
    left = [name for name, outcome in found.outcomes.items() if outcome == "not testable"] if found else []
    return f"; {listed(left)} not testable" if left else ""


def _tally(table: pd.DataFrame, model: str) -> tuple[int, str]:
    """How many claims were measured on a model, and how many of them came to which verdict, in words."""
    counted = table.loc[table["model"] == model, "verdict"].value_counts()
    done = [name for name in VERDICTS if name not in (SUPERSEDED, NOT_RUN)]
    number = sum(counted.get(name, 0) for name in done)
    return number, listed([f"{counted.get(name, 0)} {name}" for name in done])


def settings(table: pd.DataFrame, model: str) -> str:
    """Whether the records of a model carry the settings that were frozen before them, in words."""
    here = table[(table["model"] == model) & ~table["verdict"].isin([NOT_RUN, SUPERSEDED])]
    if here.empty:
        return "There are no current records."
    profile, log = here["profile"].iloc[0], frozen()
    if profile not in PROFILES:
        return f"The settings of the profile {profile} were not frozen."
    early, changed, dates = [], [], set()
    for row in here.itertuples():
        date, digest = log.get((row.claim, profile), ("", ""))
        if row.settings != digest:
            changed.append(row.claim)
        elif row.recorded[:10] < date:
            early.append(row.claim)
        else:
            dates.add(date)
    good = len(here) - len(early) - len(changed)
    words = (
        f"{good} of {len(here)} records have settings (limits, grids and prompts) that were frozen beforehand"
    )
    words += f" on {listed(sorted(dates))}" if dates else ""
    words += f"; made with other settings: {listed(changed)}" if changed else ""
    words += f"; made before the freeze: {listed(early)}" if early else ""
    return f"{words}."


def count(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each paper came to which verdict, on each model."""
    asked = table["paper"].map(_PAPERS).fillna("our own").rename("claims of")
    verdicts = table.groupby(["model", asked], sort=False)["verdict"].value_counts().unstack(fill_value=0)
    return verdicts.reindex(columns=VERDICTS, fill_value=0).rename_axis(columns=None)


def coverage() -> pd.DataFrame:
    """How often each kind of interval covers a known truth; made by ``benchmarks/interval_coverage.py``."""
    report = json.loads((DATA / "benchmarks" / "coverage.json").read_text(encoding="utf-8"))
    table = pd.DataFrame(report["results"])
    print(
        f"{report['sets']} simulated data sets of each kind; a 95 % interval should cover the truth in about 95 of 100"
    )
    return pd.DataFrame(
        {"kind of interval": table["kind"], "covers in … of 100": (100 * table["covered"]).round(1)}
    ).set_index("kind of interval")


def front_page(table: pd.DataFrame, counted: pd.DataFrame, model: str) -> None:
    """Keep the count of verdicts on a model for the front page; say how many claims were measured in this run."""
    here = table[table["model"] == model]
    own = counted.loc[[model]]
    glue("verdicts", own.loc[:, own.any()], display=False)
    done = here[~here["verdict"].isin([NOT_RUN, SUPERSEDED])]
    print(
        f"{len(done)} of {len(here)} claims were measured on {model}; "
        f"{(done['verdict'] == 'supported').sum()} of them are supported"
    )


def larger_samples(table: pd.DataFrame, larger: pd.DataFrame, model: str) -> pd.DataFrame:
    """The verdicts with the papers' sample sizes beside those of this run; say which are different."""
    here, there = (each[each["model"] == model].set_index("claim") for each in (table, larger))
    changed = (here["verdict"] != there["verdict"]) & ~there["verdict"].isin([NOT_RUN, SUPERSEDED])
    print("claims with another verdict in this run:", ", ".join(changed[changed].index) or "none")
    return pd.DataFrame({
        "claim in short": there["short"], "with the papers' sizes": there["verdict"], "in this run": here["verdict"],
        "chosen with the papers' sizes": there["note"].where(there["verdict"] != SUPERSEDED, ""),
    })  # fmt: skip


def changes(folder: str | Path, model: str) -> pd.DataFrame:
    """Which verdicts on a model changed when the records of a folder took the place of older ones, and why."""
    path = Path(folder) / CHANGES
    if not path.is_file():
        print("There are no older records.")
        return pd.DataFrame()
    table = pd.read_csv(path, keep_default_na=False)
    table = table[table["model"] == model].set_index("claim")
    return table[["before", "now", "why"]].replace({"before": "", "now": ""}, "no record")


def _three(measured: Measured) -> tuple[float, float, float]:
    return measured.interval.estimate, measured.interval.low, measured.interval.high
