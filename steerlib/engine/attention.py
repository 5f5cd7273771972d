"""Self-attention of the decode loop: each lane's newest position looks at all that the lane has read and written.

A tile of lanes (`engine.generation`) reads many gigabytes of keys and values for a few seconds of music, and on
a CPU little else limits it. Hence the layout: what lanes share is kept once, the melody's positions by group of
lanes and the text's by prompt, and what they write lies position after position, all lanes side by side, so that
memory is read in one sweep. In single precision on the CPU, a compiled loop reads it, a lane at a time: a lane's result
does not depend on its neighbours. It may keep what lanes write in half precision, and read half as many bytes; all sums
stay in single precision. Elsewhere, torch's products do the same.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from llvmlite import ir
from numba.extending import intrinsic
from torch import Tensor

__all__ = ["KeyValues"]

# Measured on the CPU: memory is read a quarter faster in eight streams than in one, with hints some numbers ahead.
_STREAMS, _AHEAD = 8, 1024


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
    buffer : ndarray, optional
        Attribute `buffer` of a tile that is done: memory that has been written to is faster than new memory.
    exact : bool, default True
        False keeps the lanes' own keys and values in half precision, where the compiled loop reads them.
    """

    buffer: npt.NDArray[Any] | None = None

    def __init__(
        self, melody: Tensor, group: Tensor, text: Tensor, prompt: Tensor, heads: int, steps: int,
        buffer: npt.NDArray[Any] | None = None, *, exact: bool = True,
    ) -> None:  # fmt: skip
        self.count, self.lanes = 0, len(group)
        melody, text = (each.unflatten(-1, (heads, -1)) for each in (melody, text))
        self.melody, self.group, self.past = melody, group, text.shape[3]
        self.compiled = (melody.device.type, melody.dtype) == ("cpu", torch.float32)
        depth, size = len(text), text.shape[-1]
        if not self.compiled:  # what a product reads lies in one piece
            self.count, steps = self.past, self.past + steps
        shape = (depth, 2, steps, self.lanes, heads, size)
        if self.compiled:
            self.scores_kernel, self.values_kernel = _kernels(size)
            # Arrays of numpy's, which asks for large pages where there are any. What is shared lies as one matrix for
            # each head: keys (..., size, positions) and values (..., positions, size).
            needed = math.prod(shape)
            kind = np.float32 if exact else np.uint16  # the bits of half precision, of which numba knows no arithmetic
            self.buffer = np.empty(needed, kind) if buffer is None or buffer.size < needed else buffer
            self.own = torch.from_numpy(self.buffer[:needed].reshape(shape))
            both = melody.numpy(), text.numpy()
            self.keys = [np.ascontiguousarray(each[:, 0].transpose(0, 1, 3, 4, 2)) for each in both]
            self.values = [np.ascontiguousarray(each[:, 1].swapaxes(2, 3)) for each in both]
            self.which = group.numpy(), prompt.numpy()
        else:
            self.own = text.new_empty(shape)
            self.own[:, :, : self.past] = text[:, :, prompt].transpose(2, 3)
            self.every = torch.arange(self.lanes, device=melody.device)

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Add the lanes' newest position in a layer, and let it attend.

        Parameters
        ----------
        layer : int
            Layers come in order; the first begins a new position.
        qkv : Tensor, shape (rows, 3 * hidden)
            Queries, keys and values side by side; rows beyond the lanes are padding. It may be overwritten.

        Returns
        -------
        Tensor, shape (rows, hidden)
            Zero in the padding.
        """
        self.count += layer == 0
        heads, size = self.melody.shape[-2:]
        attended = qkv.new_zeros(len(qkv), heads, size)
        if self.compiled:
            scores = qkv.new_empty(self.lanes, heads, self.melody.shape[3] + self.past + self.count)
            shared = ([each[layer] for each in kind] for kind in (self.keys, self.values))
            (keys, values), own = shared, (*self.which, self.own[layer].numpy(), self.count)
            self.scores_kernel(qkv.view(len(qkv), 3 * heads, size).numpy(), *keys, *own, scores.numpy())
            self.values_kernel(scores.softmax(-1).numpy(), *values, *own, attended.numpy())
        else:
            new = qkv[: self.lanes].unflatten(1, (3, heads, size))
            self.own[layer, :, self.count - 1] = new[:, 1:].transpose(0, 1)
            attended[: self.lanes] = self._by_products(layer, new[:, 0])
        return attended.flatten(1)

    def _by_products(self, layer: int, query: Tensor) -> Tensor:
        """The same for queries (lanes, heads, size), with whatever torch has for the device."""
        keys, values = self.own[layer, :, : self.count].permute(
            0, 2, 3, 1, 4
        )  # (lanes, heads, positions, size)
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
def _prefetch(context: Any, array: Any, index: Any) -> Any:
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


@intrinsic
def _single(context: Any, value: Any) -> Any:
    """A number as float32: itself, or of the bits of half precision."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if signature.args[0] == numba.types.float32:
            return values[0]
        return builder.fpext(builder.bitcast(values[0], ir.HalfType()), ir.FloatType())

    return numba.types.float32(value), code


