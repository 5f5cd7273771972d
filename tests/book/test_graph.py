"""The graph of the book: which chapters a change re-runs. A copy of the sources pretends to be built."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from test_house import MODULES, home, imports

from book.run import chapters

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = set(chapters(ROOT / "_toc.yml"))
SOURCES = ("Snakefile", "_config.yml", "_toc.yml", "book", "data", "notebooks", "steerlib", "workflow")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy in which every chapter is newer than its sources; layer_scan has a module of its own."""
    folder = tmp_path_factory.mktemp("copy")
    left_out = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.ckpt", ".*")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=left_out)
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "steerlib" / "chapters").mkdir(exist_ok=True)
    for name in ("__init__", "layer_scan"):
        (folder / "steerlib" / "chapters" / f"{name}.py").touch()
    built = [folder / "book" / "chapters" / f"{name}.ipynb" for name in CHAPTERS]
    for path in [*built, folder / "_build" / "html" / ".complete"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    now = time.time()
    for path in folder.rglob("*"):
        age = 1800 if path in built else 900 if path.name == ".complete" else 3600
        os.utime(path, (now - age, now - age))
    return folder


def reruns(folder, *names):
    """Why each chapter would run again if these files changed, and what it uses."""
    before = {name: (folder / name).stat().st_mtime for name in names}
    for name in names:
        os.utime(folder / name)
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--rerun-triggers", "mtime", "--cores", "1"]
    command += ["--config", "profile=tiny"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for name, at in before.items():
        os.utime(folder / name, (at, at))
    job = re.compile(r"rule chapter:\n +input: (.*)\n(?: +.*\n)*? +reason: (.*)\n +wildcards: chapter=(\w+)")
    return {chapter: (reason, set(files.split(", "))) for files, reason, chapter in job.findall(done.stdout)}


def changed(jobs):
    """Chapters of which a file of their own has changed; others only read what these leave in results/."""
    return {chapter for chapter, (reason, _) in jobs.items() if "Updated input files" in reason}


def reached(notebook):
    """Modules of the library that a notebook imports, and that these import in turn."""
    cells = [cell.source for cell in nbformat.read(notebook, as_version=4).cells if cell.cell_type == "code"]
    nodes = [node for cell in cells for node in ast.walk(ast.parse(cell))]
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [
        f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    waiting = [home(name) for name in names if name.split(".")[0] == "steerlib"]
    found = set()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [*imports(name), name.rpartition(".")[0] or name]
    return found


def test_a_change_to_the_commands_the_workshop_or_a_chapters_module_reruns_no_other_chapter(copy):
    apart = ("cli.py", "__main__.py", "sweeps/plans.py", "pocket/lm.py", "chapters/layer_scan.py")
    assert changed(reruns(copy, *(f"steerlib/{name}" for name in apart))) == {"layer_scan"}
    assert changed(reruns(copy, "steerlib/pocket/card.py")) == {"pocket_model"}


def test_a_change_to_the_library_reruns_every_chapter_and_all_that_a_chapter_imports_is_its_input(copy):
    jobs = reruns(copy, "steerlib/steering.py")
    assert set(jobs) == CHAPTERS
    for chapter, (_, files) in jobs.items():
        needed = {
            MODULES[name] for name in reached(ROOT / "notebooks" / f"{chapter}.ipynb") if name in MODULES
        }
        assert {str(copy / path.relative_to(ROOT)) for path in needed} <= files, chapter
