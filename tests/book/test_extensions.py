import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sphinx.config import Config

from steerlib.evidence import scorecard
from steerlib.evidence.scorecard import Check, Measured, record
from steerlib.evidence.stats import Interval

ROOT = Path(__file__).resolve().parents[2]


def extension(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "book" / "_ext" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch():
    return extension("launch")


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    def with_remote(address):
        subprocess.run(["git", "-C", str(tmp_path), "remote", "add", "origin", address], check=True)
        return tmp_path

    return with_remote


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://github.com/someone/a-book.git", "someone/a-book"),
        ("git@github.com:someone/a-book.git", "someone/a-book"),
        ("https://github.com/someone/a.book", "someone/a.book"),
        ("https://example.org/someone/a-book.git", None),
    ],
)
def test_the_repository_is_that_of_the_checkout_if_it_is_on_github(launch, checkout, address, name):
    assert launch.repository(checkout(address)) == name


def test_in_githubs_own_actions_the_repository_is_known_without_a_remote(launch, tmp_path, monkeypatch):
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/a-book")
    assert launch.repository(tmp_path) == "someone/a-book"


@pytest.mark.parametrize(
    ("name", "page", "links"),
    [
        ("someone/a-book", "book/chapters/explorer", 3),
        ("someone/a-book", "book/intro", 0),
        (None, "book/chapters/explorer", 0),
    ],
)
def test_chapters_get_links_to_notebooks_and_only_where_the_repository_is_known(launch, name, page, links):
    context = {"header_buttons": []}
    launch.add_launch_buttons(
        SimpleNamespace(config=SimpleNamespace(launch_repository=name)), page, "page.html", context, None
    )
    addresses = [button["url"] for button in context["header_buttons"]]
    assert len(addresses) == links
    starts = (
        "mybinder.org/v2/gh/someone/a-book/HEAD?",
        "colab.research.google.com/github/someone/a-book/blob/HEAD/",
    )
    notebooks = ("notebooks/explorer.ipynb", "book/colab.ipynb")
    for address, start, notebook in zip(addresses, starts, notebooks, strict=False):
        assert address.startswith(f"https://{start}") and address.endswith(notebook)
        assert (ROOT / notebook).is_file()
    assert not addresses or addresses[2] == "https://codespaces.new/someone/a-book"


def test_an_address_that_is_configured_counts_more_than_that_of_the_checkout(launch, tmp_path):
    (tmp_path / "conf.py").write_text("launch_repository = 'someone/a-book'\n")
    config = Config.read(tmp_path)
    launch.setup(
        SimpleNamespace(add_config_value=lambda *value: config.add(*value, ()), connect=lambda *_, **__: None)
    )
    assert config.launch_repository == "someone/a-book"


def printing(*arguments, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "book" / "print.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={key: value for key, value in os.environ.items() if key != "CHROMIUM"} | environment,
    )


def test_printing_without_a_browser_says_what_to_install(tmp_path):
    (tmp_path / "index.html").write_text("<p>a page</p>")
    made = printing(tmp_path / "index.html", tmp_path / "book.pdf", PATH=str(tmp_path))
    assert made.returncode == 1
    assert "apt install chromium" in made.stderr
    assert not (tmp_path / "book.pdf").exists()


def test_printing_a_page_that_is_not_there_says_so(tmp_path):
    made = printing(tmp_path / "index.html", tmp_path / "book.pdf")
    assert made.returncode == 1
    assert "there is no page" in made.stderr


