"""Sphinx extension: what the theme and the notebooks write becomes the book's own look.

- Figures are put into the page as SVG, in the page's letters and colours: they turn dark with the page, and their text
  can be read, searched and selected. On a narrow screen they scroll rather than shrink their text below 10 px.
- Tables get readable heads; of more than seven columns the rest is folded.
- The style and the scripts of several players on a page are kept once.
- The theme's icon font, larger than all else together, gives way to a few icons in ``book.css``; the index of
  the search is loaded where one searches.
"""

import html
import re
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup, Tag
from sphinx.application import Sphinx

COLUMNS = 7
SMALLEST = 10.2
"""Pixels of the smallest text of a figure."""
HEADS = {
    "n": "clips", "low": "95 % from", "high": "95 % to", "multiplier": "λ", "mean": "mean", "effect": "effect",
    "relative": "effect (%)", "relative_low": "95 % from (%)", "relative_high": "95 % to (%)",
    "fad": "Fréchet distance", "fad_low": "95 % from", "fad_high": "95 % to",
    "fad_infinity": "Fréchet distance, infinite samples",
    "auc": "AUC", "auc_low": "95 % from", "auc_high": "95 % to", "bpm": "tempo (BPM)", "centroid": "centroid (Hz)",
    "onset_rate": "onsets per second", "rms": "level (dB)", "dropped": "not measurable", "baseline": "unsteered",
    "prompt_id": "prompt", "ari": "ARI", "ari_low": "95 % from", "ari_high": "95 % to", "nmi": "NMI", "kappa": "κ",
    "nll": "NLL (nats)", "nll_low": "95 % from", "nll_high": "95 % to", "clap": "CLAP", "clap_low": "95 % from",
    "clap_high": "95 % to", "mel": "mel bands", "mel_low": "95 % from", "mel_high": "95 % to",
    "shift_low": "95 % from", "shift_high": "95 % to", "excess_low": "95 % from", "excess_high": "95 % to",
    "within": "within the budget", "excess": "excess (nats per token)",
}  # fmt: skip
"""Column names of the library's tables, as a reader knows them; others lose their underscores."""
_WORDS = {**dict.fromkeys(("NaN", "nan", "None"), "\N{EN DASH}"), "True": "yes", "False": "no"}
COLOURS = {
    "#d55e00": "var(--sl-high)", "#0072b2": "var(--sl-low)", "#b34700": "var(--sl-high)", "#005a8f": "var(--sl-low)",
    "#777777": "currentColor", "#000000": "currentColor", "#222": "currentColor", "#444": "currentColor",
    "#666666": "var(--sl-middle)", "#666": "var(--sl-middle)", "#555": "var(--sl-muted)", "#eef3f8": "var(--sl-panel)",
    **dict.fromkeys(("#cfe3f2", "#d4e6f3", "#e3f2fb"), "var(--sl-low-tint)"),
    **dict.fromkeys(("#f6e2c8", "#f8dccb", "#fbeccb"), "var(--sl-high-tint)"),
    "#d9ead3": "var(--sl-good-tint)", "#3b7d2a": "var(--sl-good)",
}  # fmt: skip
_IMAGE = re.compile(
    r'(?:<a [^>]*image-reference[^>]*>)?<img\b[^>]*?src="[^"]*?_images/([^"/]+\.svg)"[^>]*>(?:</a>)?'
)
_TABLE = re.compile(r'<table (?:border="1" class="dataframe"|id="T_).*?</table>', re.S)
_ATTRIBUTE = re.compile(r'(alt)="([^"]*)"')


def finish_page(app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: object) -> None:
    """Rewrite the body of a page."""
    body = context.get("body")
    if not body:
        return
    images = {name: Path(source) for source, name in app.builder.images.items()}
    body = re.sub(r"<style scoped>.*?</style>", "", body, flags=re.S)  # of pandas
    body = _IMAGE.sub(lambda found: inline(found[0], images.get(found[1])), body)
    body = _TABLE.sub(lambda found: table(found[0]), body)
    body = re.sub(r'(<h1><span class="section-number">\d+)\. ', r"\1 ", body)
    context["body"] = once(folded_parameters(body))


def folded_parameters(body: str) -> str:
    """The list of a notebook's parameters in a fold, like the other cells that prepare a chapter."""
    opening = '<details class="admonition hide above-input"><summary aria-label="Toggle hidden content">'
    title = "Parameters, and what they mean"
    cell = (
        r'(<div class="cell tag_parameters[^>]*>\s*)(<div class="cell_input.*?</pre></div>\s*</div>\s*</div>)'
    )
    head = f'{opening}<p class="collapsed admonition-title">{title}</p><p class="expanded admonition-title">{title}</p>'
    return re.sub(cell, lambda found: f"{found[1]}{head}</summary>{found[2]}</details>", body, flags=re.S)


def inline(image: str, source: Path | None) -> str:
    """The figure itself in place of an ``<img>`` that names it."""
    if source is None or not source.is_file():
        return image
    attributes = dict(_ATTRIBUTE.findall(image))
    drawing = source.parent.name == "images"
    return figure(source.read_text(encoding="utf-8"), source.stem, attributes.get("alt", ""), drawing)


