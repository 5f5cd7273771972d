"""A rehearsal asks for all that the real run would, makes none of it, and leaves nothing that looks real."""

import json
import os

import numpy as np
import pytest
import torch

from book.rehearse import TALLY, costs, main
from book.run import ROOT, NotebookError
from steerlib.engine.fit import DoesNotFit
from steerlib.engine.generation import BACKEND, Run, generate
from steerlib.steering import SteeringVector
from steerlib.sweeps.grid import Grid, sweep

QUIET = Run(progress=False)


@pytest.fixture
def tally(tmp_path, monkeypatch):
    monkeypatch.setenv(BACKEND, "book.rehearse:noise")
    monkeypatch.setenv(TALLY, str(tmp_path / "tally.jsonl"))
    return tmp_path / "tally.jsonl"


def test_what_was_asked_for_is_counted_and_noise_comes_back(tiny, tally):
    clips = generate(tiny, ["a song", "a tune"], seconds=0.5, run=QUIET)
    assert len(clips) == 2
    assert clips.prompts == ("a song", "a tune")
    assert np.isfinite(clips.audio).all() and clips.audio.std() > 0.01
    (line,) = map(json.loads, tally.read_text().splitlines())
    assert (line["clips"], line["tokens"]) == (2, clips.tokens.size)
    generate(tiny, ["a song"], seconds=0.5, run=QUIET)
    assert costs(tally)["clips"] == 3
    assert costs(tally.with_name("none"))["clips"] == 0


def test_what_makes_no_sense_is_refused_as_it_would_be(tiny, tally):
    with pytest.raises(ValueError, match="seconds"):
        generate(tiny, ["a song"], seconds=1e6, run=QUIET)


def test_what_would_not_fit_is_refused_as_it_would_be(tiny, tally, monkeypatch):
    for module in ("cost", "fit"):
        monkeypatch.setattr(f"steerlib.engine.{module}.memory_free", lambda device: 1000)
    with pytest.raises(DoesNotFit, match="batch_size=1"):
        generate(tiny, ["a song"], seconds=0.5, run=QUIET)


def test_rows_of_a_rehearsal_are_never_found_by_the_real_sweep(tiny, tmp_path, tally, rng, monkeypatch):
    directions = rng.normal(0, 1, (3, 32)).astype(np.float32)
    vectors = {"v": SteeringVector(torch.from_numpy(directions), {})}

    def run():
        return sweep(
            tiny, ["a song"], Grid(vectors, [0.5], [1]), metrics=("centroid",), seconds=0.5, store=tmp_path / "store",
            run=QUIET,
        )  # fmt: skip

    pretended = run()
    assert pretended["centroid"].notna().all()
    monkeypatch.delenv(BACKEND)
    made = run()
    assert not set(made["key"]) & set(pretended["key"])
    assert not np.isclose(made["centroid"], pretended["centroid"]).any()
    assert not np.isclose(
        made["kappa"].max(), pretended["kappa"].max()
    )  # norms of noise are not those of music


def test_the_command_knows_its_chapters_before_it_starts(capsys):
    assert main(["data/experiments/tiny.yaml", "no_such_chapter"]) == 1
    assert "there is no chapter no_such_chapter; chapters are: meet_the_model" in capsys.readouterr().err


@pytest.mark.parametrize(("kind", "code"), [("DoesNotFit", 3), ("ValueError", 1)])
def test_kernels_find_the_noise_and_what_fails_leaves_the_environment_as_it_was(
    monkeypatch, capsys, kind, code
):
    kernels = []

    def fail(*_, **__):
        kernels.append(dict(os.environ))
        raise NotebookError(f"it failed with {kind}", kind)

    monkeypatch.setattr("book.rehearse.run_notebook", fail)
    before = dict(os.environ)
    assert main(["data/experiments/tiny.yaml", "layer_scan"]) == code
    assert f"it failed with {kind}" in capsys.readouterr().err
    assert dict(os.environ) == before
    [kernel] = kernels
    assert kernel[BACKEND] == "book.rehearse:noise" and kernel[TALLY].endswith("layer_scan.jsonl")
    assert kernel["PYTHONPATH"].split(os.pathsep)[0] == str(ROOT)


def test_a_chapter_is_rehearsed_to_its_end_and_its_cost_is_printed(capsys):
    assert main(["data/experiments/tiny.yaml", "steering_sweep"]) == 0
    assert "steering_sweep" in (out := capsys.readouterr().out)
    assert " 0 clips" not in out and "all of them" in out


def test_a_rehearsal_never_writes_to_a_real_folder(capsys, tmp_path):
    arguments = ["data/experiments/tiny.yaml", "layer_scan", "-p"]
    assert main([*arguments, "output", str(tmp_path / "real")]) == 1
    assert "is absolute, and a rehearsal would write noise there" in capsys.readouterr().err
    assert not (tmp_path / "real").exists()
    assert main([*arguments, "nonsense", "1"]) == 1
    assert "layer_scan has no parameter 'nonsense'" in capsys.readouterr().err
