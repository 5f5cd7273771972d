"""The judges of the pocket model's music, trained on its corpus because public weights cannot be shipped.

A small `BeatThis` (Foscarin et al. 2024) hears tempo, a small `ClapModel` (Wu et al. 2023) style and instrument.
Both are read by the same code as the public checkpoints: beat_this's inference classes and transformers'
zero-shot pipeline. Part of what they learn from has been through the codec, as all that they will judge has.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch
import torch.nn.functional as F
from beat_this.model.beat_tracker import BeatThis
from beat_this.model.loss import ShiftTolerantBCELoss
from beat_this.preprocessing import LogMelSpect
from tqdm.auto import tqdm
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor

from steerlib.music import corpus
from steerlib.music.captions import LEADS, STYLES, known_words
from steerlib.pocket import train_codec
from steerlib.pocket.lm import TEXT, make_tokenizer
from steerlib.pocket.training import fit

_BEATS = {
    "transformer_dim": 64, "ff_mult": 4, "n_layers": 3, "head_dim": 32, "stem_dim": 16,
    "partial_transformers": False, "dropout": {"frontend": 0.1, "transformer": 0.1},
}  # fmt: skip
_FPS = 50


def _features(
    work: Path, name: str, clips: int, copies: int, feature: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """A feature of clips and of the codec's copies of the first of them, float16, kept on disk; seeds of both.

    `feature` takes audio of shape (batch, samples) to features of shape (batch, ...).
    """
    shards = train_codec.render_shards(work / "audio", clips) + train_codec.copy_shards(work, copies)
    file = work / name / f"{shards[-1].parent.name}_{clips}_{copies}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        found = [
            feature(part.astype(np.float32) / 32767).astype(np.float16)
            for shard in tqdm(shards, desc=f"{name}: spectrograms", unit="shard")
            for part in np.array_split(np.load(shard), 20)
        ]
        temporary = file.with_suffix(".tmp.npy")
        np.save(temporary, np.concatenate(found))
        os.replace(temporary, file)
    return np.load(file, mmap_mode="r"), np.concatenate([np.arange(clips), np.arange(copies)])


def train_beats(
    work: Path, *, steps: int = 2_500, clips: int = 4_000, copies: int = 3_000, batch: int = 16, seed: int = 0
) -> Path:
    """Train the tempo judge on exact beats.

    Returns
    -------
    Path
        ``work/beats/beats.ckpt``, float16, in the layout of beat_this's published checkpoints.
    """
    torch.manual_seed(seed)
    mel = LogMelSpect()

    def feature(audio: np.ndarray) -> np.ndarray:
        resampled = soxr.resample(audio.T, corpus.SAMPLE_RATE, 22_050).T
        return np.stack([mel(torch.tensor(x)).numpy() for x in resampled])

    mels, seeds = _features(work, "beats", clips, copies, feature)
    truths = [corpus.compose(s)[0] for s in range(clips)]
    frames = mels.shape[1]
    targets = np.zeros((2, clips, frames), np.float32)
    for truth in truths:
        for row, times in enumerate((truth.beats, truth.downbeats)):
            index = np.round(np.array(times) * _FPS).astype(int)
            targets[row, truth.seed, index[index < frames]] = 1
    model = BeatThis(**_BEATS)
    beat_loss, downbeat_loss = ShiftTolerantBCELoss(pos_weight=8), ShiftTolerantBCELoss(pos_weight=30)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, number])
        rows = rng.integers(len(mels), size=batch)
        start = rng.integers(0, 100)  # clips start on a downbeat; music at large does not
        length = frames - 100
        cut = np.stack([mels[r][start : start + length] for r in rows]).astype(np.float32)
        beats, downbeats = (torch.tensor(t[seeds[rows], start : start + length]) for t in targets)
        with torch.autocast("cpu", torch.bfloat16):
            out = model(torch.tensor(cut))
        first = beat_loss(out["beat"].float(), beats)
        second = downbeat_loss(out["downbeat"].float(), downbeats)
        return first + 0.3 * second, {"beat": first.item(), "downbeat": second.item()}

    model = fit(
        model, step, work / "beats", steps=steps, learning_rate=2e-3, weight_decay=0.01, average=0.995
    )
    weights = {f"model.{k}": v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()}
    file = work / "beats" / "beats.ckpt"
    torch.save({"state_dict": weights, "hyper_parameters": _BEATS}, file)
    return file


_TEMPLATES = ("This is a sound of {}.", "{}", "a {} song", "{} music", "music with a {}", "the sound of a {}")


def make_clap() -> tuple[ClapModel, ClapProcessor]:
    """An untrained CLAP of a million parameters, whose embeddings have 32 dimensions.

    So few because the Fréchet distance needs more windows than dimensions, and a notebook on a laptop has some
    hundred of them. A patch is a whole spectrum, four frames long: Swin knows no absolute position, and with
    square patches the instrument was still a guess after 500 steps, because timbre is which bands are loud.
    """
    words = sorted({*known_words(), "this", "is", "sound", "of", "music", "the", "song"})
    tokenizer = make_tokenizer(words)
    extractor = ClapFeatureExtractor(
        feature_size=64, sampling_rate=corpus.SAMPLE_RATE, hop_length=512, max_length_s=int(corpus.SECONDS),
        fft_window_size=1024, frequency_min=50, frequency_max=8000, truncation="rand_trunc", padding="repeatpad",
    )  # fmt: skip
    config = ClapConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 192, "max_position_embeddings": TEXT + 2, "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1,
        },
        audio_config={
            "spec_size": 128, "num_mel_bins": 64, "window_size": 2, "patch_size": [64, 4], "patch_stride": [64, 4],
            "hidden_size": 192, "patch_embeds_hidden_size": 192, "depths": [3], "num_attention_heads": [4],
            "hidden_dropout_prob": 0.0,
        },
        projection_dim=32,
    )  # fmt: skip
    clap: Any = ClapModel(config)
    # transformers' standard deviation of 0.02 is for widths of hundreds; here it would silence every block
    for name, parameter in clap.named_parameters():
        if parameter.ndim > 1 and "relative_position" not in name:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return clap, ClapProcessor(extractor, tokenizer)


def train_clap(
    work: Path, *, steps: int = 3_000, clips: int = 8_000, copies: int = 3_000, batch: int = 48, seed: int = 0
) -> Path:
    """Train the judge of style and instrument: right names out of all names, and captions among captions.

    Returns
    -------
    Path
        ``work/clap/model``, a folder with a `ClapModel` and its processor.
    """
    torch.manual_seed(seed)
    clap, processor = make_clap()
    extractor, tokenizer = processor.feature_extractor, processor.tokenizer

    def feature(audio: np.ndarray) -> np.ndarray:
        found = extractor(list(audio), sampling_rate=corpus.SAMPLE_RATE, return_tensors="np")
        return found["input_features"]

    mels, seeds = _features(work, "clap", clips, copies, feature)
    truths = [corpus.compose(s)[0] for s in range(clips)]
    names = {"style": STYLES, "lead": LEADS}
    right = {
        kind: torch.tensor([list(of).index(getattr(t, kind)) for t in truths]) for kind, of in names.items()
    }

    def told(texts: list[str]) -> torch.Tensor:
        ids = tokenizer(texts, padding="max_length", truncation=True, max_length=TEXT, return_tensors="pt")
        output = clap.text_model(input_ids=ids.input_ids, attention_mask=ids.attention_mask)
        return F.normalize(clap.text_projection(output.pooler_output).float(), dim=-1)

    def heard(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        cut = np.stack([_augmented(mels[row], rng) for row in rows])
        output = clap.audio_model(
            input_features=torch.tensor(cut), is_longer=torch.zeros(len(rows), 1, dtype=torch.bool)
        )
        return F.normalize(clap.audio_projection(output.pooler_output).float(), dim=-1)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        rng = np.random.default_rng([seed, number])
        rows = rng.integers(len(mels), size=batch)
        template = _TEMPLATES[rng.integers(len(_TEMPLATES))]
        labels = [template.format(rng.choice(words)) for of in names.values() for words in of.values()]
        texts = [truths[s].caption for s in seeds[rows]]
        with torch.autocast("cpu", torch.bfloat16):
            sounds, words = heard(rows, rng), told(labels + texts)
        classes, captions = words[: len(labels)], words[len(labels) :]
        scale = clap.logit_scale_a.exp().clamp(max=100)
        logits = scale * sounds @ classes.T
        parts = dict(zip(names, logits.split([len(of) for of in names.values()], dim=1), strict=True))
        index = torch.tensor(seeds[rows])
        named = [F.cross_entropy(part, right[kind][index]) for kind, part in parts.items()]
        pairs, own = scale * sounds @ captions.T, torch.arange(batch)
        matched = (F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)) / 2
        share = {
            kind: (part.argmax(1) == right[kind][index]).float().mean().item() for kind, part in parts.items()
        }
        return sum(named) + 0.5 * matched, {**share, "captions": matched.item()}

    fit(clap, step, work / "clap", steps=steps, learning_rate=1.5e-3, average=0.995)
    clap.half().save_pretrained(work / "clap" / "model")
    processor.save_pretrained(work / "clap" / "model")
    return work / "clap" / "model"


def _augmented(mel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Another start, another level, and in a fifth of the cases two seconds repeated, as the extractor repeats
    what is short."""
    frames = mel.shape[1]
    rolled = np.roll(mel.astype(np.float32), rng.integers(frames), axis=1)
    if rng.random() < 0.2:
        rolled = np.tile(rolled[:, : frames // 4], (1, 5, 1))[:, :frames]
    return rolled + np.float32(rng.uniform(-6, 6))
