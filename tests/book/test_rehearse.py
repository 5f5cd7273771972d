"""A rehearsal asks for all that the real run would, makes none of it, and leaves nothing that looks real."""

import json

import numpy as np
import pytest
import torch
from steerlib.engine.rehearsal import costs

from steerlib.cli import main
from steerlib.engine.generation import REHEARSAL, generate
from steerlib.steering import SteeringVector
from steerlib.sweeps.grid import sweep


@pytest.fixture
def tally(tmp_path, monkeypatch):
    monkeypatch.setenv(REHEARSAL, str(tmp_path / "tally.jsonl"))
    return tmp_path / "tally.jsonl"


def test_what_was_asked_for_is_counted_and_noise_comes_back(tiny_model, tiny_processor, tally):
    clips = generate(tiny_model, tiny_processor, ["a song", "a tune"], seconds=0.5, progress=False)
    assert len(clips) == 2
    assert clips.prompts == ("a song", "a tune")
    assert np.isfinite(clips.audio).all() and clips.audio.std() > 0.01
    (line,) = map(json.loads, tally.read_text().splitlines())
    assert (line["clips"], line["tokens"]) == (2, clips.tokens.size)
    generate(tiny_model, tiny_processor, ["a song"], seconds=0.5, progress=False)
    assert costs(tally)["clips"] == 3
    assert costs(tally.with_name("none"))["clips"] == 0


def test_what_makes_no_sense_is_refused_as_it_would_be(tiny_model, tiny_processor, tally):
    with pytest.raises(ValueError, match="seconds"):
        generate(tiny_model, tiny_processor, ["a song"], seconds=1e6, progress=False)


def test_rows_of_a_rehearsal_are_never_found_by_the_real_sweep(
    tiny_model, tiny_processor, tmp_path, tally, rng, monkeypatch
):
    directions = rng.normal(0, 1, (3, 32)).astype(np.float32)
    vectors = {"v": SteeringVector(torch.from_numpy(directions), {})}

    def run():
        return sweep(
            tiny_model, tiny_processor, ["a song"], vectors, source_layers=[1], multipliers=[0.5],
            metrics=("centroid",), seconds=0.5, store=tmp_path / "store", progress=False,
        )  # fmt: skip

    pretended = run()
    assert pretended["centroid"].notna().all()
    monkeypatch.delenv(REHEARSAL)
    made = run()
    assert not set(made["key"]) & set(pretended["key"])
    assert not np.isclose(made["centroid"], pretended["centroid"]).any()


def test_the_command_knows_its_chapters_before_it_starts(capsys):
    assert main(["rehearse", "data/experiments/tiny.yaml", "no_such_chapter"]) == 1
    assert "there is no chapter no_such_chapter; chapters are: meet_the_model" in capsys.readouterr().err


def test_a_chapter_is_rehearsed_to_its_end_and_its_cost_is_printed(capsys):
    assert main(["rehearse", "data/experiments/tiny.yaml", "steering_sweep"]) == 0
    assert "steering_sweep" in (out := capsys.readouterr().out)
    assert " 0 clips" not in out and "all of them" in out


def test_a_rehearsal_never_writes_to_a_real_folder(capsys, tmp_path):
    arguments = [
        "rehearse",
        "data/experiments/tiny.yaml",
        "layer_scan",
        "-p",
        "output",
        str(tmp_path / "real"),
    ]
    assert main(arguments) == 1
    assert "is absolute, and a rehearsal would write noise there" in capsys.readouterr().err
    assert not (tmp_path / "real").exists()
    assert main(["rehearse", "data/experiments/tiny.yaml", "layer_scan", "-p", "nonsense", "1"]) == 1
    assert "layer_scan has no parameter 'nonsense'" in capsys.readouterr().err
