"""The command line on bad input: one line on stderr, the documented exit code, no traceback and nothing lost."""

import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
import yaml

from steerlib import cli
from steerlib.engine.fit import DoesNotFit
from steerlib.sweeps.store import Store


@pytest.fixture
def vector(run, data, model_folder):
    code, _, error = run(
        "extract", "tempo.yaml", "--model", model_folder, "--out", "v.safetensors", "--quiet"
    )
    assert code == 0, error
    return "v.safetensors"


def change(path, **settings):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["sweeps"]["tiny"] |= settings
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


STEER = [
    "steer",
    "v.safetensors",
    "--prompt",
    "a rock song",
    "--multiplier",
    "0.5",
    "--seconds",
    "0.2",
    "--model",
    "MODEL",
]
ARGUMENTS = [
    (["sing"], 2, "invalid choice"),
    ([], 2, "required"),
    (["info"], 2, "required"),
    (["info", ""], 1, "unknown model"),
    (["info", "nowhere"], 1, "unknown model 'nowhere'"),
    (["info", "~nobody/x"], 1, "unknown model"),
    (["info", "."], 1, "has no config.json"),
    (["info", "nothing.safetensors"], 1, "no vector at nothing.safetensors"),
    (["info", "MODEL", "--device", "meta"], 1, "device"),
    (["info", "MODEL", "--device", "gpu"], 1, "unknown device 'gpu'"),
    (["info", "MODEL", "--dtype", "int8"], 1, "unknown dtype 'int8'"),
    (["info", "MODEL", "--revision", "main"], 1, "means something on the Hub only"),
    (["extract", "tempoo", "--out", "t.safetensors"], 1, "unknown attribute 'tempoo'"),
    (["extract", "neutral", "--out", "t.safetensors"], 1, "must have exactly the keys"),
    (["extract", "list.yaml", "--out", "t.safetensors"], 1, "list.yaml must have exactly the keys"),
    (["extract", "gone.yaml", "--out", "t.safetensors"], 1, "no attribute at gone.yaml"),
    (["extract", "tempo", "--out", "t.pt"], 1, "must end in .safetensors"),
    (["extract", "tempo", "--out", "/proc/nope/t.safetensors"], 1, "--out: cannot write to /proc/nope"),
    (["extract", "tempo", "--out", "list.yaml/t.safetensors"], 1, "--out: cannot write to list.yaml"),
    (["extract", "tempo", "--out", "t.safetensors", "--pairs", "0"], 1, "pairs must be at least 1"),
    (["extract", "tempo", "--out", "t.safetensors", "--pairs", "-3"], 1, "pairs must be at least 1"),
    (["extract", "tempo", "--out", "t.safetensors", "--pairs", "x"], 2, "invalid int"),
    (["extract", "tempo", "--out", "t.safetensors", "--position", "end"], 2, "invalid choice"),
    (["extract", "tempo", "--out", "t.safetensors", "--site", "mlp"], 2, "invalid choice"),
    (["extract", "tempo"], 2, "--out"),
    ([*STEER, "--out", "/proc/nope"], 1, "--out: cannot write to /proc/nope"),
    ([*STEER, "--out", "list.yaml"], 1, "--out: cannot write to list.yaml"),
    ([*STEER, "--out", "o", "--layer", "3"], 1, "layer 3 is outside the vector"),
    ([*STEER, "--out", "o", "--layer", "-1"], 1, "layer -1 is outside the vector"),
    ([*STEER, "--out", "o", "--layer", "1.5"], 2, "invalid int"),
    ([*STEER, "--out", "o", "--seconds", "0"], 1, "seconds must be a positive"),
    ([*STEER, "--out", "o", "--seconds", "-1"], 1, "seconds must be a positive"),
    ([*STEER, "--out", "o", "--seconds", "nan"], 1, "seconds must be a positive"),
    ([*STEER, "--out", "o", "--seconds", "1e9"], 1, "ask for at most"),
    ([*STEER, "--out", "o", "--guidance", "0"], 1, "guidance_scale must be a positive number"),
    ([*STEER, "--out", "o", "--guidance", "inf"], 1, "guidance_scale must be a positive number"),
    ([*STEER, "--out", "o", "--multiplier", "nan"], 1, "multiplier must be a finite number"),
    ([*STEER, "--out", "o", "--multiplier", "inf"], 1, "multiplier must be a finite number"),
    ([*STEER, "--out", "o", "--multiplier", "x"], 2, "invalid multiplier value"),
    ([*STEER, "--out", "o", "--prompt", ""], 1, "--prompt: one is empty"),
    ([*STEER, "--out", "o", "--prompt", "a " * 50], 1, "tokens, but prompts are padded to 12"),
    ([*STEER, "--out", "o", "--seed", "1.5"], 2, "invalid int"),
    ([*STEER, "--out", "o", "--guidance", "1", "--branches", "unconditional"], 1, "--branches unconditional"),
    (["steer", "gone.safetensors", *STEER[2:], "--out", "o"], 1, "no vector at gone.safetensors"),
    (["steer", "list.yaml", *STEER[2:], "--out", "o"], 1, "list.yaml is not a safetensors file"),
    (["sweep", "gone.yaml"], 1, "there is no experiment gone.yaml"),
    (["sweep", "."], 1, "there is no experiment ."),
    (["sweep", "list.yaml"], 1, "list.yaml has no section 'sweeps'"),
    (["sweep", "experiment.yaml", "other"], 1, "has no sweep 'other'; it has tiny"),
    (["sweep", "experiment.yaml", "-p", "multipliers", "[1,"], 1, "-p multipliers is not valid YAML"),
    (["sweep", "experiment.yaml", "-p", "multipliers", "[]"], 1, "multipliers must be a list"),
    (["sweep", "experiment.yaml", "-p", "multipliers", "[.nan]"], 1, "multipliers must be a list"),
    (["sweep", "experiment.yaml", "-p", "multipliers", "[1, 1]"], 1, "multipliers has 1 more than once"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[1, a]"], 1, "seeds must be a whole number"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[0.5]"], 1, "seeds must be a whole number"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[true]"], 1, "seeds must be a whole number"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[null]"], 1, "seeds must be a whole number"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[1180591620717411303424]"], 1, "at most 64 bits"),
    (["sweep", "experiment.yaml", "-p", "seeds", "[1, 1]"], 1, "seeds has 1 more than once"),
    (["sweep", "experiment.yaml", "-p", "seconds", "0"], 1, "seconds must be a positive number"),
    (["sweep", "experiment.yaml", "-p", "seconds", "100000"], 1, "ask for at most"),
    (["sweep", "experiment.yaml", "-p", "layers", "[3]"], 1, "layer 3 is outside the vector"),
    (["sweep", "experiment.yaml", "-p", "layers", "[-1]"], 1, "layers must be 'all'"),
    (["sweep", "experiment.yaml", "-p", "layers", "[]"], 1, "layers must be 'all'"),
    (["sweep", "experiment.yaml", "-p", "layers", "some"], 1, "layers must be 'all'"),
    (["sweep", "experiment.yaml", "-p", "strategy", "all"], 1, "strategy must be one of"),
    (["sweep", "experiment.yaml", "-p", "strategy", "all_to_all"], 1, "takes each block's own direction"),
    (["sweep", "experiment.yaml", "-p", "metrics", "[sparkle]"], 1, "metrics must be a list of bpm"),
    (["sweep", "experiment.yaml", "-p", "model", "nowhere"], 1, "unknown model 'nowhere'"),
    (["sweep", "experiment.yaml", "-p", "model", "3"], 1, "model must be a text"),
    (["sweep", "experiment.yaml", "-p", "keep", "wav"], 1, "keep must be one of mp3, flac"),
    (["sweep", "experiment.yaml", "-p", "pairs", "0"], 1, "pairs must be a whole number from 1"),
    (["sweep", "experiment.yaml", "-p", "prompt_count", "-49"], 1, "prompt_count must be a whole number from 1"),
    (["sweep", "experiment.yaml", "-p", "batch_size", "0"], 1, "batch_size must be a whole number from 1"),
    (["sweep", "experiment.yaml", "-p", "sampling", "x"], 1, "unknown settings sampling"),
    (["sweep", "experiment.yaml", "-p", "multipliers"], 2, "expected 2 arguments"),
    (["sweep", "experiment.yaml", "--shard", ""], 1, "shard must look like '3/16'"),
    (["sweep", "experiment.yaml", "--shard", "3"], 1, "shard must look like '3/16'"),
    (["sweep", "experiment.yaml", "--shard", "0/2"], 1, "the first of 2 shards is '1/2'"),
    (["sweep", "experiment.yaml", "--shard", "3/2"], 1, "the first of 2 shards is '1/2'"),
    (["sweep", "experiment.yaml", "--shard", "../../x"], 1, "shard must look like '3/16'"),
    (["sweep", "experiment.yaml", "--shard", "1 / 2"], 1, "shard must look like '3/16'"),
    (["sweep", "experiment.yaml", "--shard", "1/0"], 1, "shard '1/0'"),
    (["sweep", "experiment.yaml", "--output", "/proc/nope"], 1, "--output: cannot write to /proc/nope"),
    (["sweep", "experiment.yaml", "--output", "list.yaml"], 1, "--output: cannot write to list.yaml"),
    (["sweep", "experiment.yaml", "--merge", "--dry-run"], 2, "not allowed with"),
    (["evaluate", "gone"], 1, "there is no file or folder gone"),
    (["evaluate", "empty"], 1, "empty has no audio"),
    (["evaluate", "list.yaml"], 1, "list.yaml has no audio"),
    (["evaluate", "empty", "--metrics", "sparkle"], 2, "invalid choice"),
    (["evaluate", "empty", "--table", "t.xlsx"], 1, "must end in .parquet or .csv"),
    (["evaluate", "empty", "--table", "/proc/nope/t.csv"], 1, "--table: cannot write to /proc/nope"),
    (["evaluate", "empty", "--labels", "rock"], 1, "--labels needs two or more different labels"),
    (["evaluate", "empty", "--labels", "rock", "rock"], 1, "--labels needs two or more different labels"),
    (["evaluate", "empty", "--labels", "rock", " "], 1, "--labels needs two or more different labels"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "expected", "message"),
    ARGUMENTS,
    ids=lambda each: " ".join(each) if isinstance(each, list) else None,
)
def test_a_command_line_that_makes_no_sense_is_answered_in_one_line(
    run, data, model_folder, request, arguments, expected, message
):
    if arguments[:2] == STEER[:2]:
        request.getfixturevalue("vector")
    (data / "empty").mkdir()
    code, out, error = run(*(model_folder if each == "MODEL" else each for each in arguments))
    assert code == expected and message in error and "Traceback" not in error
    if expected == 1:
        lines = [line for line in error.splitlines() if line.startswith("steerlib: error: ")]
        assert len(lines) == 1 and message in lines[0] and "not foreseen" not in error
    assert not list(data.rglob("*.flac")) and not list(data.rglob("*.mp3"))


