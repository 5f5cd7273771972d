"""Fusion is counted clip by clip, and no flattened score passes for it."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from steerlib.activations import Activations
from steerlib.chapters import genre_fusion as chapter
from steerlib.study import Study
from steerlib.sweeps import transfer

PAIRS = [f"pair {i}" for i in range(4)]
PROMPTS = 8
CHOSEN = pd.DataFrame({"multiplier": [0.02], "within": [True]}, index=["mse, residual, all"])


def clips(rng, arm, source, target, other=0.0, *, draws=(0,)):
    """Clips of an arm: functions of the generator give the scores."""
    rows = []
    for pair in PAIRS:
        for draw in draws:
            for prompt in range(PROMPTS):
                scores = {"source score": source(rng), "target score": target(rng), "other score": other}
                fused = min(scores["source score"], scores["target score"]) >= chapter.FUSED
                rows.append({
                    "arm": arm, "setting": "mse, residual, all", "pair": pair, "prompt_id": prompt, "draw": draw,
                    "multiplier": 0.0 if arm == "not steered" else 0.02, "fused": fused,
                    "nll": 4.0 + 0.1 * (arm == "steered"), **scores,
                })  # fmt: skip
    return pd.DataFrame(rows)


def plain(rng, draws=(0,)):
    return clips(rng, "not steered", lambda rng: 0.99, lambda rng: 0.0, draws=draws)


def either(rng):
    return float(rng.random() < 0.3)


@pytest.fixture
def study(tiny, tmp_path):
    return Study("genre_fusion", tiny, [], seconds=0.5, store=tmp_path, scores=tmp_path / "scores")


def arms(rng, steered):
    drawn = clips(rng, "random direction", lambda rng: 0.98, lambda rng: 0.0, draws=(1, 2))
    overlay = clips(rng, "overlay", lambda rng: 0.5, lambda rng: 0.4)
    words = clips(rng, "words", lambda rng: 0.9, lambda rng: 0.0)
    return pd.concat([plain(rng), steered, drawn, overlay, words], ignore_index=True)


def test_clips_that_are_wholly_one_genre_or_the_other_are_not_fused_whatever_their_mean(rng, study):
    target = either
    mixed = clips(rng, "steered", lambda rng: 0.6, lambda rng: 0.3)
    drawn = clips(rng, "steered", lambda rng: 0.0, target)
    assert chapter.verdict_b4(study, arms(rng, mixed), CHOSEN).verdict == "supported"
    assert chapter.verdict_b4(study, arms(rng, drawn), CHOSEN).verdict == "not supported"
    table = chapter.shares(arms(rng, drawn)).set_index("name")
    assert table["effect"]["steered"] == 0 and table["target score"]["steered"] > 0.1
    assert table["n"]["not steered"] == len(PAIRS) * PROMPTS
    assert table["nll"]["steered"] == pytest.approx(0.1)


def test_fusion_is_not_testable_with_a_judge_that_hears_one_genre_of_two_at_once(rng, study):
    table = arms(rng, clips(rng, "steered", lambda rng: 0.6, lambda rng: 0.3))
    table.loc[table["arm"] == "overlay", "fused"] = False
    assert chapter.verdict_b4(study, table, CHOSEN).verdict == "not testable"


def controls(rng):
    drawn = clips(
        rng, "random direction", lambda rng: 0.9, lambda rng: 0.01 * rng.random(), 0.005, draws=range(4)
    )
    return pd.concat([plain(rng, range(4)), drawn])


def test_a_push_that_only_flattens_the_scores_does_not_raise_the_target(rng, study):
    flat = clips(rng, "steered", lambda rng: 0.3, lambda rng: 0.1 + 0.02 * rng.random(), 0.1)
    toward = clips(rng, "steered", lambda rng: 0.6, lambda rng: 0.2 + 0.1 * rng.random(), 0.02)
    for steered, expected in ((flat, "not supported"), (toward, "supported")):
        verdict = chapter.verdict_b2(study, pd.concat([plain(rng), steered]), controls(rng), CHOSEN)
        assert verdict.verdict == expected
        assert list(verdict.parts) == PAIRS


def test_scores_are_compared_with_the_same_prompts_unsteered(rng):
    steered = clips(rng, "steered", lambda rng: 0.49, lambda rng: 0.4, 0.01)
    table = pd.concat([plain(rng), steered])
    for found, name in (
        (chapter.by_pair(table), "pair 0"),
        (chapter.by_setting(table), "mse, residual, all"),
    ):
        effects = found.set_index(["name", "kind"])["effect"]
        assert effects[name, "target genre"] == pytest.approx(0.4)
        assert effects[name, "source genre"] == pytest.approx(-0.5)
        assert effects[name, "other genres, mean"] == pytest.approx(0.01)
    assert chapter.by_setting(table)["fused"].tolist() == [1, 1, 1]


def test_settings_over_the_budget_are_left_out_and_nothing_passes_in_the_main_one(capsys, rng, study):
    chosen = pd.DataFrame(
        {"multiplier": [0.02, 0.1], "within": [True, False]}, index=["a, b, all", "c, d, all"]
    )
    assert chapter.allowed(chosen, ["a", "b", "all", [0.02]]) == {"a, b, all": 0.02}
    assert "left out: c, d, all" in capsys.readouterr().out
    assert chapter.allowed(chosen, ["c", "d", "all", [0.1]]) == {"a, b, all": 0.02, "c, d, all": 0.1}
    assert "no claim can pass" in capsys.readouterr().out
    mixed = arms(rng, clips(rng, "steered", lambda rng: 0.6, lambda rng: 0.3))
    assert chapter.verdict_b4(study, mixed, CHOSEN.assign(within=False)).verdict == "not shown"


def test_every_arm_has_its_clips_and_scores(study, rng, monkeypatch):
    labels = ["folk", "rock", "jazz"]
    scores = lambda audio, labels, *, sample_rate, model: np.tile([0.5, 0.3, 0.2], (len(audio), 1))  # noqa: E731
    for module in (transfer, chapter):
        monkeypatch.setattr(module, "clap_scores", scores)
    values = torch.from_numpy(rng.normal(size=(12, 3, 32)).astype(np.float32))
    heard = {"residual": Activations(values, None, tuple(map(str, range(12))))}
    genres = pd.Series(["folk"] * 6 + ["rock"] * 6)
    fusion = chapter.Fusion(study, heard, genres, {("folk", "rock"): 1}, labels, 10.0)
    prompts, pairs = ["a {} song", "a slow {} song"], [["folk", "rock"]]
    settings = [["mse", "residual", "all", [0.5, 1.0]], ["bce", "residual", "best", [0.5]]]
    searched = fusion.steer(prompts, pairs, settings)
    assert searched.groupby("setting")["multiplier"].unique().map(list).to_dict() == {
        "mse, residual, all": [0, 0.5, 1], "bce, residual, best": [0, 0.5],
    }  # fmt: skip
    assert searched["nll"].notna().all()
    main = fusion.steer(prompts, pairs, settings, {"mse, residual, all": 0.5})
    assert set(main["setting"]) == {"mse, residual, all"} and set(main["multiplier"]) == {0, 0.5}
    assert (main[["source score", "target score", "other score"]] == [0.5, 0.3, 0.2]).all(axis=None)
    drawn = fusion.steer(prompts, pairs, settings, {"mse, residual, all": 0.5}, draws=2)
    assert set(drawn["arm"]) == {"not steered", "random direction", "shuffled labels"}
    assert set(drawn[drawn["multiplier"] != 0]["key"]).isdisjoint(main["key"])
    words = fusion.words(prompts, pairs)
    assert words["prompt"].tolist() == ["a folk rock song", "a slow folk rock song"]
    overlays = fusion.overlays(prompts, pairs)
    assert overlays["fused"].all() and len(overlays) == 2
    soundfile.read(study.store / words["clip"][0])


def test_a_genre_that_clap_cannot_choose_is_refused():
    labels = ["folk", "pop", "rock"]
    assert chapter.genres_of([["rock", "pop"], ["pop", "folk"]], labels) == labels
    with pytest.raises(ValueError, match="add {'polka'} to labels"):
        chapter.genres_of([["rock", "polka"]], labels)
    with pytest.raises(ValueError, match="neither source nor target"):
        chapter.genres_of([["rock", "pop"]], ["rock", "pop"])
