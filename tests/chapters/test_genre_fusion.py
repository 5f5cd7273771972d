"""What the chapter on genre fusion makes of a table of scores."""

import pandas as pd
import pytest

from steerlib.chapters import genre_fusion as chapter

TABLE = pd.DataFrame(
    {
        "setting": "mse, residual, all",
        "pair": ["rock to pop"] * 4,
        "target": "pop",
        "prompt_id": [0, 1, 0, 1],
        "seed": 0,
        "multiplier": [0.0, 0.0, 0.02, 0.02],
        "target score": [0.0, 0.2, 0.3, 0.7],
        "source score": [1.0, 0.8, 0.5, 0.3],
    }
)


def test_both_scores_are_compared_with_the_same_prompts_unsteered():
    for table, name in (
        (chapter.by_pair(TABLE), "rock to pop"),
        (chapter.by_setting(TABLE, 0), "mse, residual, all"),
    ):
        effects = table.set_index(["name", "kind"])["effect"]
        assert effects[name, "target genre"] == pytest.approx(0.4)
        assert effects[name, "source genre"] == pytest.approx(-0.5)


def test_a_genre_that_clap_cannot_choose_is_refused():
    assert chapter.genres_of([["rock", "pop"], ["pop", "folk"]], ["folk", "pop", "rock"]) == [
        "folk",
        "pop",
        "rock",
    ]
    with pytest.raises(ValueError, match="add {'polka'} to labels"):
        chapter.genres_of([["rock", "polka"]], ["rock", "pop"])
