"""Training of the spectral codec: rendered clips in, a spectrogram that survives 10 bits x 8 x 25 Hz out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import MusicgenMelodyForConditionalGeneration

from steerlib.music.codec import SpectralCodec, SpectralCodecConfig
from steerlib.pocket.second import corpus
from steerlib.pocket.training import autocast, fit

_SHARD = 500


def render_shards(folder: Path, clips: int, *, first: int = 0, workers: int = 2) -> list[Path]:
    """Render clips to ``audio_<seed>.npy`` files of 500 (int16); those that exist are kept.

    Parameters
    ----------
    folder : Path
    clips : int
        How many, from seed `first` on.

    Returns
    -------
    list of Path
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"audio_{s:08d}.npy" for s in range(first, first + clips, _SHARD)]
    missing = [p for p in paths if not p.exists()]
    firsts = [int(path.stem.split("_")[1]) for path in missing]
    # one stream for all: a process decodes the soundfont's samples when it first plays them, which takes a while
    clips_made = corpus.stream((s + i for s in firsts for i in range(_SHARD)), workers=workers)
    for path in tqdm(missing, desc="render", unit="shard"):
        audio = np.stack([x for _, x in islice(clips_made, _SHARD)])
        temporary = path.with_suffix(".tmp.npy")
        np.save(temporary, (audio * 32767).astype(np.int16))
        os.replace(temporary, path)
    return paths


