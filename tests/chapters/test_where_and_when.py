"""The chapter *Where and when to inject*: the ways of injecting, and λ before its factor."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from steerlib.chapters import where_and_when as chapter
from steerlib.chapters.where_and_when import Way
from steerlib.steering import SteeringVector

WAYS = {
    "One-to-All": Way(),
    "All-to-All, equal push": Way("all_to_all", factor={"tempo": 1.0, "timbre": 2.0}),
    "One-to-one": Way("one_to_one", factor=12),
    "unconditional": Way(branches="unconditional", factor=-0.5),
}


@pytest.mark.parametrize(
    ("one_to_one", "crossed", "names"),
    [
        (True, False, list(WAYS)),
        (False, True, ["One-to-All", "All-to-All, equal push", "unconditional", *chapter.CROSSED]),
    ],
)
def test_ways_are_left_out_that_nobody_asked_for(one_to_one, crossed, names):
    assert list(chapter.wanted(WAYS, one_to_one=one_to_one, crossed=crossed)) == names


def test_a_way_is_compared_prompt_by_prompt_and_beside_random_directions():
    shift = {
        ("timbre", "One-to-All"): pd.Series([2.0, 3.0, 4.0]),
        ("timbre", "other"): pd.Series([1.0, 2.0, 3.5]),
    }
    random = {("timbre", "One-to-All"): pd.Series([0.3, -0.1]), ("timbre", "other"): pd.Series([0.1, 0.1])}
    found = chapter.more(shift, random, ["timbre"], "other")
    assert found.interval.estimate == pytest.approx(2.5 / 3) and found.interval.n == 3
    assert found.control.high == pytest.approx(-found.control.low) and found.control.n == 2
    share = chapter.more(shift, random, ["timbre"], "other", relative=True)
    both = (9 + 6.5) / 6  # of the mean shift of the two ways
    assert share.interval.estimate == pytest.approx(2.5 / 3 / both)
    assert share.control.high == pytest.approx(found.control.high / both)


def test_a_negative_factor_turns_the_push_and_not_the_pole():
    vector = SteeringVector(torch.ones(12, 4))

    class Study(SimpleNamespace):
        def compare(self, grids):
            self.grids = grids
            rows = [
                (setting, name, value)
                for setting, grid in grids.items()
                for name in self.attributes
                for value in (0.0, *grid.multipliers[name])
            ]
            return SimpleNamespace(table=pd.DataFrame(rows, columns=["setting", "attribute", "multiplier"]))

    names = ["tempo", "timbre"]
    study = Study(
        attributes=dict.fromkeys(names), vectors=dict.fromkeys(names, vector),
        layers={"tempo": 3, "timbre": 5}, sizes={"tempo": 0.1, "timbre": 0.2},
    )  # fmt: skip
    table = chapter.compare(study, WAYS).table
    assert study.grids["unconditional"].multipliers == {"tempo": (0.05, -0.05), "timbre": (0.1, -0.1)}
    assert study.grids["All-to-All, equal push"].multipliers["timbre"] == (-0.4, 0.4)
    assert study.grids["All-to-All, equal push"].layers is None
    for name, size in study.sizes.items():
        for _, rows in table[table["attribute"] == name].groupby("setting"):
            assert list(rows["multiplier"]) == [0.0, -size, size]


def test_the_bottom_line_compares_equal_pushes_and_the_first_step():
    rows = [("One-to-All", 200.0), ("All-to-All, equal push", 150.0), ("All-to-All, same λ", 900.0)]
    both = pd.DataFrame([*rows, ("first step only", 20.0)], columns=["setting", "shift"])
    both = both.assign(attribute="timbre", shift_low=both["shift"] - 10, shift_high=both["shift"] + 10, n=10)
    study = SimpleNamespace(attributes={"timbre": SimpleNamespace(unit="Hz")}, prompts=["a song"] * 10)
    found, against = chapter.findings(study, both)
    assert found == [
        "At an equal push, “One-to-All” shifts timbre furthest (+200 Hz [+190, +210]) and “All-to-All, equal push” "
        "least (+150 Hz [+140, +160]).",
        "A push at the first step alone shifts timbre by +20 Hz [+10, +30].",
    ]
    assert "10 prompts" in against
    found, _ = chapter.findings(study, both.assign(shift=[180.0, 150.0, 900.0, 20.0]).replace(
        "All-to-All, same λ", "One-to-one, equal push"
    ))  # fmt: skip
    assert ", “One-to-All” by +180 Hz [+190, +210] and “All-to-All, equal push” least" in found[0]
