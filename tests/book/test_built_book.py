"""The built book, read as files and opened in a browser, from the file system and from a server.

The book is `_build/html`, or the folder that the variable BOOK names (`make test` builds a small one).
A Chromium is looked for on the PATH, or named by the variable CHROMIUM.
"""

import functools
import http.server
import os
import re
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = Path(os.environ.get("BOOK", ROOT / "_build" / "html")).resolve()
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
FLAGS += ["--disable-component-update", "--disable-sync"]
FILES = (path.relative_to(BOOK) for path in BOOK.rglob("*.html"))
PAGES = sorted(path.as_posix() for path in FILES if path.parts[0] != "_static")  # the theme's templates
SLIDERS = [page for page in PAGES if "data-slider=" in (BOOK / page).read_text(encoding="utf-8")]
GRIDS = [page for page in PAGES if "data-grid=" in (BOOK / page).read_text(encoding="utf-8")]
PLAYERS = [page for page in PAGES if 'class="sl-player"' in (BOOK / page).read_text(encoding="utf-8")]
SCREENS = {"desktop": (1280, 900), "tablet": (768, 1000), "phone": (390, 800)}

pytestmark = pytest.mark.skipif(not PAGES, reason=f"there is no built book in {BOOK}; say: make book")
in_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; install it to open the book"
)


