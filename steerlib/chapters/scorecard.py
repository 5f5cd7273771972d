"""Tables of the chapter *Scorecard* (``notebooks/scorecard.ipynb``), from what all chapters have recorded."""

from collections.abc import Sequence

import pandas as pd
from myst_nb import glue

from steerlib.evidence.scorecard import NOT_RUN, Check, cards

__all__ = ["count", "front_page", "larger_samples", "tally"]

_ORDER = ["supported", "partly", "not supported", "not shown", NOT_RUN]
_PAPERS = {"facchiano2025": "paper A", "panda2025": "paper B"}


def count(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each paper came to which verdict, on each model."""
    asked = table["paper"].map(_PAPERS).fillna("our own").rename("claims of")
    verdicts = table.groupby(["model", asked], sort=False)["verdict"].value_counts().unstack(fill_value=0)
    return verdicts.reindex(columns=_ORDER, fill_value=0).rename_axis(columns=None)


def front_page(table: pd.DataFrame, counted: pd.DataFrame, model: str, headline: Sequence[str]) -> None:
    """Keep some verdicts of a model, and its count, for the front page; say how many claims were measured."""
    here = table[table["model"] == model]
    glue("headline", cards(here[here["claim"].isin(headline)]), display=False)
    glue("verdicts", counted.loc[[model]], display=False)
    done = here[here["verdict"] != NOT_RUN]
    print(
        f"{len(done)} of {len(here)} claims were measured on {model}, "
        f"{(done['verdict'] == 'supported').sum()} of them are supported"
    )


def tally(checks: Sequence[Check]) -> str:
    """How many checks hold, are open and fail: "holds 2, fails 1"."""
    outcomes = [check.outcome for check in checks]
    return ", ".join(
        f"{name} {outcomes.count(name)}" for name in ("holds", "open", "fails") if name in outcomes
    )


def larger_samples(table: pd.DataFrame, larger: pd.DataFrame, model: str) -> pd.DataFrame:
    """The verdicts of a model beside those with the papers' sample sizes; say which are different."""
    here, there = (each[each["model"] == model].set_index("claim") for each in (table, larger))
    changed = (here["verdict"] != there["verdict"]) & (there["verdict"] != NOT_RUN)
    print("another verdict with the papers' sizes:", ", ".join(changed[changed].index) or "none")
    return pd.DataFrame({
        "here": _verdicts(here), "with the papers' sizes": _verdicts(there),
        "chosen here": here["note"], "chosen there": there["note"],
    })  # fmt: skip


def _verdicts(records: pd.DataFrame) -> "pd.Series[str]":
    tallies = records["checks"].map(lambda checks: f" ({tally(checks)})" if checks else "")
    return records["verdict"] + tallies
