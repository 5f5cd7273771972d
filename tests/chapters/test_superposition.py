"""What the chapter *Superposition* makes of activations whose patterns are known."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from steerlib.activations import Activations
from steerlib.chapters import superposition as chapter
from steerlib.music import corpus

CLIPS, WIDTH = 200, 24
NAMES = ("tempo", "timbre", "loudness", "mode", "style")


@pytest.fixture(scope="module")
def codes():
    return chapter.factors([corpus.compose(seed)[0] for seed in range(CLIPS)], NAMES)


def states(codes, axes, *, noise=0.3, seed=0):
    """Activations that move along given axes with the standardised truth of each factor."""
    values = noise * np.random.default_rng(seed).normal(size=(CLIPS, WIDTH))
    for name, axis in axes.items():
        values += codes[name][:, :1] / codes[name][:, :1].std() * axis
    return values


def unit(*places):
    axis = np.zeros(WIDTH)
    axis[list(places)] = 1 / np.sqrt(len(places))
    return axis


APART = {"tempo": unit(0), "timbre": unit(1), "loudness": unit(2)}
SHARED = {**APART, "timbre": unit(0, 1)}


def cell(table, one, other, column):
    return table[(table.iloc[:, 0] == one) & (table.iloc[:, 1] == other)][column].item()


def test_a_number_has_one_direction_and_classes_one_fewer_than_they_are(codes):
    found = chapter.patterns(states(codes, APART), codes)
    assert {name: basis.shape[1] for name, basis in found.items()} == {
        "tempo": 1, "timbre": 1, "loudness": 1, "mode": 1, "style": 7,
    }  # fmt: skip
    for basis in found.values():
        assert basis.T @ basis == pytest.approx(np.eye(basis.shape[1]))


def test_the_pattern_of_a_factor_is_where_the_activations_move_with_it(codes):
    found = chapter.patterns(states(codes, SHARED, noise=0.01), codes)
    for name, axis in SHARED.items():
        assert abs(found[name][:, 0] @ axis) > 0.99


def test_a_factor_with_large_activations_does_not_leak_into_those_that_agree_with_it_by_chance(codes):
    values = states(codes, {**APART, "timbre": 50 * unit(1)}, noise=0.01)
    alone = {name: chapter.patterns(values, {name: codes[name]})[name] for name in ("tempo", "timbre")}
    fixed = chapter.patterns(values, codes)
    assert chapter.cosine(alone["tempo"], alone["timbre"]) > 0.5  # they agree a little in so many clips
    assert chapter.cosine(fixed["tempo"], fixed["timbre"]) < 0.1


def test_the_cosine_of_lines_is_its_size_and_of_subspaces_the_root_mean_square_over_their_angles():
    one, other = unit(0)[:, None], -unit(0, 1)[:, None]
    assert chapter.cosine(one, other) == pytest.approx(np.sqrt(0.5))
    plane = np.eye(WIDTH)[:, :2]
    assert chapter.cosine(plane, np.eye(WIDTH)[:, 1:3]) == pytest.approx(np.sqrt(0.5))  # 0 and 90 degrees
    assert chapter.cosine(plane, one) == pytest.approx(1)


def test_patterns_that_share_a_direction_exceed_shuffled_truths_and_others_do_not(codes):
    found = chapter.cosines(states(codes, SHARED), codes, shuffles=10, seed=0)
    assert len(found) == 10
    assert cell(found, "timbre", "tempo", "cosine") > cell(found, "timbre", "tempo", "high")
    assert cell(found, "loudness", "tempo", "cosine") < cell(found, "loudness", "tempo", "high")
    assert cell(found, "style", "tempo", "isotropic") == pytest.approx(np.sqrt(7 / WIDTH))


def test_most_pairs_of_factors_that_mean_nothing_stay_within_the_limit(codes):
    noise = np.random.default_rng(1).normal(size=(CLIPS, WIDTH)) * np.geomspace(5, 0.1, WIDTH)
    found = chapter.cosines(noise, codes, shuffles=20, seed=0)
    assert (found["cosine"] > found["high"]).mean() <= 0.2
    assert (found["shuffled"] > found["isotropic"]).all()  # activations fill few dimensions


def test_as_many_dimensions_are_spanned_as_directions_lie_at_right_angles(codes):
    numbers = {name: codes[name] for name in APART}
    layers = np.stack(
        [states(codes, APART, noise=0.01), states(codes, dict.fromkeys(APART, unit(0)), noise=0.01)]
    )
    seen = Activations(torch.tensor(layers.transpose(1, 0, 2)).float(), None, ("",) * CLIPS)
    spanned = chapter.dimensions(seen, numbers, seed=0)
    assert spanned.attrs["number"] == 3
    value = spanned[spanned["series"] == "factors"]["value"].tolist()
    assert value == pytest.approx([3, 1], abs=0.1)


def test_a_factor_is_unreadable_without_its_own_pattern_and_as_readable_without_another_s(codes):
    found = chapter.lost(states(codes, APART), codes, shuffles=1)
    for name in APART:
        assert cell(found, name, name, "lost") > 0.8
        for other in set(APART) - {name}:
            assert abs(cell(found, name, other, "lost")) < 0.05
    assert np.isnan(cell(found, "mode", "tempo", "lost"))  # nothing in these states tells it


def test_what_lies_in_the_direction_of_another_alone_is_lost_with_it(codes):
    found = chapter.lost(states(codes, {**APART, "timbre": unit(0)}), codes, shuffles=1)
    assert cell(found, "timbre", "tempo", "low") > 0.5


def test_a_reader_finds_a_way_around_a_pattern_that_only_overlaps(codes):
    found = chapter.lost(states(codes, SHARED, noise=0.05), codes, shuffles=1)
    assert abs(cell(found, "timbre", "tempo", "lost")) < 0.05


def test_unknown_factors_and_those_that_never_change_are_refused():
    truths = [corpus.compose(seed)[0] for seed in range(2)]
    with pytest.raises(ValueError, match=r"unknown factors \['mood'\]: expected some of tempo, timbre"):
        chapter.factors(truths, ["mood"])
    with pytest.raises(ValueError, match="tempo is the same in all 1 clips"):
        chapter.factors(truths[:1], ["tempo"])


def test_activations_of_other_clips_are_refused(tiny, tmp_path):
    truths = [corpus.compose(seed)[0] for seed in range(3)]
    seen = Activations(
        torch.zeros(3, 3, 32), None, tuple(each.caption for each in truths), metadata=dict(tiny.identity)
    )
    seen.save(tmp_path / "heard.safetensors")
    found, again = chapter.heard(tiny, tmp_path / "heard.safetensors", range(3))
    assert found == truths and torch.equal(again.values, seen.values)
    with pytest.raises(ValueError, match="3 clips, which are not those of the 3 seeds from 1"):
        chapter.heard(tiny, tmp_path / "heard.safetensors", range(1, 4))
    replace(seen, metadata={"weights": "others"}).save(tmp_path / "heard.safetensors")
    with pytest.raises(ValueError, match="taken from other weights"):
        chapter.heard(tiny, tmp_path / "heard.safetensors", range(3))


def test_figures_and_words_name_what_they_show(codes, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda: None)
    messages = []
    monkeypatch.setattr(chapter.figures, "message", messages.append)
    values = states(codes, SHARED)
    seen = Activations(torch.tensor(values[:, None]).float(), None, ("",) * CLIPS)
    angles, spanned = (
        chapter.cosines(values, codes, shuffles=20, seed=0),
        chapter.dimensions(seen, codes, seed=0),
    )
    loss = chapter.lost(values, codes, shuffles=1).assign(layer=0)
    chapter.draw_cosines(angles, 0)
    assert plt.gca().figure.axes[0].get_xlabel() == "factor"
    chapter.draw_lost(loss, 0)
    chapter.draw_layers(spanned, loss)
    assert messages[0] == "1 of 10 pairs of factors lie closer than 95 % of shuffled truths do"
    assert "its own pattern in 3 of 3 cases, and without that of another in " in messages[1]
    assert messages[2].startswith("In each layer, patterns of 11 directions span ")
    said, against = chapter.findings(angles, spanned, loss, 0)
    assert said[0].startswith("At layer 0, the 11 directions of 5 factors span ")
    assert len(said) == 3 and "linear" in against
    plt.close("all")
