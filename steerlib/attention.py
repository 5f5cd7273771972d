"""Self-attention of the decode loop: each lane's newest position looks at all that the lane has read and written.

A tile of lanes (`steerlib.generation`) reads many gigabytes of keys and values for a few seconds of music, and on
a CPU little else limits it. Hence the layout: what lanes share is kept once, the melody's positions by group of
lanes and the text's by prompt, and what they write lies position after position, all lanes side by side, so that
memory is read in one sweep. In single precision on the CPU, a compiled loop reads it, a lane at a time: a lane's result
does not depend on its neighbours. Elsewhere, torch's products do the same.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.extending import intrinsic
from torch import Tensor

__all__ = ["KeyValues"]

_AHEAD = 2048  # numbers to fetch ahead: measured on the CPU, up to a third faster than leaving it to the processor
_BLOCK = 32  # positions of what lanes share, read by one lane after the other while they are in the cache


class KeyValues:
    """Keys and values of a tile of lanes, growing by one position a step.

    Parameters
    ----------
    melody : Tensor, shape (layers, 2, groups, melody positions, hidden)
        Keys and values of the first positions, which all lanes of a group share.
    group : Tensor, shape (lanes,), int64
        Each lane's group.
    text : Tensor, shape (layers, 2, prompts, text positions, hidden)
        Those of the positions after the melody.
    prompt : Tensor, shape (lanes,), int64
        Each lane's prompt.
    heads : int
    steps : int
        Positions that will be added.
    """

    def __init__(
        self, melody: Tensor, group: Tensor, text: Tensor, prompt: Tensor, heads: int, steps: int
    ) -> None:
        self.count, self.lanes = 0, len(group)
        melody, text = (each.unflatten(-1, (heads, -1)) for each in (melody, text))
        self.melody, self.group = melody, group
        self.compiled = (melody.device.type, melody.dtype) == ("cpu", torch.float32)
        depth, _, _, past, _, size = text.shape
        if not self.compiled:  # what a product reads lies in one piece
            self.count, steps = past, past + steps
        shape = (depth, 2, steps, self.lanes, heads, size)
        if self.compiled:
            self.weigh, self.add_up = _loops(size)
            # From numpy, which asks for large pages where there are any
            self.own = torch.from_numpy(np.empty(shape, np.float32))
            self.arrays: Any = [each.numpy() for each in (melody, group, text, prompt, self.own)]
        else:
            self.own = text.new_empty(shape)
            self.own[:, :, :past] = text[:, :, prompt].transpose(2, 3)
            self.every = torch.arange(self.lanes, device=melody.device)

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Add the lanes' newest position in a layer, and let it attend.

        Parameters
        ----------
        layer : int
            Layers come in order; the first begins a new position.
        qkv : Tensor, shape (rows, 3 * hidden)
            Queries, keys and values side by side; rows beyond the lanes are padding.

        Returns
        -------
        Tensor, shape (rows, hidden)
            Zero in the padding.
        """
        self.count += layer == 0
        heads, size = self.melody.shape[-2:]
        attended = qkv.new_zeros(len(qkv), heads, size)
        if self.compiled:
            melody, group, text, prompt, own = self.arrays
            before = melody[layer], group, text[layer], prompt, own[layer], self.count
            scores = qkv.new_empty(self.lanes, heads, melody.shape[3] + text.shape[3] + self.count)
            self.weigh(qkv.view(len(qkv), 3 * heads, size).numpy(), *before, scores.numpy())
            self.add_up(scores.softmax(-1).numpy(), *before, attended.numpy())
        else:
            new = qkv[: self.lanes].unflatten(1, (3, heads, size))
            self.own[layer, :, self.count - 1] = new[:, 1:].transpose(0, 1)
            attended[: self.lanes] = self._by_products(layer, new[:, 0])
        return attended.flatten(1)

    def _by_products(self, layer: int, query: Tensor) -> Tensor:
        """The same for queries (lanes, heads, size), with whatever torch has for the device."""
        keys, values = self.own[layer, :, : self.count].permute(0, 2, 3, 1, 4)  # (lanes, heads, positions, size)
        attended, mass = _attend(query, keys, values)
        early_keys, early_values = self.melody[layer].transpose(2, 3)  # (groups, heads, positions, size)
        if not early_keys.shape[2]:
            return attended
        scores = (query.transpose(0, 1) * query.shape[-1] ** -0.5) @ early_keys.transpose(2, 3)
        weights = torch.cat([mass, scores[self.group, :, self.every].float()], -1).softmax(-1).to(query.dtype)
        spread = weights.new_zeros(len(early_keys), query.shape[1], self.lanes, early_keys.shape[2])
        spread[self.group, :, self.every] = weights[..., 1:]
        return attended * weights[..., :1] + (spread @ early_values)[self.group, :, self.every]


