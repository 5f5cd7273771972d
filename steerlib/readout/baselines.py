"""What anybody would find in a sound: features that the activations of a trained decoder are compared with.

A decoder that has heard a clip *must* know something of it: its spectrum came in with the tokens. What training has
added shows only beside listeners that have learnt nothing of music: the sound's own log-mel spectrum, the codec's
latents, and the same decoder with blocks drawn at random. Neither paper has these controls. Chapters: *Concepts in
audio*, *Known truth and controls*.

Units: dB re full scale for spectra; latents and activations have none.
"""

import copy
from typing import Any

import librosa
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from steerlib.activations import Activations
from steerlib.measure.audio import ANALYSIS_RATE, FloatArray, Sound, analysis_audio, check, resample
from steerlib.model import MusicModel

__all__ = ["codec_latents", "mel_features", "untrained"]


def mel_features(audio: Sound | FloatArray, *, sample_rate: int | None = None) -> Activations:
    """The log-mel spectrum of clips: mean and standard deviation of 64 bands over time.

    Parameters
    ----------
    audio : Clips or ndarray, shape (clips, samples)
    sample_rate : int, optional
        In Hz; needed for an array.

    Returns
    -------
    Activations, shape (clips, 1, 128)
        In dB, floored 80 dB below the clip's peak.
    """

    def features(clip: FloatArray) -> FloatArray:
        power = librosa.feature.melspectrogram(
            y=clip, sr=ANALYSIS_RATE, n_fft=2048, hop_length=512, n_mels=64
        )
        bands = librosa.power_to_db(power, top_db=80)
        return np.concatenate([bands.mean(axis=1), bands.std(axis=1)])

    return _as_activations(
        torch.tensor(np.stack([features(clip) for clip in analysis_audio(audio, sample_rate)]))
    )


def codec_latents(
    model: MusicModel, audio: Sound | FloatArray, *, sample_rate: int | None = None, batch_size: int = 16
) -> Activations:
    """What the codec's tokens stand for, before any decoder: the sum of their codebook entries, mean over frames.

    Parameters
    ----------
    model : MusicModel
        Of which the codec is used.
    audio : Clips or ndarray, shape (clips, samples)
        Resampled to the codec's rate.
    sample_rate : int, optional
        In Hz; needed for an array.
    batch_size : int

    Returns
    -------
    Activations, shape (clips, 1, dimensions of the codec)
    """
    codec = model.network.audio_encoder
    if hasattr(codec, "codebooks"):  # the pocket's
        books = list(codec.codebooks)
    else:  # EnCodec
        books = [layer.codebook.embed for layer in codec.quantizer.layers]
    given, rate = check(audio, sample_rate)
    samples = np.ascontiguousarray(resample(given, rate, model.sample_rate))
    found = []
    with torch.inference_mode():
        for begin in range(0, len(samples), batch_size):
            batch = torch.from_numpy(samples[begin : begin + batch_size])[:, None].to(
                model.device, torch.float32
            )
            codes = codec.encode(batch).audio_codes[0]  # (clips, codebooks, frames)
            entries = [functional.embedding(codes[:, k], books[k].float()) for k in range(codes.shape[1])]
            found.append(torch.stack(entries).sum(0).mean(dim=1).cpu())
    return _as_activations(torch.cat(found))


def untrained(model: MusicModel, *, seed: int = 0) -> MusicModel:
    """The model with the blocks of its decoder drawn at random; codec, text encoder and embeddings are shared.

    Each matrix is drawn from a normal distribution with the spread of the trained one, so that the stream keeps its
    scale; biases are 0 and norms do nothing. What such a decoder tells apart was in the tokens.

    Parameters
    ----------
    model : MusicModel
        Stays as it is.
    seed : int

    Returns
    -------
    MusicModel
        Named "<name>, untrained".
    """
    generator = torch.Generator().manual_seed(seed)
    blocks = copy.deepcopy(model.stack.layers)
    with torch.no_grad():
        for module in blocks.modules():
            for name, weight in module.named_parameters(recurse=False):
                if weight.ndim > 1:
                    drawn = torch.randn(weight.shape, generator=generator) * weight.float().std().cpu()
                    weight.copy_(drawn)
                else:
                    weight.fill_(1.0 if name == "weight" else 0.0)
    network = _with_blocks(model.network, ["decoder", "model", "decoder"], blocks)
    return MusicModel(network, model.processor, name=f"{model.name}, untrained")


def _with_blocks(module: Any, path: list[str], blocks: nn.ModuleList) -> Any:
    """A module like the one given that shares everything with it but the blocks at the end of the path."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    name, inner = (
        (path[0], _with_blocks(getattr(module, path[0]), path[1:], blocks)) if path else ("layers", blocks)
    )
    twin._modules[name] = inner
    return twin


def _as_activations(values: Tensor) -> Activations:
    """Features of clips (clips, dimensions) as the activations of a single layer."""
    return Activations(
        values[:, None].float(), None, tuple(f"clip {number}" for number in range(len(values)))
    )