class References(HTMLParser):
    """What a page loads (`loads`), where it points (`links`), and its anchors."""

    def __init__(self, page):
        super().__init__()
        self.loads, self.links, self.anchors = [], [], set()
        self.feed((BOOK / page).read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.anchors |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if attributes.get("src"):
            self.loads.append(attributes["src"])
        if attributes.get("href"):
            (self.links if tag == "a" else self.loads).append(attributes["href"])


@functools.cache
def references(page):
    """Of a page, read once: others point to it many times."""
    return References(page)


def test_every_page_of_the_table_of_contents_is_there_and_says_something():
    toc = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    files = re.findall(r"(?:file|root): (\S+)", toc)
    assert len(files) == len(set(files)) > 1
    for file in files:
        text = (BOOK / f"{file}.html").read_text(encoding="utf-8")
        assert re.search(r"<h1[ >]", text), f"{file} has no heading"


@pytest.mark.parametrize("page", PAGES)
def test_no_page_shows_a_traceback_or_a_warning(page):
    text = (BOOK / page).read_text(encoding="utf-8")
    for trace in (
        "Traceback (most recent call last)",
        "CellExecutionError",
        "output_error",
        "system-message",
    ):
        assert trace not in text


@pytest.mark.parametrize("page", PAGES)
def test_a_page_loads_nothing_from_elsewhere(page):
    for address in references(page).loads:
        assert urlsplit(address).scheme in ("", "data"), address
        assert not address.startswith("//"), address
    scripts = re.findall(r"<(script|style)[^>]*>(.*?)</\1>", (BOOK / page).read_text(encoding="utf-8"), re.S)
    for _, text in scripts:
        assert "://" not in text, text[:200]


@pytest.mark.parametrize("page", PAGES)
def test_every_local_reference_of_a_page_resolves(page):
    here = references(page)
    for address in here.loads + here.links:
        parts = urlsplit(address)
        if parts.scheme or address.startswith("//"):
            continue
        target = (BOOK / page).parent / unquote(parts.path) if parts.path else BOOK / page
        assert target.is_file(), f"{address} is not there"
        if parts.fragment and target.suffix == ".html":
            anchors = references(target.resolve().relative_to(BOOK).as_posix()).anchors
            assert unquote(parts.fragment) in anchors, f"{address} points to nothing"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_with_its_pictures_is_light(page):
    pictures = [
        address for address in references(page).loads if address.endswith((".png", ".svg", ".jpg", ".webp"))
    ]
    sizes = [
        (BOOK / page).parent.joinpath(unquote(urlsplit(address).path)).stat().st_size
        for address in set(pictures)
    ]
    assert (BOOK / page).stat().st_size + sum(sizes) <= 3_000_000


def test_every_chapter_folds_its_parameters_away_and_says_how_it_was_made():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    for file in re.findall(r"'file': '(book/chapters/\w+)'", str(toc)):
        text = (BOOK / f"{file}.html").read_text(encoding="utf-8")
        assert re.search(r"<details[^>]*>\s*<summary[^>]*>\s*(<[^>]*>\s*)*Parameters of this run", text), file
        assert "How this page was made" in text


@pytest.fixture(scope="session")
def server():
    handler = functools.partial(QuietHandler, directory=BOOK)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")  # its event loop is not left to the tests of other files
def chromium():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(params=["file", "server"])
def address(request):
    return BOOK.as_uri() if request.param == "file" else request.getfixturevalue("server")


class Visit:
    """An open page that keeps what went wrong on it."""

    def __init__(self, chromium):
        self.context = chromium.new_context()
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("console", lambda message: message.type == "error" and self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.set_default_timeout(120_000)  # a busy machine is slow, not wrong
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._request)

    def _failed(self, request):
        if request.failure != "net::ERR_ABORTED":  # a browser breaks off loading sound when it has enough
            self.wrong.append(f"{request.url}: {request.failure}")

    def _request(self, request):
        parts = urlsplit(request.url)
        if parts.scheme not in ("file", "data", "blob") and parts.hostname != "127.0.0.1":
            self.wrong.append(f"left the machine: {request.url}")


@pytest.fixture
def visit(chromium):
    visits = []

    def open_page(address):
        visits.append(Visit(chromium))
        visits[-1].page.goto(address, wait_until="load")
        return visits[-1]

    yield open_page
    for visited in visits:
        visited.context.close()


@in_browser
@pytest.mark.parametrize("page", [page for page in PAGES if page != "index.html"])
def test_a_page_opens_without_errors_fits_every_screen_and_stays_on_the_machine(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    pictures = "[...document.images].filter(i => i.loading != 'lazy' && !i.naturalWidth).map(i => i.src)"
    assert visited.page.evaluate(pictures) == []
    for name, (wide, high) in SCREENS.items():
        visited.page.set_viewport_size({"width": wide, "height": high})
        needed = visited.page.evaluate("document.documentElement.scrollWidth")
        assert needed <= wide + 1, f"the page scrolls sideways on a {name}"
    assert visited.wrong == []


WITH_FIGURES = [page for page in PAGES if "sl-figure" in (BOOK / page).read_text(encoding="utf-8")]
SMALL = """() => [...document.querySelectorAll('.sl-figure text, .sl-listen svg text')].filter(text => {
  if (!text.textContent.trim() || !text.getClientRects().length) return false;
  return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(text.getScreenCTM().a, text.getScreenCTM().b) < 9.95;
}).map(text => text.textContent.trim())"""


@in_browser
@pytest.mark.parametrize("page", WITH_FIGURES)
def test_no_text_of_a_figure_is_under_ten_pixels_on_any_screen(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    for wide, high in SCREENS.values():
        visited.page.set_viewport_size({"width": wide, "height": high})
        assert visited.page.evaluate(SMALL) == []


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if page != "index.html"])
def test_axe_finds_nothing_serious_in_the_light_or_in_the_dark(visit, page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    visited = visit(f"{BOOK.as_uri()}/{page}")
    for theme in ("light", "dark"):
        visited.page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
        visited.page.wait_for_function("!document.getAnimations().length")  # colours fade from one to the other
        found = axe.run(visited.page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = {
            each["id"]: [node["html"][:200] for node in each["nodes"][:3]]
            for each in found
            if each["impact"] in ("serious", "critical")
        }
        assert serious == {}, theme


@in_browser
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.endswith(("intro.html", "meet_the_model.html"))]
)
def test_a_first_visit_weighs_at_most_a_megabyte_and_a_half(chromium, server, page):
    context = chromium.new_context()
    tab, sizes = context.new_page(), []
    tab.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length", 0))))
    tab.goto(f"{server}/{page}", wait_until="load")
    tab.wait_for_timeout(500)
    context.close()
    assert 0 < sum(sizes) <= 1_500_000


@in_browser
@pytest.mark.parametrize("page", [page for page in PAGES if "/chapters/" in page])
def test_one_switch_shows_the_code_which_is_off_at_first_and_folds_what_prepares_a_chapter(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}").page
    inputs = visited.locator(".cell:not(.tag_solution) .cell_input")
    assert not [each for each in inputs.all() if each.is_visible()]
    visited.locator(".sl-code-switch").click()
    assert [each for each in inputs.all() if each.is_visible()]
    folded = visited.locator(".tag_parameters .cell_input, .tag_hide-cell .cell_input")
    assert not [each for each in folded.all() if each.is_visible()]
    visited.reload()
    assert visited.locator(".sl-code-switch").get_attribute("aria-pressed") == "true"


@in_browser
def test_the_entry_leads_to_the_front_page(visit):
    visited = visit(f"{BOOK.as_uri()}/index.html")
    visited.page.wait_for_url("**/book/intro.html")


@in_browser
def test_formulas_are_drawn(visit):
    visited = visit(f"{BOOK.as_uri()}/book/intro.html")
    visited.page.wait_for_selector(".katex-html")
    assert visited.wrong == []


@in_browser
@pytest.mark.parametrize("page", PLAYERS)
def test_players_load_their_sound_when_asked_and_play_it(visit, page, address):
    visited = visit(f"{address}/{page}")
    for player in visited.page.locator(".sl-player audio").all():
        assert player.get_attribute("aria-label")
        assert player.evaluate("audio => audio.readyState") == 0, "loaded before anyone asked"
        player.focus()
        player.evaluate("audio => audio.play()")
        visited.page.wait_for_function("audio => audio.currentTime > 0.05", arg=player.element_handle())
        player.evaluate("audio => audio.pause()")
    assert visited.wrong == []


@in_browser
@pytest.mark.parametrize("page", PLAYERS[:3])
def test_one_sound_plays_at_a_time_and_titles_can_be_hidden(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}").page
    visited.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    buttons = visited.locator(".sl-player .sl-play")
    for number in range(min(3, buttons.count())):
        buttons.nth(number).click()
        visited.wait_for_function(
            "n => [...document.querySelectorAll('audio')].filter(a => !a.paused && a.currentTime > 0).length === 1"
            " && document.querySelectorAll('.sl-player')[n].classList.contains('sl-on')",
            arg=number,
        )
    group = visited.locator("[data-players]:has(.sl-guess)").first
    titles = group.locator(".sl-title")
    before = titles.all_inner_texts()
    group.locator(".sl-guess").click()
    assert titles.all_inner_texts() == [f"Clip {number + 1}" for number in range(len(before))]
    group.locator(".sl-guess").click()
    assert sorted(titles.all_inner_texts()) == sorted(before)


PLAYING = """slider => [...slider.querySelectorAll('audio')].flatMap((audio, i) => audio.paused ? [] : [i])"""


@in_browser
@pytest.mark.parametrize("page", SLIDERS)
def test_sliders_change_the_clip_by_keyboard_and_by_mouse_and_keep_the_position(visit, page, address):
    visited = visit(f"{address}/{page}")
    for slider in visited.page.locator("[data-slider]").all():
        handle, knob = slider.element_handle(), slider.locator("input[type=range]")
        last, start = int(knob.get_attribute("max")), int(knob.input_value())
        shown = slider.locator(".sl-poles strong")
        assert not slider.locator(".sl-clips").is_visible()

        knob.focus()
        visited.page.keyboard.press("Space")
        visited.page.wait_for_function(f"slider => ({PLAYING})(slider).join() == '{start}'", arg=handle)
        playing = "slider => slider.querySelectorAll('audio')[slider.dataset.current].currentTime > 0.3"
        visited.page.wait_for_function(playing, arg=handle)

        before = shown.inner_text()
        visited.page.keyboard.press("ArrowRight" if start < last else "ArrowLeft")
        current = int(knob.input_value())
        if last > 0:
            assert abs(current - start) == 1
            assert shown.inner_text() != before
            assert knob.get_attribute("aria-valuetext").startswith(shown.inner_text())
        visited.page.wait_for_function(f"slider => ({PLAYING})(slider).join() == '{current}'", arg=handle)
        visited.page.wait_for_function(playing, arg=handle)

        box = knob.bounding_box()
        visited.page.mouse.click(box["x"] + 3, box["y"] + box["height"] / 2)
        assert knob.input_value() == "0"
        visited.page.wait_for_function(f"slider => ({PLAYING})(slider).join() == '0'", arg=handle)

        slider.locator(".sl-play").click()
        visited.page.wait_for_function(f"slider => ({PLAYING})(slider).length == 0", arg=handle)
        assert not slider.locator(".sl-error").is_visible()
    assert visited.wrong == []


@in_browser
@pytest.mark.parametrize("page", GRIDS)
def test_the_grid_compares_two_clips_by_mouse_and_by_keyboard_and_keeps_the_position(visit, page, address):
    visited = visit(f"{address}/{page}")
    for grid in visited.page.locator("[data-grid]").all():
        handle, cells, lines = grid.element_handle(), grid.locator(".sl-cell"), grid.locator(".sl-ab li")
        count, rows = cells.count(), grid.locator("tbody tr").count()
        columns = count // rows
        assert columns > 1, "a grid of one column compares nothing"
        assert not grid.locator(".sl-clips").is_visible()
        assert grid.evaluate("grid => [...grid.querySelectorAll('audio')].every(audio => !audio.readyState)")

        def plays(clip, handle=handle):
            visited.page.wait_for_function(f"grid => ({PLAYING})(grid).join() == '{clip}'", arg=handle)

        def goes_on(handle=handle):
            heard = "grid => grid.querySelectorAll('audio')[grid.dataset.current].currentTime > 0.3"
            visited.page.wait_for_function(heard, arg=handle)

        cells.nth(0).click()
        plays("0")
        goes_on()
        assert cells.nth(0).get_attribute("aria-pressed") == "true"
        assert "λ = " in lines.nth(0).inner_text()

        cells.nth(0).focus()
        visited.page.keyboard.press("ArrowRight")
        assert cells.nth(1).evaluate("cell => cell === document.activeElement")
        visited.page.keyboard.press("Space")
        plays("1")
        goes_on()
        assert lines.nth(1).inner_text() != lines.nth(0).inner_text()

        switch = grid.locator(".sl-switch")
        switch.focus()
        visited.page.keyboard.press("Enter")
        plays("0")
        goes_on()

        if grid.locator("option").count() > 1:
            grid.locator("select").select_option("1")
            plays(str(count))
            goes_on()
        cells.nth(0).click()
        plays("")
        cells.nth(count - 1).focus()
        visited.page.keyboard.press("Home")
        assert cells.nth(count - columns).evaluate("cell => cell === document.activeElement")
        assert grid.locator(".sl-cell[tabindex='0']").count() == 1, "Tab enters the grid at one place"
        assert not grid.locator(".sl-error").is_visible()
    assert visited.wrong == []


@in_browser
@pytest.mark.parametrize("page", GRIDS)
def test_the_grid_fits_a_phone_and_its_cells_are_large_enough_for_a_finger(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    visited.page.set_viewport_size({"width": 390, "height": 800})
    for grid in visited.page.locator("[data-grid]").all():
        box = grid.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 391
        for cell in grid.locator(".sl-cell").all():
            size = cell.bounding_box()
            assert min(size["width"], size["height"]) >= 36


@in_browser
@pytest.mark.skipif(not SLIDERS + GRIDS, reason="this book has neither a slider nor a grid")
def test_where_scripts_do_not_run_every_clip_of_a_slider_or_grid_has_a_player(chromium):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{BOOK.as_uri()}/{(GRIDS + SLIDERS)[0]}", wait_until="load")
    figure = page.locator("[data-grid], [data-slider]").first
    assert not figure.locator(".sl-live").is_visible()
    assert figure.locator("audio").first.is_visible()
    context.close()


EXPLORER = [page for page in PAGES if page.endswith("chapters/explorer.html")]


@pytest.mark.parametrize("page", EXPLORER)
def test_the_explorer_without_a_kernel_shows_the_grid_and_says_how_to_start_it(page):
    text = (BOOK / page).read_text(encoding="utf-8")
    assert "data-grid=" in text
    assert "jupyter lab notebooks/explorer.ipynb" in re.sub(r"<[^>]*>", "", text)
    assert "application/vnd.jupyter.widget" not in text


SCORECARD = [page for page in PAGES if page.endswith("chapters/scorecard.html")]


@pytest.mark.parametrize("page", SCORECARD)
def test_the_scorecard_has_every_claim_and_a_verdict_for_it_on_both_models(page):
    text = (BOOK / page).read_text(encoding="utf-8")
    papers = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in (ROOT / "data/papers").glob("*.yaml")
    ]
    for claim in (claim["id"] for paper in papers for claim in paper.get("claims") or []):
        [card] = re.findall(rf'<div class="claim" id="claim-{claim}".*?(?=<div class="claim"|$)', text, re.S)
        assert "<code>facebook/musicgen-melody</code>" in card
        assert "<code>pocket</code>" in card


@pytest.mark.parametrize("page", [page for page in PAGES if "/chapters/" in page])
def test_exercises_come_with_folded_solutions(page):
    text = (BOOK / page).read_text(encoding="utf-8")
    if 'id="exercises"' not in text:
        pytest.skip("this chapter has no exercises")
    exercises = text[text.index('id="exercises"') :]
    folded = re.findall(r"<details[^>]*>\s*<summary[^>]*>\s*(?:<[^>]*>\s*)*Solution", exercises)
    assert len(folded) >= 2  # some are left open, for classes
    assert not any("open" in tag.split(">")[0] for tag in folded), "a solution is unfolded from the start"


def with_explorable(kind):
    found = [page for page in PAGES if f'data-x="{kind}"' in (BOOK / page).read_text(encoding="utf-8")]
    return pytest.mark.parametrize("page", found)


def touch(page):
    """A finger of this page: what it does, in steps, at places of the screen."""
    session = page.context.new_cdp_session(page)

    def finger(kind, *place):
        points = [{"x": place[0], "y": place[1]}] if place else []
        session.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})

    return finger


