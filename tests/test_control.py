"""Control: a calibration inverts itself, a loop without gain is open, and what cannot be is said."""

import dataclasses
import itertools
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from steerlib import control
from steerlib.engine.generation import Run, generate
from steerlib.evidence import choices
from steerlib.prompts import Attribute
from steerlib.steering import Feedback, Steering, SteeringVector

PROMPTS = ["a fast rock song", "slow jazz", "the dark piano piece"]
QUIET = Run(progress=False)
ROOT = Path(__file__).parents[1]


def sweep_of(changes, *, metric="bpm", prompts=4, noise=0.0, rng=None):
    """A table as a sweep makes it, of prompts at 80, 100, ... BPM and a change in octaves for each λ."""
    rows = []
    for number, (multiplier, change) in itertools.product(range(prompts), changes.items()):
        jitter = noise * rng.normal() if rng is not None and multiplier else 0.0
        rows.append((f"song {number}", 0, multiplier, (80 + 20 * number) * 2 ** (change + jitter)))
    return pd.DataFrame(rows, columns=["prompt", "seed", "multiplier", metric])


@pytest.fixture
def scale():
    return control.calibrate(sweep_of({-0.2: -1.0, -0.1: -0.3, 0.0: 0.0, 0.1: 0.5, 0.2: 0.8}), "bpm")


@pytest.fixture
def vector(rng):
    return SteeringVector(rng.normal(size=(3, 32)))


# --- calibration --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unsteered", [None, 60.0, 200.0])
@pytest.mark.parametrize("multiplier", [-0.2, -0.13, -0.1, -0.01, 0.0, 0.05, 0.2])
def test_a_calibration_inverts_itself(scale, multiplier, unsteered):
    target = scale.value_at(multiplier, unsteered)
    assert scale.multiplier_for(target, unsteered, strict=True) == pytest.approx(multiplier, abs=1e-9)


def test_no_steering_is_needed_for_what_the_prompt_does_by_itself(scale):
    assert scale.multiplier_for(77, unsteered=77) == 0
    assert scale.value_at(0.0, unsteered=77) == pytest.approx(77)


def test_a_calibration_is_monotone_whatever_the_noise_and_passes_through_zero(rng):
    noisy = control.calibrate(sweep_of({-0.2: -0.1, -0.1: -0.3, 0.0: 0.0, 0.1: -0.1, 0.2: 0.8}), "bpm")
    assert np.all(np.diff(noisy.changes) >= 0)
    assert noisy.changes[noisy.multipliers.index(0.0)] == 0
    table = sweep_of({k / 10: k / 10 for k in range(-5, 6)}, prompts=40, noise=0.3, rng=rng)
    found = control.calibrate(table, "bpm")
    assert np.all(np.diff(found.changes) >= 0)
    assert found.multiplier_for(150, unsteered=120) == pytest.approx(np.log2(150 / 120), abs=0.15)


def test_a_metric_that_falls_with_lambda_is_followed_downward():
    falling = control.calibrate(sweep_of({-1.0: 0.5, 0.0: 0.0, 1.0: -0.5}), "bpm")
    assert falling.multiplier_for(120, unsteered=100) < 0
    assert falling.multiplier_for(80, unsteered=100) > 0


def test_decibels_add_and_are_not_octaves():
    table = sweep_of({}, metric="loudness").astype({"multiplier": float})
    rows = [("song", 0, x, -20 + 10 * x) for x in (-1.0, 0.0, 1.0)]
    table = pd.DataFrame(rows, columns=table.columns)
    scale = control.calibrate(table, "loudness")
    assert scale.multiplier_for(-15) == pytest.approx(0.5)
    assert scale.multiplier_for(-35, unsteered=-30) == pytest.approx(-0.5)


def test_the_smallest_of_several_multipliers_is_taken():
    flat = control.calibrate(sweep_of({-0.2: -1.0, -0.1: -1.0, 0.0: 0.0, 0.1: 0.5, 0.2: 0.5}), "bpm")
    assert flat.multiplier_for(50, unsteered=100) == pytest.approx(-0.1)
    assert flat.nearest(99, unsteered=100) == pytest.approx(0.1)


