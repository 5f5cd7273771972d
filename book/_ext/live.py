"""Sphinx extension: put the engine of the page *Play*, and the model's weights, beside the pages.

The weights are made by `book/live/weights.py` and the directions by `book/live/directions.py`, into ``_build/live``;
the Snakefile does both. Here they go to ``_live`` of the finished book. Pages with a slider or grid get a small script
that loads them when a reader asks for another seed; no other page loads them.
"""

import importlib.util
import shutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_PAGE = "book/play"


def copy_engine(app: Sphinx, failure: Exception | None) -> None:
    """Write the scripts of the page, and copy weights and directions; without them there is no such page."""
    if failure or app.builder.name != "html" or _PAGE not in app.env.found_docs:
        return
    source, out = Path(app.srcdir) / "_build" / "live", Path(app.outdir) / "_live"
    made = sorted(source.glob("*.js"))
    if not any(file.name == "directions.js" for file in made):
        raise ExtensionError(
            f"{_PAGE} needs the model's weights and directions in {source}: say 'make book', or "
            "'snakemake --cores 1 live'"
        )
    _assemble(Path(app.srcdir) / "book" / "live" / "assemble.py", out)
    for file in made:
        shutil.copyfile(file, out / file.name)


def _assemble(path: Path, out: Path) -> None:
    spec = importlib.util.spec_from_file_location("assemble", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(out)


def offer_another_seed(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Let sliders and grids be made again, in a book that has the engine."""
    if "data-remake=" in context.get("body", "") and _PAGE in app.env.found_docs:
        address = context["pathto"]("_live/another_seed.js", resource=True)
        context["body"] += f'<script src="{address}"></script>'


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", offer_another_seed)
    app.connect("build-finished", copy_engine)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
