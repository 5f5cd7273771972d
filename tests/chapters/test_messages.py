"""The title of a figure says what its data show: other data, another sentence."""

import html
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from steerlib.chapters import (
    class_results,
    engine,
    genre_fusion,
    held_out,
    judges,
    known_truth,
    meet_the_model,
    probes,
    scorecard,
    steering_sweep,
    timbre_transfer,
    where_and_when,
    where_in_the_network,
)
from steerlib.evidence.stats import Interval
from steerlib.page import figures
from steerlib.prompts import load_attribute

TEMPO, TIMBRE = load_attribute("tempo"), load_attribute("timbre")


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """What was said above figures, which can be drawn to their end."""
    messages: list[str] = []
    monkeypatch.setattr(figures, "display", lambda page: messages.append(page.data))
    with mpl.rc_context({"figure.constrained_layout.use": True}):
        mpl.use("agg")
        yield messages
        plt.gcf().canvas.draw()
        plt.close("all")


def of(*attributes):
    return SimpleNamespace(attributes={each.name: each for each in attributes})


def said(shown: list[str]) -> str:
    [page] = shown
    return html.unescape(page.removeprefix('<p class="figure-message">').removesuffix("</p>"))


def test_a_message_is_text_of_the_page(shown):
    figures.message("λ < 1")
    assert shown == ['<p class="figure-message">λ &lt; 1</p>']


@pytest.mark.parametrize("fast, message", [
    (150.0, "The music follows the words for tempo"),
    (100.0, "No difference between opposite prompts is shown for tempo"),
])  # fmt: skip
def test_music_follows_words_only_where_the_poles_differ(shown, fast, message):
    means = {"fast": fast, "slow": 100.0}
    rows = [("tempo", pole, mean + k % 7) for pole, mean in means.items() for k in range(20)]
    meet_the_model.boxes(of(TEMPO), pd.DataFrame(rows, columns=["attribute", "pole", "value"]))
    assert said(shown) == message


def effects(slope):
    """Effects at nine λ, in BPM, with intervals of ±5."""
    factors = [-0.1, -0.05, -0.02, -0.01, 0.0, 0.01, 0.02, 0.05, 0.1]
    return pd.DataFrame({
        "attribute": "tempo", "metric": "bpm", "multiplier": factors, "baseline": 120.0, "n": 9, "dropped": 0,
        **{name: [120 * (name == "mean") + slope * each + shift for each in factors]
           for name, shift in {"mean": 0, "effect": 0, "low": -5, "high": 5}.items()},
    })  # fmt: skip


@pytest.mark.parametrize("slope, message", [
    (300, "The larger λ, the further it moves tempo as intended"),
    (-300, "No steady change as intended is shown for tempo"),
    (10, "No steady change as intended is shown for tempo"),
])  # fmt: skip
def test_a_curve_that_rises_is_called_so_and_no_other(shown, slope, message):
    steering_sweep.curves(SimpleNamespace(study=of(TEMPO), effects=lambda name, metric=None: effects(slope)))
    assert said(shown) == message


@pytest.mark.parametrize("costs, message", [
    ({0.01: 0.1, 0.02: 0.9}, "Within the budget: λ up to 0.01 for tempo"),
    ({0.01: 0.8, 0.02: 0.9}, "Within the budget: no λ for tempo"),
])  # fmt: skip
def test_the_budget_names_the_largest_size_that_it_allows(shown, costs, message):
    rows = [{"attribute": "tempo", "multiplier": sign * size, "kappa": size, "nll": cost, "nll_low": cost - 0.1,
             "nll_high": cost + 0.1} for size, cost in costs.items() for sign in (-1, 1)]  # fmt: skip
    steering_sweep.budget(of(TEMPO), pd.DataFrame(rows), {"nll": 0.5})
    assert said(shown) == message


