"""Steering toward a class: paper B's rule, prompts that do not name it, and a search that keeps the source."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from steerlib.activations import Activations
from steerlib.engine.generation import Run, generate
from steerlib.evidence.claims import primary
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.readout.probes import probe_directions, scaled
from steerlib.steering import Steering
from steerlib.sweeps import transfer
from steerlib.sweeps.transfer import Push, score_clips, steer_toward, strongest, unless_overspent

LABELS = ["folk"] * 6 + ["rock"] * 6


@pytest.fixture
def heard(rng):
    values = rng.normal(0, 1, (12, 3, 32)).astype(np.float32)
    return Activations(
        torch.from_numpy(values), None, tuple(map(str, range(12))), None, {"site": "attention"}
    )


@pytest.mark.parametrize("layer", [None, 1])
def test_clips_are_those_of_the_norm_keeping_rule_at_the_site_of_the_activations(
    tiny, heard, tmp_path, layer
):
    prompts = ["a folk song", "slow jazz"]
    push = Push(tuple(prompts), "rock", (2.0,), against="folk", site="attention", layer=layer)
    table = steer_toward(
        tiny, {"attention": heard}, LABELS, [push], seconds=0.5, store=tmp_path, progress=False
    )
    vector = scaled(probe_directions(heard, LABELS, "rock", against="folk"), heard)
    layers = None if layer is None else (layer,)
    steering = Steering(vector, 2.0, source_layer=layer, layers=layers, site="attention", preserve_norm=True)
    clips = generate(tiny, prompts, steering=steering, seconds=0.5, run=Run(progress=False))
    steered = table[table["multiplier"] == 2.0]
    for audio, name in zip(clips.audio, steered["clip"], strict=True):
        np.testing.assert_allclose(soundfile.read(tmp_path / name)[0], audio, atol=2e-4)  # 16 bit
    assert set(table["multiplier"]) == {0.0, 2.0}
    assert set(table["scope"]) == {"all" if layer is None else "layer 1"}


def test_a_prompt_that_names_the_target_is_refused():
    with pytest.raises(ValueError, match="'A Rock song' names the target 'rock'"):
        Push(("A Rock song",), "rock", (1.0,))


def test_a_name_within_another_word_is_no_naming_and_nonsense_is_refused():
    Push(("A popular song",), "pop", (1.0,))
    with pytest.raises(ValueError, match="names the target"):
        Push(("A hip-hop song",), "hiphop", (1.0,))
    with pytest.raises(ValueError, match="must differ, and from 0"):
        Push(("a song",), "pop", (0.0, 1.0))
    with pytest.raises(TypeError, match="one string"):
        Push("a song", "pop", (1.0,))


def test_controls_are_as_long_as_the_direction_and_point_elsewhere(tiny, heard, tmp_path, monkeypatch):
    made = []
    steering = transfer.Steering
    monkeypatch.setattr(
        transfer, "Steering", lambda vector, *a, **k: made.append(vector) or steering(vector, *a, **k)
    )
    for control, draw in (("", 0), ("random direction", 0), ("random direction", 1), ("shuffled labels", 0)):
        push = Push(("a folk song",), "rock", (1.0,), site="attention", control=control, draw=draw)
        table = steer_toward(
            tiny, {"attention": heard}, LABELS, [push], seconds=0.5, store=tmp_path, progress=False
        )
        assert set(table["control"]) == {control} and set(table["draw"]) == {draw}
    vectors = made[1::2]  # one for the baseline, one for the strength
    for vector in vectors[1:]:
        torch.testing.assert_close(vector.norms, vectors[0].norms)
        assert (vector.cosine_similarity(vectors[0]).diagonal() < 0.9).all()
    assert not torch.equal(vectors[1].directions, vectors[2].directions)


def test_pushes_share_the_baseline_and_what_is_in_the_store(tiny, heard, tmp_path):
    pushes = [
        Push(("a folk song",), "rock", (1.0, 2.0), method=method, site="attention")
        for method in ("mse", "bce")
    ]
    settings = {"seconds": 0.5, "store": tmp_path, "progress": False}
    table = steer_toward(tiny, {"attention": heard}, LABELS, pushes, **settings)
    assert table.groupby("push").multiplier.apply(list).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert table.key.nunique() == 5
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("clips/*")}
    again = steer_toward(tiny, {"attention": heard}, LABELS, pushes[::-1], **settings)
    assert set(again.key) == set(table.key)
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.glob("clips/*")}


def test_each_clip_is_scored_once_and_scores_reach_all_its_rows(tmp_path, monkeypatch):
    for name, value in (("a.flac", 0.1), ("b.flac", 0.4)):
        soundfile.write(tmp_path / name, np.full(100, value), 16000)
    calls = []

    def fake(audio, labels, *, sample_rate, model):
        calls.append(audio.shape)
        return np.stack([audio[:, 0], 1 - audio[:, 0]], axis=1)

    monkeypatch.setattr(transfer, "clap_scores", fake)
    table = score_clips(pd.DataFrame({"clip": ["a.flac", "b.flac", "a.flac"]}), tmp_path, ["rock", "pop"])
    assert calls == [(2, 100)]
    assert table["score rock"].tolist() == pytest.approx([0.1, 0.4, 0.1], abs=1e-3)
    assert table["score pop"].tolist() == pytest.approx([0.9, 0.6, 0.9], abs=1e-3)
    with pytest.raises(ValueError, match="rows without a clip"):
        score_clips(pd.DataFrame({"clip": [None]}), tmp_path, ["rock", "pop"])


def searched(costs, *, prompts=12):
    """Clips that cost so much likelihood, by strength; prompts differ more than strengths do."""
    rows = [
        {"setting": "x", "multiplier": strength, "prompt": f"song {i}", "seed": 0, "nll": 4 + i + cost + 0.01 * (i % 2)}
        for strength, cost in {0.0: 0.0, **costs}.items()
        for i in range(prompts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_strongest_push_within_the_budget_is_chosen_whatever_a_judge_says():
    chosen = strongest(searched({0.1: 0.02, 0.2: 0.08, 0.3: 0.5}), by=["setting"], budget=0.1)
    assert chosen["multiplier"].tolist() == [0.2] and chosen["within"].all()
    assert chosen["excess"][0].estimate == pytest.approx(0.08)


def test_no_strength_is_allowed_beyond_one_that_is_not_nor_at_any_if_all_cost_too_much():
    for costs in ({0.1: 0.5, 0.2: 0.0}, {0.1: 0.5, 0.2: 0.7}):
        none = strongest(searched(costs), by=["setting"], budget=0.1)
        assert none["multiplier"].tolist() == [0.1] and not none["within"].any()
        assert none["excess"][0].estimate == pytest.approx(0.5)


def test_what_is_over_the_budget_cannot_hold():
    measured = Measured(Interval(0.9, 0.8, 1.0, 20), control=Interval(0.0, -0.1, 0.1, 9))
    check = primary("B4")
    for within, expected in ((True, "holds"), (False, "open")):
        part = replace(unless_overspent(measured, within), testable=Interval(0.9, 0.8, 1.0, 20))
        assert Verdict(check, "pocket", {"": part}).outcome("") == expected


def test_a_search_without_its_baseline_is_refused():
    table = searched({0.1: 0.02})
    with pytest.raises(ValueError, match="needs the baseline"):
        strongest(table[table["multiplier"] != 0], by=["setting"], budget=0.1)