def test_a_sweep_is_checked_before_its_vectors_are_made(run, data):
    for setting, value in (("layers", "[7]"), ("seconds", "100000"), ("multipliers", "[2, 2]")):
        assert run("sweep", "experiment.yaml", "-p", setting, value)[0] == 1
    change(data / "experiment.yaml", prompts=str(data / "long.yaml"))
    (data / "long.yaml").write_text(
        yaml.safe_dump({"name": "l", "description": "l", "prompts": ["a " * 40]}), encoding="utf-8"
    )
    code, _, error = run("sweep", "experiment.yaml")
    assert code == 1 and "prompts are padded to 12" in error
    assert not list(data.rglob("*.safetensors"))


# --- vectors and the content of prompts ---------------------------------------------------------------------


def test_a_vector_of_prompts_that_have_changed_is_not_used(run, data):
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0
    text = (data / "tempo.yaml").read_text(encoding="utf-8")
    (data / "tempo.yaml").write_text(text.replace("rock", "folk"), encoding="utf-8")
    code, _, error = run("sweep", "experiment.yaml", "--quiet")
    assert code == 1 and "was made with other prompts" in error and "delete it" in error
    (data / "results" / "sweeps" / "tiny" / "vectors" / "tempo.safetensors").unlink()
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0


# --- nothing is lost ----------------------------------------------------------------------------------------


