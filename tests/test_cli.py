"""The command line: every command on the tiny model, what it writes, what it refuses and how it exits."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
import yaml

from steerlib import Run, SteeringVector, cli, generate, load_attribute, load_model
from steerlib.cli import main
from steerlib.steering import Steering, SteeringMap
from steerlib.sweeps.store import Store

PAIRS = [["a fast rock song", "a slow rock song"], ["fast jazz with drums", "slow jazz with drums"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    for part in tiny:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory, model):
    """An attribute, a prompt list and an experiment with ten clips: 2 x (1 + 2 layers x 2 multipliers)."""
    folder = tmp_path_factory.mktemp("data")
    attribute = {"attribute": "tempo", "positive": "fast", "negative": "slow", "metric": "bpm", "unit": "BPM"}
    sweep = {
        "model": str(model), "attributes": [str(folder / "tempo.yaml")], "prompts": str(folder / "list.yaml"),
        "layers": [0, 2], "multipliers": [-0.5, 0.5], "metrics": ["centroid"], "seconds": 0.2, "shards": 3,
    }  # fmt: skip
    files = {
        "tempo.yaml": attribute | {"pairs": PAIRS},
        "list.yaml": {"name": "two", "description": "two prompts", "prompts": ["a rock song", "dark piano"]},
        "experiment.yaml": {"sweeps": {"layers": sweep}},
    }
    for name, content in files.items():
        (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


@pytest.fixture
def run(data, tmp_path, capsys, monkeypatch):
    """Call the command in an empty folder; its exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main([str(each) for each in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def vector(run, data, model):
    code, _, error = run(
        "extract", data / "tempo.yaml", "--model", model, "--out", "tempo.safetensors", "--quiet"
    )
    assert code == 0, error
    return "tempo.safetensors"


# --- info, extract, steer -----------------------------------------------------------------------------------


def test_info_says_what_a_model_a_vector_and_a_store_are(run, model, vector, data):
    code, out, _ = run("info", model)
    assert code == 0 and "MusicgenMelodyForConditionalGeneration" in out and "3 x 32" in out
    assert "fast > slow" in run("info", vector)[1]
    run("sweep", data / "experiment.yaml", "--quiet")
    assert "rows                    10" in run("info", "results/sweeps/layers/store")[1]


def test_extract_writes_a_vector_with_a_card_that_says_how_to_use_it(vector, tmp_path, model):
    made = SteeringVector.load(vector, model=load_model(model))
    assert made.directions.shape == (3, 32) and made.metadata["n_positive"] == 2
    card = (tmp_path / "tempo.md").read_text(encoding="utf-8")
    for words in ("tempo (fast > slow)", made.metadata["weights"], "SteeringVector.load", "DiffMean"):
        assert words in card
    use = card.split("```python\n")[1].split("```")[0]
    assert 'model = sl.load_model("tiny")' in use and "sl.generate(model, [" in use


def test_steer_makes_the_clips_that_generate_makes(run, vector, model, tmp_path):
    code, _, error = run(
        "steer", vector, "--model", model, "--prompt", "a rock song", "--multiplier", -0.5, 0, "--layer", 1,
        "--seconds", 0.4, "--out", "clips", "--quiet",
    )  # fmt: skip
    assert code == 0, error
    table = pd.read_csv(tmp_path / "clips" / "clips.csv")
    assert table["multiplier"].tolist() == [-0.5, 0.0] and table["clip"].tolist() == ["000.flac", "001.flac"]
    steering = Steering(SteeringVector.load(vector), -0.5, source_layer=1)
    clip = generate(
        load_model(model), ["a rock song"], seconds=0.4, steering=steering, run=Run(progress=False)
    )
    audio, _ = soundfile.read(tmp_path / "clips" / "000.flac")
    assert np.allclose(audio, clip.audio[0].clip(-1, 1), atol=2**-15)


def test_steer_takes_a_map_as_it_takes_a_vector(run, vector, model, tmp_path, rng):
    drawn = torch.from_numpy(rng.normal(0, 0.1, (4, 2, 3, 32)).astype(np.float32))
    edit = SteeringMap(*drawn, torch.zeros(3, 32), {"method": "drawn"})
    edit.save(tmp_path / "map.safetensors")
    assert "SteeringMap(3 layers x 32, drawn)" in run("info", "map.safetensors")[1]
    code, _, error = run(
        "steer", "map.safetensors", "--model", model, "--prompt", "a rock song", "--multiplier", -0.5, "--seconds",
        0.4, "--out", "mapped", "--quiet",
    )  # fmt: skip
    assert code == 0, error
    clip = generate(
        load_model(model), ["a rock song"], seconds=0.4, steering=Steering(edit, -0.5), run=Run(progress=False)
    )
    audio, _ = soundfile.read(tmp_path / "mapped" / "000.flac")
    assert np.allclose(audio, clip.audio[0].clip(-1, 1), atol=2**-15)


def test_steer_draws_lambda_over_time_and_finds_it_by_itself(run, vector, model, data, tmp_path, monkeypatch):
    common = (
        "steer",
        vector,
        "--model",
        model,
        "--prompt",
        "a rock song",
        "--layer",
        1,
        "--seconds",
        0.4,
        "--quiet",
    )
    code, _, error = run(*common, "--multiplier", 0.5, "--schedule", "0.2:0", "0.2:1", "--out", "step")
    assert code == 0, error
    steering = Steering(SteeringVector.load(vector), 0.5, source_layer=1, schedule=(0.0,) * 5 + (1.0,) * 5)
    clip = generate(
        load_model(model), ["a rock song"], seconds=0.4, steering=steering, run=Run(progress=False)
    )
    audio, _ = soundfile.read(tmp_path / "step" / "000.flac")
    assert np.allclose(audio, clip.audio[0].clip(-1, 1), atol=2**-15)
    monkeypatch.setattr(cli, "load_attribute", lambda name: load_attribute(data / f"{name}.yaml"))
    code, out, error = run(*common, "--multiplier", "auto", "--out", "auto")
    assert code == 0, error
    assert re.search(r"of [1-5] sizes the strongest .* beyond what its words cost", out)
    assert pd.read_csv(tmp_path / "auto" / "clips.csv")["multiplier"][0] > 0


def test_steer_reaches_for_a_value_by_a_table_or_by_a_sweep_of_its_own(run, vector, model, tmp_path):
    common = (
        "steer",
        vector,
        "--model",
        model,
        "--prompt",
        "a rock song",
        "--layer",
        1,
        "--seconds",
        0.4,
        "--quiet",
    )
    code, out, error = run(*common, "--centroid", 1000, 2000, "--out", "own")
    assert code == 0, error
    assert "calibrating on 6 neutral prompts" in out
    table = pd.read_csv(tmp_path / "own" / "clips.csv")
    assert table["target"].tolist() == [1000, 2000] and {"unsteered", "measured"} <= {*table}
    kept = tmp_path / "own" / "calibration.csv"
    assert pd.read_csv(kept)["multiplier"].nunique() == 7
    code, out, error = run(*common, "--centroid", 1000, 2000, "--calibration", kept, "--out", "again")
    assert code == 0, error
    assert "calibrating" not in out
    again = pd.read_csv(tmp_path / "again" / "clips.csv")
    assert again["multiplier"].tolist() == pytest.approx(table["multiplier"].tolist())
    code, _, error = run(*common, "--centroid", 1e6, "--strict", "--calibration", kept, "--out", "strict")
    assert code == 1
    assert "centroid 1e+06 is out of reach" in error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--multiplier", "0.1", "--bpm", "120"], "one of --multiplier, --bpm and --centroid"),
        (["--multiplier", "strong"], "invalid multiplier value: 'strong'"),
        (["--multiplier", "0.1", "--schedule", "4"], "invalid point value: '4'"),
    ],
)
def test_steer_refuses_what_cannot_be_meant(run, vector, given, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run("steer", vector, "--prompt", "a rock song", *given, "--out", "x")
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# --- sweep --------------------------------------------------------------------------------------------------


def test_sweep_writes_the_table_as_parquet_and_csv_with_its_settings(run, data, tmp_path):
    code, out, error = run("sweep", data / "experiment.yaml", "--quiet")
    assert code == 0, error
    folder = tmp_path / "results" / "sweeps" / "layers"
    table, text = pd.read_parquet(folder / "table.parquet"), pd.read_csv(folder / "table.csv")
    assert len(table) == len(text) == 12 and table["centroid"].notna().all()
    assert np.array_equal(table["centroid"], text["centroid"])
    assert table.attrs["sweep"]["multipliers"] == [-0.5, 0.5] and table.attrs["model"]["model"] == "tiny"
    assert (folder / "vectors" / "tempo.md").is_file()


def test_shards_merge_to_the_table_of_the_whole_to_the_bit(run, data, tmp_path):
    experiment = data / "experiment.yaml"
    assert run("sweep", experiment, "--quiet")[0] == 0
    for number in (3, 1, 2):
        assert (
            run("sweep", experiment, "layers", "--output", "parts", "--shard", f"{number}/3", "--quiet")[0]
            == 0
        )
    assert run("sweep", experiment, "--output", "parts", "--merge", "--quiet")[0] == 0
    whole, parts = (tmp_path / name / "layers" for name in ("results/sweeps", "parts"))
    for name in ("table.parquet", "table.csv"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()
    clips = sorted(path.name for path in (whole / "store" / "clips").iterdir())
    assert len(clips) == 10
    for clip in clips:
        assert (whole / "store" / "clips" / clip).read_bytes() == (
            parts / "store" / "clips" / clip
        ).read_bytes()


def test_a_dry_run_says_what_it_costs_and_makes_no_clip_and_no_vector(run, data, tmp_path):
    code, out, error = run("sweep", data / "experiment.yaml", "--dry-run", "-p", "seeds", "5")
    assert code == 0, error
    assert "clips   50, of which 0 are in the store" in out and f"tokens  {50 * 5 * 2}" in out
    for word in ("time", "memory", "disk"):
        assert f"\n{word} " in out
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.parquet"))


def test_a_sweep_that_does_not_fit_exits_with_3_and_says_what_would_fit(run, data, monkeypatch):
    for module in ("cost", "fit"):
        monkeypatch.setattr(f"steerlib.engine.{module}.memory_free", lambda device: 1000)
    code, _, error = run("sweep", data / "experiment.yaml", "--dry-run")
    assert code == 3 and "does not fit" in error and "batch_size=1" in error
    code, _, error = run("sweep", data / "experiment.yaml", "--quiet")
    assert code == 3 and not Store("results/sweeps/layers/store").read().size


def test_vectors_of_other_prompts_are_not_used_in_silence(run, data):
    assert run("sweep", data / "experiment.yaml", "--vectors")[0] == 0
    code, _, error = run("sweep", data / "experiment.yaml", "--vectors", "-p", "pairs", "1")
    assert code == 1 and "was made with" in error and "delete it" in error


# --- evaluate -----------------------------------------------------------------------------------------------


def test_evaluate_measures_files_and_folders(run, tmp_path):
    (tmp_path / "audio").mkdir()
    times = np.arange(2 * 16000) / 16000
    for hertz in (500, 2000):
        soundfile.write(tmp_path / "audio" / f"{hertz}.wav", 0.3 * np.sin(2 * np.pi * hertz * times), 16000)
    code, out, error = run("evaluate", "audio", "--metrics", "centroid", "--table", "t.csv", "t.parquet")
    assert code == 0, error
    table = pd.read_csv("t.csv").set_index("file")["centroid"]
    assert table["audio/500.wav"] == pytest.approx(500, abs=20)
    assert table["audio/2000.wav"] == pytest.approx(2000, abs=20)
    assert "audio/2000.wav" in out and len(pd.read_parquet("t.parquet")) == 2


# --- errors -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "unknown model 'nowhere'"),
        (["extract", "tempoo", "--out", "t.safetensors"], "unknown attribute 'tempoo'"),
        (["extract", "tempo", "--out", "t.pt"], "must end in .safetensors"),
        (["sweep", "nowhere.yaml"], "there is no experiment nowhere.yaml"),
        (["evaluate", "nowhere"], "there is no file or folder nowhere"),
        (["evaluate", "."], "has no audio"),
    ],
)
def test_an_error_is_one_line_on_stderr_and_exit_code_1(run, arguments, message):
    code, out, error = run(*arguments)
    assert code == 1 and not out
    assert error.startswith("steerlib: error: ") and message in error and "Traceback" not in error


@pytest.mark.parametrize("command", ["info", "extract", "steer", "sweep", "evaluate"])
def test_every_command_has_help_with_examples(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"  steerlib {command} " in capsys.readouterr().out.split("examples:")[1]


def test_a_wrong_command_line_exits_with_2():
    finished = subprocess.run(
        [sys.executable, "-m", "steerlib", "sing"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2 and "invalid choice" in finished.stderr


def test_an_interrupted_command_exits_with_130(run, data, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("steerlib.cli.load_model", interrupt)
    assert run("sweep", data / "experiment.yaml")[0] == 130
