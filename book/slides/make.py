"""Make slides and a one-page handout of the executed chapters: `make slides`, or python -m book.slides.make FOLDER.

Nothing is written for the slides: a chapter gives its question, its bottom line, its first figure and its first sound,
as the run has made them. Everything that the deck loads is copied beside it, so that the folder can be carried to a
classroom without a network. Where there is a Chromium, the handout is printed as a PDF, too.
"""

import argparse
import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from pathlib import Path
from string import Template
from types import ModuleType
from typing import Any

import yaml  # type: ignore[import-untyped]

from book.print import browser, to_pdf

__all__ = ["Chapter", "deck", "handout", "parts", "read"]

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TITLE = "Steering Music Models"
HANDOUT = ("diffmean_directions", "held_out", "known_truth", "scorecard")
"""The chapters whose bottom lines are on the handout."""
_MESSAGE = '<p class="figure-message">'
_SOUND = re.compile(r'src="audio/([0-9a-f]{16}\.(?:mp3|webp))"')


@dataclass(frozen=True)
class Chapter:
    """What a chapter gives to the slides, as HTML; empty where it has none."""

    name: str
    title: str
    question: str
    found: str
    against: str
    figure: str
    sound: str


def parts(toc: Path) -> dict[str, list[str]]:
    """The chapters of each part of the book that has a number, by the part's caption."""
    content = yaml.safe_load(toc.read_text(encoding="utf-8"))
    return {
        part["caption"]: [
            Path(page["file"]).name for page in part["chapters"] if page["file"].startswith("book/chapters/")
        ]
        for part in content["parts"]
        if part.get("numbered")
    }


def read(notebook: Path) -> Chapter:
    """Take from an executed chapter what the slides show.

    Raises
    ------
    FileNotFoundError
        If the chapter has not been executed.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"there is no executed chapter {notebook}; say: make book")
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    head = "".join(cells[0]["source"])
    question = re.search(r"\*\*The question\.\*\*\s+(.+?)(?:\n\n|$)", head, re.S)
    pages = [page for cell in cells for page in _html(cell)]
    box = next((page for page in pages if page.startswith('<div class="bottom-line">')), "")
    said = re.findall(r"<p>(.*?)</p>", box, re.S)
    sounds = [page for page in pages if 'class="sl-listen' in page and _SOUND.search(page) and page != box]
    return Chapter(
        name=notebook.stem,
        title=escape(head.splitlines()[0].lstrip("# ")),
        question=_plain(question[1]) if question else "",
        found=said[0] if said else "",
        against=said[1] if len(said) > 1 else "",
        figure=next(_figures(cells), ""),
        sound=next((page for page in sounds if "sl-slider" in page), sounds[0] if sounds else ""),
    )


def _html(cell: dict[str, Any]) -> Iterator[str]:
    for output in cell.get("outputs", []):
        if "text/html" in output.get("data", {}):
            yield "".join(output["data"]["text/html"])


def _figures(cells: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Figures with their captions, drawn as the book's pages draw them."""
    looks = _extension("looks")
    for before, cell in pairwise(cells):
        about = cell["metadata"].get("mystnb", {})
        drawn = [
            output["data"].get("image/svg+xml") for output in cell.get("outputs", []) if "data" in output
        ]
        for svg in filter(None, drawn):
            if "figure" in about:
                alt = escape(about.get("image", {}).get("alt", ""))
                shown = looks.figure("".join(svg), about["figure"]["name"], alt)
                above = "".join(before["source"])
                said = above if above.startswith(_MESSAGE) else ""
                yield f"<figure>{said}{shown}<figcaption>{_plain(about['figure']['caption'])}</figcaption></figure>"


