"""What the chapter *Emotion* makes of clips: the rule, the judge that learns it, and the quadrants."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from steerlib.chapters import emotion as chapter
from steerlib.evidence import scorecard
from steerlib.measure.audio import resample
from steerlib.music import corpus
from steerlib.prompts import load_attribute

ATTRIBUTES = {name: load_attribute(name) for name in chapter.AXES}


def quadrants(does, words=((1, 0), (0, 1)), prompts=6, draws=3):
    """Clips of which the judge hears what both pushes do; each prompt has a level of its own."""
    rng, rows = np.random.default_rng(0), []
    ways = {
        "steering": does,
        "words": words,
        **{f"random {k}": rng.normal(0, 0.1, (2, 2)) for k in range(draws)},
    }
    for prompt in range(prompts):
        level = rng.normal(0, 0.3, size=2)
        rows.append(("unsteered", 0, 0, prompt, *level))
        for way, effect in ways.items():
            for one, two in ((one, two) for one in (-1, 1) for two in (-1, 1)):
                heard = level + one * np.array(effect[0]) + two * np.array(effect[1])
                rows.append((way, one, two, prompt, *heard))
    names = ["way", *chapter.AXES, "prompt_id", "heard valence", "heard arousal"]
    return pd.DataFrame(rows, columns=names).assign(known=True)


def test_by_the_rule_major_is_happier_than_minor_and_loud_dense_fast_music_more_excited():
    truths = [corpus.compose(seed)[0] for seed in range(200)]
    found = chapter.truth(truths)
    assert found.mean().to_numpy() == pytest.approx(np.zeros(7), abs=1e-9)
    assert found.std(ddof=0).to_numpy() == pytest.approx(np.ones(7))
    major = np.array([each.mode == "major" for each in truths])
    assert found["valence"][major].mean() > found["valence"][~major].mean() + 1.4
    correlation = found.corr()
    assert correlation.loc["valence", "mode"] > 0.7 > correlation.loc["valence", "tempo"] > 0.2
    for cue in ("tempo", "energy", "loudness"):
        assert correlation.loc["arousal", cue] > 0.4
    assert abs(correlation.loc["arousal", "mode"]) < 0.2


def test_a_judge_that_composed_clips_have_taught_hears_arousal_in_others(monkeypatch):
    monkeypatch.setattr(chapter, "codec", lambda audio, times, *, network: audio)
    network = SimpleNamespace(audio_encoder=None)
    study = SimpleNamespace(model=SimpleNamespace(sample_rate=16000, network=network), beats=None, seed=0)
    judge, tested = chapter.train(study, range(48))
    assert list(tested.index) == ["valence", "arousal", "mode", "timbre", "tempo", "energy", "loudness"]
    assert tested.loc["loudness", "r2"] > 0.9
    truths, audio = zip(*corpus.stream(range(1000, 1016), workers=0), strict=True)
    heard = judge(resample(np.stack(audio), corpus.SAMPLE_RATE, 16000), 16000)
    assert np.corrcoef(heard["arousal"], chapter.truth(truths)["arousal"])[0, 1] > 0.6
    assert judge(np.zeros((1, 16000), np.float32), 16000).isna().all(axis=None)


def test_each_direction_is_read_on_both_axes_whichever_way_the_other_points():
    found = chapter.effects(quadrants(((0.5, 0.1), (-0.2, 0.8))))
    steered = found[found["way"] == "steering"].groupby(["pushed", "heard"])["shift"].mean()
    assert steered.to_dict() == pytest.approx({
        ("valence", "valence"): 0.5, ("valence", "arousal"): 0.1,
        ("arousal", "valence"): -0.2, ("arousal", "arousal"): 0.8,
    })  # fmt: skip


def test_the_parts_of_the_claim_have_a_control_and_the_auc_of_the_words():
    parts = chapter.against(quadrants(((0.5, 0), (0, 0.8)), words=((0, 0), (0, 1))))
    assert parts["valence"].interval.estimate == pytest.approx(0.5)
    assert parts["valence"].control.n == 6  # two directions in each of three pairs
    assert parts["valence"].testable.estimate == pytest.approx(0.5)
    assert parts["arousal"].testable.estimate > 0.9


def test_a_prompt_whose_clip_is_silent_has_no_shift():
    table = quadrants(((0.5, 0), (0, 0.8)))
    table.loc[
        (table["way"] == "steering") & (table["prompt_id"] == 0) & (table["valence"] == 1), "heard valence"
    ] = np.nan
    assert chapter.against(table)["valence"].interval.dropped == 1


def test_an_axis_whose_words_the_model_does_not_follow_is_said_to_be_not_testable(tmp_path):
    table = quadrants(((0.5, 0), (0, 0.8)), words=((0, 0), (0, 1)))
    verdict = scorecard.record("C6", chapter.against(table), model="m", folder=tmp_path, notebook="emotion")
    assert verdict.outcomes["valence"] == "not testable"
    tested = pd.DataFrame({"r2": [0.3, 0.9, 0.1]}, index=["valence", "arousal", "mode"])
    said, against = chapter.findings(SimpleNamespace(attributes=ATTRIBUTES), verdict, tested, table)
    assert "Valence is **not testable**" in said[0] and "happy against sad" in said[0]
    assert said[1].startswith("Steering shifts arousal by +0.8 ")
    assert "30 % of valence" in against and "100 % of the clips" in against


def test_the_words_of_each_pole_are_told_with_what_captions_mean_by_them():
    found = chapter.meanings(SimpleNamespace(attributes=ATTRIBUTES)).reset_index()
    happy = found[found["pole"] == "happy"]
    assert happy["in pocket's captions"].tolist() == ["mode: major"]
    assert "cheerful" in happy["words"].item()
    calm = found[found["pole"] == "calm"]["in pocket's captions"].tolist()
    assert calm == ["tempo: slow", "loudness: soft", "energy: calm"]


def test_the_plane_takes_two_attributes():
    with pytest.raises(ValueError, match=r"two axes, valence and arousal, in this order; got \['valence'\]"):
        chapter.by_axis(SimpleNamespace(attributes={"valence": ATTRIBUTES["valence"]}))


def test_a_plane_is_drawn_for_words_for_steering_and_for_random_directions(monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    messages = []
    monkeypatch.setattr(chapter.figures, "message", messages.append)
    table = quadrants(((0.5, 0), (0, 0.8)))
    chapter.draw_planes(SimpleNamespace(attributes=ATTRIBUTES), table)
    axes = plt.gcf().axes
    assert [ax.get_title("left") for ax in axes] == ["words", "steering", "random directions"]
    named = {text.get_text() for text in axes[0].get_legend().get_texts()}
    assert named == {"happy, calm", "happy, energetic", "sad, calm", "sad, energetic"}
    assert set(axes[1].get_legend_handles_labels()[1]) == named
    told = chapter.summary(table)
    assert told.loc[("arousal", "arousal"), "steering"].startswith("+0.8 ")
    plt.close("all")


@pytest.mark.parametrize("does, message", [
    (((0.5, 0), (0, 0.8)), "Steering moves valence and arousal further than random directions do"),
    (((0.5, 0), (0, 0.0)), "Steering moves valence further than random directions do; this is not shown for arousal"),
    (((0, 0), (0, 0)), "That steering moves valence and arousal further than random directions do is not shown"),
])  # fmt: skip
def test_above_the_plane_stands_which_axes_are_moved(monkeypatch, does, message):
    monkeypatch.setattr(plt, "show", lambda: None)
    messages = []
    monkeypatch.setattr(chapter.figures, "message", messages.append)
    chapter.draw_planes(SimpleNamespace(attributes=ATTRIBUTES), quadrants(does))
    assert messages == [message]
    plt.close("all")
