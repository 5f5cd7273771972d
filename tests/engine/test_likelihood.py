"""The likelihood of tokens is transformers' own loss, whatever steered them."""

import numpy as np
import pytest
import torch

from steerlib.activations import _SAMPLE, stream_norms
from steerlib.engine.clips import Row
from steerlib.engine.generation import Run, generate, nll, stream
from steerlib.engine.sampling import Sampling
from steerlib.steering import Steering, SteeringVector, kappa

PROMPTS = ["a fast rock song", "slow jazz"]
QUIET = Run(progress=False)


@pytest.fixture
def vector(rng):
    return SteeringVector(rng.normal(size=(3, 32)))


def loss_of_transformers(model, prompt, tokens):
    """Mean over the codebooks and frames of the loss of transformers' own forward pass."""
    codebooks, frames = tokens.shape
    labels = torch.full((1, frames + codebooks - 1, codebooks), -100)
    for k in range(codebooks):
        labels[0, k : k + frames, k] = torch.from_numpy(tokens[k]).long()
    told = torch.full((1, codebooks, frames + codebooks - 1), model.start_token)
    for k in range(codebooks):
        told[0, k, k + 1 : k + 1 + frames] = torch.from_numpy(tokens[k, : frames + codebooks - 2 - k]).long()
    network, encoded = model.network, model.encode([prompt])
    with torch.inference_mode():
        made = network(**encoded, decoder_input_ids=told.reshape(codebooks, -1), use_cache=False)
    logits = made.logits[:, -labels.shape[1] :].float().reshape(codebooks, -1, made.logits.shape[-1])
    heard = labels[0].T != -100
    return float(torch.nn.functional.cross_entropy(logits[heard], labels[0].T[heard]))


@pytest.mark.parametrize("fixture", ["tiny", "tiny_cross"])
def test_it_is_the_loss_of_transformers(request, fixture, vector):
    model = request.getfixturevalue(fixture)
    clips = generate(model, PROMPTS, seconds=0.4, steering=[None, Steering(vector, 0.5)], seed=3, run=QUIET)
    expected = [loss_of_transformers(model, p, t) for p, t in zip(PROMPTS, clips.tokens, strict=True)]
    assert np.allclose(nll(model, clips), expected, rtol=1e-5)
    assert abs(expected[0] - expected[1]) > 1e-3


def test_a_clip_counts_alone_and_open_steering_does_not_act(tiny, vector):
    clips = generate(tiny, PROMPTS * 2, seconds=0.4, seed=[0, 0, 1, 1], run=QUIET)
    alone = [nll(tiny, clip)[0] for clip in clips]
    with vector.apply(tiny, 0.7):
        assert nll(tiny, clips).tolist() == alone
    rows = [Row(prompt, seed) for prompt, seed in zip(clips.prompts, clips.seeds, strict=True)]
    found = stream(tiny, rows, seconds=0.4, sampling=Sampling(), likelihood=True, run=QUIET)
    streamed = {
        index: value for indices, made, _ in found for index, value in zip(indices, made.nll, strict=True)
    }
    assert np.allclose([streamed[index] for index in range(4)], alone, rtol=1e-6)


def test_other_prompts_and_melodies_give_another_likelihood(tiny, rng):
    clips = generate(tiny, PROMPTS[:1], seconds=0.4, run=QUIET)
    other = type(clips)(clips.audio, clips.sample_rate, clips.tokens, ("dark piano",), clips.seeds)
    melody = 50 * torch.eye(12)[torch.as_tensor(rng.integers(12, size=3))]
    values = [*nll(tiny, clips), *nll(tiny, other), *nll(tiny, clips, melody=melody)]
    assert len({round(value, 4) for value in values}) == 3


def test_kappa_is_the_push_over_the_norm_of_the_stream_and_adds_up(tiny, vector):
    norms = stream_norms(tiny)
    assert norms.shape == (3,) and (norms > 0).all()
    assert torch.equal(norms, stream_norms(tiny))
    expected = sum(0.5 * float(vector.directions[1].norm()) / float(norm) for norm in norms)
    push = Steering(vector, -0.5, source_layer=1)
    assert kappa((push,), norms) == pytest.approx(expected)
    assert kappa((push, push), norms) == pytest.approx(2 * expected)
    assert kappa((push, Steering(vector, 0.5, source_layer=1)), norms) == pytest.approx(0)
    assert kappa((), norms) == 0


def test_norms_of_the_stream_are_those_that_hooks_see_while_music_is_written(tiny):
    seeds = [0, 1]
    prompts = [prompt for prompt in _SAMPLE for _ in seeds]
    clips = generate(tiny, prompts, seconds=2, seed=seeds * len(_SAMPLE), run=QUIET)
    seen, block, frames = [], tiny.stack.layers[1], clips.tokens.shape[2]
    hook = block.register_forward_hook(
        lambda module, args, output: seen.append(output[0].norm(dim=-1)[..., -frames:].mean())
    )
    try:
        for prompt, tokens in zip(prompts, clips.tokens, strict=True):
            loss_of_transformers(tiny, prompt, tokens)
    finally:
        hook.remove()
    assert float(torch.stack(seen).mean()) == pytest.approx(float(stream_norms(tiny)[1]), rel=1e-4)
