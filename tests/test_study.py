"""A chapter's study: choices of earlier chapters, none allowed included, and effects beside their controls."""

import numpy as np
import pandas as pd
import pytest

from steerlib.evidence import choices, scorecard
from steerlib.files import DATA
from steerlib.prompts import Attribute
from steerlib.study import Study, Trial
from steerlib.yardsticks import beside, of_random, quality_of_words


@pytest.fixture
def study(tiny, tmp_path):
    return Study(
        "held_out", tiny, ["tempo", "timbre"], prompts=["a folk song", "slow jazz"], store=tmp_path / "store",
        scores=tmp_path / "scores",
    )  # fmt: skip


def saved(study, tmp_path, values):
    choices.save(tmp_path / "best.json", values, what="size of λ", model=study.model.name, rule="a rule")
    return tmp_path / "best.json"


def test_a_choice_is_taken_and_one_set_by_hand_is_called_that(study, tmp_path, capsys):
    study.take_layers("", by_hand=2)
    study.take_sizes(saved(study, tmp_path, {"tempo": 0.02, "timbre": 0.01}), by_hand=0.5)
    assert study.layers == {"tempo": 2, "timbre": 2} and study.sizes == {"tempo": 0.02, "timbre": 0.01}
    said = capsys.readouterr().out
    assert (
        "source layer: 2 for tempo, 2 for timbre. Set by hand." in said
        and "a rule" in said
        and "0.5" not in said
    )


def test_a_named_choice_that_is_not_there_is_an_error_and_no_fallback(study, tmp_path):
    with pytest.raises(FileNotFoundError, match="run the chapter that makes this choice first"):
        study.take_sizes(tmp_path / "nowhere.json", by_hand=0.5)


def test_an_attribute_with_no_allowed_size_is_left_out_with_words(study, tmp_path, capsys):
    study.take_layers("", by_hand=2)
    study.take_sizes(saved(study, tmp_path, {"tempo": None, "timbre": 0.01}), by_hand=0.5)
    assert list(study.attributes) == ["timbre"] and study.layers == {"timbre": 2}
    assert study.poles() == {"timbre": (-0.01, 0.01)}
    assert "No size of λ is allowed for tempo" in capsys.readouterr().out


def test_with_no_allowed_size_at_all_the_claims_are_recorded_as_open_and_the_chapter_ends(study, tmp_path):
    with pytest.raises(SystemExit) as ended:
        study.take_sizes(saved(study, tmp_path, {"tempo": None, "timbre": None}), by_hand=0.5)
    assert ended.value.code is None  # papermill takes that for a notebook that is done
    table = scorecard.read(study.scores)
    of_chapter = table[table["claim"].isin(["A1", "A2", "A11"])]
    assert set(of_chapter["verdict"]) <= {"not shown", "not testable"} and len(of_chapter) == 3


def clips(shift, setting, attribute, prompts=8):
    """Tempo of clips that a push moves by so many octaves either way."""
    rng = np.random.default_rng(0)
    rows = []
    for prompt in range(prompts):
        base = 100 * 2 ** rng.normal(0, 0.2)
        for value in (-0.1, 0.0, 0.1):
            bpm = base * 2 ** (np.sign(value) * shift * (-1 if prompt == 0 else 1))
            rows.append((setting, attribute, 3, value, prompt, 0, bpm))
    names = ["setting", "attribute", "source_layer", "multiplier", "prompt_id", "seed", "bpm"]
    return pd.DataFrame(rows, columns=names)


def test_an_effect_stands_beside_its_controls_and_words(study):
    study.attributes = {"tempo": study.attributes["tempo"]}
    own = Trial(study, clips(0.4, "", "tempo"))
    controls = Trial(study, pd.concat([
        clips(0.1, "tempo", "random 1"), clips(-0.1, "tempo", "random 2"), clips(0.05, "tempo", "shuffled poles"),
    ]))  # fmt: skip
    table = beside(own, controls, {"tempo": pd.Series([0.5, 0.7])}).set_index("along")
    assert table["kind"].tolist() == ["own", "random", "random", "other", "words"]
    assert table.loc["tempo", "shift"] == pytest.approx(0.4 * 6 / 8)  # one of eight goes the wrong way
    assert table.loc["tempo", "right"] == 7 / 8 and table.loc["tempo", "wrong"] == 1 / 8
    assert (
        table.loc["tempo", "of_words"] == pytest.approx(0.3 / 0.6) and table.loc["tempo", "unit"] == "octaves"
    )
    reach = of_random(table.reset_index(), "tempo")
    assert reach.n == 2 and reach.high == pytest.approx(-reach.low) and reach.high > 0.075


def test_a_column_of_the_sweep_that_is_no_metric_of_sound_has_effects_too(study):
    trial = Trial(study, clips(0.4, "", "tempo").assign(nll=lambda table: 4 + table["multiplier"]))
    assert trial.effects("tempo", "nll")["effect"].tolist() == pytest.approx([-0.1, 0.1])


def costs(**limits):
    return pd.DataFrame([{"attribute": "tempo", "kappa": 0.1, **limits}])


def test_steering_pays_only_for_what_the_words_of_its_pole_do_not_cost():
    quality = costs(multiplier=0.02, nll=0.5, nll_low=0.2, nll_high=0.8)
    fast = costs(multiplier=1, nll=0.3, nll_low=0.1, nll_high=0.6)
    slow = costs(multiplier=-1, nll=-9.0, nll_low=-9.0, nll_high=-9.0)
    [row] = choices.beyond_words(quality, pd.concat([fast, slow])).to_dict("records")
    assert row["multiplier"] == 0.02 and row["kappa"] == 0.1 and row["nll"] == pytest.approx(0.2)
    assert row["nll_high"] == pytest.approx(0.2 + np.hypot(0.3, 0.2))
    assert row["nll_low"] == pytest.approx(0.2 - np.hypot(0.3, 0.3))


@pytest.mark.parametrize("cost", [-0.3, np.nan])
def test_words_that_cost_nothing_or_were_not_measured_take_nothing_away(cost):
    quality = costs(multiplier=-0.02, nll=0.5, nll_low=0.2, nll_high=0.8)
    words = costs(multiplier=-1, nll=cost, nll_low=cost - 0.1, nll_high=cost + 0.1)
    pd.testing.assert_frame_equal(choices.beyond_words(quality, words), quality)


def test_words_are_held_against_what_both_prompts_of_a_pair_share(study, monkeypatch):
    pairs = [("fast folk song", "slow folk song"), ("fast", "slow"), ("fast dark jazz", "slow dark jazz")]
    study.attributes = {"tempo": Attribute("tempo", "fast", "slow", "bpm", "BPM", *zip(*pairs, strict=True))}
    study.seconds, study.clap = 3.0, str(DATA / "pocket" / "clap")
    found = quality_of_words(study, 3, window=0.06)
    assert found["multiplier"].tolist() == [-1, 1] and found.filter(like="nll").notna().all(axis=None)
    assert {"clap_high", "mel_high"} <= set(found)
    likely = quality_of_words(study, 3, window=None)
    pd.testing.assert_frame_equal(likely, found[list(likely)])
    assert not set(likely) & {"clap_high", "mel_high"}
    study.attributes["tempo"] = study.attributes["tempo"].first(2)
    with pytest.raises(ValueError, match="have no word in common"):
        quality_of_words(study, 3, window=0.06)
