"""What the chapter *Control* makes of tables: errors, shares, and the λ at which a sweep meets a budget."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steerlib import control
from steerlib.chapters import control as chapter
from steerlib.evidence import choices
from steerlib.evidence.claims import primary
from steerlib.evidence.scorecard import Verdict
from steerlib.page.bottom_line import bottom_line
from steerlib.prompts import load_attribute


def asked(errors_by_way, *, prompts=8):
    rows = [
        {"attribute": "tempo", "way": way, "prompt_id": k, "target": target, "error": error + 0.01 * k,
         "reachable": k > 1, "nll": 2.0 + error, "nll0": 2.0}
        for way, error in errors_by_way.items() for k in range(prompts) for target in (70, 170)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_an_error_is_a_prompts_median_and_counts_each_prompt_once():
    table = asked({"open loop": 0.3, "closed loop": 0.1, "words": 0.5, "random 1": 0.6, "random 2": 0.7})
    found = chapter.errors(table).set_index("way")
    assert found.loc["closed loop", "error"] == pytest.approx(0.135)
    assert (found.loc["closed loop", "low"], found.loc["closed loop", "high"]) == pytest.approx((0.1, 0.17))
    assert found.loc["random", "clips"] == 32
    assert found.loc["open loop", "nll"] == pytest.approx(0.3)
    assert found.loc["open loop", "in reach"] == pytest.approx(0.75)
    assert found.loc["open loop", "error in reach"] == pytest.approx(0.345)
    assert chapter.in_reach(table) == "75 % for tempo"


def test_the_parts_of_a_claim_have_the_draws_of_random_directions_as_their_control():
    table = asked({"open loop": 0.3, "closed loop": 0.1, "words": 0.5, "random 1": 0.6, "random 2": 0.7})
    found = chapter.hit(table)
    assert set(found) == {"tempo, open loop", "tempo, closed loop"}
    assert found["tempo, open loop"].interval.estimate == pytest.approx(0.335)
    assert found["tempo, open loop"].control.n == 2
    assert found["tempo, open loop"].control.estimate == pytest.approx(0.685)
    [nll, error] = chapter.likelihoods(table)
    assert nll.interval.estimate == pytest.approx(-0.2)
    assert error.interval.estimate == pytest.approx(-0.4)


def test_a_step_is_answered_when_most_of_its_last_change_is_there():
    change = np.r_[np.zeros(20), np.full(20, 1.0)]
    assert chapter._response(change, 20) == 2  # a mean of three windows crosses 63 % in the second
    late = np.r_[np.zeros(26), np.full(14, 1.0)]
    assert chapter._response(late, 20) == 8
    assert np.isnan(chapter._response(-change, 20))
    assert np.isnan(chapter._response(np.full(40, np.nan), 20))


def test_shares_count_own_clips_and_hold_draws_against_them():
    rows = [("ramp", "own", k, 0.9, k != 0) for k in range(8)]
    rows += [("ramp", f"random {draw}", k, 0.1, False) for draw in (1, 2) for k in range(3)]
    clips = pd.DataFrame(rows, columns=["kind", "along", "prompt_id", "found", "hit"])
    found = chapter.shares(clips)["ramp"]
    assert found.interval.estimate == pytest.approx(7 / 8)
    assert (found.control.estimate, found.control.n) == (0, 2)


def test_steadiness_is_the_distance_of_the_halves_and_how_often_the_judge_is_sure(monkeypatch):
    """Clips of which the mean is the metric: the halves are 100 and 200, one clip is silent."""
    sounds = np.repeat([[100.0, 200.0]] * 4 + [[0.0, 0.0]], 8, axis=1)
    monkeypatch.setitem(chapter.METRICS, "centroid", lambda audio, sample_rate: audio.mean(axis=1))
    monkeypatch.setitem(chapter._SURE, "centroid", "third")
    monkeypatch.setitem(
        chapter.METRICS, "third", lambda audio, sample_rate: np.where(audio.mean(axis=1), 1, np.nan)
    )
    study = SimpleNamespace(sounds=lambda rows: sounds, model=SimpleNamespace(sample_rate=16), beats=None)
    trial = SimpleNamespace(study=study, parts={"timbre": pd.DataFrame({"multiplier": [0.0] * 5})})
    [row] = chapter.steadiness(trial, {"timbre": SimpleNamespace(metric="centroid")}).to_dict("records")
    assert row["apart"] == pytest.approx(1) and row["n"] == 4 and row["sure"] == pytest.approx(0.8)


@pytest.fixture
def trial():
    """A sweep in which λ = 0.01, 0.02, 0.04 shifts by 1, 2, 4 tenths of an octave."""
    rows = [
        (prompt, factor, 100 * 2 ** (10 * factor + 0.1 * prompt), f"{prompt} {factor}")
        for prompt in range(6)
        for factor in (-0.04, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04)
    ]
    table = pd.DataFrame(rows, columns=["prompt_id", "multiplier", "bpm", "key"])
    study = SimpleNamespace(attributes={"tempo": load_attribute("tempo").first(2)}, seconds=8.0)
    return SimpleNamespace(study=study, parts={"tempo": table})


@pytest.fixture
def quality():
    """Upper limits of 0.1, 0.3, 0.2 at the worse pole."""
    limits = {0.01: 0.1, 0.02: 0.3, 0.04: 0.2}
    rows = [
        ("tempo", sign * size, high * (1 if sign > 0 else 0.5))
        for size, high in limits.items()
        for sign in (1, -1)
    ]
    return pd.DataFrame(rows, columns=["attribute", "multiplier", "nll_high"])


def test_the_budget_is_met_between_sizes_and_before_the_first_that_costs_too_much(quality):
    assert chapter.within_budget(quality, 0.2) == pytest.approx(0.015)
    assert chapter.within_budget(quality, 0.5) == 0.04
    assert chapter.within_budget(quality, 0.05) == 0
    exact = {size: choices.strongest(quality, {"nll": size}) for size in (0.2, 0.5, 0.05)}
    assert exact == {0.2: 0.01, 0.5: 0.04, 0.05: None}  # the same rule, on the sizes of the sweep


def strength(multiplier):
    return control.Strength(multiplier, 0.1, pd.DataFrame(), 0.2, 33.6, True)


def test_the_share_of_a_strength_is_that_of_its_shift(trial, quality):
    table, parts = chapter.of_sweep(trial, {"tempo": strength(0.012)}, quality)
    assert parts["tempo"].interval.estimate == pytest.approx(0.8)
    assert parts["tempo"].control.estimate == pytest.approx(np.mean([0.01, 0.02, 0.04]) / 0.015)
    assert table["cost (share of the sweep)"][0] == pytest.approx(0.1)


def test_where_the_sweep_allows_nothing_there_is_nothing_to_compare(trial, quality, capsys):
    _, parts = chapter.of_sweep(trial, {"tempo": strength(0.012)}, quality.assign(nll_high=1.0))
    assert not parts and "no λ to be within the budget" in capsys.readouterr().out


def test_what_was_found_is_told_as_one_hears_it(tmp_path):
    table = asked({"open loop": 0.3, "closed loop": 0.1, "words": 0.5, "random 1": 0.6, "random 2": 0.7})
    verdict = Verdict(primary("C1"), "tiny", chapter.hit(table))
    found, against = chapter.findings([verdict])
    assert found == [
        "Asked for a number instead of λ, half of the clips miss it by more than a factor of 1.26 [1.23, 1.29] "
        "(tempo, open loop) and a factor of 1.1 [1.07, 1.13] (tempo, closed loop): the claim (C1) is **not supported**."
    ]
    assert "Random directions would miss by up to a factor of" in against
    bottom_line("control", found, against, model="tiny", folder=tmp_path)
    assert chapter.findings([])[0] == ["Too few clips could be measured to tell."]
