"""Sphinx extension: the directive ``bottom-lines`` shows what chapters found, in the words of their own boxes.

Its argument names chapters; each gets a paragraph with a link. A chapter that has not run says so. The words are read
from the records of this run when the page is made, so no page repeats a number by hand; or, with the option ``kept``,
from a folder of records in ``data/scores``.
"""

from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from steerlib.files import DATA
from steerlib.page.bottom_line import bottom_lines

_RECORDS = "results/scorecard"


class BottomLines(SphinxDirective):
    """A definition list: chapter, then its bottom line."""

    required_arguments = 1
    final_argument_whitespace = True
    option_spec = {"without-doubt": directives.flag, "kept": directives.unchanged}  # leave out what speaks against it

    def run(self) -> list[nodes.Node]:
        kept = self.options.get("kept")
        folder = DATA / "scores" / kept if kept else Path(self.env.srcdir) / _RECORDS
        chapters = self.arguments[0].split()
        known = bottom_lines(folder)
        container = nodes.container(classes=["bottom-lines"])
        for chapter in chapters:
            self.env.note_dependency(str(folder / f"bottom_line.{chapter}.md"))
            text = known.get(chapter, "This chapter has not run here.")
            if "without-doubt" in self.options:
                text = text.split("\n\n")[0]
            lines = StringList(
                [f"{{doc}}`/book/chapters/{chapter}`", "", *text.splitlines(), ""], source=chapter
            )
            entry = nodes.container(classes=["bottom-line"])
            self.state.nested_parse(lines, self.content_offset, entry)
            container += entry
        return [container]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("bottom-lines", BottomLines)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
