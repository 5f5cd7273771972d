"""Generate clips from prompts, steered or not, many settings in one batch.

Why not `model.generate`: there, one call is one steering setting, and a clip depends on its neighbours in the
batch through the shared random stream. Here every row has its own steering and its own random stream, so that
the multiplier is the only thing that differs between two clips of one prompt and seed (*common random
numbers*: effects are paired, and their confidence intervals shrink). Under greedy decoding the tokens are
those of transformers' ``generate``, steered through hooks or not; sampled tokens have the same distribution.

Method. MusicGen's delay pattern and classifier-free guidance as transformers has them (model.generate);
steering as in `steerlib.steering`, sampling as in `steerlib.sampling`.

What a row's tokens depend on: weights, prompt, melody, seed, steering and sampling settings; on the CPU also
torch's kernels for that processor. Not on the other rows, their order or number, `batch_size`, or the number
of threads. A row of a floating-point matrix product may depend on how many rows there are, hence three rules: the
products of the decode loop have as many rows as are needed, 16 or more, where a test finds that to make no difference,
bit for bit, and else one fixed number (`lanes_of`); each prefix and each clip is computed on its own; and each tile of
rows runs on one thread, the tiles side by side (`steerlib.side_by_side`).

Units: seconds of audio, frames of the codec (``frame_rate`` per second), tokens (codebooks x frames).
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import soundfile
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.attention import KeyValues
from steerlib.models import decoder_stack, encode_prompts, text_length_of
from steerlib.sampling import Sampling, choose, noise_keys
from steerlib.side_by_side import side_by_side
from steerlib.steering import Site, Steering, active_steering, add_direction

__all__ = ["ENGINE_VERSION", "REHEARSAL", "Clips", "Row", "Sampling", "generate", "lanes_of", "stream"]

ENGINE_VERSION = 3
"""Raised whenever the same row would get other tokens; part of the key of stored results."""


REHEARSAL = "STEERLIB_REHEARSAL"
"""Environment variable: the file for the estimates of a rehearsal, see `steerlib.rehearsal`."""

_SMALL = 512  # width of a model whose weights are small beside the keys and values of its clips
_FEW = 16  # rows of the smallest product; of fewer, torch makes other sums
_OWN_HOOKS = ("steerlib.steering", "transformers.utils.output_capturing")  # the second acts on request only


@dataclass(frozen=True, eq=False)
class Clips:
    """Generated audio and where it came from. Indexing and iteration give `Clips` again.

    Attributes
    ----------
    audio : ndarray, shape (N, samples), float32
        Mono, in [-1, 1] but for overshoots of the codec.
    sample_rate : int
        Hz.
    tokens : ndarray, shape (N, codebooks, frames), int16
        The codec's codes, without the delay pattern.
    prompts : tuple of str
    seeds : tuple of int
    """

    audio: npt.NDArray[np.float32]
    sample_rate: int
    tokens: npt.NDArray[np.int16]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.audio)

    def __getitem__(self, which: int | slice | Sequence[int]) -> "Clips":
        rows = np.atleast_1d(np.arange(len(self))[which])
        return Clips(
            self.audio[rows],
            self.sample_rate,
            self.tokens[rows],
            tuple(self.prompts[row] for row in rows),
            tuple(self.seeds[row] for row in rows),
        )

    def __iter__(self) -> Iterator["Clips"]:
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        seconds = self.audio.shape[1] / self.sample_rate
        return f"Clips({len(self)} x {seconds:.1f} s at {self.sample_rate} Hz)"

    def save(self, folder: str | Path) -> list[Path]:
        """Write one 16-bit FLAC file per clip, ``000.flac`` and on, into a folder (made if needed)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{row:03d}.flac" for row in range(len(self))]
        for path, audio in zip(paths, self.audio, strict=True):
            soundfile.write(path, audio, self.sample_rate)
        return paths


@dataclass(frozen=True, eq=False)
class Row:
    """One clip to be made.

    Attributes
    ----------
    prompt : str
    seed : int
    steering : tuple of Steering
        Acting one after the other; none by default.
    melody : Tensor, shape (frames, num_chroma), optional
    """

    prompt: str
    seed: int = 0
    steering: tuple[Steering, ...] = ()
    melody: Tensor | None = None