def centre(locator):
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@in_browser
@with_explorable("drag")
def test_a_point_is_dragged_by_mouse_by_keyboard_and_by_touch(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    tab, box = visited.page, visited.page.locator('[data-x="drag"]')
    point, length = box.locator(".sl-point").first, box.locator(".sl-length")
    point.scroll_into_view_if_needed()
    first = length.inner_text()

    tab.mouse.move(*centre(point))
    tab.mouse.down()
    tab.mouse.move(centre(point)[0] + 40, centre(point)[1] - 30, steps=4)
    tab.mouse.up()
    by_mouse = length.inner_text()
    assert by_mouse != first

    point.focus()
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("ArrowRight")
    by_keyboard = length.inner_text()
    assert by_keyboard != by_mouse

    finger, (x, y) = touch(tab), centre(point)
    finger("Start", x, y)
    finger("Move", x - 50, y + 40)
    finger("Move", x - 60, y + 50)
    finger("End")
    assert length.inner_text() != by_keyboard

    box.locator("input").focus()
    tab.keyboard.press("ArrowRight")
    assert box.locator(".sl-ring").count() == 1
    box.locator(".sl-quiet").click()
    assert length.inner_text() == first
    assert box.locator(".sl-ring").count() == 0
    assert visited.wrong == []


@in_browser
@with_explorable("film")
def test_the_film_goes_through_the_layers_by_itself_and_by_keyboard(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    tab, box = visited.page, visited.page.locator('[data-x="film"]')
    box.locator("input").focus()
    tab.keyboard.press("Home")
    places = (
        "box => [...box.querySelectorAll('.sl-dot')].slice(0, 5).map(dot => dot.getAttribute('cx')).join()"
    )
    first, said = box.evaluate(places), box.locator(".sl-state").inner_text()
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function(f"box => ({places})(box) !== '{first}'", arg=box.element_handle())
    assert box.locator(".sl-state").inner_text() != said
    layer = box.get_attribute("data-layer")
    box.locator(".sl-play").click()
    tab.wait_for_function(f"box => box.dataset.layer !== '{layer}'", arg=box.element_handle())
    box.locator(".sl-play").click()
    box.locator(".sl-dot").first.dispatch_event("click")
    assert box.locator(".sl-said").inner_text().startswith("“")
    assert visited.wrong == []


@in_browser
@with_explorable("anatomy")
def test_the_parts_of_the_model_speak_and_the_delay_pattern_fills(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    tab, box = visited.page, visited.page.locator('[data-x="anatomy"]')
    told = set()
    for part in box.locator(".sl-part").all():
        part.focus()
        tab.keyboard.press("Enter")
        told.add(box.locator(".sl-told").inner_text())
    assert len(told) == box.locator(".sl-part").count() > 3
    box.locator("input").focus()
    tab.keyboard.press("Home")
    tokens = "[...box.querySelectorAll('.sl-token')]"
    filled = f"box => {tokens}.filter(token => token.getAttribute('fill-opacity') > 0).length"
    assert box.evaluate(filled) == 0
    tab.keyboard.press("ArrowRight")
    assert box.evaluate(filled) == 1
    tab.keyboard.press("ArrowRight")
    assert box.evaluate(filled) == 3
    assert "codebook 2 of frame 1" in box.locator(".sl-state").inner_text()
    tab.keyboard.press("End")
    assert box.evaluate(filled) == box.locator(".sl-token").count()
    assert visited.wrong == []


@in_browser
@with_explorable("pad")
def test_the_pad_plays_by_mouse_by_keyboard_and_by_touch(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    tab, box = visited.page, visited.page.locator('[data-x="pad"]')
    squares, columns = box.locator(".sl-square"), int(box.get_attribute("data-columns"))

    def plays(clip):
        heard = f"box => ({PLAYING})(box).join() === '{clip}'"
        tab.wait_for_function(heard, arg=box.element_handle())

    squares.nth(0).click()
    plays(0)
    squares.nth(0).focus()
    tab.keyboard.press("ArrowDown")
    plays(columns)
    finger = touch(tab)
    finger("Start", *centre(squares.nth(columns)))
    finger("Move", *centre(squares.nth(columns + 1)))
    finger("End")
    plays(columns + 1)
    if box.locator("option").count() > 1:
        box.locator("select").select_option("1")
        plays(squares.count() + columns + 1)
    assert visited.wrong == []


@in_browser
@with_explorable("blind")
def test_the_blind_test_counts_right_answers_and_sets_them_beside_guessing(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    tab, box = visited.page, visited.page.locator('[data-x="blind"]')
    box.locator(".sl-begin").click()
    pairs = box.locator(".sl-clips li").count() // 2
    for _ in range(pairs):
        box.locator(".sl-hear").first.click()
        tab.wait_for_function(f"box => ({PLAYING})(box).length === 1", arg=box.element_handle())
        [clip] = box.evaluate(PLAYING)
        box.locator(".sl-answer").nth(
            clip % 2
        ).click()  # of a pair, the steered clip stands first in the page
    said = box.locator(".sl-score").inner_text()
    assert f"{pairs} of {pairs} right" in said
    assert f"in {round(100 / 2**pairs)} of 100 tries" in said
    assert visited.wrong == []


@in_browser
@pytest.mark.parametrize("page", [page for page in SLIDERS if page.endswith("steering_sweep.html")])
def test_a_point_of_a_curve_plays_its_clip_and_moves_the_slider(visit, page):
    visited = visit(f"{BOOK.as_uri()}/{page}")
    slider = visited.page.locator("[data-slider]:has(.sl-curve)").first
    last = int(slider.locator("input[type=range]").get_attribute("max"))
    slider.locator(f'.sl-target[data-index="{last}"]').first.click()
    visited.page.wait_for_function(
        f"slider => ({PLAYING})(slider).join() == '{last}'", arg=slider.element_handle()
    )
    assert slider.locator("input[type=range]").input_value() == str(last)
    before = slider.locator("output").all_inner_texts()
    slider.locator("input[type=range]").focus()
    visited.page.keyboard.press("ArrowLeft")
    assert slider.locator("output").all_inner_texts() != before
    assert visited.wrong == []
