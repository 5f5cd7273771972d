"""Spectral RVQ codec of the pocket model, with `EncodecModel`'s `encode` and `decode`.

Audio is coded as its log-magnitude spectrogram: ConvNeXt blocks at 50 frames a second, residual vector
quantisation at 25. Phase is not coded but rebuilt: each spectral peak's frequency is interpolated, its phase
integrated over time, and the bins around a peak are locked to it (after Puckette's phase-locked vocoder and
Beauregard's single-pass spectrogram inversion, 2015); a few Griffin-Lim iterations polish the result. A network
that maps equal frames to equal frames cannot make a phase advance, which is why an inverse-STFT head stays
behind on sustained notes.

Shapes follow `transformers.EncodecModel`: audio (batch, 1, samples), codes (1, batch, codebooks, frames).
"""

from __future__ import annotations

import math
from typing import Any, cast

import numba
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.encodec.modeling_encodec import EncodecDecoderOutput, EncodecEncoderOutput


class SpectralCodecConfig(PreTrainedConfig):
    """Sizes of a `SpectralCodec`.

    Parameters
    ----------
    sampling_rate : int
        Hz.
    n_fft, stft_hop : int
        Window and hop of the spectrogram in samples.
    stride : int
        Spectrogram frames per code frame.
    num_quantizers, codebook_size, codebook_dim : int
        Residual vector quantiser.
    encoder_size, latent_size, decoder_size : int
        Channels of the blocks at 50 Hz (encoder), at 25 Hz, and at 50 Hz (decoder).
    depth : int
        Blocks per stage.
    phase_iterations : int
        Griffin-Lim iterations after the locked phases, with momentum (Perraudin et al. 2013).
    """

    model_type = "spectral_codec"

    def __init__(
        self,
        sampling_rate: int = 16_000,
        n_fft: int = 1024,
        stft_hop: int = 320,
        stride: int = 2,
        num_quantizers: int = 8,
        codebook_size: int = 1024,
        codebook_dim: int = 128,
        encoder_size: int = 256,
        latent_size: int = 320,
        decoder_size: int = 256,
        depth: int = 4,
        phase_iterations: int = 4,
        audio_channels: int = 1,
        **kwargs,
    ):
        self.sampling_rate, self.n_fft, self.stft_hop, self.stride = sampling_rate, n_fft, stft_hop, stride
        self.num_quantizers, self.codebook_size, self.codebook_dim = (
            num_quantizers,
            codebook_size,
            codebook_dim,
        )
        self.encoder_size, self.latent_size, self.decoder_size = encoder_size, latent_size, decoder_size
        self.depth, self.phase_iterations, self.audio_channels = depth, phase_iterations, audio_channels
        super().__init__(**kwargs)

    @property
    def hop_length(self) -> int:
        """Samples per code frame."""
        return self.stft_hop * self.stride

    @property
    def frame_rate(self) -> int:
        """Code frames per second."""
        return math.ceil(self.sampling_rate / self.hop_length)