def generate(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    prompts: Sequence[str],
    *,
    seconds: float = 8.0,
    seed: int | Sequence[int] = 0,
    steering: Steering | Sequence[Steering | tuple[Steering, ...] | None] | None = None,
    melody: Tensor | None = None,
    guidance_scale: float = 3.0,
    temperature: float = 1.0,
    top_k: int | None = 250,
    do_sample: bool = True,
    batch_size: int | None = None,
    progress: bool = True,
) -> Clips:
    """Make one clip per prompt.

    Steering contexts that are open on the model (``vector.apply``) act on every clip, after the clip's own
    steering. Used in every chapter that listens.

    Parameters
    ----------
    model, processor
        As `load_model` returns them.
    prompts : sequence of str
    seconds : float, default 8
        Length of the clips.
    seed : int or sequence of int
        One for all prompts, or one per prompt. A clip's random stream comes from its prompt and seed alone.
    steering : Steering, or sequence with one entry per prompt, optional
        An entry is None, a Steering, or a tuple of them.
    melody : Tensor, shape (frames, num_chroma) or (prompts, frames, num_chroma), optional
        Chroma to follow, as ``processor(audio=..., sampling_rate=...)["input_features"]`` gives it; repeated
        or cut to the model's ``chroma_length``. MusicGen-Melody only.
    guidance_scale, temperature, top_k, do_sample
        See `Sampling`.
    batch_size : int, optional
        Most clips in the making at once, which bounds memory; it never changes the clips. By default as
        many as keep torch's threads (at most 8) busy, or fewer if memory is short.
    progress : bool, default True
        Show a progress bar with the time left.

    Returns
    -------
    Clips

    Raises
    ------
    ValueError
        If a setting makes no sense, before anything is computed, or the model carries hooks not ours.
    TypeError
        If the model is not a MusicGen.

    Examples
    --------
    >>> clips = generate(model, processor, ["a folk song"], seconds=8, seed=1)       # doctest: +SKIP
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts must be a sequence of strings, got one string: write [{prompts!r}]")
    prompts = tuple(prompts)
    rows = [
        Row(*fields)
        for fields in zip(
            prompts,
            map(_as_seed, _per_prompt(seed, len(prompts), "seed", (int, np.integer))),
            map(_as_tuple, _per_prompt(steering, len(prompts), "steering", (Steering, type(None)))),
            _melodies(melody, len(prompts)),
            strict=True,
        )
    ]
    sampling = Sampling(guidance_scale, temperature, top_k, do_sample)
    audio: list[npt.NDArray[np.float32]] = [np.empty(0, np.float32)] * len(rows)
    tokens: list[npt.NDArray[np.int16]] = [np.empty(0, np.int16)] * len(rows)
    for indices, clips, _ in stream(
        model, processor, rows, seconds=seconds, sampling=sampling, batch_size=batch_size, progress=progress
    ):
        for row, index in enumerate(indices):
            audio[index], tokens[index] = clips.audio[row], clips.tokens[row]
    rate = int(model.config.audio_encoder.sampling_rate)
    return Clips(np.stack(audio), rate, np.stack(tokens), prompts, tuple(row.seed for row in rows))


def stream(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    rows: Sequence[Row],
    *,
    seconds: float,
    sampling: Sampling,
    measure: Callable[[Clips], Any] | None = None,
    batch_size: int | None = None,
    label: str = "generating",
    progress: bool = True,
) -> Iterator[tuple[list[int], Clips, Any]]:
    """Make clips tile by tile: what `generate` and `sweep` run on. Memory does not grow with the rows.

    Neighbours share what they have in common (text, prefix): put rows of one setting next to each other.

    Parameters
    ----------
    rows : sequence of Row
    measure : callable, optional
        Called with the Clips of each tile by the worker that made them, which may be another process: what it returns
        must be picklable.
    label : str
        What the progress bar says.
    model, processor, seconds, sampling, batch_size, progress
        See `generate`.

    Yields
    ------
    indices : list of int
        Which rows these are. Tiles come in the order in which they are done.
    clips : Clips
    measured
        What `measure` returned, or None.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    from steerlib import estimate, rehearsal  # here, because they build on this module

    plan = _Plan(model, processor, rows, seconds, sampling)  # raises whatever else there is to raise
    if batch_size is None:
        batch_size = estimate.fitting(model, processor, clips=len(rows), seconds=seconds, sampling=sampling)
    if os.environ.get(REHEARSAL):
        return rehearsal.noise(
            model, processor, rows, seconds=seconds, sampling=sampling, measure=measure, batch_size=batch_size
        )
    return _stream(plan, measure, batch_size, label if progress else None)


