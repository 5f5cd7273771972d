"""Sphinx extension: links to Binder, Colab and Codespaces on every chapter, once it is known where the repository is.

The address is `launch_repository` of ``_config.yml``, as "owner/name". Where nobody has set it, it is that of the
repository that the pages are built from: `GITHUB_REPOSITORY` in GitHub's actions, or the remote `origin` of the
checkout. Where it is not on GitHub there is no link, rather than one that leads nowhere.
The theme's own launch buttons will not do: they point to the executed notebooks, which are not in the repository.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sphinx.application import Sphinx

_CHAPTERS = "book/chapters/"
_COLAB = "book/colab.ipynb"
_GITHUB = re.compile(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$")


def repository(folder: Path) -> str | None:
    """The repository as "owner/name", or None."""
    named = os.environ.get("GITHUB_REPOSITORY")
    if named:
        return named
    try:
        remote = subprocess.run(
            ["git", "-C", str(folder), "config", "--get", "remote.origin.url"], capture_output=True, text=True
        ).stdout.strip()
    except OSError:
        return None
    found = _GITHUB.search(remote)
    return found[1] if found else None


def add_launch_buttons(
    app: Sphinx, page: str, _template: str, context: dict[str, Any], _tree: object
) -> None:
    """Put the links among the buttons at the head of the page."""
    name = app.config.launch_repository
    if not name or not page.startswith(_CHAPTERS) or "header_buttons" not in context:
        return
    notebook = quote(f"notebooks/{page.removeprefix(_CHAPTERS)}.ipynb")
    for place, tooltip, icon, url in (
        (
            "Binder",
            "Run this chapter there",
            "rocket",
            f"mybinder.org/v2/gh/{name}/HEAD?urlpath=lab/tree/{notebook}",
        ),
        # Colab opens a notebook without its repository: this one fetches it, and runs any chapter.
        (
            "Colab",
            "Run a chapter there",
            "cloud",
            f"colab.research.google.com/github/{name}/blob/HEAD/{_COLAB}",
        ),
        ("Codespaces", "Open the project there", "cloud", f"codespaces.new/{name}"),
    ):
        button = {"type": "link", "text": place, "tooltip": tooltip, "icon": f"fas fa-{icon}"}
        context["header_buttons"].append(button | {"url": f"https://{url}"})


def setup(app: Sphinx) -> dict[str, object]:
    app.add_config_value("launch_repository", repository(Path(__file__).resolve().parent), "html")
    app.connect("html-page-context", add_launch_buttons, priority=502)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