def test_steer_never_writes_into_a_folder_with_clips(run, data, vector, model_folder):
    arguments = [model_folder if each == "MODEL" else each for each in STEER]
    assert run(*arguments, "--out", "clips", "--quiet")[0] == 0
    before = {path: path.read_bytes() for path in (data / "clips").iterdir()}
    code, _, error = run(*arguments, "--out", "clips", "--quiet")
    assert code == 1 and "has clips already: name a new folder" in error
    assert before == {path: path.read_bytes() for path in (data / "clips").iterdir()}


def test_a_multiplier_that_overflows_is_one_line(run, data, vector, model_folder):
    code, _, error = run(
        *(model_folder if each == "MODEL" else each for each in STEER),
        "--multiplier",
        "1e38",
        "--out",
        "o",
        "--quiet",
    )
    assert code in (0, 1) and "Traceback" not in error
    assert code == 0 or "steerlib: error: " in error


# --- whatever goes wrong ------------------------------------------------------------------------------------

FAILURES = [
    (RuntimeError("a\nb"), 1, "RuntimeError: a b. That was not foreseen: --debug"),
    (AttributeError("x"), 1, "AttributeError: x"),
    (KeyError("x"), 1, "KeyError: 'x'"),
    (RecursionError("deep"), 1, "RecursionError: deep"),
    (OverflowError("big"), 1, "OverflowError: big"),
    (NotImplementedError(), 1, "NotImplementedError"),
    (ValueError("\x1b[31mred"), 1, "steerlib: error: [31mred"),
    (OSError(28, "No space left on device"), 1, "No space left on device"),
    (FloatingPointError("overflow"), 1, "steerlib: error: overflow"),
    (MemoryError("the system ended a worker"), 3, "does not fit: the system ended a worker"),
    (MemoryError(), 3, "does not fit: MemoryError"),
    (DoesNotFit("too large"), 3, "does not fit: too large"),
    (KeyboardInterrupt(), 130, "interrupted"),
]


