"""The page *Steer your own* runs as it is printed."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from steerlib import cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "book" / "steer_your_own.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "data" / "examples", tmp_path / "data" / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_python_runs_from_top_to_bottom(checkout):
    script = checkout / "page.py"
    script.write_text("\n".join(blocks("python")))
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "SteeringVector(12 layers" in run.stdout
    assert any((checkout / "clips").iterdir())


def test_its_commands_run_one_after_the_other(checkout, capsys):
    for line in "".join(blocks("bash")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "steerlib"
        assert cli.main(arguments) == 0, line
    assert (checkout / "steered" / "clips.csv").is_file()
    assert "centroid" in capsys.readouterr().out
