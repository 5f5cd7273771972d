"""Print the book as one PDF: `make pdf`, or python book/print.py SINGLE_PAGE PDF.

Takes the book as one page (`jupyter-book build --builder singlehtml`), opens it in a headless Chromium, unfolds what
is folded, waits for the formulas, and prints. Needs no network. A Chromium is looked for on the PATH, or named by the
variable CHROMIUM.
"""

import os
import shutil
import sys
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
UNFOLD = """async () => {
  document.documentElement.dataset.theme = 'light';
  document.querySelector('h1').style.breakBefore = 'auto';
  document.querySelectorAll('details').forEach(details => { details.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach(part => part.classList.remove('toggle-hidden'));
  document.querySelectorAll('img[loading=lazy]').forEach(image => { image.loading = 'eager'; });
  document.documentElement.dataset.code = 'on';
  await document.fonts.ready;
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
}"""
FOOT = (
    '<div style="font-size:8px;width:100%;text-align:center">'
    '<span class="pageNumber"></span> / <span class="totalPages"></span></div>'
)


def browser() -> str | None:
    """The Chromium that prints, if there is one."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def to_pdf(page: Path, pdf: Path, chromium: str) -> None:
    """Print a page on A4; `pdf` is there whole or not at all."""
    from playwright.sync_api import sync_playwright

    pdf.parent.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = opened.new_page()
        tab.set_default_timeout(600_000)
        tab.goto(page.resolve().as_uri(), wait_until="load")
        tab.evaluate(UNFOLD)
        tab.pdf(
            path=pdf.with_suffix(".part"),
            format="A4",
            scale=0.8,
            margin={"top": "18mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOT,
            outline=True,
            tagged=True,
        )
        opened.close()
    pdf.with_suffix(".part").replace(pdf)


def main() -> int:
    if len(sys.argv) != 3:
        print("usage: python book/print.py SINGLE_PAGE.html BOOK.pdf", file=sys.stderr)
        return 2
    page, pdf = Path(sys.argv[1]), Path(sys.argv[2])
    if not page.is_file():
        print(f"ERROR: there is no page {page.resolve()}; say: make pdf", file=sys.stderr)
        return 1
    chromium = browser()
    if chromium is None:
        print(
            "ERROR: the PDF is printed by a Chromium, and there is none on the PATH. Install one (on Debian: "
            "apt install chromium), or name it: make pdf CHROMIUM=/path/to/chromium",
            file=sys.stderr,
        )
        return 1
    to_pdf(page, pdf, chromium)
    print(f"The book as a PDF: {pdf}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