class _Block(nn.Module):
    """ConvNeXt block on (batch, time, channels); the depthwise convolution is a sum of seven shifts."""

    def __init__(self, channels: int):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(7, channels) * 0.2)
        self.norm = nn.LayerNorm(channels)
        self.up = nn.Linear(channels, 3 * channels)
        self.down = nn.Linear(3 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padded = F.pad(x, (0, 0, 3, 3))
        mixed = padded[:, : x.shape[1]] * self.kernel[0]
        for i in range(1, 7):
            mixed = torch.addcmul(mixed, padded[:, i : i + x.shape[1]], self.kernel[i])
        return x + self.down(F.gelu(self.up(self.norm(mixed)), approximate="tanh"))


class SpectralCodec(PreTrainedModel):
    """Neural codec of the pocket model.

    Parameters
    ----------
    config : SpectralCodecConfig
    """

    config_class = SpectralCodecConfig
    base_model_prefix = "spectral_codec"
    main_input_name = "input_values"
    window: torch.Tensor

    def __init__(self, config: SpectralCodecConfig):
        super().__init__(config)
        bins, c = config.n_fft // 2 + 1, config
        stage = lambda size: nn.Sequential(*[_Block(size) for _ in range(c.depth)])  # noqa: E731
        self.encoder = nn.Sequential(nn.Linear(bins, c.encoder_size), stage(c.encoder_size))
        self.down = nn.Linear(c.stride * c.encoder_size, c.latent_size)
        self.latent_encoder = nn.Sequential(
            stage(c.latent_size)[:2], nn.Linear(c.latent_size, c.codebook_dim)
        )
        self.codebooks = nn.Parameter(
            torch.zeros(c.num_quantizers, c.codebook_size, c.codebook_dim), requires_grad=False
        )
        self.latent_decoder = nn.Sequential(nn.Linear(c.codebook_dim, c.latent_size), stage(c.latent_size))
        self.up = nn.Linear(c.latent_size, c.stride * c.decoder_size)
        self.decoder = nn.Sequential(
            stage(c.decoder_size), nn.LayerNorm(c.decoder_size), nn.Linear(c.decoder_size, bins)
        )
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        self.weights: dict[int, torch.Tensor] = {}  # by number of frames, see `_weight`
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, SpectralCodec):  # not stored: made again after loading on the meta device
            module.window = torch.hann_window(module.config.n_fft)

    # -- spectrogram ---------------------------------------------------------------------------------------

    def stft(self, audio: torch.Tensor) -> torch.Tensor:
        """Complex spectrogram.

        Parameters
        ----------
        audio : Tensor of shape (batch, samples)
            Padded with zeros to whole code frames.

        Returns
        -------
        Tensor of shape (batch, frames * stride, n_fft // 2 + 1), complex
            A sine of full scale has magnitude 1.
        """
        n, hop = self.config.n_fft, self.config.stft_hop
        samples = math.ceil(audio.shape[-1] / self.config.hop_length) * self.config.hop_length
        # frame t is centred on the middle of its hop, so every frame sees real audio
        left = (n - hop) // 2
        padded = F.pad(audio, (left, samples - audio.shape[-1] + n - hop - left))
        return torch.fft.rfft(padded.unfold(-1, n, hop) * self.window) * (2 / self.window.sum())

    def istft(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Overlap-add inverse of `stft`, shape (batch, frames * stft_hop)."""
        frames = torch.fft.irfft(spectrum, n=self.config.n_fft) * (self.window * (self.window.sum() / 2))
        left, length = (self.config.n_fft - self.config.stft_hop) // 2, frames.shape[1] * self.config.stft_hop
        return (self._overlap_add(frames) / self._weight(frames.shape[1]))[:, left : left + length]

    def _weight(self, count: int) -> torch.Tensor:
        """Sum of the squared windows of `count` frames."""
        if count not in self.weights:
            total = self._overlap_add((self.window**2).expand(1, count, -1)).clamp_min(1e-3)
            self.weights = {count: total}
        return self.weights[count].to(self.window.device)

    def _overlap_add(self, frames: torch.Tensor) -> torch.Tensor:
        """Sum of frames (batch, count, n_fft), each a hop after the one before; faster than `F.fold`."""
        batch, count, n = frames.shape
        hop = self.config.stft_hop
        total = frames.new_zeros(batch, (count - 1) * hop + math.ceil(n / hop) * hop)
        for i in range(0, n, hop):
            piece = frames[:, :, i : i + hop]
            total[:, i : i + count * hop].view(batch, count, hop)[:, :, : piece.shape[2]].add_(piece)
        return total

    def decibels(self, audio: torch.Tensor) -> torch.Tensor:
        """Log-magnitude spectrogram in dB re full scale, floored at -110."""
        return 20 * torch.log10(self.stft(audio).abs().clamp_min(10 ** (-110 / 20)))

    def phases(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Phases in which every spectral peak advances at its own interpolated frequency.

        Parameters
        ----------
        magnitude : Tensor of shape (batch, frames, bins)

        Returns
        -------
        Tensor of shape (batch, frames, bins)
            Radians.
        """
        log = magnitude.detach().float().clamp_min(1e-7).log().cpu().contiguous().numpy()
        made = np.empty_like(log)
        _lock_phases(log, self.config.stft_hop / self.config.n_fft, made)
        return torch.from_numpy(made).to(magnitude)

    def vocode(self, decibels: torch.Tensor) -> torch.Tensor:
        """Audio of shape (batch, samples) from a log-magnitude spectrogram in dB."""
        magnitude = 10 ** (decibels / 20)
        spectrum = torch.polar(magnitude, self.phases(magnitude))
        before = None
        for _ in range(self.config.phase_iterations):
            consistent = self.stft(self.istft(spectrum))
            spectrum = _with_magnitude(consistent, before, magnitude)
            before = consistent
        return self.istft(spectrum)

    # -- network -------------------------------------------------------------------------------------------

    def latents(self, decibels: torch.Tensor) -> torch.Tensor:
        """Continuous latents (batch, code frames, codebook_dim) of a spectrogram."""
        hidden = self.encoder((decibels + 60) / 30)
        return self.latent_encoder(self.down(hidden.reshape(len(hidden), -1, self.down.in_features)))

    def quantize(self, latents: torch.Tensor) -> torch.Tensor:
        """Codes (batch, codebooks, frames), nearest entry of each codebook to what the ones before left over."""
        residual, codes = latents.float(), []
        for book in self.codebooks.float():
            distance = book.pow(2).sum(-1) - 2 * residual @ book.T
            codes.append(distance.argmin(-1))
            residual = residual - book[codes[-1]]
        return torch.stack(codes, dim=1)

    def lookup(self, codes: torch.Tensor) -> torch.Tensor:
        """Latents (batch, frames, codebook_dim) of codes (batch, codebooks, frames)."""
        entries = [F.embedding(codes[:, k], self.codebooks[k]) for k in range(codes.shape[1])]
        return torch.stack(entries).sum(0)

    def spectrogram(self, latents: torch.Tensor) -> torch.Tensor:
        """Log-magnitude spectrogram in dB of (quantised) latents."""
        hidden = self.up(self.latent_decoder(latents))
        hidden = hidden.reshape(len(hidden), -1, self.config.decoder_size)
        return self.decoder(hidden) * 30 - 60

    # -- EncodecModel's interface --------------------------------------------------------------------------

    def encode(
        self,
        input_values: torch.Tensor,
        padding_mask: torch.Tensor | None = None,
        bandwidth: float | None = None,
        return_dict: bool | None = None,
    ) -> EncodecEncoderOutput:
        """Codes of audio.

        Parameters
        ----------
        input_values : Tensor of shape (batch, 1, samples)
            At `config.sampling_rate`.
        padding_mask, bandwidth, return_dict
            Accepted for `EncodecModel`'s sake; the mask is not needed and there is one bandwidth.

        Returns
        -------
        EncodecEncoderOutput
            ``audio_codes`` of shape (1, batch, num_quantizers, frames), frames = ceil(samples / hop_length).

        Raises
        ------
        ValueError
            If the audio has another shape.
        """
        if input_values.ndim != 3 or input_values.shape[1] != 1:
            raise ValueError(
                f"The codec takes mono audio of shape (batch, 1, samples), not {tuple(input_values.shape)}; "
                "average the channels and add the missing axis first."
            )
        codes = self.quantize(self.latents(self.decibels(input_values[:, 0].float()).to(self.dtype)))
        return EncodecEncoderOutput(cast(Any, codes[None]), cast(Any, [None]))

    def decode(
        self,
        audio_codes: torch.Tensor,
        audio_scales: object = None,
        padding_mask: torch.Tensor | None = None,
        return_dict: bool | None = None,
        last_frame_pad_length: int | None = 0,
    ) -> EncodecDecoderOutput:
        """Audio of codes.

        Parameters
        ----------
        audio_codes : Tensor of shape (1, batch, codebooks, frames)
            Fewer codebooks than `num_quantizers` decode to a rougher copy.
        audio_scales, padding_mask, return_dict, last_frame_pad_length
            Accepted for `EncodecModel`'s sake.

        Returns
        -------
        EncodecDecoderOutput
            ``audio_values`` of shape (batch, 1, frames * hop_length).
        """
        decibels = self.spectrogram(self.lookup(audio_codes[0]).to(self.dtype))
        return EncodecDecoderOutput(self.vocode(decibels.float())[:, None])

    def forward(
        self, input_values: torch.Tensor, padding_mask: torch.Tensor | None = None
    ) -> EncodecDecoderOutput:
        """A copy of the audio: `encode`, then `decode`."""
        return self.decode(cast(Any, self.encode(input_values).audio_codes))


def _with_magnitude(
    consistent: torch.Tensor, before: torch.Tensor | None, magnitude: torch.Tensor
) -> torch.Tensor:
    """The magnitude with the phases of a spectrum that momentum takes half a step ahead; in one pass on the CPU."""
    before = consistent if before is None else before
    if consistent.device.type != "cpu" or consistent.requires_grad:
        parts = torch.view_as_real(consistent.lerp(before, -0.5))
        scale = magnitude * parts.square().sum(-1).clamp_min(1e-18).rsqrt()
        return torch.view_as_complex(parts * scale[..., None])
    made = torch.empty(consistent.shape, dtype=consistent.dtype)
    first, second, third = (torch.view_as_real(each).flatten().numpy() for each in (consistent, before, made))
    _scale(first, second, third, magnitude.flatten().numpy())
    return made


@numba.njit(fastmath=True, nogil=True, cache=True)
def _scale(consistent, before, made, magnitude):  # type: ignore[no-untyped-def]
    half, least = np.float32(0.5), np.float32(1e-18)
    for i in range(len(magnitude)):
        real = consistent[2 * i] + half * (consistent[2 * i] - before[2 * i])
        imaginary = consistent[2 * i + 1] + half * (consistent[2 * i + 1] - before[2 * i + 1])
        scale = magnitude[i] / np.sqrt(max(real * real + imaginary * imaginary, least))
        made[2 * i], made[2 * i + 1] = real * scale, imaginary * scale


@numba.njit(nogil=True, cache=True)
def _lock_phases(log, hop, phases):  # type: ignore[no-untyped-def]
    """Phases of logarithms of magnitudes (clips, frames, bins), with a hop of so many windows."""
    clips, frames, bins = log.shape
    nearest = np.empty(bins, np.int64)
    for clip in range(clips):
        cycles, advance, before = np.zeros(bins), np.zeros(bins), np.zeros(bins)
        for frame in range(frames):
            here, last = log[clip, frame], -1
            for k in range(
                bins
            ):  # each bin's nearest peak, of two the lower: the last one, until a next one is nearer
                if 0 < k < bins - 1 and here[k - 1] <= here[k] > here[k + 1]:
                    for between in range((last + k) // 2 + 1 if last >= 0 else 0, k + 1):
                        nearest[between] = k
                    last = k
                elif last >= 0:
                    nearest[k] = last
                else:
                    nearest[k] = 0
            for k in range(bins):  # each bin turns as fast as its peak, whose frequency a parabola finds
                peak = nearest[k]
                offset = 0.0
                if 0 < peak < bins - 1:
                    left, right = here[peak - 1], here[peak + 1]
                    curvature = min(left - 2 * here[peak] + right, -1e-6)
                    offset = min(max(0.5 * (left - right) / curvature, -0.5), 0.5)
                advance[k] = (peak + offset) * hop
                cycles[k] += 0.5 * (advance[k] + before[k])
                cycles[k] -= np.floor(cycles[k])
                before[k] = advance[k]
            for k in range(bins):
                phases[clip, frame, k] = 2 * np.pi * cycles[nearest[k]] + np.pi * (k % 2)


AutoConfig.register(SpectralCodecConfig.model_type, SpectralCodecConfig, exist_ok=True)
AutoModel.register(SpectralCodecConfig, SpectralCodec, exist_ok=True)
