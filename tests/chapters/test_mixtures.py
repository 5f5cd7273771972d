"""What the chapter *Mixtures* makes of squares of clips: effects, shares, and the words of a prompt."""

from itertools import product
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from steerlib.chapters import mixtures as chapter
from steerlib.evidence import scorecard
from steerlib.prompts import load_attribute
from steerlib.steering import SteeringVector
from steerlib.study import Trial

METRICS = {"tempo": "bpm", "timbre": "centroid"}


def square(tempo, timbre, way="sum", instead="", *, signs=(-1, 0, 1), prompts=5):
    """Clips of which tempo and brightness (octaves) are functions of both signs; every prompt has its own level."""
    rows = [
        (way, instead, one, two, prompt, 2 ** (6 + prompt + tempo(one, two)), 2 ** (8 + timbre(one, two)),
         3 + 0.1 * (abs(one) + abs(two)))
        for one, two in product(signs, signs) for prompt in range(prompts)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["way", "instead", *METRICS, "prompt_id", "bpm", "centroid", "nll"])


def leaky(one, two):
    """0.4 octaves of its own, half of it left beside the other, which adds 0.1."""
    return 0.4 * one * (0.5 if two else 1) + 0.1 * two


def clean(one, two):
    return 0.8 * two


def test_an_effect_alone_is_read_from_the_edges_and_a_mixed_one_from_the_corners():
    found = chapter.effects(square(leaky, clean), METRICS).groupby("attribute").mean(numeric_only=True)
    assert found.loc["tempo", ["alone", "mixed", "across"]].tolist() == pytest.approx([0.4, 0.2, 0.0])
    assert found.loc["timbre", ["alone", "mixed", "across"]].tolist() == pytest.approx([0.8, 0.8, 0.1])


def test_shares_are_of_what_each_measures_own_direction_does_alone():
    found = chapter.shares(chapter.effects(square(leaky, clean), METRICS))
    told = {part: each.estimate for part, each in found.items()}
    assert told == pytest.approx(
        {"tempo kept": 0.5, "tempo off-axis": 0.0, "timbre kept": 1.0, "timbre off-axis": 0.25}
    )


def test_a_direction_that_goes_the_wrong_way_alone_has_no_share():
    found = chapter.shares(chapter.effects(square(leaky, lambda one, two: -0.8 * two), METRICS))
    assert np.isnan([found["timbre kept"].low, found["tempo off-axis"].high]).all()
    assert np.isfinite(found["timbre off-axis"].low)


def test_off_axis_is_left_open_for_a_direction_that_does_no_more_than_random_ones():
    own = square(leaky, clean)
    for reach, known in ((0.05, True), (3.0, False)):
        random = [
            square(leaky, lambda one, two, size=size: size * two, f"random {size}", "timbre", signs=(-1, 1))
            for size in (-reach, 0.8 * reach)
        ]
        parts = chapter.against(chapter.effects(pd.concat([own, *random]), METRICS))
        assert np.isfinite(parts["timbre off-axis"].interval.low) == known
        assert parts["timbre kept"].control.high > reach / 0.8
        assert parts["timbre kept"].interval.estimate == pytest.approx(1)
        assert parts["tempo kept"].control.n == 0


def test_what_a_mixture_costs_is_told_beside_what_one_push_costs():
    table = pd.concat([square(leaky, clean), square(leaky, clean, "random 1", "timbre", signs=(-1, 1))])
    told = chapter.table_of_ways(table, chapter.effects(table, METRICS))
    assert told.loc[("sum", "tempo"), ["nll of one", "nll of both"]].tolist() == [0.1, 0.2]
    assert told.loc[("sum", "tempo"), "kept"].startswith("0.5 ")
    assert told.loc[("random in place of the other", "tempo"), "kept"].startswith("0.5 ")


def test_a_square_has_nine_points_four_names_and_an_arrow_for_each_corner():
    _, ax = plt.subplots()
    poles = {"tempo": {1: "fast", -1: "slow"}, "timbre": {1: "bright", -1: "dark"}}
    chapter.draw_square(square(leaky, clean), METRICS, poles, ax)
    points = [tuple(line.get_xydata()[0].round(6)) for line in ax.lines if line.get_marker() == "o"]
    assert len(points) == 9 and (0.3, 0.8) in points and (-0.4, 0.0) in points
    names = [text.get_text() for text in ax.texts if text.get_text()]
    assert set(names) == {"fast, bright", "fast, dark", "slow, bright", "slow, dark"}
    [outline] = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert outline.get_xydata()[2] == pytest.approx([0.5, 0.8])  # fast, bright: both edges added up
    plt.close("all")