def figure(svg: str, name: str, alt: str, drawing: bool = False) -> str:
    """An SVG file as a part of a page.

    Parameters
    ----------
    svg : str
        The file's text.
    name : str
        Makes its ids its own on the page.
    alt : str
        What is seen, in words (as HTML). A path says nothing: then the figure's own text is taken.
    drawing : bool
        Drawn by hand for the book, and not by matplotlib.
    """
    svg = re.sub(
        r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>", "", svg, flags=re.S
    ).strip()
    key = f"f{re.sub('[^a-z0-9]', '', name.lower())[:10]}-"
    svg = re.sub(r'\bid="', f'id="{key}', svg)
    svg = re.sub(r'((?:xlink:)?href="#|url\(#)', rf"\g<1>{key}", svg)
    for old, new in COLOURS.items():
        svg = re.sub(re.escape(old) + r"(?![0-9a-f])", new, svg, flags=re.I)
    if drawing:
        svg = re.sub(r'fill="#fff(?:fff)?"', 'fill="var(--sl-paper)"', svg)
    opening = re.match(r"<svg\b[^>]*>", svg)
    assert opening is not None, f"{name} is no SVG"
    _, _, wide, high = map(float, re.search(r'viewBox="([^"]*)"', opening[0])[1].split())
    sizes = [float(size) for size in re.findall(r"font(?:-size)?(?:: |=\")(?:\d+ )?([\d.]+)(?:px)?", svg)]
    natural = wide if drawing else wide * 4 / 3  # matplotlib counts points
    least = min(natural, wide * SMALLEST / min(sizes)) if sizes else 0
    words = html.unescape(" ".join(re.findall(r"<text[^>]*>([^<]+)<", svg)))[:300]
    label = html.escape(f"Chart. Its text: {words}") if not alt or "_images/" in alt else alt
    head = (
        f'<svg class="sl-figure" role="img" aria-label="{label}" viewBox="0 0 {wide:g} {high:g}" '
        f'style="width:{natural:.0f}px;min-width:{least:.0f}px" font-family="inherit">'
    )
    return f'<div class="sl-frame">{head}{svg[opening.end() :]}</div>'


def table(text: str) -> str:
    """A table of pandas with one row of readable heads, and the columns after the seventh folded."""
    soup = BeautifulSoup(text, "html.parser")
    whole = soup.table
    rows = whole.thead.find_all("tr") if whole.thead else []
    if len(rows) == 2 and not any(cell.get("colspan") for cell in rows[0].find_all("th")):
        for above, below in zip(rows[0].find_all("th"), rows[1].find_all("th"), strict=False):
            if not above.get_text(strip=True):
                above.string = below.get_text(strip=True)
        rows[1].decompose()
    for head in whole.thead.find_all("th") if whole.thead else []:
        words = head.get_text(strip=True)
        head["scope"] = "col"
        if words:
            head.string = HEADS.get(words, words.replace("_", " "))
        else:  # an empty head is none
            head.name = "td"
            del head["scope"]
    _dress_cells(whole)
    wide = max((len(row.find_all(["th", "td"], recursive=False)) for row in whole.find_all("tr")), default=0)
    if wide > COLUMNS:
        for row in whole.find_all("tr"):
            cells = row.find_all(["th", "td"], recursive=False)
            for place, cell in enumerate(cells, start=wide - len(cells)):
                if place >= COLUMNS:
                    cell["class"] = [*cell.get("class", []), "sl-more"]
        whole["class"] = [*whole.get("class", []), "sl-wide"]
    return f'<div class="sl-table">{soup}</div>'


def _dress_cells(whole: Tag) -> None:
    """Rows that are only counted lose their number, NaN becomes a dash, and columns of words begin at the left."""
    body = [row.find_all(["th", "td"], recursive=False) for row in whole.select("tbody tr")]
    heads = [row.find_all(["th", "td"], recursive=False) for row in whole.select("thead tr")]
    counted = [str(number) for number in range(len(body))]
    unnamed = len(heads) == 1 and heads[0] and not heads[0][0].get_text(strip=True)
    if unnamed and [row[0].get_text(strip=True) for row in body] == counted:
        for row in [*heads, *body]:
            row.pop(0).decompose()
    for cell in (cell for row in body for cell in row if cell.get_text(strip=True) in _WORDS):
        cell.string = _WORDS[cell.get_text(strip=True)]
    wide = max(map(len, body), default=0)
    for place in range(
        1, wide + 1
    ):  # from the right: a head of several rows stands in the first of them only
        column = [row[-place] for row in body if len(row) >= place]
        texts = [cell.get_text(strip=True) for cell in column]
        if any(re.match(r"[^\W\d_]", text) for text in texts):
            for cell in [*column, *(row[-place] for row in heads if len(row) >= place)]:
                cell["class"] = [
                    *cell.get("class", []),
                    "sl-words",
                    *["sl-long"] * (max(map(len, texts)) > 45),
                ]


def once(body: str) -> str:
    """Each style where it first stands, each script where it last stands, and no other copies of them."""
    for pattern, keep in ((r"<style>.*?</style>", 0), (r"<script>.*?</script>", -1)):
        found = re.findall(pattern, body, re.S)
        for text in {each for each in found if found.count(each) > 1}:
            parts = body.split(text)
            cut = 1 if keep == 0 else len(parts) - 1
            body = "".join(parts[:cut]) + text + "".join(parts[cut:])
    return body


def lighten(app: Sphinx, failure: Exception | None) -> None:
    """Take out of the finished pages what they do not use: the theme's icons, and the index outside of the search."""
    if failure or app.builder.format != "html":
        return
    pages = Path(app.outdir)
    for page in pages.rglob("*.html"):
        names = (
            "fontawesome"
            if page.name == "search.html"
            else "fontawesome|searchtools|language_data|searchindex"
        )
        loads = re.compile(rf"\s*<(?:link|script)\b[^>]*(?:{names})[^>]*>(?:\s*</script>)?")
        page.write_text(loads.sub("", page.read_text(encoding="utf-8")), encoding="utf-8")
    for pattern in ("scripts/fontawesome*", "scripts/*.map", "styles/*.map"):
        for file in pages.joinpath("_static").glob(pattern):
            file.unlink()


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("html-page-context", finish_page, priority=900)
    app.connect("build-finished", lighten)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