def _plain(markdown: str) -> str:
    """Markdown of one paragraph as HTML: roles lose their names, and emphasis stays."""
    text = re.sub(r"\{\w+\}`(?:([^`<]+?) ?<[^`>]*>|([^`]*))`", lambda role: role[1] or role[2], markdown)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", escape(text, quote=False))
    for mark, tag in ((r"\*\*", "strong"), (r"\*", "em"), ("`", "code")):
        text = re.sub(rf"{mark}(.+?){mark}", rf"<{tag}>\1</{tag}>", text)
    return text


def _extension(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def deck(chapters: dict[str, list[Chapter]]) -> str:
    """The slides: a column for each chapter, with its bottom line, its figure and its sound below each other."""
    slides = []
    for part, members in chapters.items():
        slides.append(f'<section class="part"><h1>{escape(part)}</h1></section>')
        for each in members:
            doubt = f'<p class="doubt">{each.against}</p>' if each.against else ""
            column = [
                f"<h2>{each.title}</h2><p>{each.question}</p>",
                f'<h3>{each.title}</h3><p class="found">{each.found}</p>{doubt}' if each.found else "",
                each.figure,
                f"<h3>{each.title}: hear it</h3>{each.sound}" if each.sound else "",
            ]
            slides.append(
                "<section>"
                + "".join(f"<section>{slide}</section>" for slide in column if slide)
                + "</section>"
            )
    body = _extension("looks").once("\n".join(slides))
    return Template((HERE / "deck.html").read_text(encoding="utf-8")).substitute(title=TITLE, slides=body)


def handout(chapters: dict[str, list[Chapter]]) -> str:
    """One page for the class: the idea, the formula, and what was found."""
    known = {each.name: each for members in chapters.values() for each in members}
    drawing = (ROOT / "book" / "images" / "diffmean.svg").read_text(encoding="utf-8")
    found = "".join(
        f"<h2>{each.title}</h2><p>{each.found} {each.against}</p>"
        for each in (known[name] for name in HANDOUT if name in known)
        if each.found
    )
    drawn = _extension("looks").figure(drawing, "diffmean", "", drawing=True)
    page = Template((HERE / "handout.html").read_text(encoding="utf-8"))
    return page.substitute(title=TITLE, drawing=drawn, found=found)


def write(book: Path, folder: Path) -> None:
    """Write deck, handout and all that they load into `folder`, in place of what was there."""
    found = {
        part: [read(book / "chapters" / f"{name}.ipynb") for name in names]
        for part, names in parts(ROOT / "_toc.yml").items()
    }
    pages = {"index.html": deck(found), "handout.html": handout(found)}
    if folder.exists():
        shutil.rmtree(folder)
    (folder / "audio").mkdir(parents=True)
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
        for sound in sorted(set(_SOUND.findall(text))):
            shutil.copyfile(book / "chapters" / "audio" / sound, folder / "audio" / sound)
    for source in (HERE / "reveal", ROOT / "book" / "vendor" / "fonts"):
        shutil.copytree(source, folder / source.name)
    (folder / "_static").mkdir()
    for style in (ROOT / "book" / "_static" / "book.css", HERE / "slides.css"):
        shutil.copyfile(style, folder / "_static" / style.name)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m book.slides.make", description="Make slides and a handout."
    )
    parser.add_argument("folder", type=Path, help="where they go; what is there is replaced")
    parser.add_argument("--book", type=Path, default=ROOT / "book", help="folder with the executed chapters")
    options = parser.parse_args(arguments)
    try:
        write(options.book, options.folder)
    except OSError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    print(f"The slides are here: {(options.folder / 'index.html').resolve().as_uri()}")
    page = (options.folder / "handout.html").resolve()
    if chromium := browser():
        to_pdf(page, page.with_suffix(".pdf"), chromium)
        print(f"The handout is here: {page.with_suffix('.pdf').as_uri()}")
    else:
        print(
            f"The handout is here, as a page: {page.as_uri()}. There is no Chromium on the PATH that could make a PDF "
            "of it: print the page from your browser, or name one: make slides CHROMIUM=/path/to/chromium"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
