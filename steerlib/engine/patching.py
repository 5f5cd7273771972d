"""Where in the network: states of a run that says *fast* in a run that says *slow* (activation patching).

Two runs have prompts that differ in the words of an attribute alone. Run B is given states of run A, at one site, some
layers, and the prefix or the audio so far. What share of the effect of the words comes with them? The same is asked of
a steering vector, at one block or at all, so that both are on one scale: 0 is run B, 1 is run A.

`Contrast` answers from music that is already there (teacher-forced: no sampling, exact, one pass a question): each
run's music is read in both runs, and the *log-odds* say how much better a run predicts A's music than B's, in nats a
token. `generate_patched` writes music under a patch, to be measured in BPM or octaves.

The residual stream. The prefix never looks at the audio, so words reach the music in one way alone: the audio reads
the prefix, in each block anew. With the prefix patched at layer l, the blocks after l read A's prompt; with the audio
patched there, the blocks up to l do. Of several layers, the first decides for the prefix and the last for the audio.
What is predicted is what the conditional branch predicts, without guidance; music is written with it.

Method: activation patching in its older sense, also called causal tracing (Meng et al., 2022), which neither paper
has: paper A's title means the adding of a direction. Chapter: *Where in the network*.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from steerlib.engine.clips import Clips, Row
from steerlib.engine.decode import Stage, run_blocks, stages_of
from steerlib.engine.generation import Run, generate, stream
from steerlib.engine.plan import Plan, acting
from steerlib.engine.sampling import Sampling
from steerlib.engine.weights import Matrix, Weights
from steerlib.model import MusicModel
from steerlib.steering import Positions, Site, Steering, active_steering, check_positions

__all__ = ["Contrast", "Patch", "generate_patched"]

_BATCH = 8  # pairs in one pass


@dataclass(frozen=True)
class Patch:
    """Which of run A's states replace those of run B. Names are those of `Steering`.

    Attributes
    ----------
    layers : tuple of int
        Layer k is the output of block k; -1 is what the first block reads (residual stream only). None at all, ``()``,
        is run B.
    site : {"residual", "attention"}
    positions : {"all", "prefix", "audio"}

    Raises
    ------
    ValueError
        If a name is not one of those, or a layer is negative (but for -1 of the residual stream).
    """

    layers: tuple[int, ...]
    site: Site = "residual"
    positions: Positions = "all"

    def __post_init__(self) -> None:
        for name, names in (("site", Site), ("positions", Positions)):
            if getattr(self, name) not in get_args(names):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(names))}; got {getattr(self, name)!r}"
                )
        object.__setattr__(self, "layers", tuple(sorted(set(self.layers))))
        lowest = -1 if self.site == "residual" else 0
        if any(layer < lowest for layer in self.layers):
            raise ValueError(f"layers of the {self.site} begin at {lowest}, got {list(self.layers)}")

    def reading(self, depth: int) -> frozenset[int]:
        """The blocks in which the audio reads A's prompt, for a patch of the residual stream."""
        if self.site != "residual":
            raise ValueError(
                "only patches of the residual stream can be written with: one of the attention's output needs run A's "
                "own states. Ask Contrast.log_odds about it"
            )
        after = frozenset(range(self.layers[0] + 1, depth)) if self.layers else frozenset()
        until = frozenset(range(self.layers[-1] + 1)) if self.layers else frozenset()
        return {"prefix": after, "audio": until, "all": after | until}[self.positions]


