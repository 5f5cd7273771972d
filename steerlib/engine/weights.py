"""The decoder's weights in the layout of the decode loop: fused, and packed for the CPU.

A row of a floating-point matrix product may depend on how many rows there are. So products have as many rows as are
needed (at least `MIN_GEMM_ROWS`) where a test at run time finds that this changes no bit, and else one fixed number.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from steerlib.engine.fit import SMALL_WIDTH, lanes_of
from steerlib.model import MusicModel

__all__ = ["Block", "Matrix", "Weights"]

MIN_GEMM_ROWS = 16
"""Below this, torch picks a kernel that sums in another order."""


class Matrix:
    """A weight (out, in) to multiply states (rows, in) with, to (rows, out)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.packed = weight, dict[int, Tensor]()
        self.packs = (
            hasattr(torch.ops.mkl, "_mkl_linear")
            and (weight.device.type, weight.dtype) == ("cpu", torch.float32)
            and weight.shape[1] <= 4 * SMALL_WIDTH
        )

    def __call__(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight)

    def matmul_packed(self, states: Tensor) -> Tensor:
        """The same, for numbers of rows that recur.

        A small model's weights are also kept packed, in the order in which the CPU's multiplication reads them;
        otherwise each call packs them anew. Sums may be rounded differently.
        """
        if not self.packs:
            return self(states)
        rows = len(states)
        packed = self.packed.get(rows)
        if packed is None:
            packed = self.packed[rows] = torch.ops.mkl._mkl_reorder_linear_weight(self.weight, rows)
        return torch.ops.mkl._mkl_linear(states, packed, self.weight, None, rows)

    def is_row_invariant(self, rows: int, most: int) -> bool:
        """Whether a row comes out the same, bit for bit, in any place of a product of `rows` and of `most` rows."""
        states = torch.randn(most, self.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(
            self.weight
        )
        moved = self.matmul_packed(states.roll(7, dims=0)).roll(-7, dims=0)
        if rows != most:
            self.packed.pop(most, None)
        return torch.equal(self.matmul_packed(states[:rows]), moved[:rows])


@dataclass(frozen=True, eq=False)
class Block:
    norm: Callable[[Tensor], Tensor]
    qkv: Matrix  # (3 hidden, hidden)
    out: Matrix
    cross: Any  # the block itself, if it has cross-attention, or None
    ffn_norm: Callable[[Tensor], Tensor]
    fc1: Matrix
    fc2: Matrix
    activation: Callable[[Tensor], Tensor]


class Weights:
    """The decoder's weights: queries, keys and values fused into one matrix, embeddings and heads too."""

    def __init__(self, model: MusicModel) -> None:
        stack, network = model.stack, model.network
        with torch.inference_mode():
            self.blocks = [
                Block(
                    block.self_attn_layer_norm,
                    Matrix(torch.cat([getattr(block.self_attn, f"{name}_proj").weight for name in "qkv"])),
                    Matrix(block.self_attn.out_proj.weight),
                    block if hasattr(block, "encoder_attn") else None,
                    block.final_layer_norm,
                    Matrix(block.fc1.weight),
                    Matrix(block.fc2.weight),
                    block.activation_fn,
                )
                for block in stack.layers
            ]
            self.embeddings = torch.cat([table.weight for table in stack.embed_tokens])
            self.heads = Matrix(torch.cat([head.weight for head in network.decoder.lm_heads]))
        self.norm = stack.layer_norm
        self.lanes = lanes_of(model)
        self.row_invariant = cache(self._is_row_invariant)
        self.position_table = stack.embed_positions.weights.to(self.embeddings)
        self.depth, self.codebooks = model.depth, model.codebooks
        self.hidden, self.num_heads = model.width, stack.config.num_attention_heads
        self.start_token = model.start_token

    def rows(self, lanes: int, clips: int) -> tuple[int, int]:
        """Rows of the products of the blocks and of the heads, see the rule of this module."""
        needed = max(MIN_GEMM_ROWS, math.ceil(lanes / 4) * 4), max(MIN_GEMM_ROWS, math.ceil(clips / 4) * 4)
        most = self.lanes, max(MIN_GEMM_ROWS, self.lanes * clips // lanes)
        return needed if self.row_invariant(needed, most) else most

    def _is_row_invariant(self, needed: tuple[int, int], most: tuple[int, int]) -> bool:
        block = self.blocks[0]
        if self.embeddings.device.type != "cpu" or block.cross is not None:
            return False
        in_blocks = (block.qkv, block.out, block.fc1, block.fc2)
        rows, head_rows = zip(needed, most, strict=True)
        return all(matrix.is_row_invariant(*rows) for matrix in in_blocks) and self.heads.is_row_invariant(
            *head_rows
        )

    def positions(self, frames: int) -> int:
        """Positions of the delay pattern: start token, frames, and one more for each delayed codebook."""
        return frames + self.codebooks

    def embed(self, tokens: Tensor) -> Tensor:
        """Tokens (n, codebooks) to states (n, hidden), without their position."""
        first = torch.arange(self.codebooks, device=tokens.device) * (len(self.embeddings) // self.codebooks)
        return F.embedding(tokens + first, self.embeddings).sum(1)

    def split_heads(self, states: Tensor) -> Tensor:
        """(..., hidden) to (..., heads, head size)."""
        return states.unflatten(-1, (self.num_heads, -1))
