"""What single chapters compute from made-up sweeps and activations."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from steerlib.activations import Activations
from steerlib.chapters import diffmean_directions, known_truth, meet_the_model, other_attributes
from steerlib.evidence.stats import Interval
from steerlib.prompts import Attribute
from steerlib.readout.analysis import similarity_blocks
from steerlib.steering import SteeringVector
from steerlib.study import Trial

TEMPO = Attribute("tempo", "fast", "slow", "bpm", "BPM", ("a fast song",), ("a slow song",))


def a_study(**more):
    return SimpleNamespace(
        attributes={"tempo": TEMPO}, sizes={"tempo": 0.1}, prompts=["a song"], store="nowhere", **more
    )


def a_sweep(push, drift, *, prompts=6):
    """Clips that a push moves by `push` toward its sign, and by `drift` whichever way it points."""
    effect = {-0.1: drift - push, 0.0: 0, 0.1: drift + push}
    rows = [
        {"multiplier": size, "prompt_id": prompt, "seed": 0, "bpm": 100 + 10 * prompt + effect[size]}
        for size in effect
        for prompt in range(prompts)
    ]
    return pd.DataFrame(rows).assign(key=lambda rows: rows.index.where(rows.multiplier != 0, -rows.prompt_id))


def test_what_a_push_does_to_either_side_is_its_shift_and_what_it_does_to_both_its_drift():
    parts = [
        a_sweep(20, 0).assign(attribute="DiffMean"),
        a_sweep(0, -5).assign(attribute="random 1"),
    ]
    trial = Trial(a_study(), pd.concat(parts, ignore_index=True).assign(setting="tempo"))
    found = known_truth.effects(trial, known_truth.shifts(trial))
    assert list(found.index) == [("tempo", "DiffMean"), ("tempo", "random 1")]
    assert [each.estimate for each in found["shift"]] == pytest.approx([20, 0])
    assert [each.estimate for each in found["drift"]] == pytest.approx([0, -5])


def test_effects_are_given_beside_the_spread_of_unsteered_clips():
    table = a_sweep(20, 0).assign(attribute="tempo", rms=-20.0)
    found = other_attributes.effects(Trial(a_study(), table), ["bpm", "rms"])
    assert found.loc[("tempo", "bpm"), "shift"].estimate == pytest.approx(20)
    assert found.loc[("tempo", "rms"), "shift"].estimate == 0
    assert found.loc[("tempo", "bpm"), "spread"] == pytest.approx(np.std(10 * np.arange(6), ddof=1))
    words = {"tempo": Interval(0.5, 0.4, 0.6, 12)}
    shown = other_attributes.steering_and_words(Trial(a_study(), table), found, words)
    assert shown.loc["tempo", "shift toward the first"].startswith("20 [20, 20]")


def test_a_judge_is_tested_only_where_composed_clips_have_both_poles():
    energy = Attribute("energy", "energetic", "calm", "rms", "dB", ("an energetic song",), ("a calm song",))
    study = SimpleNamespace(attributes={"energy": energy, "tempo": TEMPO})
    poles = [{"energy": "energetic"}, {"energy": "calm"}, {"energy": "calm"}]
    truths = [SimpleNamespace(poles=lambda each=each: each) for each in poles]
    audio = [level * np.sin(np.arange(16000)) for level in (0.8, 0.1, 0.2)]
    found = other_attributes.judges(study, truths, audio)
    assert list(found.index) == ["energy"]
    assert found.loc["energy", "AUC"] == 1 and found.loc["energy", "clips"] == 3


def test_prompts_drawn_again_find_the_blocks_that_the_prompts_have():
    directions = torch.eye(8)[[0, 0, 0, 1, 1, 1]]  # two blocks of three layers
    noise = 0.01 * torch.randn(20, 6, 8, generator=torch.Generator().manual_seed(0))
    noise[:10] += directions
    activations = Activations(noise, torch.arange(20) < 10, tuple(f"song {i}" for i in range(20)))
    blocks = similarity_blocks(SteeringVector(directions).cosine_similarity().numpy())
    number = diffmean_directions.blocks_redrawn(activations, blocks, draws=20)
    assert (number.estimate, number.low, number.high, number.n) == (2, 2, 2, 10)


def test_the_papers_layer_14_of_48_is_at_the_same_depth_of_any_stack():
    assert diffmean_directions.paper_layer(48) == 13
    assert diffmean_directions.paper_layer(12) == 3


def test_poles_without_a_measured_clip_have_no_auc():
    followed = pd.DataFrame(
        {
            "attribute": "tempo",
            "pole": ["fast", "fast", "slow", "slow"],
            "value": [150.0, 140.0, np.nan, 90.0],
        }
    )
    table = meet_the_model.poles_apart(a_study(), followed)
    assert table.loc[("tempo", "slow"), "measured"] == 1
    assert table.loc["tempo", "AUC"].str.startswith("1 ").all()
    silent = followed.assign(value=followed.value.where(followed.pole == "fast"))
    assert "AUC" not in meet_the_model.poles_apart(a_study(), silent)


def test_what_the_sound_says_anyway_is_decoded_without_training(tiny, rng):
    time, pitches = np.arange(8000) / 16000, np.geomspace(200, 3000, 40)
    audio = [np.sin(2 * np.pi * pitch * time).astype(np.float32) for pitch in pitches]
    study = SimpleNamespace(model=tiny, seed=0, layers={"timbre": 1})
    others = known_truth.without_training(study, audio, "mean", {"timbre": np.log2(pitches)})
    assert others["series"].tolist() == ["untrained decoder", "codec", "mel spectrum"]
    best = known_truth.best_without(others, "timbre")
    assert best.estimate == others["value"].max() > 0.8 and best.n == 40
