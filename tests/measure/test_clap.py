"""CLAP in small: labels, windows, and a model that is not there."""

import numpy as np
import pytest
import torch
from signals import RATE, tone
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

from steerlib import measure


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory):
    """A random ClapModel of the public architecture, in small."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clap")
    words = ["<s>", "<pad>", "</s>", "<unk>", "This", "is", "a", "sound", "of", ".", "rock", "folk", "jazz"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", model_max_length=30
    )
    text = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "max_position_embeddings": 40, "pad_token_id": 1}
    audio = {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_embeds_hidden_size": 8}
    audio |= {"depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16, "num_hidden_layers": 2}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16, sampling_rate=24000, max_length_s=3, truncation="rand_trunc", padding="repeatpad"
    )
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def test_clap_scores_keep_the_order_of_the_labels(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(3, 2 * RATE))
    labels = ["rock", "folk", "jazz"]
    scores = measure.clap_scores(audio, labels, sample_rate=RATE, model=clap_folder)
    backwards = measure.clap_scores(audio, labels[::-1], sample_rate=RATE, model=clap_folder)
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores, backwards[:, ::-1], rtol=1e-4)
    assert np.ptp(scores, axis=1).min() > 0


def test_clap_hears_the_beginning_of_a_clip_longer_than_its_window(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(2, 5 * RATE))
    long = measure.clap_scores(audio, ["rock", "folk"], sample_rate=RATE, model=clap_folder)
    again = measure.clap_scores(audio, ["rock", "folk"], sample_rate=RATE, model=clap_folder)
    np.testing.assert_array_equal(long, again)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        (["rock"], "a {}", "two different"),
        (["rock", "rock"], "a {}", "two different"),
        ("rock", "a {}", "two different"),
        (["rock", "folk"], "a sound", "no {}"),
    ],
)
def test_labels_that_leave_no_choice_are_refused(labels, template, message):
    with pytest.raises(ValueError, match=message):
        measure.clap_scores(np.zeros((1, RATE)), labels, sample_rate=RATE, template=template)


def test_clap_embeddings_have_one_row_for_each_window(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(2, 4 * RATE))
    embeddings = measure.clap_embeddings(audio, sample_rate=RATE, model=clap_folder, window=1.0, batch_size=3)
    assert embeddings.shape == (2, 4, 8)
    alone = measure.clap_embeddings(
        audio[1:, RATE : 2 * RATE], sample_rate=RATE, model=clap_folder, window=1.0
    )
    correlation = np.corrcoef(embeddings[1, 1], alone[0, 0])[0, 1]  # resampling sees other neighbours
    assert correlation > 0.999
    assert np.abs(np.linalg.norm(embeddings, axis=-1) - 1).max() > 0.01  # not normalised


def test_an_impossible_window_is_refused(clap_folder):
    with pytest.raises(ValueError, match="within the clip"):
        measure.clap_embeddings(np.zeros((1, RATE)), sample_rate=RATE, model=clap_folder, window=2.0)
    with pytest.raises(ValueError, match="at most 3 s"):
        measure.clap_embeddings(np.zeros((1, 8 * RATE)), sample_rate=RATE, model=clap_folder, window=4.0)


def test_a_public_clap_that_cannot_be_had_says_what_to_download_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match="hf download nobody/clap .*https://huggingface.co/nobody/clap.*path"
    ):
        measure.clap_scores(tone(500)[None], ["rock", "folk"], sample_rate=RATE, model="nobody/clap")