@pytest.fixture
def live():
    spec = importlib.util.spec_from_file_location("live", ROOT / "book" / "_ext" / "live.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def application(folder, *, pages=("book/play",), builder="html"):
    (folder / "book").mkdir(exist_ok=True)
    (folder / "book" / "live").symlink_to(ROOT / "book" / "live")
    return SimpleNamespace(
        srcdir=folder,
        outdir=folder / "pages",
        builder=SimpleNamespace(name=builder),
        env=SimpleNamespace(found_docs=set(pages)),
    )


def test_the_page_that_runs_the_model_gets_its_engine_and_what_the_build_has_made_for_it(live, tmp_path):
    app = application(tmp_path)
    made = tmp_path / "_build" / "live"
    made.mkdir(parents=True)
    (made / "directions.js").write_text("directions")
    (made / "model-int8.js").write_text("weights")
    live.copy_engine(app, None)
    names = {path.name for path in (tmp_path / "pages" / "_live").iterdir()}
    scripts = {"steerlive.js", "play.js", "play.css", "another_seed.js"}
    assert names == scripts | {"directions.js", "model-int8.js"}
    engine = (tmp_path / "pages" / "_live" / "steerlive.js").read_text(encoding="utf-8")
    assert engine.index("var SteerLive") < engine.index("live.kernel =") < engine.index("live.load =")


@pytest.mark.parametrize(
    ("body", "pages", "offered"),
    [
        ("<figure data-remake='{}'>", ("book/play",), True),
        ("<figure data-remake='{}'>", (), False),
        ("", ("book/play",), False),
    ],
)
def test_pages_with_clips_that_can_be_made_again_load_a_script_for_it(live, tmp_path, body, pages, offered):
    context = {"body": body, "pathto": lambda file, resource: f"../../{file}"}
    live.offer_another_seed(application(tmp_path, pages=pages), "book/chapters/x", "page.html", context, None)
    assert ('<script src="../../_live/another_seed.js">' in context["body"]) == offered


def test_a_book_with_that_page_and_without_the_model_is_not_built(live, tmp_path):
    with pytest.raises(live.ExtensionError, match="snakemake --cores 1 live"):
        live.copy_engine(application(tmp_path), None)


@pytest.mark.parametrize("settings", [{"pages": ()}, {"builder": "singlehtml"}, {"builder": "latex"}])
def test_other_books_and_other_forms_of_it_get_no_engine(live, tmp_path, settings):
    live.copy_engine(application(tmp_path, **settings), None)
    assert not (tmp_path / "pages").exists()


GLOSSARY = """# Glossary

```{glossary}
residual stream
  What runs through.

beats per minute
BPM
  Tempo.

check
  Part of a claim.
```
"""


def page_with_terms(tmp_path, text):
    """The HTML of a page built beside a small glossary."""
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "glossary.md").write_text(GLOSSARY)
    (tmp_path / "page.md").write_text(text)
    (tmp_path / "index.md").write_text("# I\n\n```{toctree}\nbook/glossary\npage\n```\n")
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT / 'book' / '_ext')!r})\n"
        "extensions = ['myst_parser', 'terms']\nroot_doc = 'index'\n"
    )
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", str(tmp_path), str(tmp_path / "out")], check=True
    )
    return (tmp_path / "out" / "page.html").read_text()


def test_the_first_use_of_a_term_links_to_the_glossary_and_later_ones_do_not(tmp_path):
    html = page_with_terms(
        tmp_path,
        "# Of the residual stream\n\nThe `BPM` of Residual streams.\n\nA residual stream has no BPM, BPMs: check.\n",
    )
    assert html.count("glossary.html#term-residual-stream") == 1
    assert ">Residual streams</span></a>" in html  # not the heading's, and the plural too
    assert html.count("glossary.html#term-BPM") == 1  # not the one in code
    assert "term-check" not in html  # an everyday word


def test_a_page_repeats_what_chapters_found_and_says_which_have_not_run(tmp_path):
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "results" / "scorecard").mkdir(parents=True)
    for name in ("held_out", "probes"):
        (tmp_path / "book" / "chapters" / f"{name}.md").write_text(
            f"---\norphan:\n---\n# The chapter {name}\n"
        )
    (tmp_path / "results" / "scorecard" / "bottom_line.held_out.md").write_text(
        "**Bottom line, on `pocket`.** It holds.\n\n**What speaks against it.** Little.\n"
    )
    (tmp_path / "index.md").write_text(
        "# I\n\n```{bottom-lines} held_out probes\n```\n\n```{bottom-lines} held_out\n:without-doubt:\n```\n"
    )
    (tmp_path / "conf.py").write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'book' / '_ext')!r}, {str(ROOT)!r}]\n"
        "extensions = ['myst_parser', 'bottom_lines']\nroot_doc = 'index'\nexclude_patterns = ['results']\n"
    )
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", str(tmp_path), str(tmp_path / "out")], check=True
    )
    html = (tmp_path / "out" / "index.html").read_text()
    assert html.count('href="book/chapters/held_out.html"') == 2
    assert html.count("It holds.") == 2
    assert html.count("Little.") == 1
    assert html.count("This chapter has not run here.") == 1


