"""Two losses compared by what they read and by how they steer, at a strength that favours neither."""

import numpy as np
import pandas as pd
import pytest

from steerlib.chapters import probes as chapter
from steerlib.readout.probes import Nested
from steerlib.study import Study


@pytest.fixture
def study(tiny, tmp_path):
    return Study("probes", tiny, [], seconds=0.5, store=tmp_path, scores=tmp_path / "scores")


def read(rng, mse, bce, *, clips=80):
    """Nested accuracies of the two losses."""
    units = np.array([f"track {i}" for i in range(clips)])
    return {
        ("residual", loss): Nested(rng.random(clips) < accuracy, units, (1,), (10.0,), 0.25)
        for loss, accuracy in (("mse", mse), ("bce", bce))
    }


def steered(rng, mse, bce, *, prompts=10):
    rows = [
        {"target": target, "way": way, "prompt_id": prompt, "seed": 0, "multiplier": 0.1,
         "score": np.clip(score + 0.05 * rng.normal(), 0, 1)}
        for target in ("rock", "folk")
        for way, score in (("MSE", mse), ("BCE", bce), ("one-hot", 0.9), ("random direction", 0.0))
        for prompt in range(prompts)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("reading", "steering", "expected"),
    [
        ((0.9, 0.5), (0.7, 0.4), {"reading": "holds", "steering": "holds"}),
        ((0.5, 0.9), (0.4, 0.7), {"reading": "fails", "steering": "fails"}),
        ((1.0, 1.0), (1.0, 0.99), {"reading": "not testable", "steering": "not testable"}),
        ((1.0, 1.0), (0.7, 0.4), {"reading": "not testable", "steering": "holds"}),
    ],
)
def test_losses_are_compared_where_there_is_room_for_a_difference(rng, study, reading, steering, expected):
    verdict = chapter.verdict(study, read(rng, *reading), steered(rng, *steering), within=True)
    assert verdict.outcomes == expected


def test_losses_that_are_alike_are_rarely_told_apart(rng, study):
    found = [
        chapter.verdict(study, read(rng, 0.7, 0.7), steered(rng, 0.5, 0.5), within=True).outcomes.values()
        for _ in range(20)
    ]
    assert sum(outcome == "holds" for outcomes in found for outcome in outcomes) <= 3


def test_both_losses_get_the_strength_that_neither_overspends():
    rows = [
        {"method": method, "multiplier": size, "prompt": f"song {i}", "seed": 0, "nll": 4 + cost * size}
        for method, cost in (("mse", 1.0), ("bce", 2.0))
        for size in (0.0, 0.03, 0.06)
        for i in range(3)
    ]
    table = pd.DataFrame(rows)
    assert chapter.common_strength(table, 0.07) == (0.03, True)
    assert chapter.common_strength(table, 0.2) == (0.06, True)
    assert chapter.common_strength(table, 0.01) == (0.03, False)


def test_every_class_is_pushed_along_both_losses_one_hot_and_a_random_direction():
    pushes = chapter.pushes(["a song"], ["rock", "folk"], [0.1])
    assert [(push.method, push.against, push.control) for push in pushes[:4]] == [
        ("bce", "rest", ""), ("mse", "rest", ""), ("mse", "one-hot", ""), ("mse", "rest", "random direction"),
    ]  # fmt: skip
    assert len({(push.target, push.draw) for push in pushes}) == 2
    assert len(chapter.pushes(["a song"], ["rock", "folk"], [0.1], every=False)) == 4


def test_the_mean_accuracy_leaves_out_the_control(capsys):
    table = pd.DataFrame(
        [
            {"layer": layer, "loss": loss, "labels": labels, "accuracy": accuracy, "chance": 0.5}
            for loss in ("mse", "bce")
            for labels, accuracies in (("true", (0.6, 0.8)), ("shuffled", (0.9, 0.5)))
            for layer, accuracy in enumerate(accuracies)
        ]
    )
    chapter.means({"residual": table, "attention": table.assign(accuracy=1 - table["accuracy"])})
    assert "MSE 0.500, BCE 0.500, chance 0.500" in capsys.readouterr().out