@pytest.mark.parametrize("random, message", [
    (0.1, "Steering shifts tempo further than any direction that should not steer"),
    (0.35, "For tempo, a direction that should not steer may reach as far"),
    (-0.35, "For tempo, a direction that should not steer may reach as far"),
])  # fmt: skip
def test_steering_is_beyond_its_controls_only_with_its_whole_interval(shown, random, message):
    rows = [("tempo", "tempo", "own", 0.4, 0.3, 0.5), ("tempo", "random 1", "random", random, random, random),
            ("tempo", "its own words", "words", 0.9, 0.8, 1.0)]  # fmt: skip
    names = ["attribute", "along", "kind", "shift", "low", "high"]
    held_out.draw_beside(pd.DataFrame(rows, columns=names).assign(unit="octaves"))
    assert said(shown) == message


@pytest.mark.parametrize("gain, message", [
    ({"bright": 2.0, "dark": 0.5}, "the level changes as intended toward bright (louder) and dark (quieter)"),
    ({"bright": 1.0, "dark": 1.0}, "no change as intended is shown toward bright (louder) and dark (quieter)"),
])  # fmt: skip
def test_a_tilt_of_the_spectrum_is_seen_at_its_upper_end(shown, rng, gain, message):
    plain = rng.normal(size=(6, 8000)).astype(np.float32)
    sounds = {"not steered": plain} | {pole: factor * plain for pole, factor in gain.items()}
    held_out.bands(sounds, TIMBRE, 16000)
    assert said(shown) == f"Above 4000 Hz, {message}"


@pytest.mark.parametrize("random, message", [
    (3.0, "DiffMean shifts tempo further than any random direction"),
    (-15.0, "A random direction may shift tempo as far as DiffMean"),
])  # fmt: skip
def test_diffmean_is_beyond_random_directions_on_either_side(shown, random, message):
    shifts = {"DiffMean": Interval(20, 10, 30, 8), "random 1": Interval(random, random - 5, random + 5, 8)}
    index = pd.MultiIndex.from_product([["tempo"], list(shifts)], names=["attribute", "direction"])
    known_truth.control(of(TEMPO), pd.DataFrame({"shift": list(shifts.values())}, index=index))
    assert said(shown) == message


@pytest.mark.parametrize("random, message", [
    (0.1, "Both probes’ directions bring rock out more than a random direction does"),
    (0.4, "No probe’s direction is shown to beat a random one for rock"),
])  # fmt: skip
def test_probes_must_beat_the_random_direction(shown, random, message):
    rows = [("rock", kind, effect, effect - 0.1, effect + 0.1)
            for kind, effect in {"BCE": 0.4, "MSE": 0.5, "random direction": random}.items()]  # fmt: skip
    probes.draw(pd.DataFrame(rows, columns=["name", "kind", "effect", "low", "high"]))
    assert said(shown) == message


def test_genres_are_counted_as_shown_only_with_their_whole_interval(shown):
    rows = [(pair, kind, effect, effect - 0.1, effect + 0.1) for pair, up in (("a to b", 0.3), ("b to a", 0.05))
            for kind, effect in (("target genre", up), ("source genre", -up))]  # fmt: skip
    genre_fusion.draw(pd.DataFrame(rows, columns=["name", "kind", "effect", "low", "high"]))
    assert said(shown) == "The target genre is shown to rise in 1 of 2 rows, the source genre to fall in 1"
    shares = pd.DataFrame(
        [("words", 0.2, 0.1, 0.3), ("steered", 0.1, 0, 0.2)], columns=["name", "effect", "low", "high"]
    )
    shown.clear()
    genre_fusion.draw(shares, limit=0.5)
    assert (
        said(shown)
        == "CLAP hears both genres in 10 % of the steered clips and 20 % of clips whose prompt names both"
    )


def test_instruments_are_counted_by_the_kind_of_direction(shown):
    rows = [(name, f"{kind}: instrument", effect, effect - 0.1, effect + 0.1)
            for name, kind, effect in (("flute", "pieces", 0.3), ("violin", "pieces", 0.05), ("flute", "notes", 0.3),
                                       ("violin", "notes", 0.4))]  # fmt: skip
    timbre_transfer.draw(pd.DataFrame(rows, columns=["name", "kind", "effect", "low", "high"]))
    assert said(shown) == (
        "The instrument is shown to appear for 1 of 2 along directions of pieces and 2 of 2 along directions of notes"
    )


