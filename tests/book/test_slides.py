"""The slides show what chapters have made, and can be carried away with all that they load."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from book.slides import make

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PLOT = (
    '<svg viewBox="0 0 432 216"><text style="font: 10px sans-serif; fill: #777777">tempo (BPM)</text></svg>'
)
SOUND = f'<figure class="sl-listen"><audio src="audio/{"0" * 16}.mp3"></audio></figure>'
MESSAGE = '<p class="figure-message">Tempo rises.</p>'
BOX = '<div class="bottom-line"><p><strong>Bottom line.</strong> It holds.</p><p>Little speaks against it.</p></div>'


def cell(data=None, **metadata):
    outputs = [{"output_type": "display_data", "data": data}] if data else []
    return {"cell_type": "code", "source": "", "metadata": metadata, "outputs": outputs}


@pytest.fixture
def book(tmp_path):
    """Executed chapters that have a question only, but for one that has everything."""
    folder = tmp_path / "book"
    (folder / "chapters" / "audio").mkdir(parents=True)
    (folder / "chapters" / "audio" / f"{'0' * 16}.mp3").write_bytes(b"sound")
    figure = {"caption": "Tempo against {ref}`λ <x>`.", "name": "fig-x"}
    for name in [name for names in make.parts(ROOT / "_toc.yml").values() for name in names]:
        head = f"# The chapter {name}\n\n**The question.** Does *it* work?\n\n**The idea.** Not shown."
        cells = [{"cell_type": "markdown", "source": head, "metadata": {}}]
        if name == "held_out":
            drawn = cell({"image/svg+xml": PLOT}, mystnb={"figure": figure})
            message = {"cell_type": "markdown", "source": MESSAGE, "metadata": {}}
            cells += [cell({"text/html": BOX}), message, drawn]
            cells += [cell({"text/html": SOUND})]
        (folder / "chapters" / f"{name}.ipynb").write_text(json.dumps({"cells": cells}))
    return folder


def test_a_chapter_gives_its_question_its_finding_its_figure_and_its_sound(book):
    chapter = make.read(book / "chapters" / "held_out.ipynb")
    assert chapter.title == "The chapter held_out"
    assert chapter.question == "Does <em>it</em> work?"
    assert chapter.found == "<strong>Bottom line.</strong> It holds."
    assert chapter.against == "Little speaks against it."
    assert chapter.figure.startswith(f"<figure>{MESSAGE}")
    assert "<figcaption>Tempo against λ.</figcaption>" in chapter.figure and "tempo (BPM)" in chapter.figure
    assert chapter.sound == SOUND


def test_slides_of_a_chapter_that_found_nothing_say_nothing(book):
    empty = make.read(book / "chapters" / "probes.ipynb")
    assert (empty.found, empty.figure, empty.sound) == ("", "", "")
    shown = make.deck({"Part": [empty]})
    assert shown.count("The chapter probes") == 1  # its question alone


def test_everything_that_the_deck_loads_lies_beside_it(book, tmp_path):
    out = tmp_path / "slides"
    make.write(book, out)
    for page in ("index.html", "handout.html"):
        text = (out / page).read_text(encoding="utf-8")
        for address in re.findall(r'(?:src|href)="([^"#]+)"', text):
            assert (out / address).is_file(), address
    style = (out / "_static" / "book.css").read_text(encoding="utf-8")
    for font in re.findall(r'url\("\.\./([^"]+)"\)', style):
        assert (out / font).is_file(), font
    assert (out / "reveal" / "LICENSE").is_file()


def test_without_a_chromium_the_handout_stays_a_page_and_it_is_said_why(book, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert make.main([str(tmp_path / "slides"), "--book", str(book)]) == 0
    assert "no Chromium on the PATH" in capsys.readouterr().out
    assert (tmp_path / "slides" / "handout.html").is_file()
    assert not (tmp_path / "slides" / "handout.pdf").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_handout_is_a_pdf_of_one_page(book, tmp_path):
    pytest.importorskip("playwright")
    command = [sys.executable, "-m", "book.slides.make", str(tmp_path / "slides"), "--book", str(book)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    pdf = tmp_path / "slides" / "handout.pdf"
    assert pdf.as_uri() in done.stdout
    assert len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes())) == 1


def test_a_chapter_that_has_not_run_is_named_and_the_old_slides_stay(book, tmp_path, capsys):
    (book / "chapters" / "held_out.ipynb").unlink()
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "index.html").write_text("old")
    assert make.main([str(tmp_path / "slides"), "--book", str(book)]) == 1
    assert "held_out.ipynb; say: make book" in capsys.readouterr().err
    assert (tmp_path / "slides" / "index.html").read_text() == "old"


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_deck_opens_from_a_file_and_goes_through_its_slides(book, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    make.write(book, tmp_path / "slides")
    wrong = []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(request.url))
        page.goto((tmp_path / "slides" / "index.html").as_uri())
        page.wait_for_function("Reveal.isReady()")
        assert page.evaluate("Reveal.getTotalSlides()") > 20
        page.keyboard.press("ArrowRight")
        assert page.evaluate("Reveal.getIndices().h") == 1
        browser.close()
    assert wrong == []
