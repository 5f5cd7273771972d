"""Fixtures: tiny models with random weights, and a processor whose tokenizer knows a few words."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from steerlib.files import cache_folder

if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    # Processes that compile the same functions at once spoil numba's cache for each other.
    os.environ["NUMBA_CACHE_DIR"] = str(cache_folder() / f"numba-{worker}")

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    EncodecConfig,
    MusicgenConfig,
    MusicgenForConditionalGeneration,
    MusicgenMelodyConfig,
    MusicgenMelodyFeatureExtractor,
    MusicgenMelodyForConditionalGeneration,
    MusicgenMelodyProcessor,
    PreTrainedTokenizerFast,
    T5Config,
)

from steerlib.model import MusicModel

WORDS = ["a", "the", "of", "in", "with", "and", "song", "piece", "track", "folk", "rock", "jazz", "fast",
         "slow", "bright", "dark", "quiet", "loud", "drums", "piano", "guitar"]  # fmt: skip
TEXT_ENCODER = T5Config(
    vocab_size=64,
    d_model=16,
    d_kv=8,
    d_ff=32,
    num_layers=2,
    num_heads=2,
    pad_token_id=0,
    eos_token_id=1,
    decoder_start_token_id=0,
)
CODEC = EncodecConfig(
    sampling_rate=16000,
    num_filters=4,
    hidden_size=8,
    codebook_size=16,
    codebook_dim=8,
    num_lstm_layers=1,
    upsampling_ratios=[8, 8, 5, 2],
    target_bandwidths=[0.2],
)
DECODER = {
    "vocab_size": 16,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "ffn_dim": 64,
    "num_attention_heads": 4,
    "num_codebooks": 2,
    "max_position_embeddings": 256,
    "dropout": 0.0,
    "pad_token_id": 16,
    "bos_token_id": 16,
}


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded random generator."""
    return np.random.default_rng(0)


def _tiny(config_class, model_class, **options):
    torch.manual_seed(0)
    config = config_class(
        text_encoder=TEXT_ENCODER.to_dict(), audio_encoder=CODEC.to_dict(), decoder=dict(DECODER), **options
    )
    model = model_class(config)
    for name, weight in model.decoder.named_parameters():
        if weight.ndim == 2:  # transformers' default, 0.02, leaves so small a model deaf to its input
            torch.nn.init.normal_(weight, std=0.4 if "embed" in name else weight.shape[1] ** -0.5)
    start = DECODER["bos_token_id"]
    model.generation_config.update(
        guidance_scale=3.0,
        decoder_start_token_id=start,
        bos_token_id=start,
        pad_token_id=start,
        do_sample=False,
    )
    return model.requires_grad_(False).eval()


@pytest.fixture(scope="session")
def tiny_model() -> MusicgenMelodyForConditionalGeneration:
    """A random MusicGen-Melody: 3 blocks x 32, 2 codebooks x 16, chroma_length 4, guidance 3, greedy."""
    return _tiny(MusicgenMelodyConfig, MusicgenMelodyForConditionalGeneration, chroma_length=4)


@pytest.fixture(scope="session")
def tiny_musicgen() -> MusicgenForConditionalGeneration:
    """A random MusicGen of the same size, which reads its prompt through cross-attention."""
    return _tiny(MusicgenConfig, MusicgenForConditionalGeneration)


@pytest.fixture(scope="session")
def tiny_processor() -> MusicgenMelodyProcessor:
    """A processor with one token a word, </s> at the end and prompts of at most 12 tokens."""
    vocabulary = {word: index for index, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    words = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    words.normalizer = Lowercase()
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=12
    )
    return MusicgenMelodyProcessor(MusicgenMelodyFeatureExtractor(sampling_rate=16000), tokenizer)


@pytest.fixture(scope="session")
def tiny(tiny_model, tiny_processor) -> MusicModel:
    """The random MusicGen-Melody, as `load_model` would return it."""
    return MusicModel(tiny_model, tiny_processor)


@pytest.fixture(scope="session")
def tiny_cross(tiny_musicgen, tiny_processor) -> MusicModel:
    """The random MusicGen with cross-attention, likewise."""
    return MusicModel(tiny_musicgen, tiny_processor)
