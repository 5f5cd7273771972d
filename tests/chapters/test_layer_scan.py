"""The chapter *Layer scan*: which layers lie at the paper's depth, and what is said of the chosen ones."""

from types import SimpleNamespace

import pandas as pd
import pytest

from steerlib.chapters import layer_scan
from steerlib.evidence.stats import Interval


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


def test_the_bottom_line_says_for_which_attributes_a_layer_steers_both_ways():
    study = SimpleNamespace(attributes={name: SimpleNamespace(metric="bpm") for name in ("tempo", "timbre")})
    rows = pd.DataFrame(
        {"prompt_id": [0, 1] * 2, "source_layer": [3, 3, 8, 8], "shift": [0.1, 0.3, 0.5, 0.7]}
    )
    inject = SimpleNamespace(study=study, shifts=lambda *_, **__: rows)
    limits = {"tempo": pd.Series({3: -2.0, 8: -1.0}), "timbre": pd.Series({3: 1.0, 8: 4.0})}
    alike = dict.fromkeys(study.attributes, Interval(0.98, 0.97, 0.99, 11))
    found, against = layer_scan.findings(study, limits, {"tempo": 8, "timbre": None}, alike, inject)
    assert found == [
        "The rule chooses layer 8 for tempo and no layer for timbre.",
        "For tempo, no layer is shown to move both poles as intended.",
    ]
    found, against = layer_scan.findings(study, limits, {"tempo": 8, "timbre": 8}, alike, inject)
    assert found[1] == "For timbre, both poles are shown to move as intended."
    assert "0.98 for tempo and 0.98 for timbre." in against
    assert "change tempo most at block 8, by a factor of 1.52 and timbre most at block 8" in against
