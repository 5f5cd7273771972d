"""Sphinx extension: the reference of the library, with the chapters that use each name.

`.. library-modules::` documents every module of the library that has public names. Every public name that a
notebook mentions gets a line with links to those chapters, so the reference leads back to the lessons.
"""

import argparse
import importlib
import json
import pkgutil
import re
from functools import cache
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

import steerlib
from steerlib.cli import _parser

_NOT_SHOWN = ("steerlib.chapters", "steerlib.pocket", "steerlib.__main__")


def command_line() -> argparse.ArgumentParser:
    """The parser of the command line, with its examples as literal blocks: a paragraph would run them together."""
    parser = _parser()
    for each in parser._subparsers._group_actions[0].choices.values():
        each.epilog = each.epilog.replace("examples:\n", "Examples::\n\n")
    return parser


def public_modules() -> list[str]:
    """Names of the modules with an ``__all__``, without the chapters' own and the workshop."""
    found = [
        each.name
        for each in pkgutil.walk_packages(steerlib.__path__, "steerlib.")
        if not each.name.startswith(_NOT_SHOWN)
    ]
    return [name for name in found if getattr(importlib.import_module(name), "__all__", None)]


class LibraryModules(SphinxDirective):
    """A section for each public module."""

    def run(self) -> list[nodes.Node]:
        lines = StringList()
        for name in public_modules():
            module = importlib.import_module(name)
            on_top = [
                each for each in steerlib.__all__ if getattr(module, each, None) is getattr(steerlib, each)
            ]
            exclude = [f"   :exclude-members: {', '.join(on_top)}"] if on_top else []
            for line in (name, "-" * len(name), "", f".. automodule:: {name}", "   :members:", *exclude, ""):
                lines.append(line, __file__)
        container = nodes.section()
        container.document = self.state.document
        nested_parse_with_titles(self.state, lines, container)
        return list(container.children)


@cache
def sources(folder: Path) -> dict[str, str]:
    """The code of each notebook."""
    return {
        path.stem: "\n".join(
            "".join(cell["source"])
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if cell["cell_type"] == "code"
        )
        for path in sorted(folder.glob("*.ipynb"))
    }


def used_in(name: str, folder: Path) -> list[str]:
    """The notebooks that use ``sl.name`` or ``module.name``, whichever the full name says."""
    *_, module, last = name.split(".")
    prefix = "sl" if module == "steerlib" else module
    said = re.compile(
        rf"\b{prefix}\.{last}\b|from {re.escape(name.rpartition('.')[0])} import [^\n]*\b{last}\b"
    )
    return [notebook for notebook, code in sources(folder).items() if said.search(code)]


_CITED = re.compile(r"\[(\d+)\]_")
_CITATION = re.compile(r"^(\s*)\.\. (\[\d+\]) (.*)$")


def plain_footnotes(
    _app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """Write footnotes as text: many docstrings stand on one page, and each counts from 1."""
    shown, margin = [], None
    for line in lines:
        if found := _CITATION.match(line):
            margin = found[1]
            line = f"{margin}{found[2]} {found[3]}"
        elif not line.strip():
            margin = None
        elif margin is not None:
            line = margin + line.strip()
        shown.append(_CITED.sub(r"[\1]", line))
    lines[:] = shown


def add_chapters(
    app: Sphinx, what: str, name: str, _object: object, _options: object, lines: list[str]
) -> None:
    """End a docstring with links to the chapters that use the name."""
    if what not in {"function", "class"}:
        return
    chapters = [
        each
        for each in used_in(name, Path(steerlib.__file__).parents[1] / "notebooks")
        if f"book/chapters/{each}" in app.env.found_docs
    ]
    if chapters:
        links = ", ".join(f":doc:`/book/chapters/{each}`" for each in chapters)
        lines += ["", f"*Used in* {links}.", ""]


def setup(app: Sphinx) -> dict[str, object]:
    app.add_directive("library-modules", LibraryModules)
    app.connect("autodoc-process-docstring", plain_footnotes, priority=550)
    app.connect("autodoc-process-docstring", add_chapters, priority=600)  # after napoleon
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
