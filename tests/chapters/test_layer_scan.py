"""The chapter *Layer scan*: which layers lie at the paper's depth, and what is said of the chosen ones."""

import pandas as pd
import pytest

from steerlib.chapters import layer_scan


def test_layers_are_split_at_the_depth_of_the_papers_layers(capsys):
    assert layer_scan.split([0, 2, 4, 6], 12) == ([2, 4], [0, 6])  # 10 to 18 of 48
    assert "scanned: [2, 4] in the stretch, [0, 6] outside" in capsys.readouterr().out


@pytest.mark.parametrize("layers", [[2, 3], [0, 11]])
def test_layers_on_one_side_only_are_no_comparison(layers):
    with pytest.raises(ValueError, match="inside and outside"):
        layer_scan.split(layers, 12)


def test_a_layer_that_is_not_shown_to_steer_both_ways_is_named_as_such(capsys):
    limits = {
        "tempo": pd.Series({3: -2.0, 8: 14.2}),
        "timbre": pd.Series({3: -9.0, 8: -1.0}),
        "mode": pd.Series({3: float("nan"), 8: float("nan")}),
    }
    table = layer_scan.choice(limits, {"tempo": 8, "timbre": 8, "mode": None})
    tempo, timbre, mode = capsys.readouterr().out.splitlines()
    assert "both poles are shown" in tempo
    assert "NOT shown" in timbre
    assert "none is chosen" in mode
    assert table.loc[8].iloc[0] == 14.2