@pytest.fixture
def beside(tmp_path):
    """A page beside an executed chapter, which has drawn one of its figures and tagged one table."""
    cells = [
        {
            "metadata": {"mystnb": {"figure": {"name": name}}, "tags": tags},
            "outputs": outputs,
            "source": "",
        }
        for name, tags, outputs in (
            ("fig-a", [], [{"output_type": "stream", "name": "stdout", "text": "drawn"}]),
            ("fig-b", [], []),
            (
                None,
                ["beside-paper"],
                [{"output_type": "display_data", "data": {"text/html": ["<b>theirs</b>"]}}],
            ),
            (None, [], [{"output_type": "display_data", "data": {"text/html": ["<b>other</b>"]}}]),
        )
    ]
    (tmp_path / "book" / "chapters").mkdir(parents=True)
    (tmp_path / "book" / "chapters" / "held_out.ipynb").write_text(json.dumps({"cells": cells}))
    return extension("beside"), tmp_path


def test_links_name_only_figures_that_this_run_has_drawn(beside):
    module, folder = beside
    links = module.figure_links(folder, "held_out", ["fig-a", "fig-b"])
    assert links == "{doc}`/book/chapters/held_out`, {numref}`fig-a`"
    assert module.figure_links(folder, "probes", ["fig-a"]) == "{doc}`/book/chapters/probes`"


def test_a_claim_beside_ours_has_the_recorded_estimate_and_says_where_there_is_none(beside):
    module, folder = beside
    assert module.rows(folder, "A11") == [
        ["`pocket`", "not measured in this run", "", "", "**not run here**"]
    ]
    record(
        "A11",
        Measured(Interval(5.0, 4.0, 6.0, 24), control=Interval(0.0, -1.0, 1.0, 4)),
        also=[Check("level toward dark", Interval(2.0, 1.0, 3.0, 24), above=0, unit="dB")],
        note="At λ = 0.02.",
        model="pocket",
        folder=folder / "results" / "scorecard",
        notebook="held_out",
    )
    [row] = module.rows(folder, "A11")
    remarks = module.remarks(folder, "A11")
    assert remarks[0] == "At λ = 0.02."
    assert "- level toward dark: 2.00 [1.00, 3.00] dB (n = 24); against > 0 dB" in remarks
    assert row[1:] == [
        "5.00 [4.00, 6.00] dB (n = 24)",
        "0.000 [-1.00, 1.00] dB (4 draws)",
        "> 1 dB",
        "**supported**",
    ]