class Contrast:
    """Pairs of prompts that differ in the words of an attribute, and the music that each of the two makes.

    Parameters
    ----------
    model : MusicModel
        One that reads its prompt as a prefix.
    positive, negative : sequence of str
        Matched: the prompts of run A, and those of run B.
    seconds : float, default 2
        Length of the music.
    seed : int
    sampling : Sampling
        With which the music is made.
    run : Run

    Attributes
    ----------
    music : tuple of two ndarray, shape (pairs, codebooks, frames)
        Tokens that run A and run B have made, from the same random numbers.

    Raises
    ------
    ValueError
        If the prompts are not matched, the model has no prefix, or a steering context is open on it.
    """

    def __init__(
        self,
        model: MusicModel,
        positive: Sequence[str],
        negative: Sequence[str],
        *,
        seconds: float = 2.0,
        seed: int = 0,
        sampling: Sampling = Sampling(),
        run: Run = Run(),
    ) -> None:
        _check(model, positive, negative)
        self.model, self.positive, self.negative, self.run = model, tuple(positive), tuple(negative), run
        pairs = len(self.positive)
        clips = generate(
            model, self.positive + self.negative, seconds=seconds, seed=seed, sampling=sampling, run=run
        )
        self.music = clips.tokens[:pairs], clips.tokens[pairs:]
        self.seconds, self.sampling = seconds, sampling

    def log_odds(
        self, changes: Mapping[str, Patch | Steering], *, donors: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """How much better run B, changed, predicts A's music than B's own.

        Parameters
        ----------
        changes : mapping of str to Patch or Steering
            A steering acts in run B; of its branches the conditional one is looked at.
        donors : sequence of str, optional
            Prompts of the runs that states are taken from; by default those of run A. With others that do not name the
            attribute's pole, a patch is its own control.

        Returns
        -------
        DataFrame
            One row for each change and pair: ``change``, ``pair``, ``log_odds`` in nats a token, and ``negative`` and
            ``positive``, those of run B and run A unchanged. So (log_odds - negative) / (positive - negative) is the
            share of the words' effect.

        Raises
        ------
        ValueError
            If a layer is not one of the model's, or the donors do not match the prompts.
        """
        donors = self.positive if donors is None else tuple(donors)
        _check(self.model, donors, self.negative)
        for change in changes.values():
            if isinstance(change, Patch) and any(layer >= self.model.depth for layer in change.layers):
                raise ValueError(
                    f"{change}: the model's layers are 0 to {self.model.depth - 1}, and -1 before the first"
                )
        plan = Plan(
            self.model,
            [Row(prompt) for prompt in (*self.positive, *self.negative, *donors)],
            self.seconds,
            self.sampling,
        )
        parts = []
        starts = range(0, len(self.negative), _BATCH)
        with (
            tqdm(total=len(starts) * len(changes), desc="log-odds", disable=not self.run.progress) as bar,
            torch.inference_mode(),
        ):
            for start in starts:
                rows = slice(start, start + _BATCH)
                parts += list(self._of_rows(plan, changes, donors, rows, bar))
        return pd.concat(parts, ignore_index=True).sort_values(["change", "pair"], ignore_index=True)

    def _of_rows(
        self,
        plan: Plan,
        changes: Mapping[str, Patch | Steering],
        donors: Sequence[str],
        rows: slice,
        bar: Any,
    ) -> Iterator[pd.DataFrame]:
        music = [torch.from_numpy(each[rows].astype(np.int64)).to(plan.device) for each in self.music]
        unchanged = _Runs(plan, self.negative[rows], music)
        theirs = _Runs(plan, donors[rows], music)
        given = theirs if donors == self.positive else _Runs(plan, self.positive[rows], music)
        for name, change in changes.items():
            yield pd.DataFrame(
                {
                    "change": name,
                    "pair": range(rows.start, rows.start + len(music[0])),
                    "log_odds": unchanged.changed(change, theirs),
                    "negative": unchanged.log_odds,
                    "positive": given.log_odds,
                }
            )
            bar.update()


def generate_patched(
    model: MusicModel,
    positive: Sequence[str],
    negative: Sequence[str],
    patches: Sequence[Patch],
    *,
    seconds: float = 8.0,
    seed: int = 0,
    sampling: Sampling = Sampling(),
    run: Run = Run(),
) -> Clips:
    """Write music in run B, whose states are replaced by those of run A on the way.

    The states of run A are those of its prompt and of the tokens that run B has written; guidance is against the empty
    prompt, as ever.

    Parameters
    ----------
    positive, negative : sequence of str
        Prompts of run A and of run B, one for each clip.
    patches : sequence of Patch
        One for each clip, of the residual stream.
    model, seconds, seed, sampling, run
        See `steerlib.generate`.

    Returns
    -------
    Clips

    Raises
    ------
    ValueError
        If prompts and patches are not matched, a patch is one of the attention's output, or the model has no prefix.
    """
    _check(model, positive, negative)
    if len(patches) != len(positive):
        raise ValueError(f"{len(patches)} patches for {len(positive)} clips: give one each")
    rows = [
        Row(prompt, seed, patch=(other, patch.reading(model.depth)))
        for other, prompt, patch in zip(positive, negative, patches, strict=True)
    ]
    audio: list[Any] = [None] * len(rows)
    tokens: list[Any] = [None] * len(rows)
    for indices, clips, _ in stream(model, rows, seconds=seconds, sampling=sampling, run=run):
        for place, index in enumerate(indices):
            audio[index], tokens[index] = clips.audio[place], clips.tokens[place]
    prompts, seeds = tuple(negative), tuple(row.seed for row in rows)
    return Clips(np.stack(audio), model.sample_rate, np.stack(tokens), prompts, seeds)


def _check(model: MusicModel, positive: Sequence[str], negative: Sequence[str]) -> None:
    check_positions(model, "prefix")
    if len(positive) != len(negative) or not positive:
        raise ValueError(
            f"{len(positive)} prompts of one run and {len(negative)} of the other: give matched pairs, at least one"
        )
    if active_steering(model):
        raise ValueError("a steering context is open on the model: close it, and give Contrast a Steering")


class _Read:
    """What one pass over some positions leaves: states (runs, positions, hidden) by layer, keys and values by block.

    Attributes
    ----------
    residual : list of Tensor
        Entry k + 1 is layer k; entry 0 what the first block reads.
    attention : list of Tensor
    cached : list of Tensor, shape (2, runs, positions, hidden)
    final : Tensor
        After the last normalisation.
    """

    def __init__(
        self,
        weights: Weights,
        states: Tensor,
        past: Sequence[Tensor],
        change: "_Change | None" = None,
        before: "_Read | None" = None,
    ) -> None:
        """Read `states` after `past`; with a change, go on from the first layer of `before` that it touches."""
        count, shift = states.shape[1], past[0].shape[2] if past else 0
        sees = torch.ones(count, shift + count, dtype=torch.bool, device=states.device).tril(shift)
        first = 0 if change is None or before is None else change.first
        kept = before if first and before is not None else None
        self.residual: list[Tensor] = list(kept.residual[: first + 1]) if kept else [states]
        self.attention: list[Tensor] = list(kept.attention[:first]) if kept else []
        self.cached: list[Tensor] = list(kept.cached[:first]) if kept else []
        if change is not None:
            self.residual[first] = change.edit("residual", first - 1, self.residual[first])

        def attend(k: int, qkv: Tensor) -> Tensor:
            query, new = qkv[:, : weights.hidden], qkv[:, weights.hidden :]
            new = new.unflatten(1, (2, -1)).unflatten(0, (-1, count)).permute(2, 0, 1, 3)
            self.cached.append(new)
            both = torch.cat([past[k], new], dim=2) if past else new
            query = query.unflatten(0, (-1, count))
            query, key, value = (weights.split_heads(each).transpose(1, 2) for each in (query, *both))
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=sees)
            return attended.transpose(1, 2).flatten(2).flatten(0, 1)

        def steer(site: Site, k: int, rows: Tensor) -> Tensor:
            made = rows.unflatten(0, (-1, count))
            made = made if change is None else change.edit(site, k, made)
            (self.residual if site == "residual" else self.attention).append(made)
            return made.flatten(0, 1)

        def no_text(k: int, rows: Tensor) -> Tensor:
            raise AssertionError

        start = self.residual[first].flatten(0, 1)
        final = run_blocks(weights, start, attend, no_text, steer, Matrix.__call__, first)
        self.final = final.unflatten(0, (-1, count))


