"""A tiny model in a folder, prompts and an experiment; and the command line, called in an empty folder."""

import pytest
import yaml

from steerlib.cli import main

ATTRIBUTE = {
    "attribute": "tempo", "positive": "fast", "negative": "slow", "metric": "bpm", "unit": "BPM",
    "pairs": [["a fast rock song", "a slow rock song"], ["fast jazz with drums", "slow jazz with drums"]],
}  # fmt: skip
PROMPTS = {"name": "two", "description": "two prompts", "prompts": ["a rock song", "dark piano"]}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, tiny_model, tiny_processor):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path, model_folder):
    """A folder with tempo.yaml, list.yaml and experiment.yaml, a sweep of six clips."""
    sweep = {
        "model": str(model_folder), "attributes": [str(tmp_path / "tempo.yaml")], "metrics": ["centroid"],
        "prompts": str(tmp_path / "list.yaml"), "layers": [1], "multipliers": [-0.5, 0.5], "seconds": 0.2,
    }  # fmt: skip
    files = {"tempo": ATTRIBUTE, "list": PROMPTS, "experiment": {"sweeps": {"tiny": sweep}}}
    for name, content in files.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(data, capsys, monkeypatch):
    """Call the command in the folder of `data`; its exit code, and what it printed."""
    monkeypatch.chdir(data)

    def run(*arguments):
        try:
            code = main([str(each) for each in arguments])
        except SystemExit as stopped:  # argparse
            code = stopped.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
