"""Titles of figures that are drawn from a trial, or from what a model makes of prompts."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from test_messages import TEMPO, effects, of, said, shown  # noqa: F401

from steerlib import control as steering
from steerlib.activations import Activations
from steerlib.chapters import (
    control,
    diffmean_directions,
    held_out,
    known_truth,
    layer_scan,
    pocket_model,
    prompt_count,
    steering_sweep,
)
from steerlib.evidence.stats import Interval
from steerlib.readout.analysis import similarity_blocks
from steerlib.steering import SteeringVector
from steerlib.study import Trial

PAIRS = 20


def trial_of(gains, *, attribute=TEMPO):
    """A trial of prompts at 100 BPM whose clips move by λ times a gain for each setting (a dict of columns)."""
    fixed = {"attribute": attribute.name, "metric": attribute.metric, "seed": 0, "source_layer": 0}
    rows = [{**fixed, "prompt_id": prompt, "multiplier": sign, "bpm": 100 + sign * (gain + prompt % 3), **where}
            for gain, where in gains for prompt in range(8) for sign in (-1.0, 0.0, 1.0)]  # fmt: skip
    study = SimpleNamespace(attributes={attribute.name: attribute}, prompts=("a song",) * 8, store=".")
    return Trial(study, pd.DataFrame(rows))


def test_layers_are_counted_that_are_shown_to_steer_both_ways(shown):  # noqa: F811
    layer_scan.curves(trial_of([(20, {"source_layer": 0}), (-20, {"source_layer": 4})]))
    assert said(shown) == "Both poles are shown to move as intended from 1 of 2 layers for tempo"


def test_blocks_are_counted_that_are_shown_to_steer(shown):  # noqa: F811
    layer_scan.injection_curves(trial_of([(20, {"source_layer": 0}), (-20, {"source_layer": 4})]))
    assert (
        said(shown)
        == "Added after one block alone, the direction is shown to steer at 1 of 2 blocks for tempo"
    )


@pytest.mark.parametrize("all_gain, message", [
    (20, "Directions of 2 prompts shift tempo 50 % as far as those of 10 prompts"),
    (-20, "Not even directions of 10 prompts shift the music as intended"),
])  # fmt: skip
def test_few_prompts_are_compared_with_all_only_if_those_steer(shown, all_gain, message):  # noqa: F811
    trial = trial_of([(all_gain / 2, {"prompts": 2, "subset": 0}), (all_gain, {"prompts": 10, "subset": 0})])
    prompt_count.curves(trial)
    assert said(shown).replace("51 %", "50 %").replace("52 %", "50 %").replace("53 %", "50 %") == message


@pytest.mark.parametrize("worse, message", [
    (0.02, "Steered music is shown to be further from the model’s own already at |λ| = 0.02 for tempo"),
    (1.0, "Steered music is shown to be further from the model’s own at no λ for tempo"),
])  # fmt: skip
def test_the_distance_is_called_larger_where_its_difference_excludes_zero(shown, worse, message):  # noqa: F811
    table = effects(0)[["attribute", "multiplier"]]

    def beyond(part, versus):
        size = part["multiplier"].abs().iloc[0]
        return Interval(0, 0.1 if size >= worse else -0.1, 1, 5)

    distances = SimpleNamespace(table=table.assign(fad=1.0, fad_low=0.5, fad_high=2.0), of=beyond,
                                rows=table.assign(kappa=table["multiplier"].abs()))  # fmt: skip
    steering_sweep.distance_curves(of(TEMPO), distances)
    assert said(shown) == message


def test_what_a_regression_reads_is_its_best_layer_of_heard_clips(shown):  # noqa: F811
    rows = [("tempo", series, layer, value, value - 0.1, value + 0.1)
            for series, values in (("caption read, EOS", (0.9, 0.9)), ("clip heard, last", (0.2, 0.6)))
            for layer, value in enumerate(values)]  # fmt: skip
    read = pd.DataFrame(rows, columns=["attribute", "series", "layer", "value", "low", "high"])
    known_truth.readable_curves(of(TEMPO), read, {"tempo": Interval(0.5, 0.4, 0.6, 9)})
    assert (
        said(shown)
        == "From clips that the model hears, a regression reads up to 60 % of the variance of tempo"
    )


def test_a_filter_is_close_to_diffmean_only_beyond_random_directions(shown):  # noqa: F811
    axes = torch.eye(16)
    own, filter_ = SteeringVector(axes[:2]), SteeringVector(torch.stack([axes[0], axes[5]]))
    study = of(TEMPO)
    study.vectors, study.model = {"tempo": own}, SimpleNamespace(width=16)
    known_truth.cosines(study, {"tempo": {"filter, clip heard": filter_}})
    assert "random directions are at 1 of 2 layers for tempo" in said(shown)


def test_clouds_are_told_apart_only_where_they_lie_apart(shown, rng):  # noqa: F811
    values = rng.normal(size=(2 * PAIRS, 2, 6))
    values[:PAIRS, 1] += 8
    labels = torch.arange(2 * PAIRS) < PAIRS
    prompts = TEMPO.first(PAIRS).positive_prompts + TEMPO.first(PAIRS).negative_prompts
    diffmean_directions.clouds(Activations(torch.tensor(values).float(), labels, prompts, TEMPO), [0, 1])
    assert said(shown) == (
        "Two dimensions tell fast and slow prompts apart at layer 1; "
        "two dimensions do not tell fast and slow prompts apart at layer 0"
    )


def test_layers_are_counted_at_which_a_classifier_beats_guessing(shown):  # noqa: F811
    table = pd.DataFrame({"layer": [0, 1], "auc": [0.55, 0.9], "silhouette": [0.0, 0.4]})
    for name in ("auc", "silhouette"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    diffmean_directions.separation(table)
    assert said(shown) == "A linear classifier tells the poles apart at 1 of 2 layers; its least AUC is 0.55"


def test_blocks_of_layers_are_named_only_if_there_are_any(shown):  # noqa: F811
    vector = SteeringVector(torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]]))
    diffmean_directions.cosines(vector, similarity_blocks(vector.cosine_similarity().numpy()))
    assert said(shown) == "Two layers’ directions have a cosine of at least 0.00; 2 blocks"


def test_the_decoder_uses_its_prompt_only_with_a_text_gain(shown):  # noqa: F811
    logs = {"lm": pd.DataFrame({"step": [1, 2], "held-out": 5.0, "text gain": [0.2, -0.1], "text gain, blanked": 0.0,
                                "melody gain": 0.0})}  # fmt: skip
    logs |= {name: pd.DataFrame({"step": [1, 2], column: 0.5})
             for name, column in (("codec", "lsd"), ("text", "held-out accuracy"), ("beats", "loss"),
                                  ("clap", "lead"))}  # fmt: skip
    pocket_model.training_curves(logs)
    assert said(shown) == "The decoder ignores its prompt: another clip’s caption costs it nothing"


def test_a_spectrogram_says_what_happened_to_its_own_clip(shown, rng):  # noqa: F811
    plain = rng.normal(size=(1, 8000)).astype(np.float32)
    held_out.spectrograms(
        {"dark": plain / 2, "not steered": plain, "bright": 2 * plain}, 0, 16000, split=2000.0
    )
    assert said(shown) == "Above 2000 Hz, this clip changes by −6.0 dB toward dark and +6.0 dB toward bright"


@pytest.fixture
def scale():
    return steering.Calibration("bpm", (-0.1, 0.0, 0.1), (-1.0, 0.0, 1.0), (0.0, 1.0, 0.0), 100.0, 8)


def test_the_reach_of_λ_is_that_of_the_calibration(shown, scale):  # noqa: F811
    control.curves(trial_of([(20, {})]), {"tempo": scale})
    assert said(shown) == "λ moves the typical clip’s tempo from 50 to 200 BPM"


@pytest.mark.parametrize("random, message", [
    (1.0, "Asked for a number, steering comes closer than random directions for tempo"),
    (0.2, "It is not shown to come closer than random ones for tempo"),
])  # fmt: skip
def test_control_is_held_against_random_directions(shown, scale, random, message):  # noqa: F811
    rows = [("tempo", prompt, target, way, target, error) for prompt in range(3) for target in (80.0, 160.0)
            for way, error in (("open loop", 0.5), ("closed loop", 0.6), ("words", 0.3),
                               ("random 1", random))]  # fmt: skip
    names = ["attribute", "prompt_id", "target", "way", "value", "error"]
    control.draw_targets(pd.DataFrame(rows, columns=names), {"tempo": scale})
    assert said(shown) == f"{message} (typical miss: a factor of 1.41)"


@pytest.mark.parametrize("random, message", [
    (0.0, "From beginning to end, brightness rises more than along random directions for a ramp"),
    (1.0, "It is not shown to rise more than along random directions for a ramp"),
])  # fmt: skip
def test_a_ramp_is_followed_only_beyond_random_directions(shown, random, message):  # noqa: F811
    time = np.arange(16000) / 16000
    sounds = {
        "plain": np.sin(2 * np.pi * 500 * time),
        "ramp": np.sin(2 * np.pi * (500 * time + 500 * time**2)),
    }
    study = SimpleNamespace(model=SimpleNamespace(sample_rate=16000))
    study.sounds = lambda rows: np.stack([sounds[name] for name in rows["clip"]]).astype(np.float32)
    rows = [("", "", "plain"), ("ramp", "own", "ramp"), ("ramp", "random 1", "ramp" if random else "plain")]
    table = pd.DataFrame(rows, columns=["kind", "along", "clip"]).assign(prompt_id=0)
    control.draw_over_time(study, table)
    assert said(shown) == message