class _Change:
    """A patch or a steering, at the positions of one pass."""

    def __init__(
        self, stages: Sequence[Stage], patch: Patch | None, theirs: _Read | None, depth: int
    ) -> None:
        self.stages, self.patch, self.theirs = stages, patch, theirs
        touched = [k for stage in stages for k, acts in enumerate(stage.acts) if acts]
        if patch is not None:
            touched += [layer + (patch.site == "residual") for layer in patch.layers]
        self.first = min(touched, default=depth)

    def edit(self, site: Site, k: int, states: Tensor) -> Tensor:
        """States (runs, positions, hidden) of layer k as they are to be."""
        patched = self.patch is not None and site == self.patch.site and k in self.patch.layers
        if patched and self.theirs is not None:
            return self.theirs.residual[k + 1] if site == "residual" else self.theirs.attention[k]
        for stage in self.stages:
            if k >= 0 and stage.site == site and stage.acts[k]:
                states = stage.apply(k, states)
        return states


class _Runs:
    """Runs of some prompts, each over two pieces of music: what they make of them, and what a change makes of that."""

    def __init__(self, plan: Plan, prompts: Sequence[str], music: Sequence[Tensor]) -> None:
        self.plan, self.weights, self.music = plan, plan.weights, music
        text = torch.stack([plan.text(prompt)[0] for prompt in prompts])
        melody = plan.melody(None).expand(len(text), -1, -1)
        prefix = torch.cat([melody, text], dim=1)
        self.prefix = _Read(self.weights, prefix + self._positions(0, prefix.shape[1]), [])
        self.tokens = [self._delayed(each) for each in music]
        self.audio = [self._hear(self.prefix, tokens) for tokens in self.tokens]
        self.log_odds = self._log_odds(self.audio)

    def changed(self, change: Patch | Steering, theirs: "_Runs") -> npt.NDArray[np.float64]:
        """The log-odds (runs,) of the runs with a change; `theirs` are the states that a patch puts in."""
        depth = self.weights.depth
        patch = change if isinstance(change, Patch) else None
        stages: dict[str, list[Stage]] = {"prefix": [], "audio": []}
        if isinstance(change, Steering) and change.branches != "unconditional":
            length = self.tokens[0].shape[2]
            later = [(change,) if change.steps == "all" or frame == 0 else () for frame in range(length)]
            stages["prefix"] = stages_of([acting((change,), "prefix", 0)], self.weights)
            stages["audio"] = stages_of(
                [acting(each, "audio", frame) for frame, each in enumerate(later)], self.weights
            )
        at = {
            place: patch if patch and patch.positions in ("all", place) else None
            for place in ("prefix", "audio")
        }
        in_prefix = _Change(stages["prefix"], at["prefix"], theirs.prefix, depth)
        prefix, audio = self.prefix, []
        if in_prefix.first < depth:
            prefix = _Read(self.weights, self.prefix.residual[0], [], in_prefix, self.prefix)
        for tokens, ours, other in zip(self.tokens, self.audio, theirs.audio, strict=True):
            in_audio = _Change(stages["audio"], at["audio"], other, depth)
            in_audio.first = min(in_audio.first, in_prefix.first)
            audio.append(self._hear(prefix, tokens, in_audio, ours))
        return self._log_odds(audio)

    def _hear(
        self, prefix: _Read, tokens: Tensor, change: _Change | None = None, before: _Read | None = None
    ) -> _Read:
        runs, _, length = tokens.shape
        codes = tokens.transpose(1, 2).flatten(0, 1)
        states = self.weights.embed(codes).unflatten(0, (runs, length))
        states = states + self._positions(prefix.residual[0].shape[1], length)
        return _Read(self.weights, states, prefix.cached, change, before)

    def _positions(self, start: int, count: int) -> Tensor:
        return self.weights.position_table[start : start + count]

    def _delayed(self, codes: Tensor) -> Tensor:
        """Codes (runs, codebooks, frames) as generation reads them: the start token, then codebook k k steps late."""
        runs, codebooks, frames = codes.shape
        tokens = codes.new_full((runs, codebooks, frames + codebooks - 1), self.weights.start_token)
        for k in range(codebooks):
            end = min(frames, frames + codebooks - 2 - k)
            tokens[:, k, k + 1 : k + 1 + end] = codes[:, k, :end]
        return tokens

    def _log_odds(self, audio: Sequence[_Read]) -> npt.NDArray[np.float64]:
        """Mean log-probability of A's tokens less that of B's (runs,), in nats a token."""
        means = []
        for read, codes in zip(audio, self.music, strict=True):
            codebooks, frames = codes.shape[1:]
            logits = self.weights.heads(read.final).float().unflatten(-1, (codebooks, -1))
            found = [
                logits[:, k : k + frames, k].log_softmax(-1).gather(-1, codes[:, k, :, None])[..., 0]
                for k in range(codebooks)
            ]
            means.append(torch.stack(found, dim=1).double().mean(dim=(1, 2)))
        difference: npt.NDArray[np.float64] = (means[0] - means[1]).cpu().numpy()
        return difference
