"""The chapter *Where in the network*: shares, the window that carries most, and curves that agree."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steerlib.chapters import where_in_the_network as chapter
from steerlib.engine.generation import Run
from steerlib.engine.patching import Contrast, Patch
from steerlib.evidence.stats import Interval
from steerlib.prompts import load_attribute
from steerlib.steering import Steering, SteeringVector


def table(gained, whole, series="read"):
    """Rows of `ask`, from gains (layers, pairs) and what there was to gain (pairs,)."""
    layers, pairs = np.shape(gained)
    rows = [(series, k, pair, gained[k][pair], whole[pair]) for k in range(layers) for pair in range(pairs)]
    return pd.DataFrame(rows, columns=["series", "layer", "pair", "gained", "whole"])


def test_a_share_is_the_ratio_of_the_sums_over_pairs():
    found = chapter.share(table([[1.0, 1.0, 1.5]], [2.0, 2.0, 3.0]))
    assert (found.estimate, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    assert chapter.share(table([[0.0, 3.0]], [1.0, 5.0])).estimate == pytest.approx(0.5)


def test_no_pair_votes_for_the_window_that_it_is_measured_in():
    # Each pair gains 9 in a window of its own and -1 in the others; but for the last two, which agree on window 4.
    gained = np.full((5, 6), -1.0)
    gained[[0, 1, 2, 3], [0, 1, 2, 3]] = 9
    gained[4, 4:] = 5
    found, window = chapter.carrying(table(gained, np.full(6, 10.0)))
    assert window == 4
    # the others choose window 4 for the first four, who lose there; without one of its voters another window wins
    assert found.estimate == pytest.approx((4 * -1 + 2 * -1) / 60)
    assert gained.sum(axis=1).max() / 60 > 0, "on the same pairs it would look like a gain"


def test_curves_of_the_same_order_agree_and_opposite_ones_do_not(rng):
    rising = np.arange(6.0)[:, None] + rng.normal(0, 0.1, (6, 8))
    parts = {"up": rising, "up again": 3 * rising**3, "down": -rising}
    asked = pd.concat([table(each, np.ones(8), name) for name, each in parts.items()])
    assert chapter.agreement(asked, "up", "up again").estimate == pytest.approx(1)
    down = chapter.agreement(asked, "up", "down")
    assert (down.estimate, down.high) == pytest.approx((-1, -1)) and down.n == 8
    noise = pd.concat([table(rng.normal(size=(6, 8)), np.ones(8), name) for name in "ab"])
    found = chapter.agreement(noise, "a", "b")
    assert found.low < found.estimate < found.high and found.low < 0 < found.high


def test_pairs_are_taken_from_one_on_and_never_too_many():
    tempo = load_attribute("tempo")
    part = chapter.take(tempo, 8, 3)
    assert part.positive_prompts == tempo.positive_prompts[8:11]
    assert part.negative_prompts == tempo.negative_prompts[8:11]
    with pytest.raises(ValueError, match="has 100 pairs, but 60 from number 50 on"):
        chapter.take(tempo, 50, 60)


def test_each_series_has_the_changes_that_its_name_says():
    patches = chapter.patches(6, 3, 1)
    assert patches["read"][2] == Patch((2, 3, 4), "attention", "audio") and len(patches["read"]) == 4
    assert patches["prefix"][5] == Patch((5,), positions="prefix")
    assert list(chapter.patches(6, 3, 2)["audio"]) == [0, 2, 4]
    vector = SteeringVector(np.ones((6, 4)))
    pushes = chapter.at_one_block("DiffMean", vector, 0.6, 1)
    one = pushes["DiffMean, audio"][3].deltas(6)
    assert pushes["DiffMean, prefix"][3].positions == "prefix"
    whole = chapter.from_each_layer(vector, 0.6, 2)["source layer"][4].deltas(6)
    assert one.any(dim=1).tolist() == [k == 3 for k in range(6)]
    assert one.sum().item() == pytest.approx(whole.sum().item()), "the same push in all"


def test_what_is_asked_of_a_model_comes_back_by_series_layer_and_pair(tiny):
    fast, slow = ["a fast rock song", "the fast jazz piece"], ["a slow rock song", "the slow jazz piece"]
    contrast = Contrast(tiny, fast, slow, seconds=0.2, run=Run(progress=False))
    changes = {
        "everything": {2: Patch((2,)), 0: Patch((0,))},
        "nothing": {1: Steering(SteeringVector(np.ones((3, 32))), 0.0)},
    }
    asked = chapter.ask(contrast, changes)
    assert asked[["series", "layer", "pair"]].values.tolist() == [
        *(["everything", layer, pair] for layer in (0, 2) for pair in (0, 1)),
        *(["nothing", 1, pair] for pair in (0, 1)),
    ]
    shares = [chapter.share(rows).estimate for _, rows in asked.groupby(["series", "layer"])]
    np.testing.assert_allclose(shares, [1, 1, 0], atol=1e-4)


def test_findings_are_whole_sentences_also_where_nothing_could_be_measured():
    study = SimpleNamespace(model=SimpleNamespace(depth=12))
    carried = {"tempo": (Interval(0.6, 0.5, 0.7, 9), 4)}
    chance = {"tempo": Interval(0.0, -0.1, 0.1, 4)}
    music = table([[2.0] * 4, [1.0, 1.2, 0.8, 1.0], [0.0] * 4], [2.0] * 4).replace(
        {"layer": {0: -1, 1: 5, 2: 11}}
    )
    found, against = chapter.findings(study, carried, chance, {"tempo": music}, 3)
    assert "read carries 60 % [50, 70] of the words' effect for tempo (blocks 4 to 6 of 12)." in found[0]
    assert "tempo up to layer 5" in found[2] and "9 pairs" in against
    found, _ = chapter.findings(study, carried, chance, {"tempo": music.assign(gained=np.nan)}, 3)
    assert "tempo at no layer" in found[2]
