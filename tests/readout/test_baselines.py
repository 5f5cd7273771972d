"""Listeners that have learnt nothing of music."""

import numpy as np
import pytest
import torch

from steerlib.activations import extract_audio_activations
from steerlib.readout.baselines import codec_latents, mel_features, untrained


@pytest.fixture
def audio(rng):
    time = np.arange(8000) / 16000
    return np.stack([np.sin(2 * np.pi * pitch * time) for pitch in (220, 440, 3000)]).astype(np.float32)


def test_an_untrained_decoder_keeps_the_embeddings_and_leaves_the_model_alone(tiny, audio):
    before = tiny.weights_digest()
    random, again, other = untrained(tiny), untrained(tiny), untrained(tiny, seed=1)
    assert tiny.weights_digest() == before
    assert random.stack.embed_tokens is tiny.stack.embed_tokens
    assert random.network.audio_encoder is tiny.network.audio_encoder
    heard = [
        extract_audio_activations(each, audio, sample_rate=16000, progress=False).values
        for each in (tiny, random, again, other)
    ]
    assert torch.equal(heard[1], heard[2])
    for each in (heard[0], heard[3]):
        assert not torch.allclose(heard[1], each)
    assert heard[1].isfinite().all()


def test_random_blocks_keep_the_spread_of_the_trained_ones_and_no_gains(tiny):
    ours, theirs = (dict(each.stack.layers.named_parameters()) for each in (tiny, untrained(tiny)))
    for name, weight in ours.items():
        if weight.ndim > 1:
            assert theirs[name].std().item() == pytest.approx(weight.std().item(), rel=0.2)
        else:
            assert (theirs[name] == (1 if name.endswith("weight") else 0)).all()


def test_mel_features_tell_pitches_apart_and_do_not_hear_the_level(audio):
    found = mel_features(audio, sample_rate=16000).values
    assert found.shape == (3, 1, 128)
    quiet = mel_features(audio / 10, sample_rate=16000).values
    np.testing.assert_allclose(quiet[:, :, :64], found[:, :, :64] - 20, atol=0.1)
    assert (found[0] - found[2]).norm() > 10


def test_latents_are_the_mean_of_what_the_tokens_stand_for(tiny, audio):
    codec = tiny.network.audio_encoder
    found = codec_latents(tiny, audio, sample_rate=16000, batch_size=2).values[:, 0]
    codes = codec.encode(torch.from_numpy(audio)[:, None]).audio_codes[0]
    expected = codec.quantizer.decode(codes.transpose(0, 1)).mean(dim=2)
    torch.testing.assert_close(found, expected)
