"""The decoder as functions of its weights: reading a prefix, then one position a step, steered on the way."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from steerlib.engine.attention import KeyValues
from steerlib.engine.sampling import Sampling, choose
from steerlib.engine.weights import Matrix, Weights
from steerlib.steering import Site, Steering, Terms, add_direction

__all__ = ["Begin", "Stage", "decode", "likelihood", "prefix_pass", "run_blocks", "stages_of"]


@dataclass(frozen=True, eq=False)
class Begin:
    """What a lane starts from."""

    cached: Tensor  # keys and values (layers, 2, positions, hidden)
    states: Tensor  # final states of the positions (positions, hidden); from the last the first frame is predicted
    cross: list[tuple[Tensor, Tensor]]  # keys and values of each block for its cross-attention
    mask: Tensor | None  # of the text (text,), with cross-attention only


@dataclass(frozen=True, eq=False)
class Stage:
    """One edit of the states of some lanes; see `stages_of`."""

    site: Site
    delta: Tensor  # (layers, lanes, hidden)
    keep_norm: Tensor | None  # of which lanes to keep the norm (lanes, 1), or None for no lane
    acts: list[bool]  # at which layers there is something to add
    terms: Terms | None = None  # of maps, shapes of delta

    def apply(self, k: int, states: Tensor) -> Tensor:
        scale, read, write = self.terms or (None, None, None)
        terms = None if scale is None or read is None or write is None else (scale[k], read[k], write[k])
        moved = add_direction(states, self.delta[k], terms=terms)
        if self.keep_norm is None:
            return moved
        kept = add_direction(states, self.delta[k], preserve_norm=True, terms=terms)
        return kept.where(self.keep_norm, moved)


def run_blocks(
    weights: Weights,
    states: Tensor,
    attend: Callable[[int, Tensor], Tensor],
    attend_text: Callable[[int, Tensor], Tensor],
    steer: Callable[[Site, int, Tensor], Tensor],
    multiply: Callable[[Matrix, Tensor], Tensor],
    first: int = 0,
) -> Tensor:
    """All blocks from `first` on and the final normalisation, over states (rows, hidden); attention is the caller's."""
    for k, block in enumerate(weights.blocks[first:], start=first):
        attended = multiply(block.out, attend(k, multiply(block.qkv, block.norm(states))))
        states = states + steer("attention", k, attended)
        if block.cross is not None:
            states = states + attend_text(k, block.cross.encoder_attn_layer_norm(states))
        inner = block.activation(multiply(block.fc1, block.ffn_norm(states)))
        states = steer("residual", k, states + multiply(block.fc2, inner))
    return weights.norm(states)


def prefix_pass(
    weights: Weights,
    states: Tensor,
    past: Tensor,
    stages: list[Stage],
    text: tuple[Tensor, Tensor] | None = None,
    other: tuple[Tensor, frozenset[int]] | None = None,
) -> Begin:
    """Run one lane's next positions (positions, hidden) after `past`, keys and values (layers, 2, positions, hidden).

    `text`, states and mask, is for cross-attention. `other`, keys and values of the same positions in another run, and
    blocks: in these, the last position and all that come later read the other run's positions.
    """
    before, count = past.shape[2], len(states)
    states = states + weights.position_table[before : before + count]
    sees = torch.ones(count, before + count, dtype=torch.bool, device=states.device).tril(before)
    cached: list[Tensor] = []

    def attend(k: int, qkv: Tensor) -> Tensor:
        query, new = qkv[:, : weights.hidden], qkv[:, weights.hidden :].unflatten(1, (2, -1)).transpose(0, 1)
        attended = look(query, torch.cat([past[k], new], dim=1))
        if other is not None and k in other[1]:
            new = torch.cat([other[0][k, :, : count - 1], new[:, -1:]], dim=1)
            attended[-1] = look(query, torch.cat([past[k], new], dim=1))[-1]
        cached.append(new)
        return attended

    def look(query: Tensor, both: Tensor) -> Tensor:
        query, key, value = (weights.split_heads(each).transpose(0, 1) for each in (query, *both))
        attended = F.scaled_dot_product_attention(query[None], key[None], value[None], attn_mask=sees)
        return attended[0].transpose(0, 1).flatten(1)

    cross: list[tuple[Tensor, Tensor]] = []
    if text is not None:
        for block in weights.blocks:
            project = block.cross.encoder_attn.k_proj, block.cross.encoder_attn.v_proj
            key, value = (weights.split_heads(each(text[0])).transpose(0, 1) for each in project)
            cross.append((key, value))
    mask = None if text is None else text[1].bool()

    def attend_text(k: int, states: Tensor) -> Tensor:
        assert mask is not None
        key, value = (each.expand(count, *each.shape) for each in cross[k])
        return cross_attend(weights, k, states, key, value, mask.expand(count, -1))

    def steer(site: Site, k: int, states: Tensor) -> Tensor:
        for stage in stages:
            if stage.site == site and stage.acts[k]:
                states = stage.apply(k, states)
        return states

    states = run_blocks(weights, states, attend, attend_text, steer, Matrix.__call__)
    return Begin(torch.stack(cached), states, cross, mask)


