"""The bottom line of a chapter: what this run found, in two or three sentences made from its results.

A notebook's prose must hold for any model and any parameters, so it cannot say what was found. These sentences can: the
chapter computes them in its last cell (tag ``bottom-line``), the runner moves the box below the chapter's question, and
the front page and the scorecard show the same words. Used in every chapter.
"""

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from IPython.display import HTML

from steerlib.evidence.claims import Limit
from steerlib.evidence.scorecard import Verdict
from steerlib.evidence.stats import Interval
from steerlib.files import write_whole
from steerlib.page.style import number

__all__ = ["bottom_line", "bottom_lines", "listed", "measured", "moved", "of_verdicts", "told"]

_NAME = "bottom_line.{chapter}.md"


def bottom_line(
    chapter: str,
    found: Sequence[str],
    against: str,
    *,
    model: str,
    folder: str | Path,
    hear: HTML | None = None,
) -> HTML:
    """The box below a chapter's question; its words are kept in the folder of records, too.

    Parameters
    ----------
    chapter : str
        Name of the notebook.
    found : sequence of str
        One to three whole sentences, made from results; ``**bold**`` is the only markup.
    against : str
        One sentence: what speaks against it.
    model : str
        On which it was found.
    folder : path-like
        Of the verdicts; made if it is missing.
    hear : HTML, optional
        A player with the clip that shows it.

    Returns
    -------
    IPython.display.HTML

    Raises
    ------
    ValueError
        If there are no or too many sentences, one is not a whole sentence, or one has a NaN in it.
    """
    sentences = [*found, against]
    if not 1 <= len(found) <= 3:
        raise ValueError(f"the bottom line of {chapter} has {len(found)} findings: expected one to three")
    for sentence in sentences:
        if not re.search(r"[.!?]$", sentence) or re.search(r"\bnan\b", sentence):
            raise ValueError(
                f"the bottom line of {chapter} has {sentence!r}: expected a whole sentence with a full stop, and words "
                "instead of a NaN"
            )
    text = f"**Bottom line, on `{model}`.** {' '.join(found)}\n\n**What speaks against it.** {against}\n"
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_whole(Path(folder) / _NAME.format(chapter=chapter), text.encode())
    player = f'<div class="bottom-line-sound">{hear.data}</div>' if hear is not None else ""
    return HTML(f'<div class="bottom-line">{_paragraphs(text)}{player}</div>')


def bottom_lines(folder: str | Path, chapters: Sequence[str] | None = None) -> dict[str, str]:
    """The bottom lines that chapters have left, in Markdown, by chapter.

    Parameters
    ----------
    folder : path-like
        Of the verdicts; one that does not exist holds none.
    chapters : sequence of str, optional
        Which, and in what order; all by default. Those that have not run are left out.

    Returns
    -------
    dict of str to str
    """
    files = {path.name.split(".")[1]: path for path in sorted(Path(folder).glob(_NAME.format(chapter="*")))}
    names = list(files) if chapters is None else [name for name in chapters if name in files]
    return {name: files[name].read_text(encoding="utf-8") for name in names}


def measured(interval: Interval, unit: str = "", *, sign: bool = True, share: bool = False) -> str:
    """An estimate with its 95 % interval, for a sentence.

    Parameters
    ----------
    interval : Interval
    unit : str
    sign : bool, default True
        Write the + of a positive change.
    share : bool, default False
        The interval holds fractions; write percent.

    Returns
    -------
    str

    Examples
    --------
    >>> measured(Interval(35.6, 22.0, 45.1, 24), "BPM")
    '+35.6 BPM [+22, +45.1]'
    >>> measured(Interval(0.184, 0.1, 0.2, 24), share=True, sign=False)
    '18.4 % [10, 20]'
    """
    factor, unit = (100, "%") if share else (1, unit)
    estimate, low, high = (
        ("+" if sign and value > 0 else "") + _number(factor * value)
        for value in (interval.estimate, interval.low, interval.high)
    )
    return f"{estimate}{f' {unit}' if unit else ''} [{low}, {high}]"


def moved(change: Interval | float, unit: str) -> str:
    """How far something moved, for a sentence: octaves as the factor that one hears.

    Parameters
    ----------
    change : Interval or float
    unit : str
        Of the change; 1 of "octaves" is a factor of 2.

    Returns
    -------
    str

    Examples
    --------
    >>> moved(Interval(0.331, 0.223, 0.439, 22), "octaves")
    'a factor of 1.26 [1.17, 1.36]'
    >>> moved(0.22, "octaves"), moved(3.0, "dB")
    ('a factor of 1.16', '3 dB')
    """
    if unit != "octaves":
        return measured(change, unit) if isinstance(change, Interval) else f"{_number(change)} {unit}"
    if not isinstance(change, Interval):
        return f"a factor of {_number(2.0**change)}"
    factors = Interval(2.0**change.estimate, 2.0**change.low, 2.0**change.high, change.n)
    return f"a factor of {measured(factors, sign=False)}"


