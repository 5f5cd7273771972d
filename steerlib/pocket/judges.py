"""The judge of tempo in the pocket model's music, trained on its corpus because public weights cannot be shipped.

A small `BeatThis` (Foscarin et al. 2024), read by the same code as the public checkpoints: beat_this's inference
classes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soxr
import torch
from beat_this.model.beat_tracker import BeatThis
from beat_this.model.loss import ShiftTolerantBCELoss
from beat_this.preprocessing import LogMelSpect
from tqdm.auto import tqdm

from steerlib.pocket import corpus, train_codec
from steerlib.pocket.training import fit

_BEATS = {
    "transformer_dim": 64, "ff_mult": 4, "n_layers": 3, "head_dim": 32, "stem_dim": 16,
    "partial_transformers": False, "dropout": {"frontend": 0.1, "transformer": 0.1},
}  # fmt: skip
_FPS = 50


def _spectrograms(work: Path, clips: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel spectrograms (2 * clips, frames, 128) float16 of clips and of their codec copies; seeds of both."""
    file = work / "beats" / f"mel_{clips}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        codec, mel = train_codec.load(work), LogMelSpect()
        spectra: list[np.ndarray] = []
        copies: list[np.ndarray] = []
        with torch.no_grad():
            for path in tqdm(
                train_codec.render_shards(work / "audio", clips), desc="spectrograms", unit="shard"
            ):
                for part in np.array_split(np.load(path) / np.float32(32767), 20):
                    audio = torch.tensor(part, dtype=torch.float32)
                    with torch.autocast("cpu", torch.bfloat16):
                        copy = codec(audio[:, None]).audio_values[:, 0]
                    for kept, waves in ((spectra, audio), (copies, copy)):
                        resampled = soxr.resample(waves.numpy().T, corpus.SAMPLE_RATE, 22_050).T
                        kept.extend(mel(torch.tensor(x)).half().numpy() for x in resampled)
        temporary = file.with_suffix(".tmp.npy")
        np.save(temporary, np.stack(spectra + copies))
        os.replace(temporary, file)
    seeds = np.arange(clips)
    return np.load(file, mmap_mode="r"), np.concatenate([seeds, seeds])


def train_beats(
    work: Path, *, steps: int = 2_500, clips: int = 4_000, batch: int = 16, seed: int = 0
) -> Path:
    """Train the tempo judge on exact beats, half of the clips passed through the codec.

    Returns
    -------
    Path
        ``work/beats/beats.ckpt``, float16, in the layout of beat_this's published checkpoints.
    """
    torch.manual_seed(seed)
    mels, seeds = _spectrograms(work, clips)
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
