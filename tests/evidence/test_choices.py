"""The rule of choice on summaries whose best setting is known, and the file that carries a choice."""

import numpy as np
import pandas as pd
import pytest

from steerlib.evidence import choices


def summary_of(limits):
    """A summary with the limits (low, high) of the relative change by (layer, multiplier)."""
    rows = [
        {
            "attribute": "tempo",
            "source_layer": layer,
            "multiplier": multiplier,
            "n": 12,
            "dropped": 1,
            "effect": 50 * (low + high),
            "low": 100 * low,
            "high": 100 * high,
            "relative": (low + high) / 2,
            "relative_low": low,
            "relative_high": high,
        }
        for (layer, multiplier), (low, high) in limits.items()
    ]
    return pd.DataFrame(rows).astype({"source_layer": "Int64"})


LIMITS = {
    (0, 0.1): (0.30, 0.50),  # strong toward one pole only
    (0, -0.1): (-0.10, 0.10),
    (2, 0.1): (0.10, 0.20),  # both poles, by little
    (2, -0.1): (-0.25, -0.12),
    (4, 0.1): (0.05, 0.60),  # both poles, but who knows by how much
    (4, -0.1): (-0.70, -0.06),
}


def test_an_effect_toward_the_negative_pole_is_turned_round_with_its_limits():
    row = summary_of(LIMITS).query("source_layer == 2 and multiplier < 0").iloc[0]
    interval = choices.intended(row, relative=True)
    assert (interval.low, interval.high) == pytest.approx((12, 25))
    assert interval.low < interval.estimate < interval.high
    assert (interval.n, interval.dropped) == (12, 1)
    assert choices.intended(row).estimate == pytest.approx(18.5)


def test_the_best_setting_is_the_one_whose_worse_pole_is_surest():
    summary = summary_of(LIMITS)
    limits = choices.worst_pole(summary, by="source_layer")
    assert limits.to_dict() == pytest.approx({0: -10, 2: 10, 4: 5})
    assert choices.best(summary, by="source_layer") == 2
    shuffled = summary.sample(frac=1, random_state=1)
    assert choices.best(shuffled, by="source_layer") == 2


def test_a_setting_with_a_pole_that_could_not_be_measured_is_not_chosen():
    summary = summary_of(LIMITS | {(2, -0.1): (np.nan, np.nan)})
    assert choices.best(summary, by="source_layer") == 4
    assert choices.best(summary[summary.source_layer == 2], by="source_layer") is None


def test_settings_that_differ_in_something_else_too_cannot_be_compared():
    summary = summary_of(LIMITS | {(2, 0.2): (0.3, 0.4)})
    with pytest.raises(ValueError, match="several rows for one source_layer and pole"):
        choices.best(summary, by="source_layer")
    with pytest.raises(ValueError, match=r"lacks \['size'\]"):
        choices.best(summary, by="size")


def test_a_choice_is_read_as_it_was_written_nothing_allowed_included(tmp_path):
    path = tmp_path / "best_layers.json"
    chosen = {"tempo": choices.best(summary_of(LIMITS), by="source_layer"), "timbre": None}
    choices.save(path, chosen, what="source layer", model="pocket")
    read = choices.load(path, ["tempo", "timbre"], model="pocket")
    assert read.values == {"tempo": 2, "timbre": None}
    assert choices.RULE in read.source


def test_nothing_is_taken_in_the_place_of_a_choice_that_is_not_there(tmp_path):
    path = tmp_path / "best_layers.json"
    with pytest.raises(FileNotFoundError, match="no choice of settings at .*run the chapter"):
        choices.load(path, ["tempo"], model="pocket")
    choices.save(path, {"tempo": 2}, what="source layer", model="pocket")
    with pytest.raises(ValueError, match="chosen for pocket, not for another"):
        choices.load(path, ["tempo"], model="another")
    with pytest.raises(ValueError, match="has no source layer for timbre, only for tempo"):
        choices.load(path, ["tempo", "timbre"], model="pocket")


def quality_of(limits):
    """Upper limits (nll, fad) by multiplier."""
    return pd.DataFrame(
        [{"multiplier": value, "nll_high": nll, "fad_high": fad} for value, (nll, fad) in limits.items()]
    )


def test_the_strongest_size_is_within_the_budget_at_both_poles_as_all_smaller_ones_are():
    margins = {"nll": 0.2, "fad": 0.25}
    fine, broken = (0.1, 0.1), (0.1, 0.4)
    sizes = {-0.1: fine, 0.1: fine, -0.2: fine, 0.2: fine, -0.5: fine, 0.5: broken}
    assert choices.strongest(quality_of(sizes), margins) == 0.2
    assert (
        choices.strongest(quality_of(sizes | {-0.2: broken}), margins) == 0.1
    )  # 0.5 is not let through either
    assert choices.strongest(quality_of(sizes | {0.1: (np.nan, 0.1)}), margins) is None
    assert choices.strongest(quality_of(sizes), {"nll": 0.05}) is None
    assert choices.strongest(quality_of(sizes), {"nll": 0.2}) == 0.5


def test_a_budget_without_margin_measure_or_pole_is_refused():
    rows = quality_of({-0.1: (0.1, 0.1), 0.1: (0.1, 0.1)})
    with pytest.raises(ValueError, match="no margin"):
        choices.strongest(rows, {})
    with pytest.raises(ValueError, match=r"the table of quality lacks \['mel_high'\]"):
        choices.strongest(rows, {"mel": 0.2})
    with pytest.raises(ValueError, match="the size 0.1 of λ does not have one row for each pole"):
        choices.strongest(rows[:1], {"nll": 0.2})


def test_a_file_that_is_no_choice_is_refused(tmp_path):
    path = tmp_path / "best_layers.json"
    for text in ("{", "{}", '{"format": "something else"}', "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="not a choice of settings"):
            choices.load(path, ["tempo"], model="pocket")


# --- layers of the papers ---


def test_layers_of_the_paper_are_found_in_a_model_of_the_same_and_of_another_depth():
    assert choices.same_depth(10, 18, of=48, to=48) == tuple(range(9, 18))
    assert choices.same_depth(1, 48, of=48, to=12) == tuple(range(12))
    assert choices.same_depth(10, 18, of=48, to=3) == ()
    shallow, deep = choices.same_depth(1, 24, of=48, to=12), choices.same_depth(25, 48, of=48, to=12)
    assert shallow + deep == tuple(range(12))


@pytest.mark.parametrize("layers", [(0, 5), (5, 4), (5, 49)])
def test_layers_that_the_paper_cannot_have_are_refused(layers):
    with pytest.raises(ValueError, match="count from 1"):
        choices.same_depth(*layers, of=48, to=12)
