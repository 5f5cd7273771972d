"""Write the README's findings and picture from the records of a book.

    python -m book.readme results --why "..." --why A3="..."   keep a book's records in data/scores/paper, then write
    python -m book.readme                                     write from the records that are kept

The book must have been made with the papers' sample sizes (`make book PROFILE=paper`). Nobody types the findings: they
are the bottom lines that chapters made of their results, and the picture has the curves of the chapter *Steering
sweep*. Both stand in the README between two marks; a test holds the README against the records.
"""

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from steerlib.evidence import scorecard, stats
from steerlib.page.bottom_line import bottom_lines, listed
from steerlib.page.style import METRIC_LABELS, number, signed
from steerlib.prompts import load_attribute
from steerlib.sweeps.store import Store

__all__ = ["curves", "findings", "keep", "picture", "written"]

ROOT = Path(__file__).resolve().parents[1]
PROFILE = "paper"
RECORDS = ROOT / "data" / "scores" / PROFILE
CHAPTERS = ("held_out", "steering_sweep", "known_truth", "timbre_transfer", "layer_scan", "audio_concepts")
"""The first three of these that have run speak in the README, whatever they found."""
MARKS = "<!-- made by: python -m book.readme -->", "<!-- made until here -->"
_CURVES, _PICTURE = "curves.csv", "slider.svg"


def keep(results: Path, folder: Path, why: Mapping[str, str]) -> None:
    """Copy the verdicts and bottom lines that a book has left, and write its curves beside them.

    What was kept before gives way. `steerlib.evidence.scorecard.CHANGES` says which verdicts changed with it, and why:
    by claim, what is different in this run, within a sentence; that of ``""`` is for all claims that have none.

    Raises
    ------
    FileNotFoundError
        If fewer than three of `CHAPTERS` have run, or the sweep has not; nothing is changed then.
    ValueError
        If a record was made with another profile, or a reason is given for a verdict that did not change.
    """
    records = sorted((results / "scorecard").glob("*.json"))
    lines = sorted((results / "scorecard").glob("bottom_line.*.md"))
    if len(bottom_lines(results / "scorecard", CHAPTERS)) < 3:
        raise FileNotFoundError(
            f"{results} has the bottom lines of fewer than three of {', '.join(CHAPTERS)}: expected the folder that "
            "`make book` fills"
        )
    others = [file.stem for file in records if json.loads(file.read_text(encoding="utf-8"))["profile"] != PROFILE]
    if others:
        raise ValueError(
            f"{listed(others)} in {results} were not made with the profile {PROFILE}: say make book PROFILE={PROFILE}"
        )
    table, before, now = curves(results), _verdicts(folder), _verdicts(results / "scorecard")
    changed = [
        (*which, before.get(which, ""), now.get(which, ""), why.get(which[0], why[""]))
        for which in sorted({*before, *now})
        if before.get(which) != now.get(which)
    ]
    if same := set(why) - {"", *(claim for claim, *_ in changed)}:
        raise ValueError(f"the verdict on {listed(sorted(same))} did not change: leave that --why out")
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    for file in [*records, *lines]:
        shutil.copyfile(file, folder / file.name)
    table.to_csv(folder / _CURVES, index=False, float_format="%.6g")
    changes = pd.DataFrame(changed, columns=["claim", "model", "before", "now", "why"])
    changes.to_csv(folder / scorecard.CHANGES, index=False)


