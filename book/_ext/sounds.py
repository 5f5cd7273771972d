"""Sphinx extension: put the sounds and pictures that a page refers to beside that page.

Notebooks write them to ``audio/`` in their own folder and refer to them by relative path, so that they play
in a live notebook; Sphinx does not follow paths inside raw HTML. Only files that a page refers to are copied.
Their names are hashes of their content, so that a file found in any ``audio/`` folder is the right one.
"""

import re
import shutil
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

_REFERENCE = re.compile(r'src="audio/([0-9a-f]{16}\.(?:mp3|webp))"')


def copy_sounds(app: Sphinx, failure: Exception | None) -> None:
    """Copy what the finished pages refer to; a reference to a file that is not there stops the build."""
    if failure or app.builder.format != "html":
        return
    pages, sources = Path(app.outdir), {}
    for file in (Path(app.srcdir) / "book").rglob("audio/*.*"):
        sources[file.name] = file
    for page in pages.rglob("*.html"):
        for name in set(_REFERENCE.findall(page.read_text(encoding="utf-8"))):
            if name not in sources:
                raise ExtensionError(
                    f"{page.relative_to(pages)} refers to audio/{name}, which no notebook has written"
                )
            (page.parent / "audio").mkdir(exist_ok=True)
            shutil.copyfile(sources[name], page.parent / "audio" / name)


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("build-finished", copy_sounds)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
