"""The tables of the chapter *Judges*: what is right, what is answered, and what may be trusted."""

import numpy as np
import pandas as pd
import pytest

from steerlib.chapters import judges as chapter


def heard(judge, value, truth, right, *, attribute="tempo", kind="noise", degree=0.0):
    return pd.DataFrame(
        {
            "kind": kind,
            "degree": degree,
            "attribute": attribute,
            "judge": judge,
            "value": value,
            "truth": truth,
            "right": right,
        }
    )


def test_an_answer_is_right_within_4_percent_and_the_comb_up_to_octaves():
    value, truth = np.array([100.0, 103.0, 50.0, np.nan]), np.full(4, 100.0)
    np.testing.assert_array_equal(chapter._right("tempo", "tracker", value, truth), [1, 1, 0, np.nan])
    np.testing.assert_array_equal(chapter._right("tempo", "comb", value, truth), [1, 1, 1, np.nan])
    assert np.isnan(chapter._right("level", "LUFS", value, truth)).all()


def test_what_is_not_answered_counts_for_coverage_and_not_as_an_error():
    rows = heard(
        "tracker", [100.0, 50.0, np.nan, np.nan], [100.0, 100.0, 90.0, 80.0], [1.0, 0.0, np.nan, np.nan]
    )
    found = chapter.errors(rows).iloc[0]
    assert (found["clips"], found["answered"], found["right"]) == (4, 0.5, 0.5)
    assert 0 < found["low"] < 0.5 < found["high"] < 1


def test_a_judge_that_never_answers_has_no_share_that_is_right():
    found = chapter.errors(heard("tracker", [np.nan] * 3, [1.0, 2.0, 3.0], [np.nan] * 3)).iloc[0]
    assert found["answered"] == 0 and np.isnan(found["right"]) and np.isnan(found["ordered"])


def test_order_is_1_if_right_0_if_reversed_and_a_half_if_nothing_is_told_apart():
    truth = np.array([1.0, 2.0, 2.0, 3.0])
    assert chapter.ordered(truth**2, truth) == 1
    assert chapter.ordered(-truth, truth) == 0
    assert chapter.ordered(np.ones(4), truth) == 0.5


def test_two_judges_agree_up_to_octaves_on_the_clips_that_both_answer():
    made = pd.DataFrame(
        {
            "tracker": [100.0, 100.0, 100.0, 100.0],
            "tracker, if sure": [100.0, np.nan, np.nan, np.nan],
            "comb": [50.0, 130.0, np.nan, 101.0],
        }
    )
    found = chapter.agreement(made)
    assert found.loc["tracker", "comb"] == pytest.approx(2 / 3)
    assert found.loc["tracker, if sure", "comb"] == 1 and found.loc["comb", "comb"] == 1


@pytest.mark.parametrize(
    ("shown", "trusted"),
    [("alike", "groups of clips"), ("apart", "not confirmed"), ("none", "not confirmed")],
)
def test_a_number_is_trusted_for_groups_only_if_a_second_judge_confirms_it(rng, shown, trusted):
    names = [name for each in chapter.JUDGES.values() for name in each]
    table = pd.DataFrame({"judge": names, "degree": 0.0, "right": np.nan, "ordered": 0.9})
    first = rng.normal(size=30)
    second = {"alike": first, "apart": -first, "none": np.full(30, np.nan)}[shown]
    made = pd.DataFrame(dict.fromkeys(names, first) | {"cutoff": second}).assign(temperature=1.0)
    found = chapter.trust(table, made, one_clip=0.95, groups=0.6)
    assert found.loc["brightness", "trusted for"] == trusted
    assert found.loc["style", "trusted for"] == "not confirmed"  # there is no second judge


def test_a_number_is_trusted_for_one_clip_only_if_its_judge_also_answers():
    names = [name for each in chapter.JUDGES.values() for name in each]
    table = pd.DataFrame({"judge": names, "degree": 0.0, "right": 1.0, "ordered": 1.0})
    made = pd.DataFrame(dict.fromkeys(names, np.arange(20.0))).assign(temperature=1.0)
    assert chapter.trust(table, made, one_clip=0.95, groups=0.6).loc["tempo", "trusted for"] == "one clip"
    assert (
        chapter.trust(table, made, one_clip=0.95, groups=0.6)["trusted for"]["tempo between groups"]
        != "one clip"
    )
    made.loc[5:, "tracker, if sure"] = np.nan
    assert chapter.trust(table, made, one_clip=0.95, groups=0.6).loc["tempo", "trusted for"] != "one clip"
