"""The wheel, as a stranger uses it: from another folder, without the checkout and without the book's tools."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("jupyter_book", "nbclient", "nbformat", "papermill", "snakemake")
"""Modules of the extra `book`. In the stranger's environment, importing one is an error."""

USE = """
import sys
from pathlib import Path

import soundfile
import steerlib
from steerlib.cli import main
from steerlib.evidence import scorecard
from steerlib.page import players

def run(*words):
    assert main([*words, "--quiet"]) == 0, words

model, processor = steerlib.load_model("pocket")
assert len(steerlib.load_prompts("neutral")) == 50
run("extract", "tempo", "--pairs", "2", "--out", "tempo.safetensors")
run("steer", "tempo.safetensors", "--prompt", "a folk song", "--multiplier", "0.1", "--layer", "5",
    "--seconds", "1", "--out", "clips")
[clip] = Path("clips").glob("*.flac")
audio, rate = soundfile.read(clip)
assert len(audio) / rate > 0.9
assert "a folk song" in players.player(audio, rate, label="a folk song").data
assert {"A1", "B1", "T1"} <= set(scorecard.claims().claim)
ours = [module.__file__ for name, module in sys.modules.items() if name.split(".")[0] in ("steerlib", "book")]
assert all(Path(file).is_relative_to(sys.prefix) for file in ours), ours
"""


def run(*command, **options):
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """Run a command of an environment that has the wheel and this one's dependencies, in an empty folder."""
    folder = tmp_path_factory.mktemp("stranger")
    for name in ("steerlib", "data"):
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder / "source")
    shutil.rmtree(folder / "source")
    [wheel] = folder.glob("*.whl")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    bin = folder / "venv" / "bin"
    run(*pip, "--python", bin / "python", "install", "--no-deps", "--no-index", wheel)
    [packages] = folder.glob("venv/lib/python*/site-packages")
    # A line of a .pth file adds a folder, and reads no .pth files there: no editable install comes along.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    for tool in TOOLS:
        (packages / f"{tool}.py").write_text("raise ModuleNotFoundError(f'{__name__} is a tool of the book')")
    (folder / "elsewhere").mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return lambda command, *words: run(
        bin / command, *words, cwd=folder / "elsewhere", env={**clean, "HF_HUB_OFFLINE": "1"}
    )


def test_every_folder_of_modules_is_in_the_wheel():
    named = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    )
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "steerlib").rglob("*.py")}
    assert named == found | {"steerlib.data"}


def test_the_command_of_the_wheel_knows_the_pocket_model(stranger):
    assert "MusicgenMelodyForConditionalGeneration" in stranger("steerlib", "info", "pocket")


def test_the_wheel_extracts_steers_plays_and_knows_the_claims(stranger):
    stranger("python", "-I", "-c", USE)
