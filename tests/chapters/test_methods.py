"""What the chapter *Methods* makes of clips: strengths within a budget, scores, ranks, and who beats the controls."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from steerlib.chapters import methods as chapter
from steerlib.prompts import load_attribute
from steerlib.steering import SteeringVector

PROMPTS = ("A jazz piece with a flute", "A rock song", "A tune", "An organ part")


@pytest.fixture
def study():
    """Of tempo, with clips that are numbers: CLAP gives clip k the probability k / 100 for whatever is asked."""
    return SimpleNamespace(
        attributes={"tempo": load_attribute("tempo")}, prompts=PROMPTS, clap=None,
        model=SimpleNamespace(sample_rate=16000), sounds=lambda rows: rows["clip"].astype(float).to_numpy()[:, None],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def listener(monkeypatch):
    def scores(audio, labels, **_):
        return np.repeat(audio, len(labels), axis=1) / 100

    monkeypatch.setattr(chapter, "clap_scores", scores)


def heard(fast=160.0, slow=40.0):
    return {"tempo": SimpleNamespace(table=pd.DataFrame({"bpm": [fast] * 3 + [slow] * 3}))}


def method(name, control=False):
    return chapter.Method(name, SteeringVector(torch.ones(2, 4)), control=control)


def clips(way, high, low, *, nll=3.0, clip="50", control=False):
    """Clips of one method for all prompts: BPM toward the fast and the slow pole."""
    return [
        {"attribute": "tempo", "method": way, "control": control, "sign": sign, "prompt_id": k, "told": prompt,
         "bpm": bpm, "nll": nll, "clip": clip}
        for sign, bpm in (((1, high), (-1, low)) if way else ((0, 80.0),)) for k, prompt in enumerate(PROMPTS)
    ]  # fmt: skip


def scored(study, *rows, **ways):
    table = pd.DataFrame(clips("", 80, 80, clip="80") + [row for each in rows for row in each])
    found = chapter.score(study, {"tempo": [method(name) for name in ways]}, table, heard())
    return found.set_index(["method", "prompt_id"])


def test_a_prompt_names_a_style_and_a_lead_by_any_of_their_words():
    assert chapter.named("A boom-bap loop with a sax") == {"style": "hip-hop", "lead": "saxophone"}
    assert chapter.named("A guitar rock anthem") == {"style": "rock", "lead": "guitar"}
    assert chapter.named("An interlude") == {}


def test_reached_is_the_share_of_what_the_words_do_and_stays_between_0_and_1(study):
    found = scored(study, clips("half", 113.137, 56.569), clips("all", 640, 10), clips("wrong", 60, 100))["reached"]
    assert found["half"].tolist() == pytest.approx([0.5] * 4, abs=1e-4)
    assert found["all"].tolist() == [1] * 4 and found["wrong"].tolist() == [0] * 4


def test_a_clip_without_a_tempo_has_reached_nothing(study):
    assert scored(study, clips("broken", np.nan, 40))["reached"].tolist() == [0] * 4


def test_kept_is_what_clap_still_hears_of_what_the_prompt_names(study):
    found = scored(study, clips("less", 160, 40, clip="20"), clips("more", 160, 40, clip="100"))["kept"]
    assert found["less"].tolist() == pytest.approx([0.25, 0.25, np.nan, 0.25], nan_ok=True)
    assert found["more"].dropna().tolist() == [1, 1, 1]


def test_likely_falls_with_what_a_clip_costs_and_is_no_gain(study):
    found = scored(study, clips("dear", 160, 40, nll=3 + np.log(2)), clips("cheap", 160, 40, nll=1.0))["likely"]
    assert found["dear"].tolist() == pytest.approx([0.5] * 4) and found["cheap"].tolist() == [1] * 4


def test_the_score_is_the_harmonic_mean_of_what_there_is_to_lose(study):
    found = scored(study, clips("half", 113.137, 56.569, clip="40", nll=3 + np.log(2)))["score"]
    assert found["half"].tolist() == pytest.approx([0.5] * 4, abs=1e-4)  # the third prompt has two shares only
    assert scored(study, clips("nothing", 80, 80, clip="80"))["score"].tolist() == [0] * 4


def test_a_method_that_the_budget_allows_no_strength_scores_nothing(study):
    found = scored(study, clips("half", 113.137, 56.569), half=1, absent=1)
    assert found.loc["absent", "score"].tolist() == [0] * 4 and found.loc["absent", "reached"].isna().all()


def test_the_budget_takes_the_largest_strength_that_both_poles_afford():
    rows = [("tempo", "one", kappa, sign * kappa, 0.0, 0.0, high)
            for kappa, highs in ((0.1, (0.1, 0.2)), (0.2, (0.3, 0.6)), (0.4, (0.1, 0.1)))
            for sign, high in zip((-1, 1), highs, strict=True)]  # fmt: skip
    rows += [("tempo", "none", 0.1, sign * 0.1, 0.0, 0.0, 0.9) for sign in (-1, 1)]
    tried = pd.DataFrame(rows, columns=["attribute", "method", "kappa", "multiplier", "nll", "nll_low", "nll_high"])
    assert chapter.chosen(tried, 0.5) == {("tempo", "one"): 0.1, ("tempo", "none"): None}


def of_scores(**scores):
    """Scores by prompt, of methods and of controls, whose names begin with "random"."""
    return pd.concat([
        pd.DataFrame({"attribute": "tempo", "method": name.replace("_", " "), "control": name.startswith("random"),
                      "prompt_id": range(len(values)), "score": values})
        for name, values in scores.items()
    ], ignore_index=True)  # fmt: skip


def test_the_best_is_chosen_on_other_prompts_than_those_that_it_is_scored_on(study):
    lucky = {"even": [0.9, 0.0, 0.9, 0.0], "odd": [0.0, 0.9, 0.0, 0.9]}
    table = of_scores(**lucky, random_1=[0.1] * 4, random_2=[0.0] * 4)
    part = chapter.parts(study, table, heard())["tempo"]
    assert part.interval.estimate == pytest.approx(-0.1)  # each is chosen where it is scored 0
    good = of_scores(good=[0.8] * 4, random_1=[0.1] * 4, random_2=[0.0] * 4, words=[1.0] * 4)
    part = chapter.parts(study, good, heard())["tempo"]
    assert part.interval.estimate == pytest.approx(0.7)
    assert part.testable.estimate == 1.0
    assert part.control.n == 2


def test_ranks_overlap_where_prompts_disagree_and_random_directions_count_as_one():
    rng = np.random.default_rng(0)
    table = of_scores(
        best=[0.9] * 20, one=rng.uniform(0.3, 0.6, 20), other=rng.uniform(0.3, 0.6, 20),
        random_1=[0.0] * 20, random_2=[0.2] * 20,
    )  # fmt: skip
    ranked = chapter.ranks(table)
    assert ranked.index[0] == "best" and ranked.loc["best", ["rank", "best", "worst"]].tolist() == [1, 1, 1]
    assert ranked.loc["random", "score"] == pytest.approx(0.1) and ranked.loc["random", "control"]
    assert {tuple(ranked.loc[each, ["best", "worst"]]) for each in ("one", "other")} == {(2, 3)}


@pytest.mark.parametrize(
    ("words", "steered", "said"),
    [
        ((1, 1), (2, 3), "Words beat every way to steer; the best is good"),
        ((2, 2), (1, 1), "Steering by good beats words"),
        ((1, 2), (1, 2), "Between words and the best way to steer (good) the ranks do not decide"),
    ],
)
def test_the_title_says_whether_words_win(words, steered, said):
    rows = {"words": (*words, False), "good": (*steered, False), "random": (3, 3, True)}
    ranked = pd.DataFrame.from_dict(rows, orient="index", columns=["best", "worst", "control"])
    assert chapter.said(ranked) == said
