"""Fréchet distances of distributions whose distance is known."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from steerlib import measure


def test_frechet_distance_agrees_with_the_matrix_square_root(rng):
    x = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert measure.frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_gaussian_clouds_is_the_closed_form(rng):
    scales = np.array([0.5, 1.0, 2.0])
    x = rng.normal(size=(20000, 3))
    y = rng.normal(size=(20000, 3)) * scales + 1
    assert measure.frechet_distance(x, y) == pytest.approx(3 + ((1 - scales) ** 2).sum(), rel=0.03)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_with_collinear_dimensions(rng):
    x = rng.normal(size=(50, 4))
    x = np.hstack([x, x @ rng.normal(size=(4, 4))])  # rank 4 in 8 dimensions
    assert measure.frechet_distance(x, x) == pytest.approx(0, abs=1e-5)


def test_extrapolation_removes_the_bias_of_small_samples(rng):
    dimensions, truth = 16, 4.0
    plain, infinite = [], []
    for repeat in range(10):
        x, y = rng.normal(size=(2, 120, dimensions))
        y[:, 0] += 2
        plain.append(measure.frechet_distance(x, y))
        infinite.append(measure.frechet_infinity(x, y, seed=repeat))
    assert np.mean(plain) > truth + 1
    assert abs(np.mean(infinite) - truth) < 0.3


def test_windows_of_a_clip_are_drawn_together(rng):
    # Eight equal windows a clip: 480 rows, but only 60 independent ones, and the bias is that of 60.
    x, y = (np.repeat(rng.normal(size=(60, 1, 6)), 8, axis=1) for _ in range(2))
    by_clip = measure.frechet_infinity(x, y)
    by_window = measure.frechet_infinity(x.reshape(-1, 6), y.reshape(-1, 6))
    assert abs(by_clip) < 0.5 * by_window


def test_prompts_that_two_sets_share_do_not_pull_the_extrapolation_below_zero(rng):
    paired, apart = [], []
    for repeat in range(20):  # truth 0: 24 prompts, whose share of the variance is 0.8
        prompts = rng.normal(0, 0.8**0.5, size=(24, 1, 8))
        x, y = (prompts + rng.normal(0, 0.2**0.5, size=(24, 4, 8)) for _ in range(2))
        paired.append(measure.frechet_infinity(x, y, paired=True, seed=repeat))
        apart.append(measure.frechet_infinity(x, y, seed=repeat))
    assert np.mean(apart) < -0.2
    assert abs(np.mean(paired)) < 0.1
    with pytest.raises(ValueError, match="one row for each prompt"):
        measure.frechet_infinity(x, y[:20], paired=True)


def test_fewer_rows_than_dimensions_are_refused(rng):
    with pytest.raises(ValueError, match="8 rows for 8 dimensions"):
        measure.frechet_distance(rng.normal(size=(8, 8)), rng.normal(size=(50, 8)))
    with pytest.raises(ValueError, match="1.5 times"):
        measure.frechet_infinity(rng.normal(size=(10, 8)), rng.normal(size=(50, 8)))
    with pytest.raises(ValueError, match="one model for both"):
        measure.frechet_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 5)))
