"""Sphinx extension: what a paper printed beside what this run found.

``{beside} A10`` is a table of one or more claims: the paper's words, our estimate with its interval, what random or
shuffled directions reach, and the verdict, from the folder of records; its option ``figures`` names figures of the
chapter to look at. ``{chapter-table} held_out`` repeats the tables of a chapter's cells tagged ``beside-paper``.
A chapter that has not run, or that had nothing to measure, says so: no number is written by hand.
"""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from steerlib.evidence import scorecard

_RECORDS = "results/scorecard"
_TAG = "beside-paper"
_NOTHING = "not measured in this run"


def cells(folder: Path, chapter: str) -> list[dict]:
    """The cells of an executed chapter; none if it has not run."""
    path = folder / "book" / "chapters" / f"{chapter}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"] if path.is_file() else []


def figure_links(folder: Path, chapter: str, wanted: list[str]) -> str:
    """Links to the chapter and to those of its figures that this run has drawn."""
    drawn = {
        cell["metadata"].get("mystnb", {}).get("figure", {}).get("name")
        for cell in cells(folder, chapter)
        if cell.get("outputs")
    }
    numbered = [f"{{numref}}`{name}`" for name in wanted if name in drawn]
    return ", ".join([f"{{doc}}`/book/chapters/{chapter}`", *numbered])


def rows(folder: Path, claim: str) -> list[list[str]]:
    """One row for each model and part of a claim: part, estimate, control, limit, verdict."""
    table = scorecard.read(folder / _RECORDS, models=["pocket"])
    found = []
    for row in table[table["claim"] == claim].itertuples():
        verdict = f"**{row.verdict}**"
        if row.found is None:
            found.append([f"`{row.model}`", _NOTHING, "", "", verdict])
            continue
        for part in row.found.table().itertuples():
            name = f"`{row.model}`" + (f", {part.part}" if part.part else "")
            found.append([name, part.measured, part.control, part.claimed, verdict])
    return found


def remarks(folder: Path, claim: str) -> list[str]:
    """What was noted with a verdict, and a fold with the descriptive figures beside it."""
    table = scorecard.read(folder / _RECORDS)
    lines: list[str] = []
    for row in table[table["claim"] == claim].itertuples():
        if row.found is None:
            continue
        lines += [row.note, ""] if row.note else []
        if row.found.also:
            lines += [f"```{{dropdown}} Also measured on {row.model}", ""]
            lines += [f"- {each.what}: {each.measured}; against {each.limit}" for each in row.found.also]
            lines += ["```", ""]
    return lines


class Beside(SphinxDirective):
    """For each claim its words and place, and a table of what was found."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"figures": str.split}

    def run(self) -> list[nodes.Node]:
        folder, known = Path(self.env.srcdir), scorecard.claims().set_index("claim")
        made: list[nodes.Node] = []
        for claim in self.arguments[0].split():
            entry, check = known.loc[claim], known.loc[claim, "check"]
            place = entry["place"][0].upper() + entry["place"][1:]
            links = figure_links(folder, check["chapter"], self.options.get("figures", []))
            self.env.note_dependency(str(folder / "book" / "chapters" / f"{check['chapter']}.ipynb"))
            for path in (folder / _RECORDS).glob(f"{claim}.*.json"):
                self.env.note_dependency(str(path))
            said = [f"**{place}.** “{entry['text']}” Ours: {links}.", ""]
            said += [f"What decides: {check['quantity']}; {check['what']}."]
            table = ["| ours | found | control | asked for | verdict |", "|---|---|---|---|---|"]
            table += ["| " + " | ".join(row) + " |" for row in rows(folder, claim)]
            made.append(self._parsed(said))
            made.append(self._parsed(table, "beside"))
            made.append(self._parsed(remarks(folder, claim)))
        return made

    def _parsed(self, lines: list[str], *classes: str) -> nodes.Node:
        parsed = nodes.container(classes=[*classes])
        self.state.nested_parse(StringList(lines, source="records"), self.content_offset, parsed)
        return parsed


class ChapterTable(SphinxDirective):
    """The outputs of the cells of a chapter that set the paper's numbers beside ours."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        folder, chapter = Path(self.env.srcdir), self.arguments[0]
        self.env.note_dependency(str(folder / "book" / "chapters" / f"{chapter}.ipynb"))
        made: list[nodes.Node] = []
        for cell in cells(folder, chapter):
            if _TAG not in cell["metadata"].get("tags", []):
                continue
            for output in cell["outputs"]:
                if "text/html" in output.get("data", {}):
                    made.append(nodes.raw("", "".join(output["data"]["text/html"]), format="html"))
                elif output["output_type"] == "stream" and output["name"] == "stdout":
                    made.append(nodes.paragraph(text="".join(output["text"])))
        return made or [nodes.paragraph(text=f"These numbers were {_NOTHING}.")]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("beside", Beside)
    app.add_directive("chapter-table", ChapterTable)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