def _verdicts(folder: Path) -> dict[tuple[str, str], str]:
    """The verdict of each record in a folder, by claim and model."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json"))
    return {(each["claim"], each["model"]): each["verdict"] for each in found}


def curves(results: Path) -> pd.DataFrame:
    """Each attribute's own measure against λ, from the store of the sweep.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``layer``, ``allowed`` (size of λ within the budget of quality; NaN for none),
        ``multiplier``, ``n`` (prompts), ``mean``, and ``low`` and ``high``: the mean of the unsteered clips plus the
        95 % limits of the paired effect. Unit: that of the attribute's measure.
    """
    chosen = results / "layer_scan" / "best_layers.json", results / "steering_sweep" / "best_multipliers.json"
    layers, sizes = (json.loads(path.read_text(encoding="utf-8"))["values"] for path in chosen)
    rows = Store(results / "steering_sweep").read()
    rows = rows[rows["seed"] == rows["seed"].min()].assign(prompt_id=lambda each: each["prompt"])
    found = []
    for name, size in sizes.items():
        own = (rows["attribute"] == name) & (rows["source_layer"] == layers[name])
        metric = load_attribute(name).metric
        # Two sweeps of the store may have made one clip, and only one of them have measured it.
        part = rows[own | (rows["multiplier"] == 0)].sort_values(metric)
        part = part.drop_duplicates(["multiplier", "prompt", "clip_sha256"])
        effects = stats.summarise(part, value=metric, by=["multiplier"])
        plain = float(effects.loc[effects["n"].idxmax(), "baseline"])
        unsteered = {"multiplier": 0.0, "n": effects["n"].max(), "mean": plain, "low": plain, "high": plain}
        steered = effects.assign(
            low=effects["baseline"] + effects["low"], high=effects["baseline"] + effects["high"]
        )
        both = pd.concat([steered[[*unsteered]], pd.DataFrame([unsteered])]).sort_values("multiplier")
        both.insert(0, "attribute", name)
        both.insert(1, "layer", layers[name])
        both.insert(2, "allowed", np.nan if size is None else size)
        found.append(both)
    return pd.concat(found, ignore_index=True)


def findings(folder: Path) -> str:
    """The README's part in Markdown: the picture, the bottom lines of three chapters, and the count of verdicts."""
    table, lines = pd.read_csv(folder / _CURVES), bottom_lines(folder, CHAPTERS)
    rows = scorecard.read(folder)
    models = sorted(set(rows["model"].dropna()))
    profile = next(each for each in rows["profile"] if each)
    picture = (folder / _PICTURE).relative_to(ROOT).as_posix()
    shown = " and ".join(_said(name, part) for name, part in table.groupby("attribute", sort=False))
    said = [
        f"![{shown}]({picture})",
        "",
        f"**What came out** on `{models[0]}`, profile `{profile}`; computed, not typed:",
        "",
    ]
    for chapter, line in list(lines.items())[:3]:
        found, against = line.strip().split("\n\n")
        found = re.sub(r"^\*\*.*?\*\* ", "", found)
        against = re.sub(r"^\*\*(.*?)\*\* ", r"*\1* ", against)
        said.append(f"- **{_title(chapter)}.** {found}\n  {against}")
    verdicts = rows["verdict"].value_counts()
    counted = [f"{verdicts[each]} {each}" for each in scorecard.VERDICTS if each in verdicts]
    said.append(
        f"- **Of {rows['claim'].nunique()} claims**, each with one check and its control: {listed(counted)}."
    )
    return "\n".join(said)


def _title(chapter: str) -> str:
    cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")


def _said(name: str, part: pd.DataFrame) -> str:
    attribute = load_attribute(name)
    ends = part.iloc[[0, -1]]
    low, high = (f"{number(row['mean'])} at λ = {signed(row['multiplier'])}" for _, row in ends.iterrows())
    return f"a slider over {name}: {METRIC_LABELS[attribute.metric]} goes from {low} to {high}"


def written(readme: str, folder: Path) -> str:
    """The README with what is between its two marks made anew."""
    before, rest = readme.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    return f"{before}{MARKS[0]}\n{findings(folder)}\n{MARKS[1]}{after}"


# --- the picture --------------------------------------------------------------------------------------------

WIDE, TOP, FLOOR, GAP, TRACK = 400, 66, 276, 40, 306
"""Pixels: a panel's width, where its curve may run, the space beside it, and where its slider is."""
STEP = 0.9
"""Seconds that the thumb rests on a λ."""
NOTE = "Band: 95 % interval of the paired difference. Grey: the budget of quality is, or may be, exceeded."
STYLE = """
text { font: 14px system-ui, "Segoe UI", Roboto, sans-serif; fill: #1B1A22; }
.title { font-weight: 700; font-size: 16px; } .muted { fill: #55535F; font-size: 13px; } .end { text-anchor: end; }
.middle { text-anchor: middle; } .number { font-weight: 700; font-size: 20px; text-anchor: end; }
.paper { fill: #FCFBF8; } .edge { stroke: #B9B4A6; } .track { stroke-width: 5; stroke-linecap: round; }
.band { fill: #5B3FA8; opacity: .18; }
.curve { fill: none; stroke: #5B3FA8; stroke-width: 2.5; stroke-linejoin: round; }
.beyond { fill: #77747F; opacity: .13; } .thumb { fill: #C94F00; stroke: #FCFBF8; stroke-width: 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #E9E6DF; } .muted { fill: #B3AFBC; } .paper { fill: #16151C; } .edge { stroke: #5A5668; }
  .band { fill: #BBA6F7; } .curve { stroke: #BBA6F7; } .thumb { fill: #FF9457; stroke: #16151C; }
}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; } }
"""


def picture(table: pd.DataFrame) -> str:
    """The curves of the table of `curves`, each with a slider whose thumb moves, as an SVG."""
    parts = list(table.groupby("attribute", sort=False))
    wide, high = len(parts) * (WIDE + GAP) + GAP, TRACK + 70
    panels = [_panel(name, part, GAP + at * (WIDE + GAP), f"p{at}") for at, (name, part) in enumerate(parts)]
    names = " and ".join(name for name, _ in parts)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" role="img" aria-label="Curves of {names} '
        'against λ, each with a slider.">',
        f"<style>{STYLE}{''.join(style for _, style in panels)}</style>",
        f'<rect class="paper" width="{wide}" height="{high}" rx="10"/>',
        *(body for body, _ in panels),
        f'<text class="muted" x="{GAP}" y="{high - 14}">{NOTE}</text>',
        "</svg>\n",
    ])  # fmt: skip


