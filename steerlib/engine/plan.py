"""What the tiles of one call share, and how one tile becomes clips."""

import math
from collections.abc import Callable, Sequence
from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from steerlib.engine.attention import KeyValues
from steerlib.engine.clips import Clips, Row
from steerlib.engine.decode import Begin, Stage, decode, likelihood, prefix_pass, stages_of
from steerlib.engine.sampling import Sampling, choose, noise_keys
from steerlib.engine.weights import Weights
from steerlib.model import MusicModel, check_shape
from steerlib.steering import Feedback, Positions, Steering, active_steering, check_positions

__all__ = ["Plan", "acting"]

_OWN_HOOKS = ("steerlib.steering", "transformers.utils.output_capturing")  # the second acts on request only


class Plan:
    """What the tiles of one call share: checked settings, encoded prompts, weights in the loop's layout."""

    def __init__(
        self,
        model: MusicModel,
        rows: Sequence[Row],
        seconds: float,
        sampling: Sampling,
        *,
        likelihood: bool = False,
    ) -> None:
        self.model, self.rows, self.sampling, self.likelihood = model, rows, sampling, likelihood
        self.device, self.codec = model.device, model.network.audio_encoder
        self.branches = 2 if sampling.guidance_scale > 1 else 1
        self.frames = model.frames(seconds)
        contexts = active_steering(model)
        self.steering = [row.steering + contexts for row in rows]
        self._check_model()
        self._check_rows()

        prompts = list(dict.fromkeys(each for row in rows for each in (row.prompt, *(row.patch or ())[:1])))
        encoded = model.encode(prompts)
        self.encoded = {
            prompt: (encoded["input_ids"][row, None], encoded["attention_mask"][row, None])
            for row, prompt in enumerate(prompts)
        }
        self.text = cache(self._text)  # of a prompt, or of None: the null prompt
        self.heard = cache(partial(self._read_melody, steering=()))  # of a melody, unsteered
        self.buffers: list[npt.NDArray[Any]] = []  # memory of tiles that are done, for those to come

    @cached_property
    def weights(self) -> Weights:
        """Made when they are first needed: a plan that only checks takes no memory."""
        return Weights(self.model)

    def _check_model(self) -> None:
        self.model.check_eval("clips")
        if self.model.config.decoder.audio_channels != 1:
            raise ValueError("stereo models are not supported: use a mono model, or network.generate")
        for name, module in self.model.stack.named_modules():
            for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
                if getattr(hook, "__module__", None) not in _OWN_HOOKS:
                    raise ValueError(
                        f"{name or 'the decoder'} carries a forward hook not of steerlib ({hook!r}), which "
                        "the fast loop would skip: remove it, or use network.generate, which runs hooks"
                    )
            if isinstance(module, nn.Linear) and type(module) is not nn.Linear:
                raise ValueError(
                    f"{name} is a {type(module).__name__}, not a plain torch.nn.Linear, which would be "
                    "misread: merge adapters, load without quantisation, or use network.generate"
                )

    def _check_rows(self) -> None:
        chroma = self.model.config.num_chroma if self.model.is_prefix else 0
        for index, (row, steering) in enumerate(zip(self.rows, self.steering, strict=True)):
            for each in steering:
                check_shape(self.model, each.vector.directions, f"the vector that steers row {index}")
                check_positions(self.model, each.positions)
                if each.branches == "unconditional" and self.branches == 1:
                    raise ValueError(
                        "branches='unconditional', but with guidance_scale <= 1 there is no such branch: "
                        "raise guidance_scale, or use branches='both'"
                    )
            if row.melody is None:
                continue
            if not self.model.is_prefix:
                raise ValueError(
                    f"{type(self.model.network).__name__} cannot follow a melody: use a MusicGen-Melody model"
                )
            if row.melody.ndim != 2 or row.melody.shape[1] != chroma or not len(row.melody):
                raise ValueError(
                    f"melody must have shape (frames, {chroma}) or (prompts, frames, {chroma}), but that of row "
                    f"{index} has shape {tuple(row.melody.shape)}"
                )

    def _text(self, prompt: str | None) -> tuple[Tensor, Tensor]:
        """States (text, hidden) that the decoder reads of a prompt, and its mask (text,)."""
        ids, mask = self.encoded[prompt if prompt is not None else next(iter(self.encoded))]
        if prompt is None:
            return torch.zeros(mask.shape[1], self.weights.hidden).to(self.weights.embeddings), mask[0]
        return self.model.read_text(ids, mask).to(self.model.dtype)[0], mask[0]

    def melody(self, melody: Tensor | None) -> Tensor:
        """States (chroma_length, hidden) that the decoder reads of a melody, or of the null chroma."""
        config = self.model.config
        if melody is None:
            melody = F.one_hot(torch.zeros(1, dtype=torch.long), config.num_chroma)
        states = self.model.read_melody(melody.to(self.device, self.model.dtype))
        return states.repeat(math.ceil(config.chroma_length / len(states)), 1)[: config.chroma_length]

    def _read_melody(self, melody: Tensor | None, steering: tuple[Steering, ...]) -> Tensor:
        """Keys and values (layers, 2, positions, hidden) of a melody, or of the null one, steered on the way."""
        weights = self.weights
        nothing = weights.embeddings.new_empty(weights.depth, 2, 0, weights.hidden)
        if not self.model.is_prefix:
            return nothing
        return prefix_pass(weights, self.melody(melody), nothing, stages_of([steering], weights)).cached

    def _read_text(
        self,
        prompt: str | None,
        melody: Tensor,
        steering: tuple[Steering, ...] = (),
        steering_audio: tuple[Steering, ...] = (),
        tokens: Tensor | None = None,
        patch: tuple[str, frozenset[int]] | None = None,
    ) -> Begin:
        """What a lane has read of a melody, a prompt or the null one, and tokens: by default the start token alone.

        The text and the tokens are each steered in their own way.
        """
        weights = self.weights
        text, mask = self.text(prompt)
        if tokens is None:
            tokens = torch.full((1, weights.codebooks), weights.start_token, device=self.device)
        if not self.model.is_prefix:
            stages = stages_of([steering_audio], weights)
            return prefix_pass(weights, weights.embed(tokens), melody, stages, (text, mask))
        stages = stages_of([steering] * len(text) + [steering_audio] * len(tokens), weights)
        other = None
        if patch is not None:
            other = self._read_text(patch[0], melody, steering, steering_audio).cached, patch[1]
        return prefix_pass(weights, torch.cat([text, weights.embed(tokens)]), melody, stages, other=other)

    @torch.inference_mode()
    def nll(self, index: int, tokens: Tensor) -> float:
        """Mean negative log-likelihood (nats) of tokens (codebooks, frames) under the unsteered model.

        One pass over all positions, told the row's prompt and melody. Without guidance, as in training.
        """
        row = self.rows[index]
        melody = self.heard(row.melody)

        def read(told: Tensor) -> Tensor:
            return self._read_text(row.prompt, melody, tokens=told).states[-len(told) :]

        return float(likelihood(self.weights, tokens, read))

    @torch.inference_mode()
    def load(self, clips: int) -> None:
        """Load compiled code and order weights for tiles of so many clips, so that workers find it done."""
        weights, lane = self.weights, torch.zeros(1, dtype=torch.long, device=self.device)
        weights.rows(clips * self.branches, clips)
        nothing = weights.embeddings.new_empty(weights.depth, 2, 1, 0, weights.hidden)
        past = KeyValues(nothing, lane, nothing, lane, weights.num_heads, 1, exact=self.sampling.exact)
        past.attend(0, weights.embeddings.new_zeros(1, 3 * weights.hidden))
        if self.sampling.do_sample:
            choose(torch.zeros(1, 1, 2, device=self.device), self.sampling, lane.new_zeros(1, 1, 2))
        self.codec.decode(lane.expand(1, 1, weights.codebooks, 1), [None])

    @torch.inference_mode()
    def run(self, indices: list[int], tick: Callable[[float], None]) -> Clips:
        """Make the clips of one tile, on this thread alone."""
        rows = [self.rows[index] for index in indices]
        lanes = [  # conditional rows, then unconditional ones
            (row if branch == "conditional" else None, _of_branch(self.steering[index], branch))
            for branch in ("conditional", "unconditional")[: self.branches]
            for row, index in zip(rows, indices, strict=True)
        ]
        weights = self.weights
        melodies: dict[Any, Tensor] = {}
        begins: dict[Any, Begin] = {}
        group, prompt = [], []  # each lane's place among them
        for row, steering in lanes:
            of_prefix = acting(steering, "prefix", 0)
            in_prefix = tuple(id(each) for each in steering if each.positions != "audio")
            same_melody = (id(row.melody if row else None), in_prefix)
            patch = row.patch if row else None
            same_prompt = (row.prompt if row else None, patch, same_melody, tuple(map(id, steering)))
            if same_prompt not in begins:
                if same_melody not in melodies:
                    melodies[same_melody] = self._read_melody(row.melody if row else None, of_prefix)
                of_start = acting(steering, "audio", 0)
                begins[same_prompt] = self._read_text(
                    same_prompt[0], melodies[same_melody], of_prefix, of_start, patch=patch
                )
            group.append(list(melodies).index(same_melody))
            prompt.append(list(begins).index(same_prompt))
        past = KeyValues(
            torch.stack(list(melodies.values()), dim=2),
            torch.tensor(group, device=self.device),
            torch.stack([begin.cached for begin in begins.values()], dim=2),
            torch.tensor(prompt, device=self.device),
            weights.num_heads,
            weights.positions(self.frames) - 2,
            self.buffers.pop() if self.buffers else None,
            exact=self.sampling.exact,
        )

        later = [
            tuple(each for each in steering if each.steps == "all" and each.positions != "prefix")
            for _, steering in lanes
        ]
        heard = {
            each.schedule.layer: torch.zeros(len(rows), weights.positions(self.frames), weights.hidden).to(
                self.device
            )
            for lane in later
            for each in lane
            if isinstance(each.schedule, Feedback)
        }
        decided: dict[tuple[int, int, int], Steering] = {}
        acted: list[float] | None = None
        stages: list[Stage] = []

        def now(each: Steering, row: int, frame: int) -> Steering:
            if not isinstance(each.schedule, Feedback):
                return each.at(frame)
            key = id(each), row, frame // each.schedule.every
            if key not in decided:
                decided[key] = each.at(frame, heard[each.schedule.layer][row, 1:frame].cpu())
            return decided[key]

        def stages_at(frame: int) -> list[Stage]:
            nonlocal acted, stages
            acting_now = [
                tuple(now(each, lane % len(rows), frame) for each in steering)
                for lane, steering in enumerate(later)
            ]
            multipliers = [each.multiplier for steering in acting_now for each in steering]
            if multipliers != acted:
                acted, stages = multipliers, stages_of(acting_now, weights)
            return stages

        noise = None
        if self.sampling.do_sample:
            size = (weights.positions(self.frames), weights.codebooks)
            keys = [noise_keys(row.prompt, row.seed, *size) for row in rows]
            noise = torch.from_numpy(np.stack(keys, axis=1)).to(self.device)
        starts = [list(begins.values())[place] for place in prompt]
        tokens = decode(
            weights, starts, past, stages_at, self.sampling, noise, self.branches, self.frames, tick, heard
        )
        if past.buffer is not None:
            self.buffers.append(past.buffer)
        codes = tokens.view(len(rows), 1, 1, weights.codebooks, -1)
        audio = [self.codec.decode(clip, [None]).audio_values[0, 0] for clip in codes]
        return Clips(
            torch.stack(audio).float().cpu().numpy(),
            self.model.sample_rate,
            tokens.cpu().numpy().astype(np.int16),
            tuple(row.prompt for row in rows),
            tuple(row.seed for row in rows),
            np.array(list(map(self.nll, indices, tokens))) if self.likelihood else None,
            _of_rows(later[: len(rows)], heard, self.frames) if heard else None,
        )


def _of_rows(
    steering: list[tuple[Steering, ...]], heard: dict[int, Tensor], frames: int
) -> npt.NDArray[np.float32]:
    """What each row's first Feedback heard (rows, frames - 1, hidden); NaN where nothing listened."""
    found = torch.full((len(steering), frames - 1, next(iter(heard.values())).shape[2]), torch.nan)
    for row, acting in enumerate(steering):
        for each in acting[::-1]:
            if isinstance(each.schedule, Feedback):
                found[row] = heard[each.schedule.layer][row, 1:frames]
    return found.numpy()


def _of_branch(steering: tuple[Steering, ...], branch: str) -> tuple[Steering, ...]:
    return tuple(each for each in steering if each.branches in ("both", branch))


def acting(steering: tuple[Steering, ...], positions: Positions, frame: int) -> tuple[Steering, ...]:
    """What acts at some positions in the step that writes a frame."""
    return tuple(each.at(frame) for each in steering if each.positions in ("all", positions))
