import re

import numpy as np
import pytest
import torch

from steerlib.engine.generation import Run, generate
from steerlib.page import explorer as explore
from steerlib.page.explorer import Explorer
from steerlib.steering import Steering, SteeringVector


@pytest.fixture
def vectors(tiny):
    generator = torch.Generator().manual_seed(0)
    shape = (tiny.depth, tiny.width)
    return {name: SteeringVector(torch.randn(shape, generator=generator), {}) for name in ("tempo", "timbre")}


@pytest.fixture
def explorer(tiny, vectors):
    measures = {
        "loudness": lambda clips: np.abs(clips.audio).mean(axis=1),
        "nothing": lambda clips: [np.nan] * len(clips),
    }
    return Explorer(tiny, vectors, layer=1, prompt="a folk song", seconds=0.5, measures=measures)


def test_a_click_plays_draws_and_measures_the_clip_with_and_without_steering(explorer, tiny, vectors):
    explorer.multipliers["tempo"].value = 0.1
    explorer.multipliers["timbre"].value = -0.2
    explorer.button.click()
    expected = generate(
        tiny,
        ["a folk song"] * 2,
        seconds=0.5,
        steering=[
            None,
            tuple(Steering(v, m, source_layer=1) for v, m in zip(vectors.values(), (0.1, -0.2), strict=True)),
        ],
        run=Run(progress=False),
    )
    np.testing.assert_array_equal(explorer.clips.tokens, expected.tokens)
    shown = explorer.result.value
    assert shown.count("<audio") == shown.count("<img") == 2
    assert "steered: +0.1 tempo + -0.2 timbre" in shown
    assert re.search(r"<th>loudness</th><td>\d+</td><td>\d+</td>", shown)
    assert shown.count("not measurable") == 2
    assert explorer.message.value == ""


def test_without_steering_there_is_one_clip(explorer):
    explorer.button.click()
    assert len(explorer.clips) == 1
    assert explorer.result.value.count("<audio") == 1


def test_a_double_click_makes_one_clip_and_a_changed_setting_another(explorer, monkeypatch):
    calls = []
    monkeypatch.setattr(explore, "generate", lambda *a, **k: calls.append(k["seed"]) or generate(*a, **k))
    explorer.button.click()
    explorer.button.click()
    assert calls == [0]
    assert "Nothing has changed" in explorer.message.value
    explorer.seed.value = 7
    explorer.button.click()
    assert calls == [0, 7]


def test_an_empty_prompt_is_answered_in_words_and_generates_nothing(explorer):
    explorer.prompt.value = "   "
    explorer.button.click()
    assert "prompt is empty" in explorer.message.value
    assert explorer.clips is None


def test_unknown_words_are_named_beside_the_clip(explorer):
    explorer.prompt.value = "a folk <zither> song"
    explorer.button.click()
    assert "zither" in explorer.message.value
    assert "<zither" not in explorer.message.value + explorer.result.value
    assert explorer.clips is not None


def test_values_out_of_range_are_brought_into_it(explorer):
    explorer.multipliers["tempo"].value = 99
    explorer.seed.value = -5
    explorer.guidance.value = 1000
    assert (explorer.multipliers["tempo"].value, explorer.seed.value, explorer.guidance.value) == (0.2, 0, 10)


def test_what_fails_is_said_and_leaves_the_last_clip_and_a_button_that_works(explorer):
    explorer.button.click()
    before = explorer.result.value
    explorer.prompt.value = "a folk song " * 20
    explorer.button.click()
    assert "shorten" in explorer.message.value
    assert explorer.result.value == before
    assert not explorer.button.disabled
    explorer.prompt.value = "a jazz song"
    explorer.button.click()
    assert explorer.message.value == ""


def test_every_block_its_own_direction_is_another_clip_than_one_direction_for_all(explorer):
    explorer.multipliers["tempo"].value = 0.2
    explorer.button.click()
    one_to_all = explorer.clips
    explorer.layer.value = None
    explorer.button.click()
    assert explorer.clips is not one_to_all
    np.testing.assert_array_equal(explorer.clips.tokens[0], one_to_all.tokens[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layer": 3}, "layers 0 to 2"), ({"largest": 0.0}, "positive")],
)
def test_settings_that_make_no_sense_are_refused(tiny, vectors, options, message):
    with pytest.raises(ValueError, match=message):
        Explorer(tiny, vectors, **options)


def test_vectors_of_another_model_or_none_are_refused(tiny):
    with pytest.raises(ValueError, match="at least one"):
        Explorer(tiny, {})
    with pytest.raises(
        ValueError, match=r"the vector 'tempo' has shape \(5, 32\), but the model needs .* \(3, 32\)"
    ):
        Explorer(tiny, {"tempo": SteeringVector(torch.zeros(5, 32), {})})