def _panel(name: str, part: pd.DataFrame, left: float, key: str) -> tuple[str, str]:
    """One attribute's curve and slider, and the style that moves them."""
    attribute, size, prompts = load_attribute(name), part["allowed"].iloc[0], part["n"].max()
    label = METRIC_LABELS[attribute.metric]
    part = part.dropna(subset="mean")
    at, mean = part["multiplier"].to_numpy(), part["mean"].to_numpy()
    low, high = (part[each].fillna(part["mean"]).to_numpy() for each in ("low", "high"))
    inside = np.abs(at) <= size
    rest = int(np.flatnonzero(inside)[-1]) if inside.any() else int(np.argmin(np.abs(at)))  # if nothing moves
    x = left + WIDE * (at - at[0]) / (at[-1] - at[0])
    scale = (FLOOR - TOP - 20) / (high.max() - low.min())
    y, above, below = (FLOOR - 10 - scale * (each - low.min()) for each in (mean, high, low))
    grey = ((x[0], x[inside][0]), (x[inside][-1], x[-1])) if inside.any() else ((x[0], x[-1]),)
    plain, right, unit = y[np.argmin(np.abs(at))], left + WIDE, label[label.rindex("(") + 1 : -1]
    body = [
        f'<text class="title" x="{left}" y="30">{name}</text>',
        f'<text class="muted" x="{left}" y="50">{label}, mean of {prompts} prompts</text>',
        *(
            f'<rect class="beyond" x="{a:.1f}" y="{TOP}" width="{b - a:.1f}" height="{FLOOR - TOP}"/>'
            for a, b in grey
        ),
        f'<polygon class="band" points="{_path([*x, *x[::-1]], [*above, *below[::-1]])}"/>',
        f'<line class="edge" stroke-dasharray="4" x1="{left}" x2="{right}" y1="{plain:.1f}" y2="{plain:.1f}"/>',
        f'<polyline class="curve" points="{_path(x, y)}"/>',
        f'<line class="edge track" x1="{left}" x2="{right}" y1="{TRACK}" y2="{TRACK}"/>',
        f'<text class="muted" x="{left}" y="{TRACK + 26}">{attribute.negative}</text>',
        f'<text class="muted middle" x="{left + WIDE / 2}" y="{TRACK + 26}">λ</text>',
        f'<text class="muted end" x="{right}" y="{TRACK + 26}">{attribute.positive}</text>',
        f'<circle class="thumb {key}t" r="10" cx="{x[rest]:.1f}" cy="{TRACK}"/>',
        f'<circle class="thumb {key}c" r="7" cx="{x[rest]:.1f}" cy="{y[rest]:.1f}"/>',
        *(
            f'<text class="number {key}n{step}" x="{right}" y="34" opacity="{int(step == rest)}">'
            f"λ = {signed(at[step], '+g' if at[step] else 'g')}: {number(mean[step])} {unit}</text>"
            for step in range(len(at))
        ),
    ]
    order = [*range(len(at)), *range(len(at) - 2, 0, -1)]  # up, and down again
    moves = {f"{key}n{step}": [f"opacity:{int(step == now)}" for now in order] for step in range(len(at))}
    moves[f"{key}t"] = [f"transform:translate({x[now] - x[rest]:.1f}px)" for now in order]
    moves[f"{key}c"] = [
        f"transform:translate({x[now] - x[rest]:.1f}px,{y[now] - y[rest]:.1f}px)" for now in order
    ]
    return "\n".join(body), "".join(_moved(name, frames) for name, frames in moves.items())


def _path(xs: Iterable[float], ys: Iterable[float]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _moved(name: str, frames: Sequence[str]) -> str:
    """An endless film of one element, which rests at each frame."""
    shown = "".join(f"{100 * at / len(frames):.2f}%{{{frame}}}" for at, frame in enumerate(frames))
    return (
        f"@keyframes {name}{{{shown}}}.{name}{{animation:{name} {STEP * len(frames):g}s step-end infinite}}\n"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.readme", description="Write the README's findings.")
    parser.add_argument("results", type=Path, nargs="?", help="of a book; without it, the kept records")
    parser.add_argument(
        "--why",
        action="append",
        metavar="[CLAIM=]WHY",
        help="what is different from the records before, within a sentence: once for all claims, and for some by name",
    )
    options = parser.parse_args(arguments)
    named = (re.fullmatch(r"(?:([A-Z]\d+)=)?(.*)", each, re.DOTALL) for each in options.why or [])
    why = {claim or "": reason for claim, reason in (each.groups() for each in named if each)}
    if options.results and not why.get(""):
        parser.error("say --why: what is different in this book from the one whose records are kept")
    try:
        if options.results:
            keep(options.results, RECORDS, why)
        svg = picture(pd.read_csv(RECORDS / _CURVES))
        (RECORDS / _PICTURE).write_text(svg, encoding="utf-8")
        readme = ROOT / "README.md"
        readme.write_text(written(readme.read_text(encoding="utf-8"), RECORDS), encoding="utf-8")
    except (OSError, ValueError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
