"""Sphinx extension: on each page, the first use of a glossary term links to its entry.

Links made by hand stay as they are. Headings, code, tables and other links are left alone.
"""

import re
from functools import cache
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

_NOT_LINKED = {"check", "interval", "layer", "profile"}  # everyday words; `{term}` links them where it helps
_PAGES_WITHOUT = ("book/glossary", "book/references", "book/reference/")
_LEAVE = (
    nodes.title, nodes.literal, nodes.literal_block, nodes.reference, nodes.table, nodes.math, nodes.raw,
    addnodes.pending_xref, nodes.footnote, nodes.comment,
)  # fmt: skip


@cache
def terms(glossary: Path) -> dict[str, str]:
    """The terms of the glossary as written there, by their form in lower case."""
    block = glossary.read_text(encoding="utf-8").split("```{glossary}")[1].split("```")[0]
    found = [line.strip() for line in block.splitlines() if line.strip() and not line.startswith(" ")]
    return {term.lower(): term for term in found if term.lower() not in _NOT_LINKED}


def link_first_uses(app: Sphinx, doctree: nodes.document) -> None:
    """Put a link around the first use of each term."""
    page = app.env.docname
    if page.startswith(_PAGES_WITHOUT):
        return
    known = terms(Path(app.srcdir) / "book" / "glossary.md")
    ordered = sorted(known, key=len, reverse=True)
    pattern = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, ordered)) + r")(s?)(?![\w-])", re.I)
    left = set(known)
    for text in list(doctree.findall(nodes.Text)):
        parent = text.parent
        while parent is not None and not isinstance(parent, (*_LEAVE, nodes.paragraph)):
            parent = parent.parent
        if not isinstance(parent, nodes.paragraph) or _inside(parent, _LEAVE):
            continue
        made, end = [], 0
        for found in pattern.finditer(text.astext()):
            name = found[1].lower()
            if name in left:
                left.discard(name)
                made += [nodes.Text(text.astext()[end : found.start()]), _link(page, known[name], found[0])]
                end = found.end()
        if made:
            text.parent.replace(text, [*made, nodes.Text(text.astext()[end:])])


def _inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    while node is not None:
        if isinstance(node, kinds):
            return True
        node = node.parent
    return False


def _link(page: str, term: str, shown: str) -> addnodes.pending_xref:
    link = addnodes.pending_xref(
        "", refdomain="std", reftype="term", reftarget=term, refexplicit=True, refdoc=page, refwarn=True
    )
    link += nodes.inline("", shown, classes=["xref", "std", "std-term"])
    return link


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("doctree-read", link_first_uses)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