def test_a_strong_push_overrides_what_a_prompt_has_of_its_own(rng):
    """Each prompt starts at its own tempo; at λ all come to one, but for a share that falls with λ."""
    own = np.log2(rng.uniform(60, 180, size=40))
    rows = [
        (
            f"song {k}",
            0,
            factor,
            2 ** (own.mean() + 2 * factor + left * (each - own.mean()) + 0.02 * rng.normal()),
        )
        for k, each in enumerate(own)
        for factor, left in ((-0.2, 0.1), (-0.1, 0.5), (0.1, 0.5), (0.2, 0.1))
    ]
    rows += [(f"song {k}", 0, 0.0, 2**each) for k, each in enumerate(own)]
    scale = control.calibrate(pd.DataFrame(rows, columns=["prompt", "seed", "multiplier", "bpm"]), "bpm")
    assert scale.kept == pytest.approx((0.1, 0.5, 1, 0.5, 0.1), abs=0.05)
    assert scale.changes == pytest.approx((-0.4, -0.2, 0, 0.2, 0.4), abs=0.02)
    fast = 2 ** (own.mean() + 0.6)
    assert scale.value_at(0.2, fast) == pytest.approx(2 ** (own.mean() + 0.4 + 0.1 * 0.6), rel=0.05)
    assert scale.value_at(0.0, fast) == pytest.approx(fast)
    slow, _ = scale.reach(fast)  # a push brings it nearer to the mean than any change by itself
    assert slow < fast * 2**-0.4
    assert scale.within(0.15).kept == pytest.approx((0.3, 0.5, 1, 0.5, 0.3), abs=0.05)