@intrinsic
def _as_in(context: Any, array: Any, value: Any) -> Any:
    """A float32 as the numbers of an array are: itself, or the bits of half precision nearest to it."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        if signature.args[0].dtype == numba.types.float32:
            return values[1]
        return builder.bitcast(builder.fptrunc(values[1], ir.HalfType()), ir.IntType(16))

    return array.dtype(array, value), code


# Sums may be taken in any order, which lets them use vector instructions; always in the same one.
_compiled = numba.njit(fastmath={"reassoc", "nsz", "contract"}, nogil=True, cache=True)


@_compiled
def _add_product(vector, matrix, total):  # type: ignore[no-untyped-def]
    """Add vector @ matrix to total, eight rows of the matrix at a time."""
    whole = len(vector) // 8 * 8
    for k in range(0, whole, 8):
        a, b, c, d = vector[k], vector[k + 1], vector[k + 2], vector[k + 3]
        e, f, g, h = vector[k + 4], vector[k + 5], vector[k + 6], vector[k + 7]
        for i in range(len(total)):
            one = a * matrix[k, i] + b * matrix[k + 1, i] + c * matrix[k + 2, i] + d * matrix[k + 3, i]
            two = e * matrix[k + 4, i] + f * matrix[k + 5, i] + g * matrix[k + 6, i] + h * matrix[k + 7, i]
            total[i] += one + two
    for k in range(whole, len(vector)):
        for i in range(len(total)):
            total[i] += vector[k] * matrix[k, i]


@cache
def _kernels(size: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """The loops over keys and over values, for heads of one size: known to the compiler, they are far faster.

    Neither holds the other or any compiled function but a global one: numba does not keep those on disk.

    Shapes: qkv (rows, 3 heads, size), where the queries become scaled ones; keys (entries, heads, size, positions) and
    values (entries, heads, positions, size) of the melody and the text, which lanes share, with the entry of each lane;
    own keys and values (2, positions, lanes, heads, size), in single or half precision, of which `count` are there;
    scores and weights (lanes,
    heads, all positions); attended (rows, heads, size).
    """

    @_compiled
    def scores_kernel(qkv, melody, text, group, prompt, own, count, scores):  # type: ignore[no-untyped-def]
        lanes, heads, _ = scores.shape
        scale = np.float32(size**-0.5)
        for kind in range(2):
            for lane in range(lanes):
                newest, made = own[kind, count - 1, lane], qkv[lane, (kind + 1) * heads : (kind + 2) * heads]
                for head in range(heads):
                    for i in range(size):
                        newest[head, i] = _as_in(newest, made[head, i])  # type: ignore[call-arg]
        first = melody.shape[3]
        begin = first + text.shape[3]
        for lane in range(lanes):
            for head in range(heads):
                query, total = qkv[lane, head], scores[lane, head]
                for i in range(size):
                    query[i] *= scale
                total[:begin] = 0
                _add_product(query, text[prompt[lane], head], total[first:begin])
        for head in range(heads):  # what all share, from the processor's cache
            for lane in range(lanes):
                _add_product(qkv[lane, head], melody[group[lane], head], scores[lane, head, :first])
        keys = own[0, :count]
        flat = keys.reshape(-1)
        for first in range(0, count, _STREAMS):
            for lane in range(lanes):
                for head in range(heads):
                    for position in range(first, min(first + _STREAMS, count)):
                        for i in range(0, size, 16):
                            _prefetch(flat, ((position * lanes + lane) * heads + head) * size + i + _AHEAD)  # type: ignore[call-arg]
                        score = np.float32(0)
                        for i in range(size):
                            score += qkv[lane, head, i] * _single(keys[position, lane, head, i])  # type: ignore[call-arg]
                        scores[lane, head, begin + position] = score

    @_compiled
    def values_kernel(weights, melody, text, group, prompt, own, count, attended):  # type: ignore[no-untyped-def]
        lanes, heads, _ = weights.shape
        first = melody.shape[2]
        begin = first + text.shape[2]
        for lane in range(lanes):
            for head in range(heads):
                _add_product(weights[lane, head, first:begin], text[prompt[lane], head], attended[lane, head])
        for head in range(heads):  # what all share, from the processor's cache
            for lane in range(lanes):
                _add_product(weights[lane, head, :first], melody[group[lane], head], attended[lane, head])
        values = own[1, :count]
        flat = values.reshape(-1)
        for first in range(0, count, _STREAMS):
            for lane in range(lanes):
                for head in range(heads):
                    for position in range(first, min(first + _STREAMS, count)):
                        for i in range(0, size, 16):
                            _prefetch(flat, ((position * lanes + lane) * heads + head) * size + i + _AHEAD)  # type: ignore[call-arg]
                        weight = weights[lane, head, begin + position]
                        for i in range(size):
                            attended[lane, head, i] += weight * _single(values[position, lane, head, i])  # type: ignore[call-arg]

    return scores_kernel, values_kernel
