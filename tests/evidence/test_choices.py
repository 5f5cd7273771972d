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


def test_a_choice_is_read_as_it_was_written_with_a_fallback_for_what_it_lacks(tmp_path):
    path = tmp_path / "best_layers.json"
    chosen = {"tempo": choices.best(summary_of(LIMITS), by="source_layer"), "timbre": None}
    choices.save(path, chosen, what="source layer", model="pocket")
    read = choices.load(path, ["tempo", "timbre"], model="pocket", fallback=5)
    assert read.values == {"tempo": 2, "timbre": 5}
    assert choices.RULE in read.source
    assert "Fallback parameter for timbre: 5" in read.source


def test_without_a_choice_for_this_model_the_fallback_holds_and_is_named(tmp_path):
    path = tmp_path / "best_layers.json"
    missing = choices.load(path, ["tempo"], model="pocket", fallback=5)
    assert missing.values == {"tempo": 5} and "There is no" in missing.source
    choices.save(path, {"tempo": 2}, what="source layer", model="pocket")
    other = choices.load(path, ["tempo"], model="another", fallback=5)
    assert other.values == {"tempo": 5} and "chosen for pocket, not for another" in other.source


def test_a_file_that_is_no_choice_is_refused(tmp_path):
    path = tmp_path / "best_layers.json"
    for text in ("{", "{}", '{"format": "something else"}', "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match="not a choice of settings"):
            choices.load(path, ["tempo"], model="pocket", fallback=5)


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