def _stream(
    plan: "_Plan", measure: Callable[[Clips], Any] | None, batch_size: int | None, label: str | None
) -> Iterator[tuple[list[int], Clips, Any]]:
    count = len(plan.rows)
    threads = torch.get_num_threads() if plan.device.type == "cpu" else 1
    fit = plan.weights.lanes // plan.branches
    batch_size = batch_size or min(threads, 8) * fit
    workers = min(threads, count, batch_size)
    rounds = math.ceil(count / (workers * min(fit, batch_size // workers)))
    size = math.ceil(count / (workers * rounds))  # tiles of one size, as many for each worker
    tiles = [list(range(start, min(start + size, count))) for start in range(0, count, size)]

    def run(number: int, tick: Callable[[float], None]) -> tuple[list[int], Clips, Any]:
        clips = plan.run(tiles[number], tick)
        return tiles[number], clips, measure(clips) if measure else None

    if workers > 1:
        plan.load(size)
    yield from side_by_side(run, list(map(len, tiles)), workers=workers, label=label)


class _Plan:
    """What the tiles of one call share: checked settings, weights in the loop's layout, encoded prompts."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: MusicgenMelodyProcessor,
        rows: Sequence[Row],
        seconds: float,
        sampling: Sampling,
    ) -> None:
        stack: Any = decoder_stack(model)
        self.model: Any = model
        self.rows, self.sampling = rows, sampling
        self.device, self.dtype = stack.layer_norm.weight.device, stack.layer_norm.weight.dtype
        self.branches = 2 if sampling.guidance_scale > 1 else 1
        self.is_melody = not hasattr(stack.layers[0], "encoder_attn")
        prefix = text_length_of(processor) + model.config.chroma_length if self.is_melody else 0
        self.frames = _frames(model, seconds, prefix)
        contexts = active_steering(model)
        self.steering = [row.steering + contexts for row in rows]
        self._check(stack)

        prompts = list(dict.fromkeys(row.prompt for row in rows))
        encoded = encode_prompts(model, processor, prompts)
        self.encoded = {
            prompt: (encoded["input_ids"][row, None], encoded["attention_mask"][row, None])
            for row, prompt in enumerate(prompts)
        }
        self.text = cache(self._text)  # of a prompt, or of None: the null prompt
        self.weights = _Weights(model)
        self.rooms: list[npt.NDArray[np.float32]] = []  # memory of tiles that are done, for those to come

    def _check(self, stack: Any) -> None:
        model = self.model
        if model.training:
            raise ValueError(
                "the model is in training mode, where dropout makes clips random: call model.eval()"
            )
        if model.config.decoder.audio_channels != 1:
            raise ValueError("stereo models are not supported: use a mono model, or model.generate")
        for name, module in stack.named_modules():
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
                if getattr(hook, "__module__", None) not in _OWN_HOOKS:
                    raise ValueError(
                        f"{name or 'the decoder'} carries a forward hook not of steerlib ({hook!r}), which "
                        "the fast loop would skip: remove it, or use model.generate, which runs hooks"
                    )
            if isinstance(module, nn.Linear) and type(module) is not nn.Linear:
                raise ValueError(
                    f"{name} is a {type(module).__name__}, not a plain torch.nn.Linear, which would be "
                    "misread: merge adapters, load without quantisation, or use model.generate"
                )
        expected = (len(stack.layers), stack.config.hidden_size)
        for index, (row, steering) in enumerate(zip(self.rows, self.steering, strict=True)):
            for each in steering:
                if tuple(each.vector.directions.shape) != expected:
                    raise ValueError(
                        f"the vector that steers row {index} has shape "
                        f"{tuple(each.vector.directions.shape)}, but the model needs (layers, hidden) = "
                        f"{expected}: take the vector from this model"
                    )
                if each.branches == "unconditional" and self.branches == 1:
                    raise ValueError(
                        "branches='unconditional', but with guidance_scale <= 1 there is no such branch: "
                        "raise guidance_scale, or use branches='both'"
                    )
            if row.melody is None:
                continue
            if not self.is_melody:
                raise ValueError(
                    f"{type(model).__name__} cannot follow a melody: use a MusicGen-Melody model"
                )
            if row.melody.ndim != 2 or row.melody.shape[1] != model.config.num_chroma or not len(row.melody):
                raise ValueError(
                    f"melody must have shape (frames, {model.config.num_chroma}) or (prompts, frames, "
                    f"{model.config.num_chroma}), but that of row {index} has shape {tuple(row.melody.shape)}"
                )

    def _text(self, prompt: str | None) -> tuple[Tensor, Tensor]:
        """States (text, hidden) that the decoder reads of a prompt, and its mask (text,)."""
        ids, mask = self.encoded[prompt if prompt is not None else next(iter(self.encoded))]
        if prompt is None:
            return torch.zeros(mask.shape[1], self.weights.hidden).to(self.weights.embeddings), mask[0]
        text = self.model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if hasattr(self.model, "enc_to_dec_proj"):
            text = self.model.enc_to_dec_proj(text)
        return (text * mask[..., None]).to(self.dtype)[0], mask[0]

    def _melody(self, melody: Tensor | None) -> Tensor:
        """States (chroma_length, hidden) that the decoder reads of a melody, or of the null chroma."""
        config = self.model.config
        if melody is None:
            melody = F.one_hot(torch.zeros(1, dtype=torch.long), config.num_chroma)
        states = melody.to(self.device, self.dtype)
        if hasattr(self.model, "audio_enc_to_dec_proj"):
            states = self.model.audio_enc_to_dec_proj(states)
        return states.repeat(math.ceil(config.chroma_length / len(states)), 1)[: config.chroma_length]

    def _read_melody(self, melody: Tensor | None, stages: list["_Stage"]) -> Tensor:
        """Keys and values (layers, 2, positions, hidden) of a melody, or of the null one."""
        weights = self.weights
        nothing = weights.embeddings.new_empty(weights.depth, 2, 0, weights.hidden)
        if not self.is_melody:
            return nothing
        return _prefix_pass(weights, self._melody(melody), nothing, stages).cached

    def _read_text(self, prompt: str | None, melody: Tensor, stages: list["_Stage"]) -> "_Begin":
        """What a lane starts from that has read a melody, a prompt or the null one, and the start token."""
        weights = self.weights
        text, mask = self.text(prompt)
        start = torch.full((1, weights.codebooks), weights.start_token, device=self.device)
        if not self.is_melody:
            return _prefix_pass(weights, weights.embed(start), melody, stages, (text, mask))
        return _prefix_pass(weights, torch.cat([text, weights.embed(start)]), melody, stages)

    @torch.inference_mode()
    def load(self, clips: int) -> None:
        """Load compiled code and order weights for tiles of so many clips, so that workers find it done."""
        weights, lane = self.weights, torch.zeros(1, dtype=torch.long, device=self.device)
        weights.rows(clips * self.branches, clips)
        nothing = weights.embeddings.new_empty(weights.depth, 2, 1, 0, weights.hidden)
        past = KeyValues(nothing, lane, nothing, lane, weights.num_heads, 1)
        past.attend(0, weights.embeddings.new_zeros(1, 3 * weights.hidden))
        if self.sampling.do_sample:
            choose(torch.zeros(1, 1, 2, device=self.device), self.sampling, lane.new_zeros(1, 1, 2))
        self.model.audio_encoder.decode(lane.expand(1, 1, weights.codebooks, 1), [None])

    @torch.inference_mode()
    def run(self, indices: list[int], tick: Callable[[float], None]) -> Clips:
        """Make the clips of one tile, on this thread alone."""
        rows = [self.rows[index] for index in indices]
        lanes = [  # conditional rows, then unconditional ones
            (None if branch else row, "unconditional" if branch else "conditional", self.steering[index])
            for branch in range(self.branches)
            for row, index in zip(rows, indices, strict=True)
        ]
        weights = self.weights
        melodies: dict[Any, Tensor] = {}
        begins: dict[Any, _Begin] = {}
        group, prompt = [], []  # each lane's place among them
        for row, branch, steering in lanes:
            acting = tuple(id(each) for each in steering if each.branches in ("both", branch))
            same_melody = (id(row.melody if row else None), acting)
            same_prompt = (row.prompt if row else None, same_melody)
            if same_prompt not in begins:
                stages = _stages([(branch, _at(steering, 0))], {"all", "first"}, weights)
                if same_melody not in melodies:
                    melodies[same_melody] = self._read_melody(row.melody if row else None, stages)
                begins[same_prompt] = self._read_text(same_prompt[0], melodies[same_melody], stages)
            group.append(list(melodies).index(same_melody))
            prompt.append(list(begins).index(same_prompt))
        past = KeyValues(
            torch.stack(list(melodies.values()), dim=2),
            torch.tensor(group, device=self.device),
            torch.stack([begin.cached for begin in begins.values()], dim=2),
            torch.tensor(prompt, device=self.device),
            weights.num_heads,
            weights.positions(self.frames) - 2,
            self.rooms.pop() if self.rooms else None,
        )

        def stages_at(frame: int) -> list[_Stage]:
            return _stages([(branch, _at(steering, frame)) for _, branch, steering in lanes], {"all"}, weights)

        scheduled = any(each.schedule is not None for _, _, steering in lanes for each in steering)
        constant = stages_at(0)
        noise = None
        if self.sampling.do_sample:
            size = (weights.positions(self.frames), weights.codebooks)
            keys = [noise_keys(row.prompt, row.seed, *size) for row in rows]
            noise = torch.from_numpy(np.stack(keys, axis=1)).to(self.device)
        starts = [list(begins.values())[place] for place in prompt]
        tokens = _decode(
            weights,
            starts,
            past,
            stages_at if scheduled else lambda _: constant,
            self.sampling,
            noise,
            self.branches,
            self.frames,
            tick,
        )
        if past.room is not None:
            self.rooms.append(past.room)
        codes = tokens.view(len(rows), 1, 1, weights.codebooks, -1)
        audio = [self.model.audio_encoder.decode(clip, [None]).audio_values[0, 0] for clip in codes]
        return Clips(
            torch.stack(audio).float().cpu().numpy(),
            int(self.model.config.audio_encoder.sampling_rate),
            tokens.cpu().numpy().astype(np.int16),
            tuple(row.prompt for row in rows),
            tuple(row.seed for row in rows),
        )


def lanes_of(model: PreTrainedModel) -> int:
    """Most rows of a matrix product in the decode loop: with guidance, twice the clips of a tile.

    More rows make better use of weights that were read once, fewer cost less when there are few clips. Measured on
    the CPU: 128 rather than 64 save a small model a tenth of its time; a large one pays for each row.
    """
    stack = decoder_stack(model)
    if stack.layer_norm.weight.is_cuda:
        return 64
    return 128 if stack.config.hidden_size <= _SMALL else 16


# --- the decoder as functions of its weights ----------------------------------------------------------------


class _Matrix:
    """A weight (out, in) to multiply states (rows, in) with, to (rows, out)."""

    def __init__(self, weight: Tensor) -> None:
        self.weight, self.packed = weight, dict[int, Tensor]()
        self.packs = (
            hasattr(torch.ops.mkl, "_mkl_linear")
            and (weight.device.type, weight.dtype) == ("cpu", torch.float32)
            and weight.shape[1] <= 4 * _SMALL
        )

    def __call__(self, states: Tensor) -> Tensor:
        return F.linear(states, self.weight)

    def again(self, states: Tensor) -> Tensor:
        """The same, for numbers of rows that come again and again.

        A small model's weights are kept in the order in which the CPU's multiplication reads them too: otherwise
        they are put in order each time. Sums may be rounded in other ways.
        """
        if not self.packs:
            return self(states)
        rows = len(states)
        packed = self.packed.get(rows)
        if packed is None:
            packed = self.packed[rows] = torch.ops.mkl._mkl_reorder_linear_weight(self.weight, rows)
        return torch.ops.mkl._mkl_linear(states, packed, self.weight, None, rows)

    def is_fair(self, rows: int, most: int) -> bool:
        """Whether a row comes out the same, bit for bit, in any place of a product of `rows` and of `most` rows."""
        states = torch.randn(most, self.weight.shape[1], generator=torch.Generator().manual_seed(0)).to(self.weight)
        moved = self.again(states.roll(7, dims=0)).roll(-7, dims=0)
        if rows != most:
            self.packed.pop(most, None)
        return torch.equal(self.again(states[:rows]), moved[:rows])


@dataclass(frozen=True, eq=False)
class _Block:
    norm: Callable[[Tensor], Tensor]
    qkv: _Matrix  # (3 hidden, hidden)
    out: _Matrix
    cross: Any  # the block itself, if it has cross-attention, or None
    ffn_norm: Callable[[Tensor], Tensor]
    fc1: _Matrix
    fc2: _Matrix
    activation: Callable[[Tensor], Tensor]


class _Weights:
    """The decoder's weights, queries, keys and values fused, and likewise the embeddings and the heads."""

    def __init__(self, model: Any) -> None:
        stack: Any = decoder_stack(model)
        with torch.inference_mode():
            self.blocks = [
                _Block(
                    block.self_attn_layer_norm,
                    _Matrix(torch.cat([getattr(block.self_attn, f"{name}_proj").weight for name in "qkv"])),
                    _Matrix(block.self_attn.out_proj.weight),
                    block if hasattr(block, "encoder_attn") else None,
                    block.final_layer_norm,
                    _Matrix(block.fc1.weight),
                    _Matrix(block.fc2.weight),
                    block.activation_fn,
                )
                for block in stack.layers
            ]
            self.embeddings = torch.cat([table.weight for table in stack.embed_tokens])
            self.heads = _Matrix(torch.cat([head.weight for head in model.decoder.lm_heads]))
        self.norm = stack.layer_norm
        self.lanes = lanes_of(model)
        self.fair = cache(self._is_fair)
        self.position_table = stack.embed_positions.weights.to(self.embeddings)
        self.depth, self.codebooks = len(self.blocks), len(stack.embed_tokens)
        self.hidden, self.num_heads = stack.config.hidden_size, stack.config.num_attention_heads
        ids = model.generation_config
        self.start_token = (
            ids.bos_token_id if ids.decoder_start_token_id is None else ids.decoder_start_token_id
        )

    def rows(self, lanes: int, clips: int) -> tuple[int, int]:
        """Rows of the products of the blocks and of the heads, see the rules above."""
        needed = max(_FEW, math.ceil(lanes / 4) * 4), max(_FEW, math.ceil(clips / 4) * 4)
        most = self.lanes, max(_FEW, self.lanes * clips // lanes)
        return needed if self.fair(needed, most) else most

    def _is_fair(self, needed: tuple[int, int], most: tuple[int, int]) -> bool:
        block = self.blocks[0]
        if self.embeddings.device.type != "cpu" or block.cross is not None:
            return False
        in_blocks = (block.qkv, block.out, block.fc1, block.fc2)
        rows, head_rows = zip(needed, most, strict=True)
        return all(matrix.is_fair(*rows) for matrix in in_blocks) and self.heads.is_fair(*head_rows)

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


@dataclass(frozen=True, eq=False)
class _Begin:
    """What a lane starts from."""

    cached: Tensor  # keys and values (layers, 2, positions, hidden)
    last: Tensor  # state from which the first frame is predicted (hidden,)
    cross: list[tuple[Tensor, Tensor]]  # keys and values of each block for its cross-attention
    mask: Tensor | None  # of the text (text,), with cross-attention only


@dataclass(frozen=True, eq=False)
class _Stage:
    """One edit of the states of some lanes; see `_stages`."""

    site: Site
    delta: Tensor  # (layers, lanes, hidden)
    keep_norm: Tensor | None  # of which lanes to keep the norm (lanes, 1), or None for no lane
    acts: list[bool]  # at which layers there is something to add

    def apply(self, k: int, states: Tensor) -> Tensor:
        moved = states + self.delta[k]
        if self.keep_norm is None:
            return moved
        return add_direction(states, self.delta[k], preserve_norm=True).where(self.keep_norm, moved)


def _run_blocks(
    weights: _Weights,
    states: Tensor,
    attend: Callable[[int, Tensor], Tensor],
    attend_text: Callable[[int, Tensor], Tensor],
    steer: Callable[[Site, int, Tensor], Tensor],
    multiply: Callable[[_Matrix, Tensor], Tensor],
) -> Tensor:
    """All blocks and the final normalisation, over states (rows, hidden); attention is the caller's."""
    for k, block in enumerate(weights.blocks):
        attended = multiply(block.out, attend(k, multiply(block.qkv, block.norm(states))))
        states = states + steer("attention", k, attended)
        if block.cross is not None:
            states = states + attend_text(k, block.cross.encoder_attn_layer_norm(states))
        inner = block.activation(multiply(block.fc1, block.ffn_norm(states)))
        states = steer("residual", k, states + multiply(block.fc2, inner))
    return weights.norm(states)


def _prefix_pass(
    weights: _Weights,
    states: Tensor,
    past: Tensor,
    stages: list[_Stage],
    text: tuple[Tensor, Tensor] | None = None,
) -> _Begin:
    """Run one lane's next positions (positions, hidden) after `past`, keys and values (layers, 2, positions, hidden).

    `text`, states and mask, is for cross-attention.
    """
    before, count = past.shape[2], len(states)
    states = states + weights.position_table[before : before + count]
    sees = torch.ones(count, before + count, dtype=torch.bool, device=states.device).tril(before)
    cached: list[Tensor] = []

    def attend(k: int, qkv: Tensor) -> Tensor:
        query, new = qkv[:, : weights.hidden], qkv[:, weights.hidden :].unflatten(1, (2, -1)).transpose(0, 1)
        cached.append(new)
        both = torch.cat([past[k], new], dim=1)
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
        return _cross_attend(weights, k, states, cross[k][0][None], cross[k][1][None], mask[None])

    def steer(site: Site, k: int, states: Tensor) -> Tensor:
        for stage in stages:
            if stage.site == site and stage.acts[k]:
                states = stage.apply(k, states)
        return states

    states = _run_blocks(weights, states, attend, attend_text, steer, _Matrix.__call__)
    return _Begin(torch.stack(cached), states[-1], cross, mask)


def _cross_attend(
    weights: _Weights, k: int, states: Tensor, key: Tensor, value: Tensor, mask: Tensor
) -> Tensor:
    """Cross-attention of block k: one query per lane, states (rows >= lanes, hidden) to the same shape."""
    attention, lanes = weights.blocks[k].cross.encoder_attn, len(key)
    query = weights.split_heads(attention.q_proj(states))[:lanes, :, None]
    attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None])
    return attention.out_proj(_padded(attended.flatten(1), len(states)))


def _decode(
    weights: _Weights,
    starts: list[_Begin],
    past: KeyValues,
    stages_at: Callable[[int], list[_Stage]],
    sampling: Sampling,
    noise: Tensor | None,
    branches: int,
    frames: int,
    tick: Callable[[float], None],
) -> Tensor:
    """Decode a tile of lanes, a start each, to tokens (rows, codebooks, frames).

    `stages_at` gives the edits in the pass over a position, which chooses the first codebook of the frame of that
    number.
    The last rows of the products may be padding.
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
    last = torch.stack([start.last for start in starts])
    tokens = torch.full((count, weights.codebooks, steps), weights.start_token, device=device)
    delays = torch.arange(weights.codebooks, device=device)
    stages: list[_Stage] = []
    position, before = 0, past.melody.shape[3] + starts[0].cached.shape[2] - 1

    def attend_text(k: int, states: Tensor) -> Tensor:
        return _cross_attend(weights, k, states, text[k][0], text[k][1], masks)

    def steer(site: Site, k: int, states: Tensor) -> Tensor:
        for stage in stages:
            if stage.site == site and stage.acts[k]:
                states[:lanes] = stage.apply(k, states[:lanes])
        return states

    while True:
        logits = _guided_logits(weights, last, sampling.guidance_scale, branches, head_rows)
        position += 1
        chosen = choose(logits, sampling, None if noise is None else noise[position])
        valid = (position > delays) & (position <= frames + delays)
        tokens[:, :, position] = chosen.where(valid, weights.start_token)
        tick(position / (steps - 1))
        if position == steps - 1:
            break
        states = weights.embed(tokens[:, :, position]) + weights.position_table[before + position]
        states = _padded(states.repeat(branches, 1), rows)
        stages = stages_at(position)
        last = _run_blocks(weights, states, past.attend, attend_text, steer, _Matrix.again)[:lanes]
    return torch.stack([tokens[:, k, k + 1 : k + 1 + frames] for k in range(weights.codebooks)], dim=1)


def _padded(states: Tensor, rows: int) -> Tensor:
    return states if len(states) == rows else F.pad(states, (0, 0, 0, rows - len(states)))


def _stages(
    lanes: list[tuple[str, tuple[Steering, ...]]], steps: set[str], weights: _Weights
) -> list[_Stage]:
    """What is added to each lane, a (branch, steerings) each, in the passes that `steps` names.

    The k-th stage of a site holds the k-th edit of every lane there; successive edits of a lane are summed
    unless one keeps the norm. A lane without a k-th edit adds zero, which leaves it as it is, bit for bit.
    """
    stages: list[_Stage] = []
    for site in get_args(Site):
        chains = [_chain(steering, branch, site, steps, weights.depth) for branch, steering in lanes]
        for place in range(max(map(len, chains))):
            delta = torch.zeros(weights.depth, len(lanes), weights.hidden)
            keep_norm = torch.zeros(len(lanes), 1, dtype=torch.bool)
            for lane, chain in enumerate(chains):
                if place < len(chain):
                    delta[:, lane], keep_norm[lane] = chain[place]
            keep = keep_norm.to(weights.embeddings.device) if keep_norm.any() else None
            stages.append(_Stage(site, delta.to(weights.embeddings), keep, delta.flatten(1).any(1).tolist()))
    return stages


def _at(steering: tuple[Steering, ...], frame: int) -> tuple[Steering, ...]:
    return tuple(each.at(frame) for each in steering)


def _chain(
    steering: tuple[Steering, ...], branch: str, site: str, steps: set[str], depth: int
) -> list[tuple[Tensor, bool]]:
    """One lane's edits at one site: (deltas (layers, hidden), whether to keep the norm)."""
    chain: list[tuple[Tensor, bool]] = []
    for each in steering:
        if each.site != site or each.steps not in steps or each.branches not in ("both", branch):
            continue
        delta = each.deltas(depth)
        if not delta.any():
            continue
        if chain and not each.preserve_norm and not chain[-1][1]:
            chain[-1] = (chain[-1][0] + delta, False)
        else:
            chain.append((delta, each.preserve_norm))
    return chain


# --- choosing tokens ----------------------------------------------------------------------------------------


def _guided_logits(weights: _Weights, last: Tensor, scale: float, branches: int, rows: int) -> Tensor:
    """Logits (rows, codebooks, vocabulary), float32, of states (lanes, hidden).

    Guidance is linear, and so are the heads: guiding the states spares half of the heads' work.
    """
    if branches == 2:
        conditional, unconditional = last.float().chunk(2)
        last = (unconditional + (conditional - unconditional) * scale).to(last.dtype)
    logits = weights.heads.again(_padded(last, rows))[: len(last)]
    return logits.float().unflatten(1, (weights.codebooks, -1))


# --- arguments ----------------------------------------------------------------------------------------------


def _frames(model: PreTrainedModel, seconds: float, prefix: int) -> int:
    config = model.config
    rate = config.audio_encoder.frame_rate
    room = config.decoder.max_position_embeddings - prefix - config.decoder.num_codebooks + 1
    if not 0 < seconds < math.inf or round(seconds * rate) < 1:
        raise ValueError(f"seconds must be positive, at least one frame of {1 / rate:g} s; got {seconds}")
    if round(seconds * rate) > room:
        raise ValueError(
            f"seconds={seconds:g} is {round(seconds * rate)} frames, but this model has positions for {room} "
            f"after its prompt: ask for at most {room / rate:g} s"
        )
    return round(seconds * rate)


def _per_prompt(value: Any, count: int, name: str, kinds: Any) -> list[Any]:
    """One value per prompt, from one for all or a sequence."""
    if isinstance(value, kinds):
        return [value] * count
    values = list(value)
    if len(values) != count:
        raise ValueError(
            f"{name} has {len(values)} entries for {count} prompts: give one for all, or one each"
        )
    return values


def _as_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise TypeError(f"a seed is a whole number, got {seed!r}")
    return int(seed)


def _as_tuple(steering: Any) -> tuple[Steering, ...]:
    entries = () if steering is None else steering if isinstance(steering, tuple) else (steering,)
    for entry in entries:
        if not isinstance(entry, Steering):
            raise TypeError(
                "steering takes Steering(vector, multiplier, ...), a tuple of them, or None; got "
                f"{type(entry).__name__}"
            )
    return entries


def _melodies(melody: Tensor | None, count: int) -> list[Tensor | None]:
    if melody is None or melody.ndim == 2:
        return [melody] * count
    if melody.ndim != 3 or len(melody) != count:
        raise ValueError(
            f"melody has shape {tuple(melody.shape)} for {count} prompts: expected (frames, chroma) for all, "
            "or (prompts, frames, chroma)"
        )
    return list(melody)