def test_every_figure_and_table_of_the_papers_that_we_repeat_is_on_the_page():
    page = (ROOT / "book" / "beside.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"```\{beside\} ([^\n]+)", page))
    claims = {claim for each in shown for claim in each.split()}
    known = scorecard.claims().set_index("claim")
    wanted = {name for name, row in known.iterrows() if re.search("Figure|Table", row["place"])}
    assert wanted <= claims
    figures = set(re.findall(r"fig-[a-z-]+", page))
    drawn = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert all(f'"{name}"' in drawn for name in figures)
    for chapter in re.findall(r"```\{chapter-table\} (\w+)", page):
        cells = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        assert any("beside-paper" in cell["metadata"].get("tags", []) for cell in cells), chapter


def test_the_reference_knows_which_chapter_uses_a_name(tmp_path):
    cells = [
        {"cell_type": "code", "source": ["x = sl.sweep(model)\n"]},
        {"cell_type": "markdown", "source": "sl.tempo"},
    ]
    (tmp_path / "one.ipynb").write_text(json.dumps({"cells": cells}))
    reference = extension("reference")
    assert reference.used_in("steerlib.sweep", tmp_path) == ["one"]
    assert reference.used_in("steerlib.tempo", tmp_path) == []  # only said in words


def test_every_module_with_public_names_is_in_the_reference():
    names = extension("reference").public_modules()
    assert {"steerlib.steering", "steerlib.evidence.stats"} <= set(names)
    assert not any("chapters" in name or "pocket" in name for name in names)


def test_footnotes_of_docstrings_become_text():
    lines = ["See [1]_.", "", ".. [1] A paper,", "       its end.", "", "    code"]
    extension("reference").plain_footnotes(None, "", "", None, None, lines)
    assert lines == ["See [1].", "", "[1] A paper,", "its end.", "", "    code"]


PLOT = """<?xml version="1.0"?><svg width="432pt" height="216pt" viewBox="0 0 432 216"><defs><path id="p1"/></defs>
<use xlink:href="#p1" style="fill: #d55e00; stroke: #777777"/><g clip-path="url(#p1)"/>
<text style="font: 10px 'DejaVu Sans'; fill: #777777">tempo (BPM)</text></svg>"""


def test_a_figure_takes_the_colours_of_the_page_and_keeps_its_ids_to_itself():
    shown = extension("looks").figure(PLOT, "abc", "Tempo against λ")
    assert "var(--sl-high)" in shown and "currentColor" in shown
    assert not re.search("#d55e00|#777777", shown)
    assert (
        {*re.findall(r'id="([^"]*)"', shown)} == {*re.findall(r'(?:href="#|url\(#)([^")]*)', shown)} != {"p1"}
    )
    assert 'role="img" aria-label="Tempo against λ"' in shown


def test_a_figure_is_never_shown_so_small_that_its_text_is_under_ten_pixels():
    least = float(re.search(r"min-width:(\d+)px", extension("looks").figure(PLOT, "abc", "x"))[1])
    assert 10 * least / 432 >= 10


def test_a_figure_without_words_of_its_own_is_described_by_its_text():
    shown = extension("looks").figure(PLOT, "abc", "../../_images/abc.svg")
    assert "tempo (BPM)" in re.search('aria-label="([^"]*)"', shown)[1]


def test_a_table_has_one_row_of_readable_heads_and_folds_what_comes_after_seven_columns():
    rows = pd.DataFrame([range(8)], columns=["multiplier", "n", *map("c_{}".format, range(6))])
    shown = extension("looks").table(rows.rename_axis("attribute").to_html())
    heads = re.findall(r"<th[^>]*scope[^>]*>([^<]*)</th>", shown)
    assert heads == ["attribute", "λ", "clips", *map("c {}".format, range(6))]
    assert shown.count("sl-more") == 2 * 2  # two columns of a head and of a row


def test_a_table_loses_numbers_of_rows_shows_a_dash_for_nan_and_begins_words_at_the_left():
    shown = extension("looks").table(pd.DataFrame({"kind": ["own", "random"], "shift": [0.25, np.nan]}).to_html())
    words = re.findall(r'<t[hd][^>]*sl-words[^>]*>([^<]*)<', shown)
    assert words == ["kind", "own", "random"]
    assert re.findall(r"<td>([^<]*)</td>", shown) == ["0.25", "–"]
    named = pd.DataFrame({"shift": [0.25, 0.5]}, index=pd.Index([0, 1], name="layer"))
    assert re.findall(r"<th>(\d)</th>", extension("looks").table(named.to_html())) == ["0", "1"]


def test_copies_of_a_style_or_a_script_are_kept_once_where_they_do_their_work():
    body = extension("looks").once("<style>a</style>1<script>b</script><style>a</style>2<script>b</script>")
    assert body == "<style>a</style>12<script>b</script>"
