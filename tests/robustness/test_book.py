"""The tools of the book on bad input: experiments that are none, and a repository whose path has a space."""

import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_notebook

from book import rehearse
from book.run import NotebookError, _main, read_experiment, read_section

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def notebook(tmp_path):
    cell = new_code_cell("prompts = 24\nlayer = 5\nnames = ['a']\nscale = 1.5\nmodel = 'pocket'\nshow = True")
    cell.metadata.tags = ["parameters"]
    nbformat.write(new_notebook(cells=[cell]), tmp_path / "scan.ipynb")
    return tmp_path / "scan.ipynb"


EXPERIMENTS = {
    "a list": "- a",
    "a number": "3",
    "a text": "notebooks",
    "no YAML": "notebooks: [",
    "a tag of Python": "notebooks: !!python/name:os.system",
    "a key twice": "notebooks: {scan: {}, scan: {}}",
    "a parameter twice": "notebooks: {scan: {layer: 1, layer: 2}}",
    "notebooks that are a list": "notebooks: [scan]",
    "notebooks that are a number": "notebooks: 3",
    "parameters that are a list": "notebooks: {scan: [1]}",
    "parameters that are a number": "notebooks: {scan: 3}",
    "parameters that are a text": "notebooks: {scan: layer}",
    "no notebook": "notebooks: {}",
    "nothing": "",
    "another notebook": "notebooks: {scan: {}, other: {}}",
    "another parameter": "notebooks: {scan: {layers: 3}}",
    "a count that is negative": "notebooks: {scan: {prompts: -49}}",
    "a layer that is true": "notebooks: {scan: {layer: true}}",
    "a layer that is a fraction": "notebooks: {scan: {layer: 1.5}}",
    "a layer that is a text": "notebooks: {scan: {layer: five}}",
    "names that are a text": "notebooks: {scan: {names: a}}",
    "a scale that is a list": "notebooks: {scan: {scale: [1]}}",
    "a model that is a number": "notebooks: {scan: {model: 3}}",
    "a switch that is a number": "notebooks: {scan: {show: 1}}",
    "deep": "notebooks: " + "[" * 3000,
}


@pytest.mark.parametrize("content", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_that_makes_no_sense_is_refused_with_its_file(notebook, tmp_path, capsys, content):
    path = tmp_path / "odd.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(NotebookError, match=r"odd\.yaml"):
        read_experiment(path, tmp_path, ["scan"])
    assert _main([str(notebook), str(tmp_path / "out.ipynb"), "--experiment", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("ERROR: ") and "Traceback" not in error


def test_an_experiment_in_another_encoding_is_refused_with_its_file(tmp_path):
    (tmp_path / "odd.yaml").write_bytes(b"notebooks: {caf\xe9: 1}")
    with pytest.raises(NotebookError, match=r"odd\.yaml cannot be read as YAML"):
        read_section(tmp_path / "odd.yaml", "notebooks")


@pytest.mark.parametrize("arguments", [["gone.yaml"], ["list.yaml"], ["list.yaml", "-p", "layer", "[1,"]])
def test_a_rehearsal_of_what_is_no_experiment_is_one_error(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.yaml").write_text("- a", encoding="utf-8")
    assert rehearse.main(arguments) == 1
    assert capsys.readouterr().err.startswith("ERROR: ")


def test_commands_of_the_workflow_quote_paths_with_spaces_and_worse(tmp_path):
    repository = tmp_path / "a folder; with $HOME 'spaces'"
    repository.symlink_to(ROOT, target_is_directory=True)
    experiment = tmp_path / "an experiment.yaml"
    experiment.write_text(
        "sweeps: {mine: {attributes: [tempo], multipliers: [0.1], shards: 2}}", encoding="utf-8"
    )
    snakemake = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "1",
        "--dry-run",
        "--printshellcmds",
    ]
    done = subprocess.run(
        [*snakemake, "-s", str(repository / "workflow" / "sweep.smk"), "--config", f"sweeps={experiment}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "-m steerlib sweep" in line]
    assert len(lines) == 4
    for line in lines:
        script = line.partition(": ")[2] if line.startswith("Shell command") else line
        shown = subprocess.run(
            ["bash", "-c", script.replace(sys.executable, 'printf "%s\\n" "$PYTHONPATH"', 1)],
            capture_output=True, text=True, check=True, cwd=tmp_path,
        ).stdout.splitlines()  # fmt: skip
        assert str(experiment) in shown


def test_commands_that_make_the_page_play_quote_paths_too(tmp_path):
    repository = tmp_path / "a folder; with 'spaces'"
    repository.symlink_to(ROOT, target_is_directory=True)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "-p", "-s", str(repository / "Snakefile"), "--config",
         "profile=tiny", "--directory", str(tmp_path / "out"), "live"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [line for line in (done.stdout + done.stderr).splitlines() if ".py" in line and sys.executable in line]
    scripts = [word for line in lines for word in shlex.split(line) if word.endswith(".py")]
    assert {Path(script).name for script in scripts} == {"weights.py", "directions.py", "run.py"}
    assert all(Path(script).is_file() for script in scripts)


def test_a_sweep_looks_again_when_its_prompts_model_or_code_change(tmp_path, model_folder):
    content = yaml.safe_dump({"attribute": "a", "positive": "p", "negative": "n", "metric": "bpm", "unit": "BPM"})
    (tmp_path / "mine.yaml").write_text(content, encoding="utf-8")
    sweep = {"attributes": ["mine.yaml"], "multipliers": [0.1], "model": str(model_folder), "beats": "mine.ckpt"}
    (tmp_path / "mine.ckpt").write_bytes(b"a tracker")
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump({"sweeps": {"mine": sweep}}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "-s", str(ROOT / "workflow" / "sweep.smk"),
         "--config", "sweeps=experiment.yaml", "--", "results/sweeps/mine/vectors/.done"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    for file in (
        "mine.yaml", "data/prompts/neutral.yaml", "mine.ckpt", f"{model_folder}/model.safetensors",
        "data/pocket/judges.json", "steerlib/engine/plan.py", "steerlib/measure/rules.py", "steerlib/music/codec.py",
        "steerlib/files.py",
    ):  # fmt: skip
        assert file in said, file


@pytest.mark.parametrize("name", ["../../escape", "$(ls)"])
def test_the_workflow_refuses_a_sweep_whose_name_is_no_plain_name(tmp_path, name):
    (tmp_path / "odd.yaml").write_text(f"sweeps: {{'{name}': {{attributes: [tempo], multipliers: [1]}}}}")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "-n", "-s", str(ROOT / "workflow" / "sweep.smk"),
         "--config", f"sweeps={tmp_path / 'odd.yaml'}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0 and "must be a plain name" in done.stdout + done.stderr