class _Books:
    """Codebooks learned by exponential moving averages, with dead entries replaced."""

    def __init__(self, codec: SpectralCodec, decay: float = 0.98):
        self.codec: Any = codec
        self.decay = decay
        k, n, d = codec.codebooks.shape
        codec.register_buffer("ema_count", torch.ones(k, n))
        codec.register_buffer("ema_sum", torch.zeros(k, n, d))
        codec.register_buffer("ema_ready", torch.zeros(()))

    @torch.no_grad()
    def start(self, latents: torch.Tensor) -> None:
        """A few rounds of k-means per codebook on what the ones before leave over."""
        residual = latents
        for k, book in enumerate(self.codec.codebooks):
            book.copy_(residual[torch.randperm(len(residual))[: len(book)]])
            for _ in range(8):
                index = self._nearest(residual, book)
                count = torch.bincount(index, minlength=len(book)).clamp_min(1)
                total = torch.zeros_like(book).index_add_(0, index, residual)
                book.copy_(
                    torch.where(
                        (torch.bincount(index, minlength=len(book)) > 0)[:, None],
                        total / count[:, None],
                        book,
                    )
                )
            self.codec.ema_count[k] = count.float()
            self.codec.ema_sum[k] = book * count[:, None]
            residual = residual - book[self._nearest(residual, book)]
        self.codec.ema_ready.fill_(1)

    @torch.no_grad()
    def go_on(self, latents: int) -> None:
        """Take the codebooks as they are, as if learned from batches of so many latents."""
        self.codec.ema_count.fill_(latents / self.codec.ema_count.shape[1])
        self.codec.ema_sum.copy_(self.codec.codebooks * self.codec.ema_count[..., None])
        self.codec.ema_ready.fill_(1)

    @staticmethod
    def _nearest(x: torch.Tensor, book: torch.Tensor) -> torch.Tensor:
        return (book.pow(2).sum(-1) - 2 * x @ book.T).argmin(-1)

    def __call__(
        self, latents: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantised latents with a straight-through gradient, and the commitment loss."""
        flat = latents.reshape(-1, latents.shape[-1])
        if not self.codec.ema_ready:
            self.start(flat.detach())
        # a sixth of the rows keep only their first codebooks, so that these carry most
        rows = len(latents)
        kept = torch.full((rows,), len(self.codec.codebooks))
        dropped = torch.rand(rows, generator=generator) < 1 / 6
        kept[dropped] = torch.randint(
            1, len(self.codec.codebooks), (int(dropped.sum()),), generator=generator
        )
        residual, quantised, commitment = flat, torch.zeros_like(flat), flat.new_zeros(())
        for k, book in enumerate(self.codec.codebooks):
            with torch.no_grad():
                index = self._nearest(residual, book)
                count = torch.bincount(index, minlength=len(book)).float()
                self.codec.ema_count[k].lerp_(count, 1 - self.decay)
                total = torch.zeros_like(book).index_add_(0, index, residual.detach())
                self.codec.ema_sum[k].lerp_(total, 1 - self.decay)
                chosen = book[index]
                book.copy_(self.codec.ema_sum[k] / self.codec.ema_count[k].clamp_min(1e-3)[:, None])
                dead = self.codec.ema_count[k] < 0.05 * count.mean()
                if dead.any():
                    fresh = residual[torch.randint(len(flat), (int(dead.sum()),), generator=generator)]
                    book[dead] = fresh
                    self.codec.ema_sum[k][dead] = fresh * count.mean()
                    self.codec.ema_count[k][dead] = count.mean()
            commitment = commitment + F.mse_loss(residual, chosen)
            used = (kept > k).repeat_interleave(latents.shape[1])[:, None]
            quantised = quantised + chosen * used
            residual = residual - chosen
        return latents + (quantised.view_as(latents) - latents).detach(), commitment / len(
            self.codec.codebooks
        )


def train(
    work: Path,
    *,
    steps: int = 12_000,
    clips: int = 8_000,
    batch: int = 24,
    learning_rate: float = 8e-4,
    start: Path | None = None,
    seed: int = 0,
) -> SpectralCodec:
    """Train the codec; resumes from ``work/codec``.

    Parameters
    ----------
    work : Path
        Working folder of all pocket trainings.
    steps, clips, batch, learning_rate, seed
        Usual meanings.
    start : Path, optional
        Folder of a pocket model whose codec is trained on, such as ``data/pocket``.

    Returns
    -------
    SpectralCodec
    """
    torch.manual_seed(seed)
    shards = [np.load(p, mmap_mode="r") for p in render_shards(work / "audio", clips)]
    codec = SpectralCodec(SpectralCodecConfig())
    books = _Books(codec)
    if start is not None:
        other = MusicgenMelodyForConditionalGeneration.from_pretrained(start, dtype=torch.float32)
        codec.load_state_dict(other.audio_encoder.state_dict(), strict=False)
        books.go_on(batch * 2 * codec.config.frame_rate)
    encode, decode = torch.compile(codec.latents), torch.compile(codec.spectrogram)
    samples = 2 * corpus.SAMPLE_RATE
    low = 0.8 + 4 * torch.exp(-torch.arange(codec.config.n_fft // 2 + 1) / 48)  # 48 bins are 750 Hz

    def crops(number: int) -> Iterator[np.ndarray]:
        rng = np.random.default_rng([seed, number])
        for _ in range(batch):
            clip = shards[rng.integers(len(shards))][rng.integers(_SHARD)]
            start = rng.integers(len(clip) - samples)
            # another level, so that the codec does not tie timbre to loudness
            yield clip[start : start + samples] * (10 ** (rng.uniform(-6, 3) / 20) / 32767)

    def step(number: int) -> tuple[torch.Tensor, dict[str, float]]:
        audio = torch.tensor(np.stack(list(crops(number))), dtype=torch.float32).clamp(-1, 1)
        with torch.no_grad():
            target = codec.decibels(audio)
            floor = (target.amax((1, 2), keepdim=True) - 70).clamp_min(-108)
            target = target.maximum(floor)
        with autocast():
            latents = encode(target)
        quantised, commitment = books(latents.float(), torch.Generator().manual_seed(number))
        with autocast():
            copy = decode(quantised)
        copy = copy.float()
        error = copy - target
        error = torch.where(target > floor, error, error.clamp_min(0))  # below the floor anything is right
        # what stands out is what is heard, and the low bins carry the notes: with them exact the chroma
        # correlation of a copy goes from 0.81 to 0.96
        weight = (1 + 2 * torch.sigmoid((target - floor - 35) / 8)) * low
        loss = (weight * (error.abs() + error.pow(2) / 20)).mean() / 10
        distance = (copy.maximum(floor) - target).detach().pow(2).mean(-1).sqrt().mean()
        return loss + 0.25 * commitment, {"lsd": distance.item(), "commitment": commitment.item()}

    fit(codec, step, work / "codec", steps=steps, learning_rate=learning_rate, weight_decay=0.01)
    for name in ("ema_count", "ema_sum", "ema_ready"):
        delattr(codec, name)
    return codec


def load(work: Path) -> SpectralCodec:
    """The codec as far as it is trained, with averaged weights.

    Raises
    ------
    FileNotFoundError
        If no training has begun in `work`.
    """
    file = work / "codec" / "state.pt"
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is missing: train the codec first (python -m steerlib.pocket codec)."
        )
    state = torch.load(file, weights_only=True)
    codec = SpectralCodec(SpectralCodecConfig())
    weights = {k: v for k, v in state["model"].items() if not k.startswith("ema_")}
    codec.load_state_dict(weights)
    trained = [p for p in codec.parameters() if p.requires_grad]
    for parameter, mean in zip(trained, state["average"], strict=True):
        parameter.data.copy_(mean)
    return codec.eval().requires_grad_(False)


def digest(codec: SpectralCodec) -> str:
    """Eight characters that name the codec's training, for files that hold its codes or copies."""
    return hashlib.sha256(codec.codebooks.numpy().tobytes()).hexdigest()[:8]


@torch.no_grad()
def copy_shards(work: Path, clips: int) -> list[Path]:
    """What the codec makes of the first `clips` rendered clips, in files like those of `render_shards`."""
    codec = load(work)
    folder = work / f"copies-{digest(codec)}"
    folder.mkdir(exist_ok=True)
    sources = render_shards(work / "audio", clips)
    for source in tqdm([p for p in sources if not (folder / p.name).exists()], desc="copy", unit="shard"):
        copies = []
        for part in np.array_split(np.load(source), 25):
            with autocast():
                copy = codec(torch.tensor(part, dtype=torch.float32)[:, None] / 32767).audio_values[:, 0]
            copies.append(copy.clamp(-1, 1).numpy())
        temporary = folder / f"{source.stem}.tmp.npy"
        np.save(temporary, (np.concatenate(copies) * 32767).astype(np.int16))
        os.replace(temporary, folder / source.name)
    return [folder / source.name for source in sources]