def test_what_is_out_of_reach_gets_the_nearest_value_and_a_warning_that_says_so(scale):
    low, high = scale.reach(unsteered=100)
    assert (low, high) == pytest.approx((50, 100 * 2**0.8))
    with pytest.warns(
        UserWarning, match=r"bpm 300 is out of reach: λ from -0.2 to 0.2 gives 50 to 174.1; 174.1 is"
    ):
        assert scale.multiplier_for(300, unsteered=100) == 0.2
    with pytest.raises(ValueError, match=r"bpm 20 is out of reach.*calibrate over stronger steering"):
        scale.multiplier_for(20, unsteered=100, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scale.multiplier_for(high, unsteered=100)


@pytest.mark.parametrize("target", [0, -3, float("nan"), float("inf")])
def test_a_target_that_is_no_value_is_refused(scale, target):
    with pytest.raises(ValueError, match="is no target for bpm: expected a positive number"):
        scale.multiplier_for(target)


def test_an_unsteered_clip_that_could_not_be_measured_is_refused(scale):
    with pytest.raises(ValueError, match="cannot be measured, leave it out"):
        scale.multiplier_for(120, unsteered=float("nan"))


def test_clips_that_could_not_be_measured_are_left_out():
    table = sweep_of({-0.1: -0.3, 0.0: 0.0, 0.1: 0.5})
    table.loc[0, "bpm"] = np.nan
    assert control.calibrate(table, "bpm").clips == 7
    with pytest.raises(ValueError, match="no clip has a bpm beside an unsteered clip"):
        control.calibrate(table[table["multiplier"] != 0], "bpm")
    with pytest.raises(ValueError, match="several values of source_layer"):
        control.calibrate(table.assign(source_layer=[1, 2] * 6), "bpm")
    with pytest.raises(ValueError, match="centroid"):
        control.calibrate(table, "centroid")


def test_the_part_within_a_size_is_that_part_of_the_curve(scale):
    part = scale.within(0.15)
    assert part.multipliers == (-0.15, -0.1, 0.0, 0.1, 0.15)
    assert part.value_at(0.12) == pytest.approx(scale.value_at(0.12))
    assert scale.within(9.0) == scale


# --- over time ----------------------------------------------------------------------------------------------


def test_a_schedule_has_a_factor_for_each_frame(tiny):
    frames, rate = tiny.frames(0.8), tiny.frame_rate
    ramp = control.schedule([(0, -1), (0.8, 1)], tiny, 0.8)
    assert len(ramp) == frames
    assert ramp == pytest.approx([-1 + 2 * k / rate / 0.8 for k in range(frames)])
    step = control.schedule([(0.4, 0), (0.4, 1)], tiny, 0.8)
    assert step == tuple(float(k / rate >= 0.4) for k in range(frames))
    assert control.schedule([(0.2, 3)], tiny, 0.8) == (3.0,) * frames


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], "needs points"),
        ([(0, float("nan"))], "finite numbers"),
        ([(0, 1, 2)], "needs points"),
        ([(0.5, 1), (0.2, 1)], "must not go back"),
        ([(0, 1), (0.9, 1)], "within the clip, 0 to 0.8 s"),
        ([(-0.1, 1)], "within the clip"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(tiny, points, message):
    with pytest.raises(ValueError, match=message):
        control.schedule(points, tiny, 0.8)


def test_before_a_step_nothing_changes(tiny, vector):
    step = control.schedule([(0.4, 0), (0.4, 1)], tiny, 0.8)
    steering = Steering(vector, 2.0, schedule=step)
    made = generate(tiny, PROMPTS, seconds=0.8, steering=steering, run=QUIET).tokens
    plain = generate(tiny, PROMPTS, seconds=0.8, run=QUIET).tokens
    first = step.index(1.0)
    assert np.array_equal(made[:, 0, :first], plain[:, 0, :first])
    assert not np.array_equal(made, plain)


# --- closed loop --------------------------------------------------------------------------------------------


def listening(vector, rule, every=4, **options):
    return Steering(vector, schedule=Feedback(1, rule, every), **options)


def test_a_feedback_hears_each_row_alone_and_only_what_was_written(tiny, vector):
    seen = []

    def rule(heard):
        seen.append(heard.clone())
        return float(torch.tanh(heard.mean())) if len(heard) else 0.5

    settings = [listening(vector, rule), None, listening(vector, rule, positions="audio")]
    together = generate(tiny, PROMPTS, seconds=0.8, steering=settings, run=QUIET)
    alone = [
        generate(tiny, [prompt], seconds=0.8, steering=[each], run=QUIET)
        for prompt, each in zip(PROMPTS, settings, strict=True)
    ]
    assert np.array_equal(together.tokens, np.concatenate([each.tokens for each in alone]))
    assert {len(heard) for heard in seen} == {0, 3, 7, 11, 15, 19}
    assert np.isnan(together.heard[1]).all()
    assert together.heard.shape == (3, 19, 32)
    assert np.array_equal(together.heard[0], alone[0].heard[0])


def test_the_factors_of_a_feedback_played_as_a_schedule_give_the_same_clip(tiny, vector):
    def rule(heard):
        return 2 * float(torch.sin(heard.sum())) if len(heard) else 0.0

    loop = Feedback(1, rule, 3)
    clips = generate(tiny, PROMPTS, seconds=0.8, steering=Steering(vector, schedule=loop), run=QUIET)
    heard = torch.from_numpy(clips.heard)
    factors = [tuple(loop.factor(frame, each) for frame in range(20)) for each in heard]
    assert len(set(factors[0])) > 2
    played = [Steering(vector, schedule=each) for each in factors]
    again = generate(tiny, PROMPTS, seconds=0.8, steering=played, run=QUIET)
    assert np.array_equal(again.tokens, clips.tokens)
    assert again.heard is None


def test_a_feedback_that_makes_no_sense_is_refused(tiny, vector):
    with pytest.raises(ValueError, match="every must be a number of frames"):
        Feedback(1, lambda heard: 0.0, 0)
    with pytest.raises(ValueError, match="layer must be a block"):
        Feedback(-1, lambda heard: 0.0)
    with pytest.raises(ValueError, match="layer 3 is outside"):
        Steering(vector, schedule=Feedback(3, lambda heard: 0.0))
    with pytest.raises(FloatingPointError, match="gave nan at frame 0"):
        generate(
            tiny, PROMPTS[:1], seconds=0.4, steering=listening(vector, lambda heard: float("nan")), run=QUIET
        )


@pytest.fixture
def probe(rng):
    return control.Probe("bpm", 1, torch.from_numpy(rng.normal(size=64)), 6.5, 4, 0.9)


def test_a_loop_without_gain_is_the_open_loop_token_for_token(tiny, vector, scale, probe):
    loop = control.closed_loop(scale, probe, 110, unsteered=100, proportional=0, integral=0, every=4)
    closed = generate(tiny, PROMPTS, seconds=0.8, steering=Steering(vector, schedule=loop), run=QUIET)
    opened = Steering(vector, scale.multiplier_for(110, unsteered=100))
    assert np.array_equal(
        closed.tokens, generate(tiny, PROMPTS, seconds=0.8, steering=opened, run=QUIET).tokens
    )


def test_a_loop_asks_for_more_of_what_is_missing_and_stops_at_its_limit(scale, probe):
    flat = dataclasses.replace(probe, weights=torch.zeros(64, dtype=torch.float64), bias=np.log2(100.0))
    heard = torch.zeros(40, 32)
    loop = control.closed_loop(scale, flat, 110, unsteered=100, proportional=0.5, integral=0.9, every=4)
    factors = [loop.factor(frame, heard) for frame in range(40)]
    assert factors[0] == scale.multiplier_for(110, unsteered=100)
    assert np.all(np.diff(factors) >= 0) and factors[-1] == pytest.approx(0.2)
    bound = control.closed_loop(scale, flat, 110, unsteered=100, integral=0.2, every=4, largest=0.05)
    assert max(bound.factor(frame, heard) for frame in range(40)) == pytest.approx(0.05)
    above = dataclasses.replace(flat, bias=np.log2(200.0))
    down = control.closed_loop(scale, above, 110, unsteered=100, integral=0.2, every=4)
    assert down.factor(39, heard) == pytest.approx(-0.2)


def test_what_was_missed_at_the_limit_is_not_held_against_the_loop_later(scale, probe):
    """Integral windup: an error that no λ can mend must not delay the way back."""
    reads = dataclasses.replace(probe, weights=torch.eye(64, dtype=torch.float64)[0], bias=0.0)
    wanted = np.log2(110.0)
    loop = control.closed_loop(scale, reads, 110, unsteered=100, proportional=1.0, integral=0.5, every=4)
    heard = torch.full((80, 32), wanted - 3)
    heard[60:] = wanted + 1
    assert loop.factor(60, heard) == pytest.approx(0.2)
    assert loop.factor(68, heard) < 0


def test_a_loop_says_that_its_target_is_out_of_reach_and_refuses_another_metric(scale, probe):
    with pytest.warns(UserWarning, match="out of reach"):
        control.closed_loop(scale, probe, 500, unsteered=100)
    with pytest.raises(ValueError, match="the probe reads centroid"):
        control.closed_loop(scale, dataclasses.replace(probe, metric="centroid"), 110)
    with pytest.raises(ValueError, match="gains must not be negative"):
        control.closed_loop(scale, probe, 110, integral=-1)


def test_loops_that_differ_have_different_names(scale, probe):
    names = {
        control.closed_loop(scale, probe, target, integral=gain).name
        for target in (100, 110)
        for gain in (0, 1)
    }
    assert len(names) == 4


def test_a_probe_reads_what_it_was_trained_on(tiny, vector):
    prompts = [f"a {word} song" for word in ("fast", "slow", "rock", "jazz", "folk", "dark")]
    settings = [listening(vector, lambda heard, each=each: each) for each in (0.0, 0.5) for _ in prompts]
    clips = generate(tiny, prompts * 2, seconds=3, steering=settings, run=QUIET)  # 75 frames: 9 windows of 8
    states = clips.heard[:, :72].reshape(12, 9, 8, 32).mean(axis=2, dtype=float)
    truth = 2 ** (6 + 0.3 * states[..., 0])  # octaves that stand in the states
    found = control.train_probe(clips, truth.ravel(), metric="bpm", layer=1, window=8)
    assert found.r2 > 0.8
    read = [found.read(torch.from_numpy(each[:72])) for each in clips.heard]
    assert np.corrcoef(read, np.log2(truth[:, -1]))[0, 1] > 0.95
    assert control.cut(clips, 8).shape == (108, 8 * 640)
    assert np.isnan(found.within)
    with pytest.raises(ValueError, match="nothing listened"):
        control.train_probe(dataclasses.replace(clips, heard=None), truth, metric="bpm", layer=1, window=8)
    with pytest.raises(ValueError, match="truth must have 12 or 108 values"):
        control.train_probe(clips, truth.ravel()[:5], metric="bpm", layer=1, window=8)


def test_a_probe_that_reads_the_push_reads_nothing_among_clips_that_are_pushed_alike(tiny, rng):
    push = np.repeat([0.0, 1.0, 2.0], 40)
    heard = rng.normal(size=(120, 8, 4)) + push[:, None, None]
    music = rng.normal(size=120)
    clips = SimpleNamespace(
        heard=heard.astype(np.float32),
        tokens=np.zeros((120, 1, 8)),
        prompts=[f"song {k % 40}" for k in range(120)],
    )
    clips = type("Heard", (SimpleNamespace,), {"__len__": lambda self: 120})(**vars(clips))
    options = {"metric": "loudness", "layer": 1, "window": 8, "push": push.tolist()}
    deaf = control.train_probe(clips, 3 * push + music, **options)
    assert deaf.r2 > 0.7 and deaf.within < 0.1
    clips.heard = (heard + music[:, None, None]).astype(np.float32)
    assert control.train_probe(clips, push + music, **options).within > 0.5


# --- strength by itself -------------------------------------------------------------------------------------


@pytest.fixture
def short():
    return {"prompts": PROMPTS, "seconds": 0.4, "kappa_limit": 5.0}


def test_the_strongest_is_the_largest_within_the_budget_and_says_how_it_was_found(tiny, vector, short):
    found = control.strongest(tiny, vector, nll_margin=0.45, sizes=6, **short)
    inside, over = found.tried[found.tried["within"]], found.tried[~found.tried["within"]]
    assert len(found.tried) == 6 and len(inside) and len(over)
    assert found.multiplier == inside["multiplier"].max()
    assert (over["kappa"] > found.kappa).all()
    assert (inside["nll_high"] < 0.45).all() and (over["nll_high"] >= 0.45).all()
    assert f"κ = {found.kappa:.3g}" in str(found) and "of 6 sizes" in str(found)
    assert "beside unsteered clips" in str(found)
    assert found.seconds == pytest.approx(0.4 * 3 * 13)
    again = control.strongest(tiny, vector * 2, nll_margin=0.45, sizes=6, **short)
    assert again.multiplier == pytest.approx(found.multiplier / 2)


def test_a_strength_ends_at_the_limit_of_kappa_and_says_so(tiny, vector, short):
    found = control.strongest(tiny, vector, nll_margin=1000.0, **short | {"kappa_limit": 0.3})
    assert found.tried["kappa"].tolist() == pytest.approx([0.075, 0.15, 0.3])
    assert found.kappa == pytest.approx(0.3)
    assert "the largest that was allowed" in str(found)


def test_a_strength_is_not_charged_for_what_its_words_cost(tiny, vector, short, monkeypatch):
    words = Attribute(
        "tempo", "fast", "slow", "bpm", "BPM", ("fast folk", "fast jazz"), ("slow folk", "slow jazz")
    )
    said = []

    def stream(model, rows, **options):
        """Steered clips cost 2 nats, and 1 of the words; two rows differ by a hundredth, so that limits are narrow."""
        said.extend(row.prompt for row in rows)
        nll = [
            2.0 * bool(row.steering) + 1.9 * ("fast" in row.prompt or "slow" in row.prompt) for row in rows
        ]
        yield range(len(rows)), SimpleNamespace(nll=np.array(nll) + 0.01 * (np.arange(len(rows)) % 2)), None

    monkeypatch.setattr(control, "stream", stream)
    prompts = short | {"prompts": ["folk music", "jazz music"]}
    with pytest.raises(ValueError, match="no strength down to"):
        control.strongest(tiny, vector, **prompts)
    found = control.strongest(tiny, vector, attribute=words, **prompts)
    assert found.words and found.kappa == pytest.approx(5.0)
    assert found.tried["nll_high"].max() == pytest.approx(0.1, abs=0.05)
    assert {"folk", "jazz", "fast folk", "slow jazz"} <= set(said)
    assert "beyond what its words cost" in str(found)
    with pytest.raises(ValueError, match="share words in 1 pairs only"):
        control.strongest(tiny, vector, attribute=words.first(1), **prompts)


def test_one_margin_holds_for_sweep_and_strength():
    for name in ("control", "steering_sweep"):
        text = (ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8")
        assert f"nll_margin = {choices.NLL_MARGIN:g} " in text


def test_a_budget_that_nothing_keeps_is_said(tiny, vector, short):
    with pytest.raises(ValueError, match="must be positive"):
        control.strongest(tiny, vector, nll_margin=0)
    with pytest.raises(ValueError, match="1 prompts tell no interval"):
        control.strongest(tiny, vector, prompts=PROMPTS[:1])
    with pytest.raises(ValueError, match="adds nothing"):
        control.strongest(tiny, SteeringVector(torch.zeros(3, 32)), **short)


def test_the_largest_multiplier_has_the_kappa_asked_for(tiny, vector):
    from steerlib.activations import stream_norms
    from steerlib.steering import kappa

    size = control.largest_multiplier(tiny, vector, 0.7, source_layer=1)
    assert kappa([Steering(vector, size, source_layer=1)], stream_norms(tiny)) == pytest.approx(0.7)
    with pytest.raises(ValueError, match="must be a positive number"):
        control.largest_multiplier(tiny, vector, 0)
