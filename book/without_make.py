"""Build the book without make and Snakemake, one chapter after the other: python -m book.without_make [PROFILE]

For Windows, where neither is at home. Anywhere else `make book` does it better: it knows what a change has touched.
Here a chapter that is there stays as it is, whatever has changed: delete it from book/chapters to run it again.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence

from book.run import ROOT, NotebookError, chapters, ordered, read_experiment, run_notebook

LIVE = (["book/live/weights.py", "data/pocket", "_build/live"], ["book/live/directions.py", "_build/live"])
PAGES = ["-c", "from jupyter_book.cli.main import main; main()", "build", ".", "--path-output", "_build/new"]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m book.without_make", description="Build the whole book.")
    parser.add_argument(
        "profile", nargs="?", default="quick", help="of data/experiments, such as tiny or paper"
    )
    profile = parser.parse_args(arguments).profile
    names = ordered(chapters(ROOT / "_toc.yml"))
    try:
        given = read_experiment(ROOT / "data" / "experiments" / f"{profile}.yaml", ROOT / "notebooks", names)
        for name in names:
            made = ROOT / "book" / "chapters" / f"{name}.ipynb"
            if not made.is_file():
                run_notebook(ROOT / "notebooks" / made.name, made, given[name], profile=profile)
        for command in [*LIVE, PAGES]:
            subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    except (NotebookError, subprocess.CalledProcessError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    pages = ROOT / "_build" / "html"
    shutil.rmtree(pages, ignore_errors=True)
    shutil.move(ROOT / "_build" / "new" / "_build" / "html", pages)
    print(f"The book is here: {(pages / 'index.html').as_uri()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
