"""Choosing tokens: the probabilities of the softmax, from a random stream of each row's own."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from steerlib.engine.sampling import Sampling, _choose_by_sorting, _gumbel, choose, noise_keys


def test_sampled_tokens_have_the_probabilities_of_transformers(rng):
    logits = torch.as_tensor(rng.normal(size=(1, 2, 16)) * 2, dtype=torch.float32)
    count = 20000
    keys = np.stack([noise_keys("a song", seed, 1, 2)[0] for seed in range(count)])
    sampling = Sampling(temperature=1.3, top_k=6)
    tokens = choose(logits.expand(count, -1, -1), sampling, torch.from_numpy(keys)).numpy()
    for codebook in range(2):
        scores = logits[0, codebook] / 1.3
        expected = scores.where(scores >= scores.topk(6).values[-1], -torch.inf).softmax(-1).double().numpy()
        observed = np.bincount(tokens[:, codebook], minlength=16)
        assert observed[expected == 0].sum() == 0
        alive = expected > 0
        expected = expected[alive] / expected[alive].sum()
        assert chisquare(observed[alive], count * expected).pvalue > 1e-3


def test_noise_is_uniform_and_independent_between_tokens_positions_and_seeds():
    keys = torch.from_numpy(np.stack([noise_keys("a song", seed, 50, 2) for seed in range(8)]))
    uniform = torch.exp(-torch.exp(-_gumbel(keys, torch.arange(64).expand(8, 50, 2, 64)).double())).numpy()
    assert chisquare(np.histogram(uniform, 100, (0, 1))[0]).pvalue > 1e-3
    for axis in range(4):
        near, far = np.moveaxis(uniform, axis, 0)[:-1].ravel(), np.moveaxis(uniform, axis, 0)[1:].ravel()
        assert abs(np.corrcoef(near, far)[0, 1]) < 4 / np.sqrt(near.size)


@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
@pytest.mark.parametrize("top_k", [1, 20, 250, 400])
def test_choosing_without_sorting_chooses_what_sorting_does(rng, spread, top_k):
    logits = torch.tensor(rng.normal(size=(5, 4, 400)) * spread).float()
    keys = torch.from_numpy(np.stack([noise_keys("a song", seed, 1, 4)[0] for seed in range(5)]))
    expected = _choose_by_sorting(logits, 0.7, top_k, keys)
    assert torch.equal(choose(logits, Sampling(temperature=0.7, top_k=top_k), keys), expected)


def test_logits_that_are_not_numbers_are_an_error():
    logits = torch.zeros(2, 1, 8)
    logits[1] = torch.nan
    with pytest.raises(FloatingPointError, match="float32"):
        choose(logits, Sampling(), torch.zeros(2, 1, 2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "top_k must be"),
        ({"temperature": 0}, "do_sample=False"),
        ({"guidance_scale": float("inf")}, "guidance_scale must be"),
    ],
)
def test_nonsense_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Sampling(**options)