def likelihood(weights: Weights, tokens: Tensor, read: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean negative log-likelihood, nats, of the tokens (codebooks, frames) of one clip, each told those before it.

    `read` makes states (positions, hidden) of what the decoder is fed, (positions, codebooks).
    """
    codebooks, frames = tokens.shape
    told = tokens.new_full((codebooks, weights.positions(frames)), weights.start_token)
    for k in range(codebooks):
        told[k, k + 1 : k + 1 + frames] = tokens[k]
    scores = weights.heads(read(told[:, :-1].T)).float().unflatten(1, (codebooks, -1)).log_softmax(-1)
    own = [scores[k : k + frames, k].gather(1, tokens[k, :, None]) for k in range(codebooks)]
    return -torch.cat(own).mean()


def cross_attend(
    weights: Weights, k: int, states: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> Tensor:
    """Cross-attention of block k: one query per lane, states (rows >= lanes, hidden) to the same shape."""
    attention, lanes = weights.blocks[k].cross.encoder_attn, len(key)
    query = weights.split_heads(attention.q_proj(states))[:lanes, :, None]
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
    return attention.out_proj(padded(attended.flatten(1), len(states)))


def decode(
    weights: Weights,
    starts: list[Begin],
    past: KeyValues,
    stages_at: Callable[[int], list[Stage]],
    sampling: Sampling,
    noise: Tensor | None,
    branches: int,
    frames: int,
    tick: Callable[[float], None],
    heard: Mapping[int, Tensor],
) -> Tensor:
    """Decode a tile of lanes, a start each, to tokens (rows, codebooks, frames).

    `stages_at` gives the edits in the pass over a position, which chooses the first codebook of the frame of that
    number. `heard`, (rows, positions, hidden) by layer, is filled with the states of the first rows there before they
    are edited; what is heard of a row lies in one piece, so that its sums do not depend on the other rows. The last
    rows of the products may be padding.
    """
    lanes = len(starts)
    count = lanes // branches
    rows, head_rows = weights.rows(lanes, count)
    steps = weights.positions(frames)
    device = weights.embeddings.device
    crosses = zip(*(start.cross for start in starts), strict=True)  # by block
    text = [tuple(map(torch.stack, zip(*pairs, strict=True))) for pairs in crosses]
    masks = (
        torch.stack([start.mask for start in starts if start.mask is not None]) if text else torch.empty(0)
    )
    last = torch.stack([start.states[-1] for start in starts])
    tokens = torch.full((count, weights.codebooks, steps), weights.start_token, device=device)
    delays = torch.arange(weights.codebooks, device=device)
    stages: list[Stage] = []
    position, before = 0, past.melody.shape[3] + starts[0].cached.shape[2] - 1

    def attend_text(k: int, states: Tensor) -> Tensor:
        return cross_attend(weights, k, states, text[k][0], text[k][1], masks)

    def steer(site: Site, k: int, states: Tensor) -> Tensor:
        if site == "residual" and k in heard:
            heard[k][:, position] = states[:count]
        for stage in stages:
            if stage.site == site and stage.acts[k]:
                states[:lanes] = stage.apply(k, states[:lanes])
        return states

    while True:
        logits = guided_logits(weights, last, sampling.guidance_scale, branches, head_rows)
        position += 1
        chosen = choose(logits, sampling, None if noise is None else noise[position])
        valid = (position > delays) & (position <= frames + delays)
        tokens[:, :, position] = chosen.where(valid, weights.start_token)
        tick(position / (steps - 1))
        if position == steps - 1:
            break
        states = weights.embed(tokens[:, :, position]) + weights.position_table[before + position]
        states = padded(states.repeat(branches, 1), rows)
        stages = stages_at(position)
        last = run_blocks(weights, states, past.attend, attend_text, steer, Matrix.matmul_packed)[:lanes]
    return torch.stack([tokens[:, k, k + 1 : k + 1 + frames] for k in range(weights.codebooks)], dim=1)


def padded(states: Tensor, rows: int) -> Tensor:
    return states if len(states) == rows else F.pad(states, (0, 0, 0, rows - len(states)))


def stages_of(lanes: list[tuple[Steering, ...]], weights: Weights) -> list[Stage]:
    """What is added to each lane, or to each position of one lane, by the steerings that act there.

    The k-th stage of a site holds the k-th edit of every lane there; successive edits of a lane are summed
    unless one keeps the norm. A lane without a k-th edit adds zero, which leaves it as it is, bit for bit.
    """
    stages: list[Stage] = []
    shape = weights.depth, len(lanes), weights.hidden
    for site in get_args(Site):
        chains = [chain_of(steering, site, weights.depth) for steering in lanes]
        for place in range(max(map(len, chains))):
            delta, terms = torch.zeros(shape), torch.zeros(3, *shape)
            keep_norm = torch.zeros(len(lanes), 1, dtype=torch.bool)
            for lane, chain in enumerate(chains):
                if place < len(chain):
                    delta[:, lane], keep_norm[lane], theirs = chain[place]
                    if theirs is not None:
                        terms[:, :, lane] = torch.stack(theirs)
            keep = keep_norm.to(weights.embeddings.device) if keep_norm.any() else None
            rest = tuple(terms.to(weights.embeddings)) if terms.any() else None
            acts = (delta.flatten(1).any(1) | terms.transpose(0, 1).flatten(1).any(1)).tolist()
            stages.append(Stage(site, delta.to(weights.embeddings), keep, acts, rest))
    return stages


def chain_of(
    steering: tuple[Steering, ...], site: Site, depth: int
) -> list[tuple[Tensor, bool, Terms | None]]:
    """One lane's edits at one site: (deltas (layers, hidden), whether to keep the norm, terms of a map)."""
    chain: list[tuple[Tensor, bool, Terms | None]] = []
    for each in steering:
        if each.site != site:
            continue
        delta, terms = each.push(depth)
        if not delta.any() and terms is None:
            continue
        plain = not each.preserve_norm and terms is None
        if chain and plain and chain[-1][1:] == (False, None):
            chain[-1] = (chain[-1][0] + delta, False, None)
        else:
            chain.append((delta, each.preserve_norm, terms))
    return chain


def guided_logits(weights: Weights, last: Tensor, scale: float, branches: int, rows: int) -> Tensor:
    """Logits (rows, codebooks, vocabulary), float32, of states (lanes, hidden).

    Guidance is linear, and so are the heads: guiding the states spares half of the heads' work.
    """
    if branches == 2:
        conditional, unconditional = last.float().chunk(2)
        last = (unconditional + (conditional - unconditional) * scale).to(last.dtype)
    logits = weights.heads.matmul_packed(padded(last, rows))[: len(last)]
    return logits.float().unflatten(1, (weights.codebooks, -1))
