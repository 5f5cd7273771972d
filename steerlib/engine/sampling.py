"""How tokens are chosen: at random from the model's probabilities, by a random stream that is each row's own.

By the Gumbel-max rule: the token is chosen whose logit plus Gumbel noise is largest, which draws from the softmax.
The noise of a token is a hash of (prompt, seed, position, codebook, token), so that two clips of one prompt and seed
differ only where steering has moved the probabilities far enough (common random numbers).
"""

import hashlib
import math
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Sampling", "choose", "noise_keys"]


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen. MusicGen's own defaults (audiocraft): guidance 3, temperature 1, top 250.

    Attributes
    ----------
    guidance_scale : float
        Weight of the prompt in classifier-free guidance; at 1 or below there is no unconditional branch.
    temperature : float
    top_k : int or None
        Most probable tokens to choose among; None for all.
    do_sample : bool
        False chooses the most probable token (greedy), whatever temperature and top_k.
    exact : bool
        False keeps the keys and values of what a clip has written in half precision, on the CPU and in float32:
        attention, the largest part of the work, reads half as many bytes. Some tokens are then others than with True,
        which is equal to transformers; ``benchmarks/engine.py`` measures how many. No effect elsewhere.
    """

    guidance_scale: float = 3.0
    temperature: float = 1.0
    top_k: int | None = 250
    do_sample: bool = True
    exact: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.guidance_scale < math.inf:
            raise ValueError(
                "guidance_scale must be a positive number (MusicGen: 3; 1 for none), got "
                f"{self.guidance_scale}"
            )
        if not 0 < self.temperature < math.inf:
            raise ValueError(
                f"temperature must be a positive number, got {self.temperature}; for greedy decoding use "
                "do_sample=False"
            )
        if self.top_k is not None and not (type(self.top_k) is int and self.top_k >= 1):
            raise ValueError(
                f"top_k must be a whole number from 1, or None for all tokens; got {self.top_k!r}"
            )


def noise_keys(prompt: str, seed: int, positions: int, codebooks: int) -> npt.NDArray[np.int64]:
    """A row's random stream: two 32-bit numbers for each of (positions, codebooks), in the last axis.

    From a Philox counter keyed by (prompt, seed): a longer clip has the stream of a shorter one, and more.
    """
    key = int.from_bytes(hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()[:16], "little")
    raw = np.random.Philox(key=key).random_raw(positions * codebooks)
    halves = np.stack([raw >> np.uint64(32), raw & np.uint64(0xFFFFFFFF)], axis=-1)
    return halves.astype(np.int64).reshape(positions, codebooks, 2)


def choose(logits: Tensor, sampling: Sampling, keys: Tensor | None) -> Tensor:
    """Choose tokens.

    Parameters
    ----------
    logits : Tensor, shape (rows, codebooks, vocabulary), float32
    sampling : Sampling
    keys : Tensor, shape (rows, codebooks, 2), int64, or None
        From `noise_keys`, at one position; None for greedy decoding.

    Returns
    -------
    Tensor, shape (rows, codebooks), int64

    Raises
    ------
    FloatingPointError
        If logits are not numbers.
    """
    if keys is None:
        return logits.argmax(-1)
    vocabulary = logits.shape[-1]
    top_k = min(sampling.top_k or vocabulary, vocabulary)
    if logits.device.type != "cpu":
        return _choose_by_sorting(logits, sampling.temperature, top_k, keys)
    logits = logits.contiguous()
    noise = torch.empty_like(logits)
    _uniform(keys.numpy(), noise.numpy())
    noise.log_().neg_().log_()  # minus the Gumbel noise
    noisy = torch.sub(logits / sampling.temperature, noise, out=noise)
    chosen = noisy.argmax(-1)
    _keep_to_top(logits.numpy(), noisy.numpy(), top_k, chosen.numpy())
    if (chosen < 0).any():
        raise FloatingPointError(
            "the model's logits are not numbers: its numbers overflow; load it in float32, or steer less"
        )
    return chosen


def _choose_by_sorting(logits: Tensor, temperature: float, top_k: int, keys: Tensor) -> Tensor:
    logits, candidates = logits.topk(top_k, sorted=False)
    best = (logits / temperature + _gumbel(keys, candidates)).argmax(-1, keepdim=True)
    return candidates.gather(-1, best).squeeze(-1)


def _gumbel(keys: Tensor, tokens: Tensor) -> Tensor:
    """Standard Gumbel noise for tokens (..., n) under keys (..., 2): -log(-log u) of a 32-bit hash."""
    low = 0xFFFFFFFF
    bits = (tokens * 0x1E35A7BD + keys[..., :1]) & low
    for key in (keys[..., 1:], keys[..., :1]):
        bits = bits ^ (bits >> 16)
        bits = (bits * 0x7FEB352D) & low
        bits = bits ^ (bits >> 15)
        bits = (bits * 0x31848BAB) & low
        bits = bits ^ (bits >> 16) ^ key
    uniform = ((bits >> 9).float() + 0.5) * 2.0**-23  # 23 bits, never 0 or 1
    return -torch.log(-torch.log(uniform))


@numba.njit(nogil=True, cache=True)
def _uniform(keys, uniform):  # type: ignore[no-untyped-def]
    """The same hash for all tokens, into uniform (rows, codebooks, vocabulary)."""
    of = np.uint32
    for row in range(uniform.shape[0]):
        for book in range(uniform.shape[1]):
            first, second = of(keys[row, book, 0]), of(keys[row, book, 1])
            for token in range(uniform.shape[2]):
                bits = of(of(token) * of(0x1E35A7BD) + first)
                for key in (second, first):
                    bits ^= bits >> of(16)
                    bits = of(bits * of(0x7FEB352D))
                    bits ^= bits >> of(15)
                    bits = of(bits * of(0x31848BAB))
                    bits = of(bits ^ (bits >> of(16)) ^ key)
                uniform[row, book, token] = (
                    np.float32(np.int32(bits >> of(9))) + np.float32(0.5)
                ) * np.float32(2.0**-23)


@numba.njit(nogil=True, cache=True)
def _keep_to_top(logits, noisy, top_k, chosen):  # type: ignore[no-untyped-def]
    """Choose anew where what was chosen, the largest of noisy, is not among the top k; without sorting.

    A winner that is not among the top k is out, with all that are less probable than it is. -1 where it is no number.
    """
    for row in range(logits.shape[0]):
        for book in range(logits.shape[1]):
            scores, best = logits[row, book], chosen[row, book]
            while best >= 0:
                floor, above = scores[best], 0
                for token in range(len(scores)):
                    above += scores[token] > floor
                if above < top_k and floor == floor:
                    break
                best = -1
                for token in range(len(scores)):
                    if scores[token] > floor and (
                        best < 0 or noisy[row, book, token] > noisy[row, book, best]
                    ):
                        best = token
            chosen[row, book] = best