def told(holds: Mapping[str, bool], yes: str, no: str) -> str:
    """One sentence, without its full stop, that says for which names something holds and for which it does not.

    Parameters
    ----------
    holds : mapping of str to bool
    yes, no : str
        Each half of the sentence, with ``{}`` in the place of the names; a half without names is left out.

    Returns
    -------
    str

    Examples
    --------
    >>> told({"tempo": True, "mode": False}, "steering shifts {}", "no shift is shown for {}")
    'Steering shifts tempo; no shift is shown for mode'
    >>> told({"mode": False}, "steering shifts {}", "no shift is shown for {}")
    'No shift is shown for mode'
    """
    halves = []
    for half, wanted in ((yes, True), (no, False)):
        names = [name for name, each in holds.items() if bool(each) is wanted]
        if names:
            halves.append(half.format(listed(names)))
    sentence = "; ".join(halves)
    return sentence[:1].upper() + sentence[1:]


def of_verdicts(verdicts: Sequence[Verdict]) -> tuple[list[str], str]:
    """What the verdicts of a chapter found, and what speaks against it, in sentences.

    Parameters
    ----------
    verdicts : sequence of Verdict
        At least one. From the third on they share a sentence's place.

    Returns
    -------
    found : list of str
        At most three sentences, each with what was claimed, what was measured and the verdict.
    against : str
        How far the controls get.
    """
    told = [_told(verdict) for verdict in verdicts]
    found = told if len(told) <= 3 else [*told[:2], " ".join(told[2:])]
    first = verdicts[0]
    reached = {
        part: f"{_number(each.control.high)} {first.check.limit(part).unit}".strip()
        for part, each in first.parts.items()
        if each.control is not None
    }
    if len(set(reached.values())) == 1:  # one control for all parts
        reached = {"": next(iter(reached.values()))}
    count = max((each.interval.n for verdict in verdicts for each in verdict.parts.values()), default=0)
    words = listed([value + _of(part) for part, value in reached.items()])
    reach = f"The control ({first.check.control}) reaches {words}. " if reached else ""
    return (
        found,
        f"{reach}All of this comes from one model and one seed, and each number from at most {count} prompts, clips or "
        "concepts.",
    )


def _told(verdict: Verdict) -> str:
    check = verdict.check
    untested = [part for part, outcome in verdict.outcomes.items() if outcome == "not testable"]
    parts = {
        part: measured(each.interval, check.limit(part).unit, sign=False)
        for part, each in verdict.parts.items()
        if part not in untested
    }
    if len(parts) > 3:
        ordered = sorted(parts, key=lambda part: verdict.parts[part].interval.estimate)
        low, high = (f"for {part} ({parts[part]})" for part in (ordered[0], ordered[-1]))
        figures = f"lowest {low} and highest {high}"
    else:
        figures = listed([value + _of(part) for part, value in parts.items()])
    claim = f"\N{LEFT DOUBLE QUOTATION MARK}{check.text.rstrip('.')}\N{RIGHT DOUBLE QUOTATION MARK} ({check.claim})"
    if verdict.verdict == "not testable" and check.needs:
        needed = [
            f"{_known(each.testable)}{_of(part)}" for part, each in verdict.parts.items() if each.testable
        ]
        return (
            f"{claim} is **not testable** on this model: the {check.needs[0]} is {listed(needed)}, and the test needs "
            f"{_asked(check.needs[1])}."
        )
    return (
        f"{claim} is **{verdict.verdict}**: the {check.quantity} is {figures}, and the claim needs "
        f"{_asked(check.limit(''))}."
        + (f" It could not be tested for {listed(untested)}." if untested else "")
    )


def _known(interval: Interval) -> str:
    """With its limits, where it has any that are not the estimate itself."""
    spread = np.ptp([interval.low, interval.estimate, interval.high])
    return measured(interval, sign=False) if spread > 0 else _number(interval.estimate)


def _number(value: float) -> str:
    return number(value).replace("-", "\N{MINUS SIGN}")


def _of(part: str) -> str:
    return f" for {part}" if part else ""


def _asked(limit: Limit) -> str:
    """A limit in words: "more than 0.26 octaves"."""
    unit = f" {limit.unit}" if limit.unit else ""
    if limit.within is not None:
        return f"{limit.within[0]:g} to {limit.within[1]:g}{unit}"
    bound = f"more than {limit.above:g}" if limit.above is not None else f"less than {limit.below:g}"
    return f"{bound}{unit}"


def listed(words: Sequence[str]) -> str:
    """Words as a sentence lists them: "tempo, timbre and mode"."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _paragraphs(text: str) -> str:
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html.escape(text.strip()))
    text = re.sub(r"`(.+?)`", r"<code>\1</code>", text)
    return "".join(f"<p>{paragraph}</p>" for paragraph in text.split("\n\n"))
