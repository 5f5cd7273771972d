"""Tables and the figure of the page *A class listens* (``notebooks/class_results.ipynb``)."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import binomtest

from steerlib.files import DATA
from steerlib.page import figures
from steerlib.page.bottom_line import told
from steerlib.page.style import PALETTE, signed

__all__ = ["COIN", "COLUMNS", "draw", "read_answers", "shares"]

COLUMNS = ("question", "attribute", "lambda", "prompt", "seed", "answer", "right")
"""What is needed of a file of the blind test; it has more."""
_ASKED = {"abx": "is X A or B?", "steered": "which is steered?", "worse": "which sounds worse?"}
"""Questions whose name in the files says little."""
COIN = DATA / "examples" / "blind_test"
"""Files of listeners who hear nothing: the tests of the page, answered by a coin."""


def read_answers(folder: str | Path) -> pd.DataFrame:
    """Put the files of a class together.

    Parameters
    ----------
    folder : path-like
        With the CSV files that the blind test of the page *Play* has written, under any names.

    Returns
    -------
    DataFrame
        A row for each answer, with `COLUMNS`, ``size`` (of λ) and ``file``. A file that is there twice counts once.

    Raises
    ------
    FileNotFoundError
        If the folder has no CSV file.
    ValueError
        If a file is none of the blind test, or an answer in it is neither right nor wrong.
    """
    files = sorted(Path(folder).glob("*.csv"))
    if not files:
        raise FileNotFoundError(
            f"no CSV file in {Path(folder).resolve()}: put everyone's blind-test.csv there"
        )
    parts: dict[bytes, pd.DataFrame] = {}
    for file in files:
        try:
            table = pd.read_csv(file, dtype={"prompt": str})
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
            raise ValueError(
                f"{file} cannot be read as CSV ({error}): take the file as the page wrote it"
            ) from error
        missing = [name for name in COLUMNS if name not in table]
        if missing:
            raise ValueError(f"{file} is no file of the blind test: it has no column {', '.join(missing)}")
        numbers = table[["right", "lambda"]].apply(pd.to_numeric, errors="coerce")
        if not numbers["right"].isin([0, 1]).all() or not np.isfinite(numbers["lambda"]).all():
            raise ValueError(f"{file} was changed: 'right' must be 0 or 1 and 'lambda' a number in every row")
        parts.setdefault(file.read_bytes(), table.assign(file=file.stem))
    answers = pd.concat(parts.values(), ignore_index=True)
    return answers.assign(size=answers["lambda"].abs())


def shares(answers: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """The share of right answers by question and size of λ, with the exact interval (Clopper and Pearson).

    Returns
    -------
    DataFrame
        Columns ``question``, ``size``, ``right``, ``answers``, ``files``, ``share``, ``low`` and ``high``.
    """
    rows = []
    for (question, size), part in answers.groupby(["question", "size"]):
        right, count = int(part["right"].sum()), len(part)
        low, high = binomtest(right, count).proportion_ci(level, method="exact")
        rows.append((question, size, right, count, part["file"].nunique(), right / count, low, high))
    names = ["question", "size", "right", "answers", "files", "share", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def draw(answers: pd.DataFrame, level: float = 0.95) -> None:
    """The share of right answers of the class, with its interval, and beside it that of each file."""
    table = shares(answers, level)
    _, ax = plt.subplots(figsize=(6, 1.2 + 0.5 * len(table)))
    for height, row in enumerate(table.itertuples()):
        own = answers[(answers["question"] == row.question) & (answers["size"] == row.size)]
        each = own.groupby("file")["right"].mean()
        ax.plot(each, np.full(len(each), height - 0.25), "|", color=PALETTE["baseline"], markersize=9)
        error = [[row.share - row.low], [row.high - row.share]]
        ax.errorbar(row.share, height, xerr=error, fmt="o", color=PALETTE["positive"], markersize=6)
    names = [
        f"{_ASKED.get(row.question, row.question)}, |λ| = {signed(row.size)} ({row.answers} answers)"
        for row in table.itertuples()
    ]
    ax.axvline(0.5, color=PALETTE["baseline"], linewidth=1)
    ax.set_yticks(range(len(table)), labels=names)
    ax.set(xlim=(-0.03, 1.03), ylim=(len(table) - 0.5, -0.5), xlabel="share of right answers; line: guessing")
    heard = {f"“{name}”": low > 0.5 for name, low in zip(names, table["low"], strict=True)}
    figures.message(
        told(heard, "The class does better than guessing at {}", "nothing beyond guessing is shown at {}")
        if any(heard.values())
        else "The class is not shown to do better than guessing",
    )
    plt.show()
