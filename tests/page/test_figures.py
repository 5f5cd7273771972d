"""Figures that show the numbers they were given, with units, intervals and one colour for each pole."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex, to_rgb

from steerlib.activations import Activations
from steerlib.chapters import (
    audio_concepts,
    diffmean_directions,
    held_out,
    known_truth,
    layer_scan,
    probes,
    prompt_count,
    steering_sweep,
    where_and_when,
)
from steerlib.page import figures, style
from steerlib.prompts import Attribute
from steerlib.readout.analysis import similarity_blocks

PAIRS = 12
TEMPO = Attribute(
    name="tempo",
    positive="fast",
    negative="slow",
    metric="bpm",
    unit="BPM",
    positive_prompts=tuple(f"a fast song {i}" for i in range(PAIRS)),
    negative_prompts=tuple(f"a slow song {i}" for i in range(PAIRS)),
)


@pytest.fixture
def ax():
    with mpl.rc_context():
        mpl.use("agg")
        style.use_style()
        figure, axes = plt.subplots()
        yield axes
        figure.canvas.draw()  # whatever was put on it can be drawn
        plt.close(figure)


def summary_of(multipliers, *, layers=(3,)):
    """A summary as `summarise` makes it, with an effect of 10 BPM for each unit of the multiplier."""
    rows = [
        {"attribute": "tempo", "source_layer": layer, "multiplier": float(m), "metric": "bpm", "n": 20}
        | {"baseline": 120.0, "mean": 120 + 10 * m, "effect": 10 * m, "low": 10 * m - 2, "high": 10 * m + 3}
        | {"relative": m / 12, "relative_low": m / 12 - 0.01, "relative_high": m / 12 + 0.02}
        for layer in layers
        for m in multipliers
    ]
    return pd.DataFrame(rows).astype({"source_layer": "Int64"})


def activations_of(values):
    labels = torch.arange(2 * PAIRS) < PAIRS
    prompts = TEMPO.positive_prompts + TEMPO.negative_prompts
    return Activations(torch.tensor(values, dtype=torch.float32), labels, prompts, TEMPO)


def line(ax, start):
    return next(one for one in ax.lines if str(one.get_label()).startswith(start))


def contrast(colour, ground):
    """Contrast ratio of WCAG 2."""
    channels = (np.array([to_rgb(colour), to_rgb(ground)]) + 0.055) / 1.055
    channels = np.where(
        channels * 1.055 - 0.055 <= 0.04045, (channels * 1.055 - 0.055) / 12.92, channels**2.4
    )
    light, dark = sorted(channels @ [0.2126, 0.7152, 0.0722], reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_text_is_readable_on_white_and_on_black_over_a_transparent_ground(ax):
    ink = ax.xaxis.label.get_color()
    assert contrast(ink, "white") > 4.4 and contrast(ink, "black") > 4.4
    assert ax.get_facecolor()[3] == 0 and ax.figure.get_facecolor()[3] == 0


def test_the_activations_of_each_pole_are_points_of_its_colour(ax, rng):
    values = rng.normal(size=(2 * PAIRS, 2, 6))
    values[:PAIRS, 1] += 8
    diffmean_directions.draw_activation_kde(activations_of(values), 1, ax)
    fast, slow = (
        c for c in ax.collections if isinstance(c, PathCollection) and len(c.get_offsets()) == PAIRS
    )
    assert to_hex(fast.get_facecolor()[0]).upper() == style.PALETTE["fast"]
    assert to_hex(slow.get_facecolor()[0]).upper() == style.PALETTE["slow"]
    first = np.sort([fast.get_offsets()[:, 0].mean(), slow.get_offsets()[:, 0].mean()])
    assert first[1] - first[0] == pytest.approx(8 * np.sqrt(6), rel=0.2)
    assert "% of variance" in ax.get_xlabel()
    assert len(ax.collections) > 2  # the density


def test_few_prompts_or_prompts_on_a_line_are_drawn_without_a_density(ax):
    line_of_points = np.arange(2 * PAIRS)[:, None, None] * np.ones((1, 1, 4))
    diffmean_directions.draw_activation_kde(activations_of(line_of_points), 0, ax)
    assert len(ax.collections) == 2


def test_a_layer_outside_the_activations_is_refused(ax):
    with pytest.raises(ValueError, match="layers 0 to 1"):
        diffmean_directions.draw_activation_kde(activations_of(np.zeros((2 * PAIRS, 2, 4))), 2, ax)


def test_separation_shows_both_measures_with_their_bands(ax):
    table = pd.DataFrame({"layer": [0, 1], "auc": [0.5, 0.9], "silhouette": [0.0, 0.4]})
    for name in ("auc", "silhouette"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - 0.1, table[name] + 0.1
    diffmean_directions.draw_separation_by_layer(table, ax)
    np.testing.assert_array_equal(line(ax, "linear").get_ydata(), table.auc)
    np.testing.assert_array_equal(line(ax, "silhouette").get_ydata(), table.silhouette)
    assert len(ax.collections) == 2


def test_the_cosine_matrix_is_drawn_down_to_its_least_value_and_outlines_its_blocks(ax):
    matrix = np.kron(np.eye(2), np.ones((3, 3)))
    diffmean_directions.draw_cosine_matrix(matrix, ax, blocks=similarity_blocks(matrix))
    assert ax.images[0].get_clim() == (0, 1)
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix)
    corners = [(box.get_x(), box.get_y(), box.get_width()) for box in ax.patches]
    assert corners == [(-0.5, -0.5, 3), (2.5, 2.5, 3)]


def test_the_layer_scan_is_in_percent_and_all_to_all_lies_across(ax):
    summary = pd.concat([summary_of([1, -1], layers=(0, 1, 2)), summary_of([1], layers=(pd.NA,))])
    layer_scan.draw_layer_scan(summary, ax, attribute=TEMPO)
    fast = line(ax, "fast (λ = +1)")
    np.testing.assert_array_equal(fast.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(fast.get_ydata(), 100 / 12)
    assert to_hex(fast.get_color()).upper() == style.PALETTE["fast"]
    assert line(ax, "fast (λ = +1), All-to-All").get_linestyle() == "--"
    assert len(ax.collections) == 2 and ax.get_ylabel() == "change of tempo (%)"


def test_the_multiplier_curve_starts_at_the_baseline_and_shows_the_interval(ax):
    steering_sweep.draw_multiplier_curve(summary_of([2, 1, -1]), ax, attribute=TEMPO)
    fast = line(ax, "toward fast")
    np.testing.assert_allclose(fast.get_xdata(), [0, 1, 2])
    np.testing.assert_allclose(fast.get_ydata(), [120, 130, 140])
    np.testing.assert_allclose(line(ax, "toward slow").get_ydata(), [120, 110])
    band = ax.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == 143 and ax.get_ylabel() == "tempo (BPM)"


def test_the_fad_curve_marks_the_knee(ax):
    size = np.arange(0, 5.1, 0.5)
    table = pd.DataFrame({"attribute": "tempo", "multiplier": size, "fad": 1 + 3 * np.maximum(size - 1.5, 0)})
    table = table.assign(fad_low=table.fad - 0.2, fad_high=table.fad + 0.2, fad_infinity=table.fad - 0.5)
    steering_sweep.draw_fad_curve(table, ax, attribute=TEMPO)
    assert line(ax, "knee at 1.5").get_xdata()[0] == pytest.approx(1.5, abs=0.05)
    np.testing.assert_allclose(line(ax, "toward fast, infinite").get_ydata(), table.fad_infinity)
    assert len(ax.collections) == 1


def test_the_prompt_count_curve_is_the_mean_over_subsets(ax):
    rows = [
        {"prompts": k, "subset": s, "multiplier": 1.0, "effect": k + s} for k in (2, 10) for s in (0, 1, 2)
    ]
    prompt_count.draw_prompt_count_curve(
        pd.DataFrame(rows).assign(metric="centroid", attribute="tempo"), ax, attribute=TEMPO
    )
    np.testing.assert_allclose(line(ax, "fast").get_ydata(), [3, 11])
    assert ax.get_ylabel() == "change of spectral centroid (Hz)"


@pytest.mark.parametrize("log_frequency", [True, False])
def test_the_spectrogram_of_a_tone_is_brightest_at_its_frequency(ax, log_frequency):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    held_out.draw_spectrogram(tone, 16000, ax, log_frequency=log_frequency)
    mesh = ax.collections[0]
    brightest = mesh.get_array().mean(axis=1).argmax()
    assert brightest * 16000 / 1024 == pytest.approx(1000, abs=16)
    assert mesh.get_array().max() == pytest.approx(0) and "kHz" in ax.get_ylabel()


def test_a_shared_peak_keeps_a_quiet_clip_dark(ax):
    tone = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    held_out.draw_spectrogram(
        tone / 10, 16000, ax, peak=256.0
    )  # the peak of the full tone: half a Hann window
    assert ax.collections[0].get_array().max() == pytest.approx(-20, abs=0.5)


def test_poles_of_an_attribute_without_its_own_colours_get_the_general_ones(ax):
    loud = Attribute("loudness", "loud", "soft", "rms", "dB", ("a loud song",), ("a soft song",))
    summary = summary_of([1, -1]).assign(attribute="loudness", metric="rms")
    steering_sweep.draw_multiplier_curve(summary, ax, attribute=loud)
    assert to_hex(line(ax, "toward loud").get_color()).upper() == style.PALETTE["positive"]
    assert to_hex(line(ax, "toward soft").get_color()).upper() == style.PALETTE["negative"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.iloc[:0], "no rows"),
        (lambda t: t.drop(columns="low"), r"lacks \['low'\]"),
        (lambda t: pd.concat([t, t.assign(attribute="timbre", multiplier=3.0)]), "shows one attribute"),
        (lambda t: pd.concat([t, t.assign(metric="centroid", multiplier=3.0)]), "shows one metric"),
        (lambda t: pd.concat([t, t.assign(source_layer=5)]), "filter the table"),
    ],
)
def test_a_table_that_is_not_about_one_thing_is_refused(ax, change, message):
    with pytest.raises(ValueError, match=message):
        steering_sweep.draw_multiplier_curve(change(summary_of([1, 2])), ax, attribute=TEMPO)


# --- figures of one chapter each ---


def test_agreement_ends_where_subsets_cannot_be_disjoint(ax):
    rows = [(c, s, 3, 1 - 1 / c + s / 100, 0.5 if c < 10 else np.nan) for c in (2, 5, 10) for s in range(3)]
    table = pd.DataFrame(rows, columns=["prompts", "subset", "layer", "with_all", "with_other"])
    prompt_count.draw_agreement_curve(table, ax, layer=3)
    assert list(line(ax, "with the direction of all prompts").get_xdata()) == [2, 5, 10]
    assert list(line(ax, "with that of equally many others").get_xdata()) == [2, 5]
    with pytest.raises(ValueError, match="no layer 7"):
        prompt_count.draw_agreement_curve(table, ax, layer=7)


def test_every_setting_has_a_row_with_its_shift_and_its_distance(ax):
    table = pd.DataFrame(
        {"setting": ["One-to-All", "All-to-All"], "shift": [5.0, 3.0], "shift_low": [4.0, 1.0]}
        | {"shift_high": [6.0, 5.0], "fad": [2.0, 3.0], "fad_low": [1.0, 2.0], "fad_high": [3.0, 4.0]}
    )
    right = ax.figure.add_subplot(sharey=ax)
    where_and_when.draw_effect_and_quality(table, ax, right, quantity="tempo (BPM)")
    assert [each.get_text() for each in ax.get_yticklabels()] == ["One-to-All", "All-to-All"]
    assert ax.lines[0].get_xydata().tolist() == [[5.0, 0.0], [3.0, 1.0]]
    assert right.lines[0].get_xydata().tolist() == [[2.0, 0.0], [3.0, 1.0]] and "BPM" in ax.get_xlabel()


def test_only_effects_that_exclude_zero_have_a_frame(ax):
    table = pd.DataFrame(
        {"attribute": ["loudness"] * 2 + ["mode"] * 2, "metric": ["rms", "mode"] * 2}
        | {"shift": [2.0, 0.1, -0.2, -1.0], "low": [1.5, -0.3, -0.5, -1.5], "high": [2.5, 0.5, 0.1, -0.5]}
    )
    figures.cross_effects(table, ax)
    assert [patch.get_xy() for patch in ax.patches] == [(-0.46, -0.46), (1 - 0.46, 1 - 0.46)]
    assert [text.get_text() for text in ax.texts][0] == "+2.00"


def test_curves_over_layers_have_bands_only_where_there_are_intervals(ax):
    table = pd.DataFrame(
        {"layer": [0, 1] * 2, "series": ["a"] * 2 + ["b"] * 2, "value": [0.1, 0.5, 0.2, 0.9]}
    )
    known_truth.draw_layer_curves(table, ax, ylabel="R²")
    assert not ax.collections and line(ax, "b").get_ydata().tolist() == [0.2, 0.9]
    known_truth.draw_layer_curves(table.assign(low=0.0, high=1.0), ax, ylabel="R²")
    assert len(ax.collections) == 2


def test_intervals_stand_in_the_order_of_the_table(ax):
    table = pd.DataFrame(
        {"label": ["first", "second"], "estimate": [1.0, 2.0], "low": [0.0, 1.0], "high": [2.0, 3.0]}
    )
    known_truth.draw_forest(table, ax, xlabel="shift (Hz)")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"] and ax.yaxis_inverted()


def test_an_agreement_curve_is_the_index_of_the_table(ax):
    table = pd.DataFrame({"layer": [0, 1, 2], "ari": [0.1, 0.5, 0.3], "ari_low": 0.0, "ari_high": 0.6})
    audio_concepts.draw_agreement_by_layer(table, ax, label="decoder")
    assert line(ax, "decoder").get_ydata().tolist() == [0.1, 0.5, 0.3]
    with pytest.raises(ValueError, match="ari_high"):
        audio_concepts.draw_agreement_by_layer(table.drop(columns="ari_high"), ax, label="decoder")


def test_a_jaccard_matrix_shows_its_numbers_on_a_fixed_scale(ax):
    table = pd.DataFrame([[0.5, 0.1], [0.0, 0.4]], index=["C", "G"])
    audio_concepts.draw_jaccard_matrix(table, ax)
    (image,) = ax.images
    assert image.get_array().tolist() == [[0.5, 0.1], [0.0, 0.4]]
    assert image.get_clim() == (0, 1)
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["C", "G"]


def test_probe_accuracy_shows_the_control_dotted_and_chance_as_a_line(ax):
    rows = [
        {
            "layer": layer,
            "loss": loss,
            "labels": labels,
            "accuracy": value,
            "low": value - 0.1,
            "high": value + 0.1,
        }
        for loss, labels, value in [("mse", "true", 0.8), ("mse", "shuffled", 0.5), ("bce", "true", 0.7)]
        for layer in (0, 1)
    ]
    probes.draw_probe_accuracy(pd.DataFrame(rows).assign(chance=0.25), ax)
    assert line(ax, "MSE, true").get_ydata().tolist() == [0.8, 0.8]
    assert line(ax, "MSE, shuffled").get_linestyle() == ":"
    assert set(line(ax, "chance").get_ydata()) == {0.25}
    assert line(ax, "MSE, true").get_color() != line(ax, "BCE, true").get_color()


def test_effects_of_scores_stand_in_the_rows_of_their_names(ax):
    table = pd.DataFrame(
        {
            "name": ["rock to pop", "rock to pop", "pop to rock"],
            "kind": ["target", "source", "target"],
            "effect": [0.3, -0.2, 0.1],
            "low": [0.2, -0.3, -0.1],
            "high": [0.5, -0.1, 0.2],
        }
    )
    figures.score_effects(table, ax, quantity="change of the score")
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["rock to pop", "pop to rock"]
    points, _, (bars,) = next(one for one in ax.containers if one.get_label() == "target")
    assert points.get_xdata().tolist() == [0.3, 0.1]
    assert np.round(points.get_ydata()).tolist() == [0, 1]
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [
        pytest.approx([0.2, 0.5]),
        pytest.approx([-0.1, 0.2]),
    ]