def trial(attributes, does):
    """Both poles of each attribute on four prompts; `does` has what each direction does to each measure."""
    rows = [
        {"attribute": name, "multiplier": sign, "prompt_id": prompt, "seed": 0, "clip": f"{name}{sign}{prompt}"}
        | {metric: size * sign + 0.01 * prompt * sign for metric, size in does[name].items()}
        for name in attributes for sign in (-1, 1) for prompt in range(4)
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(bpm=lambda rows: 2 ** rows["bpm"])
    loaded = {name: load_attribute(name).first(2) for name in attributes}
    return Trial(SimpleNamespace(attributes=loaded, store="nowhere"), table)


def test_cross_talk_is_in_units_of_the_measures_own_direction():
    does = {"tempo": {"bpm": 0.5, "rms": 1.0}, "loudness": {"bpm": -0.25, "rms": 4.0}}
    found = chapter.cross_talk([trial(["tempo"], does), trial(["loudness"], does)])
    shift = found.set_index(["attribute", "metric"])["shift"]
    assert shift["tempo", "bpm"] == shift["loudness", "rms"] == 1
    assert shift["tempo", "rms"] == pytest.approx(0.25, abs=0.02)
    assert shift["loudness", "bpm"] == pytest.approx(-0.5, abs=0.1)
    assert chapter.largest(found).startswith("The direction of loudness moves the tempo by −4")
    assert chapter.largest(found).endswith("% of what that of tempo does")


def test_a_measure_that_its_own_direction_does_not_move_has_no_unit():
    does = {"tempo": {"bpm": 0.5, "rms": 1.0}, "loudness": {"bpm": 0.0, "rms": -0.015}}
    found = chapter.cross_talk([trial(["tempo", "loudness"], does)]).set_index(["attribute", "metric"])[
        "shift"
    ]
    assert np.isnan([found["tempo", "rms"], found["loudness", "rms"]]).all()
    assert found["tempo", "bpm"] == 1


def test_one_attribute_alone_is_no_mixture_and_three_make_no_square(tmp_path):
    told = []
    study = SimpleNamespace(
        attributes={"timbre": None}, chapter="mixtures", model=SimpleNamespace(name="pocket"), scores=tmp_path,
        bottom_line=lambda found, against: told.extend(found),
    )  # fmt: skip
    with pytest.raises(SystemExit):
        chapter.check_two(study)
    assert "only timbre" in told[0]
    found = scorecard.read(tmp_path).set_index("claim")
    assert found.loc["C2", "verdict"] == "not shown"
    with pytest.raises(ValueError, match="a square has two attributes, got 3: a, b and c"):
        chapter.check_two(SimpleNamespace(attributes=dict.fromkeys("abc")))


def test_a_push_that_was_turned_away_shows_in_its_angle():
    one, other = (SteeringVector(torch.tensor([[x, y]]).float().repeat(3, 1)) for x, y in ((1, 0), (1, 1)))
    turned = SteeringVector(torch.tensor([[0.0, 1.0]]).repeat(3, 1))
    found = chapter.angles({"sum": {"a": one, "b": other}, "orthogonal": {"a": one, "b": turned}})
    assert found["a and b"].tolist() == pytest.approx([0.5**0.5, 0], abs=1e-6)
    assert found["b and its DiffMean"].tolist() == pytest.approx([1, 0.5**0.5])


def test_a_square_in_which_a_corner_has_no_tempo_is_drawn_without_its_arrow():
    poles = {"tempo": {1: "fast", -1: "slow"}, "timbre": {1: "bright", -1: "dark"}}
    part = square(leaky, clean)
    part.loc[(part["tempo"] == 1) & (part["timbre"] == 1), "bpm"] = np.nan
    figure, ax = plt.subplots()
    chapter.draw_square(part, METRICS, poles, ax)
    figure.canvas.draw()
    assert len([each for each in ax.texts if getattr(each, "arrow_patch", None)]) == 3
    plt.close(figure)


@pytest.mark.parametrize(
    ("tempo", "said"),
    [
        (leaky, "In the sum, over 80 % of the effect is kept for timbre; in the sum, over 80 % of the effect is not"),
        (lambda one, two: 0.4 * one, "In the sum, over 80 % of the effect is kept for tempo and timbre"),
    ],
)
def test_the_figure_of_squares_says_what_is_kept(monkeypatch, tempo, said):
    shown = []
    monkeypatch.setattr(chapter.figures, "message", shown.append)
    table = square(tempo, clean)
    study = SimpleNamespace(attributes={name: load_attribute(name) for name in METRICS})
    chapter.draw_squares(study, table, chapter.effects(table, METRICS))
    plt.close("all")
    assert shown[0].startswith(said)
