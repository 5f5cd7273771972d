"""Fréchet distances of sweeps made of numbers."""

import numpy as np
import pandas as pd
import pytest

from steerlib.measure import distance as quality
from steerlib.measure.frechet import frechet_distance

PROMPTS, WINDOWS, SIZE = 12, 4, 3
MULTIPLIERS = (-2.0, -1.0, 0.0, 1.0, 2.0)


def sweep_of(rng, shift, *, seed=0, multipliers=MULTIPLIERS):
    """A table, and embeddings whose mean is moved by `shift(multiplier)` along the first axis."""
    rows, embeddings = [], {}
    for multiplier in multipliers:
        for prompt in range(PROMPTS):
            key = f"{multiplier} {prompt} {seed}"
            rows.append(("tempo", 5, multiplier, prompt, f"song {prompt}", seed, key, f"clips/{key}.flac"))
            embeddings[key] = rng.normal(size=(WINDOWS, SIZE))
            embeddings[key][:, 0] += shift(multiplier)
    names = ["attribute", "source_layer", "multiplier", "prompt_id", "prompt", "seed", "key", "clip"]
    return pd.DataFrame(rows, columns=names).astype({"source_layer": "Int64"}), embeddings


def with_reference(rng, shift):
    table, embeddings = sweep_of(rng, shift)
    reference, others = sweep_of(rng, shift, seed=1, multipliers=(0.0,))
    return table, reference, embeddings | others


def test_each_setting_has_its_distance_to_the_reference_whatever_the_order_of_rows(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 3 * multiplier)
    found = quality.frechet_table(table.sample(frac=1, random_state=2), reference, embeddings)
    assert found.multiplier.tolist() == list(MULTIPLIERS)
    moved = found.set_index("multiplier").fad
    assert moved[2.0] == pytest.approx(36, rel=0.25) and moved[-1.0] == pytest.approx(9, rel=0.4)
    direct = [
        np.concatenate([embeddings[key] for key in rows.key])
        for rows in (table[table.multiplier == 1], reference)
    ]
    assert moved[1.0] == pytest.approx(frechet_distance(*direct))
    assert (found.fad_low < found.fad).all() and (found.fad < found.fad_high).all()
    assert found.n.tolist() == [PROMPTS] * 5
    assert found.source_layer.dtype == "Int64"


def test_unsteered_clips_lie_at_the_distance_of_chance_which_extrapolation_takes_away(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 0.0)
    found = quality.frechet_table(table, reference, embeddings)
    assert (found.fad > 0).all()
    assert found.fad_infinity.abs().mean() < found.fad.mean()


def test_a_reference_of_other_prompts_is_refused(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 0.0)
    with pytest.raises(ValueError, match="12 clips, the reference 11"):
        quality.frechet_table(table, reference[1:], embeddings)


@pytest.mark.parametrize(
    ("shift", "bends"), [(lambda m: 4 * m**2, True), (lambda m: 6 * abs(m) ** 0.25, False)]
)
def test_a_bend_is_found_where_the_distance_rises_ever_faster_and_only_there(rng, shift, bends):
    table, reference, embeddings = with_reference(rng, shift)
    bend = quality.frechet_bend(table[table.multiplier >= 0], reference, embeddings)
    assert bend.n == PROMPTS
    assert bend.low > 0 if bends else bend.low < 0


def test_a_bend_needs_a_baseline_one_pole_and_a_multiplier_in_the_lower_half(rng):
    table, reference, embeddings = with_reference(rng, abs)
    for part in (table, table[table.multiplier > 0], table[table.multiplier.isin([0.0, 2.0])]):
        with pytest.raises(ValueError, match="a bend needs multiplier 0"):
            quality.frechet_bend(part, reference, embeddings)


# --- one setting against another ---


def test_the_distance_of_a_setting_is_the_mean_of_its_poles(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 3 * multiplier)
    setting = table[table.multiplier.abs() == 2]
    both = quality.frechet_table(setting, reference, embeddings)
    found = quality.frechet_setting(setting, reference, embeddings)
    assert found.estimate == pytest.approx(both.fad.mean())
    assert found.low < found.estimate < found.high and found.n == PROMPTS


def test_a_setting_is_no_further_than_itself_and_what_two_share_cancels_out(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 3 * multiplier)
    near, far = (table[table.multiplier.abs() == size] for size in (1, 2))
    same = quality.frechet_setting(far, reference, embeddings, versus=far)
    assert (same.estimate, same.low, same.high) == pytest.approx((0, 0, 0), abs=1e-9)
    beyond = quality.frechet_setting(far, reference, embeddings, versus=near)
    parts = [quality.frechet_setting(part, reference, embeddings).estimate for part in (far, near)]
    assert beyond.estimate == pytest.approx(parts[0] - parts[1])
    assert beyond.low > 0


def test_settings_of_other_prompts_are_not_compared(rng):
    table, reference, embeddings = with_reference(rng, lambda multiplier: 0.0)
    with pytest.raises(ValueError, match="not of the same prompts"):
        quality.frechet_setting(table, reference, embeddings, versus=table[table.prompt_id > 0])


def test_too_few_windows_are_refused_before_anything_is_generated(monkeypatch):
    monkeypatch.setattr(quality, "clap_dimensions", lambda clap: 512)
    with pytest.raises(
        ValueError,
        match="512 dimensions needs 770 windows in a set, and 24 clips of 8 s have 96 .*193 prompts",
    ):
        quality.check_windows(24, 8.0, window=2.0)
    quality.check_windows(193, 8.0, window=2.0)
    quality.check_windows(145, 8.0, window=2.0, extrapolate=False)


@pytest.mark.parametrize(
    "multipliers", [[-0.1, 0.0, 0.1], [-0.1, -0.05, 0.05, 0.1], [0.0, 0.05, 0.1], [-2, -1.5, 0, 1, 2]]
)
def test_multipliers_that_cannot_show_a_bend_are_refused_before_anything_is_made(multipliers):
    with pytest.raises(ValueError, match="one at most half the other"):
        quality.check_bend(multipliers)


def test_multipliers_with_two_sizes_on_each_side_will_do():
    quality.check_bend([-0.1, -0.05, 0.0, 0.05, 0.1])