def _attend(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of one query per lane, and the logarithm of the sum of its exponentiated scores (lanes, heads, 1)."""
    if query.device.type == "cpu":
        attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # what F.scaled_dot_... calls
        attended, mass = attend(query[:, :, None], keys, values)
        return attended[:, :, 0], mass.reshape(*query.shape[:2], 1)
    return _attend_by_products(query, keys, values)


def _attend_by_products(query: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    scores = ((query[:, :, None] * query.shape[-1] ** -0.5) @ keys.transpose(2, 3)).float()
    return (scores.softmax(-1).to(values.dtype) @ values)[:, :, 0], scores.logsumexp(-1)


@intrinsic
def _fetch(context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of array[index], which need not exist."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, values[0]).data
        address, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, number, number, number])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [address], kind)
        place = builder.bitcast(builder.gep(data, [values[1]]), address)
        builder.call(prefetch, [place, number(0), number(2), number(1)])  # to read, for long, data
        return context.get_dummy_value()

    return numba.types.void(array, index), code


# Sums may be taken in any order, which lets them use vector instructions; always in the same one.
_compiled = numba.njit(fastmath={"reassoc", "nsz", "contract"}, nogil=True, cache=True)


@cache
def _loops(size: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """The loops over keys and over values, for heads of one size: known to the compiler, they are far faster.

    Arrays end in (heads, size), but for scores (lanes, heads, positions): qkv (rows, 3 heads, size), what lanes share
    (entries, positions, ...) with the entry of each lane, own keys or values (positions, lanes, ...), and attended
    (rows, ...).
    """

    @_compiled
    def score_shared(qkv, shared, which, scores, begin):  # type: ignore[no-untyped-def]
        lanes, heads, _ = scores.shape
        scale = np.float32(size**-0.5)
        for first in range(0, shared.shape[1], _BLOCK):
            for lane in range(lanes):
                keys, query = shared[which[lane], first : first + _BLOCK], qkv[lane]
                for position in range(len(keys)):
                    for head in range(heads):
                        total = np.float32(0)
                        for i in range(size):
                            total += query[head, i] * keys[position, head, i]
                        scores[lane, head, begin + first + position] = total * scale

    @_compiled
    def score(qkv, own, scores, begin):  # type: ignore[no-untyped-def]
        lanes, heads, _ = scores.shape
        scale = np.float32(size**-0.5)
        flat = own.reshape(-1)
        for position in range(len(own)):
            for lane in range(lanes):
                for head in range(heads):
                    for i in range(0, size, 16):
                        _fetch(flat, ((position * lanes + lane) * heads + head) * size + i + _AHEAD)  # type: ignore[call-arg]
                    total = np.float32(0)
                    for i in range(size):
                        total += qkv[lane, head, i] * own[position, lane, head, i]
                    scores[lane, head, begin + position] = total * scale

    @_compiled
    def mix_shared(weights, shared, which, attended, begin):  # type: ignore[no-untyped-def]
        lanes, heads, _ = weights.shape
        for first in range(0, shared.shape[1], _BLOCK):
            for lane in range(lanes):
                values, total = shared[which[lane], first : first + _BLOCK], attended[lane]
                for position in range(len(values)):
                    for head in range(heads):
                        weight = weights[lane, head, begin + first + position]
                        for i in range(size):
                            total[head, i] += weight * values[position, head, i]

    @_compiled
    def mix(weights, own, attended, begin):  # type: ignore[no-untyped-def]
        lanes, heads, _ = weights.shape
        flat = own.reshape(-1)
        for position in range(len(own)):
            for lane in range(lanes):
                for head in range(heads):
                    for i in range(0, size, 16):
                        _fetch(flat, ((position * lanes + lane) * heads + head) * size + i + _AHEAD)  # type: ignore[call-arg]
                    weight = weights[lane, head, begin + position]
                    for i in range(size):
                        attended[lane, head, i] += weight * own[position, lane, head, i]

    @_compiled
    def weigh(qkv, melody, group, text, prompt, own, count, scores):  # type: ignore[no-untyped-def]
        lanes, heads, _ = scores.shape
        for kind in range(2):
            for lane in range(lanes):
                newest, made = own[kind, count - 1, lane], qkv[lane, (kind + 1) * heads : (kind + 2) * heads]
                for head in range(heads):
                    for i in range(size):
                        newest[head, i] = made[head, i]
        begin = melody.shape[2]
        score_shared(qkv, melody[0], group, scores, 0)
        score_shared(qkv, text[0], prompt, scores, begin)
        score(qkv, own[0, :count], scores, begin + text.shape[2])

    @_compiled
    def add_up(weights, melody, group, text, prompt, own, count, attended):  # type: ignore[no-untyped-def]
        begin = melody.shape[2]
        mix_shared(weights, melody[1], group, attended, 0)
        mix_shared(weights, text[1], prompt, attended, begin)
        mix(weights, own[1, :count], attended, begin + text.shape[2])

    return weigh, add_up