@pytest.mark.parametrize("low, message", [
    (150, "Shown to steer further than “One-to-All”: “first step only” for tempo"),
    (90, "Shown to steer further than “One-to-All”: nothing for tempo"),
])  # fmt: skip
def test_a_setting_is_further_only_if_its_interval_lies_beyond(shown, low, message):
    rows = [("tempo", "One-to-All", 100, 80, 120), ("tempo", "first step only", 160, low, 200)]
    table = pd.DataFrame(rows, columns=["attribute", "setting", "shift", "shift_low", "shift_high"])
    table = table.assign(fad=1.0, fad_low=0.5, fad_high=1.5)
    where_and_when.draw(of(TEMPO), table, Interval(1, 0.5, 1.5, 6))
    assert said(shown) == message


@pytest.mark.parametrize("chance, message", [
    (0.2, "2 neighbouring blocks carry more than chance of what the words do, for tempo (80 %)"),
    (0.9, "2 blocks are not shown to carry more than chance for tempo (80 %)"),
])  # fmt: skip
def test_blocks_carry_more_than_chance_only_beyond_what_other_prompts_carry(shown, chance, message):
    rows = [("read", layer, pair, share + 0.01 * pair, 1.0)
            for layer, share in ((0, 0.1), (1, 0.78), (2, 0.3)) for pair in range(5)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["series", "layer", "pair", "gained", "whole"])
    where_in_the_network.reading_figure(of(TEMPO), {"tempo": table}, {"tempo": Interval(0, 0, chance, 5)}, 2)
    assert said(shown) == message


def test_a_clip_is_timed_in_the_smallest_and_the_largest_call(shown):
    rows = [("clips", 1, 3.0), ("clips", 8, 0.5), ("seconds", 2, 0.1)]
    engine.cost_curves(pd.DataFrame(rows, columns=["varied", "value", "seconds a clip"]))
    assert said(shown) == "A clip takes 3 s in a call of 1, and 0.5 s in a call of 8"


def test_the_degradation_that_hurts_a_judge_most_is_named(shown):
    rows = [(kind, degree, "style", judge, 1.0, right)
            for judge in ("CLAP", "CLAP, if it knows")
            for kind, degree, right in (("noise", 0, 0.9), ("noise", 1, 0.2), ("codec", 0, 0.9),
                                        ("codec", 1, 0.7))]  # fmt: skip
    names = ["kind", "degree", "attribute", "judge", "answered", "right"]
    table = pd.DataFrame(rows, columns=names).assign(low=0.1, high=0.9)
    judges.curves(table, "style")
    assert (
        said(shown) == "CLAP is right on 90 % of clips as composed, and on 20 % where it is hurt most (noise)"
    )


@pytest.mark.parametrize("right, message", [
    (20, "The class does better than guessing at “is X A or B?, |λ| = 0.1 (20 answers)”"),
    (10, "The class is not shown to do better than guessing"),
])  # fmt: skip
def test_a_class_hears_something_only_if_its_interval_says_so(shown, right, message):
    answers = pd.DataFrame(
        {"question": "abx", "size": 0.1, "file": "one", "right": [1] * right + [0] * (20 - right)}
    )
    class_results.draw(answers)
    assert said(shown) == message


def test_the_scorecard_counts_its_checks(shown, monkeypatch):
    rows = [
        ("A1", "A1", 1.2, 1.1, 1.3, "holds"),
        ("A2", "A2", 0.5, 0.4, 0.6, "fails"),
        ("A3", "A3", 1, 0.5, 1.5, "open"),
    ]
    names = ["label", "claim", "estimate", "low", "high", "outcome"]
    monkeypatch.setattr(scorecard, "parts", lambda table, model: pd.DataFrame(rows, columns=names))
    scorecard.forest(pd.DataFrame(), "pocket")
    assert said(shown) == "Of 3 checks, 1 held, 1 failed and 1 stayed open"
