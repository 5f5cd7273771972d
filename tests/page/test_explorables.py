import json
import re

import numpy as np
import pytest

from steerlib.page.explorables import anatomy, blind, drag, film, pad

RATE = 16000


@pytest.fixture(autouse=True)
def notebook_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    return tmp_path


def tone(frequency):
    return (0.3 * np.sin(2 * np.pi * frequency * np.arange(RATE) / RATE)).astype(np.float32)


def data(page):
    return json.loads(re.findall(r'"application/json">(.*?)</script>', page.data, re.S)[0])


POLES = ("fast", "slow")


def test_points_to_drag_begin_where_the_prompts_lie_and_words_are_never_markup():
    page = drag([[1, 2], [3, -4]], [True, False], ["<b>up</b>", "down"], POLES)
    assert data(page)["points"] == [[1, 2, True, "<b>up</b>"], [3, -4, False, "down"]]
    assert "<b>up" not in page.data


@pytest.mark.parametrize(
    ("points", "sides", "message"),
    [
        ([[1, 2, 3]], [True], "shape"),
        ([[1, 2], [3, 4]], [True], "1 poles"),
        ([[1, 2], [3, 4]], [True] * 2, "of each pole"),
    ],
)
def test_points_that_are_not_in_a_plane_or_of_one_pole_are_refused(points, sides, message):
    with pytest.raises(ValueError, match=message):
        drag(points, sides, ["a prompt"] * len(points), POLES)


def test_every_layer_of_the_film_fills_its_frame_and_keeps_its_shape():
    points = np.array([[0, 0], [10, 0], [0, 5]])
    page = film(
        {3: points, 4: 100 * points + 7}, [True, False, True], ["a"] * 3, POLES, {3: "x", 4: "y"}, start=4
    )
    first, second = data(page)["layers"]
    assert first["points"] == second["points"]
    assert np.abs(first["points"]).max() == 1
    assert (first["layer"], second["said"]) == (3, "y")
    with pytest.raises(ValueError, match="starts at 9"):
        film({3: points}, [True] * 3, ["a"] * 3, POLES, {3: "x"}, start=9)


def test_the_anatomy_has_a_button_for_each_part_and_a_step_for_each_diagonal():
    page = anatomy(
        {"Prompt": ("a <sentence>", "words"), "Codec": ("16 kHz", "sound")}, np.zeros((3, 5), int), 1024
    )
    assert page.data.count('class="sl-part"') == 2
    assert "a &lt;sentence&gt;" in page.data
    assert 'max="7"' in page.data  # 5 frames, of which the third codebook is two steps behind


def square():
    return {
        (x, y, prompt): tone(300 + 1000 * x + 500 * y)
        for prompt in ("a", "b")
        for x in (-0.1, 0.0, 0.1)
        for y in (-0.1, 0.1)
    }


def test_the_pad_rises_to_the_right_and_upwards_and_has_a_clip_for_each_prompt():
    words = {key: f"{key[0]:+g} {key[1]:+g}" for key in square()}
    axes = (("tempo", *POLES), ("timbre", "bright", "dark"))
    page = pad(square(), RATE, attributes=axes, readouts=(words, words))
    first = re.findall(r'data-first="([^"]*)"', page.data)
    assert first[:6] == ["-0.1 +0.1", "+0 +0.1", "+0.1 +0.1", "-0.1 -0.1", "+0 -0.1", "+0.1 -0.1"]
    assert len(first) == 12 and page.data.count('class="sl-square"') == 6
    with pytest.raises(ValueError, match="1 of 12 clips of the pad are missing"):
        pad(dict(list(square().items())[:-1]), RATE, attributes=axes, readouts=(words, words))


def test_of_each_pair_of_the_blind_test_the_steered_clip_comes_first():
    page = blind(
        [("tempo, λ = +0.1", tone(440), tone(220)), ("timbre, λ = −0.1", tone(550), tone(660))], RATE
    )
    spoken = re.findall(r"<li ><span>([^<]*)</span>", page.data)
    assert spoken == ["tempo, λ = +0.1", "not steered", "timbre, λ = −0.1", "not steered"]
