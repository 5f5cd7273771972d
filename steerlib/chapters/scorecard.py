"""Tables of the chapter *Scorecard* (``notebooks/scorecard.ipynb``), from what all chapters have recorded."""

from collections.abc import Sequence

import pandas as pd
from myst_nb import glue

from steerlib.evidence.scorecard import NOT_RUN, VERDICTS, cards

__all__ = ["count", "front_page", "larger_samples"]

_PAPERS = {"facchiano2025": "paper A", "panda2025": "paper B"}


def count(table: pd.DataFrame) -> pd.DataFrame:
    """How many claims of each paper came to which verdict, on each model."""
    asked = table["paper"].map(_PAPERS).fillna("our own").rename("claims of")
    verdicts = table.groupby(["model", asked], sort=False)["verdict"].value_counts().unstack(fill_value=0)
    return verdicts.reindex(columns=VERDICTS, fill_value=0).rename_axis(columns=None)


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


def larger_samples(table: pd.DataFrame, larger: pd.DataFrame, model: str) -> pd.DataFrame:
    """The verdicts of a model beside those with the papers' sample sizes; say which are different."""
    here, there = (each[each["model"] == model].set_index("claim") for each in (table, larger))
    changed = (here["verdict"] != there["verdict"]) & ~there["verdict"].isin([NOT_RUN])
    print("another verdict with the papers' sizes:", ", ".join(changed[changed].index) or "none")
    return pd.DataFrame({
        "here": here["verdict"], "with the papers' sizes": there["verdict"],
        "chosen here": here["note"], "chosen there": there["note"],
    })  # fmt: skip