@pytest.mark.parametrize(("failure", "expected", "message"), FAILURES, ids=lambda each: type(each).__name__)
def test_every_failure_is_one_line_with_the_documented_code(run, monkeypatch, failure, expected, message):
    def fail(*_, **__):
        raise failure

    monkeypatch.setattr(cli, "load_model", fail)
    code, out, error = run("info", "pocket")
    assert code == expected and message in error and not out
    assert len(error.splitlines()) == 1 and "\x1b" not in error
    if expected != 130:
        code, _, error = run("info", "pocket", "--debug")
        assert code == expected and "Traceback" in error


def test_info_prints_no_control_characters_of_a_vector(run, data):
    from steerlib import SteeringVector

    SteeringVector([[1.0, 2.0]], {"model": "\x1b]0;owned\x07", "\x1b[2J": 1}).save(data / "odd.safetensors")
    code, out, _ = run("info", "odd.safetensors")
    assert code == 0 and "\x1b" not in out and "\x07" not in out


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
def test_a_worker_that_the_system_kills_ends_the_sweep_with_3(data):
    program = (
        "import os, signal, sys\n"
        "import torch\n"
        "from steerlib import cli, engine\n"
        "from steerlib.engine import plan\n"
        "torch.set_num_threads(2)\n"
        "parent, run = os.getpid(), plan.Plan.run\n"
        "def dying(*arguments):\n"
        "    if os.getpid() != parent:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return run(*arguments)\n"
        "plan.Plan.run = dying\n"
        "sys.exit(cli.main(['sweep', 'experiment.yaml', '--quiet']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=data, capture_output=True, text=True, env=os.environ, check=False
    )
    if done.returncode == 0:
        pytest.skip("workers are threads here")
    assert done.returncode == 3 and "does not fit: the system ended a worker" in done.stderr
    assert "Traceback" not in done.stderr.split("steerlib: ")[-1]
    assert not Store(data / "results" / "sweeps" / "tiny" / "store").read().size


def test_the_table_of_a_sweep_has_the_rows_that_the_experiment_asks_for(run, data):
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0
    assert len(pd.read_parquet(data / "results" / "sweeps" / "tiny" / "table.parquet")) == 6


def test_a_sweep_that_is_done_is_done_again_at_once_and_changes_nothing(run, data):
    assert run("sweep", "experiment.yaml", "--quiet")[0] == 0
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    for option in ([], ["--merge"], ["--vectors"], ["--dry-run"]):
        code, _, error = run("sweep", "experiment.yaml", "--quiet", *option)
        assert code == 0, error
    assert before == {path: path.read_bytes() for path in before}
