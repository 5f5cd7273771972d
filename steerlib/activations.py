"""Record what a model makes of prompts or of audio: one activation per prompt or clip, and layer.

Paper A, section 3.1: the model reads the prompt, and the hidden state at its end-of-sequence token stands for
the prompt as a whole. In MusicGen-Melody the prompt is part of the decoder's sequence, so that token has a
state in every layer, at position ``chroma_length + (tokens of the prompt) - 1``. The melody is null, as in
the paper.

Paper B, section IV-C1: the model hears a clip, as if it had just written it, and the hidden state at the last
token stands for the clip. The audio becomes the codec's tokens in the delay pattern of generation; the text
is empty, as in the unconditional branch of guidance, and the melody is null.

Layers are 0-based: layer k is the output of decoder block k, without the final normalisation. Only the
position asked for is kept, so memory is layers x hidden a prompt, whatever the length of the sequence.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import DynamicCache

from steerlib.engine.generation import BACKEND, Run, generate
from steerlib.files import write_whole
from steerlib.measure.audio import FloatArray, Sound, check, resample
from steerlib.model import MusicModel, versions
from steerlib.prompts import Attribute, prompts_hash
from steerlib.steering import Site, active_steering

__all__ = [
    "Activations",
    "AudioPosition",
    "Position",
    "Place",
    "audio_states",
    "extract_activations",
    "extract_audio_activations",
    "hear",
    "stream_norms",
]

Position = Literal["eos", "start"]
AudioPosition = Literal["last", "mean"]
Place = Literal["residual", "attention", "heads"]

_FORMAT = "steerlib.Activations"
_SAMPLE = ("a rock song", "a jazz piece", "a folk song", "a piano track")  # in words that every model knows
_NORMS: WeakKeyDictionary[MusicModel, dict[str | None, Tensor]] = WeakKeyDictionary()  # by what wrote the clips
_PASS_BYTES = 2**23  # of the widest intermediate, float32, in one pass


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations of prompts (or clips of audio), with what they were taken from.

    Attributes
    ----------
    values : Tensor, shape (prompts, layers, hidden), float32, on the CPU
    labels : Tensor, shape (prompts,), bool, or None
        True for prompts of the positive pole; None if the prompts are not those of an attribute.
    prompts : tuple of str
        For clips: the prompts they were made from, or "clip 0" and on.
    attribute : Attribute or None
    metadata : dict
        Model, revision, weights, position, site, text length, hash of the prompts and versions.
    """

    values: Tensor
    labels: Tensor | None
    prompts: tuple[str, ...]
    attribute: Attribute | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.prompts):
            raise ValueError(
                f"values must have shape (prompts, layers, hidden) for {len(self.prompts)} prompts, "
                f"got {tuple(self.values.shape)}"
            )
        if self.labels is not None and tuple(self.labels.shape) != (len(self.prompts),):
            raise ValueError(f"labels must have shape ({len(self.prompts)},), got {tuple(self.labels.shape)}")

    def __len__(self) -> int:
        return len(self.prompts)

    def save(self, path: str | Path) -> None:
        """Write values, prompts and metadata to a safetensors file, whole or not at all.

        For another chapter to go on with: *Superposition* reads what *Known truth and controls* heard. Labels and
        attribute are not kept.
        """
        header = {"prompts": self.prompts, "metadata": self.metadata}
        write_whole(
            path, to_safetensors({"values": self.values}, {_FORMAT: json.dumps(header, sort_keys=True)})
        )

    @classmethod
    def load(cls, path: str | Path, *, model: MusicModel) -> "Activations":
        """Read what `save` wrote of a model.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no such file, or was taken from other weights than those of the model.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f"no activations at {path}: run the chapter that leaves them there first")
        try:
            with safe_open(path, framework="pt") as file:
                content = json.loads((file.metadata() or {})[_FORMAT])
                values = file.get_tensor("values")
            found = cls(values, None, tuple(content["prompts"]), metadata=dict(content["metadata"]))
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} holds no activations ({type(error).__name__}: {error}): make it again with Activations.save"
            ) from error
        theirs, ours = found.metadata.get("weights"), model.identity["weights"]
        if theirs != ours:
            raise ValueError(
                f"{path} was taken from other weights ({found.metadata.get('model')}, {theirs}) than those of this "
                f"model ({ours}): run the chapter that leaves it there again, with this model"
            )
        return found


def extract_activations(
    model: MusicModel,
    prompts: Sequence[str] | Attribute,
    *,
    position: Position = "eos",
    site: Site = "residual",
    batch_size: int | None = None,
    progress: bool = True,
) -> Activations:
    """Run prompts through the model and keep one activation per layer.

    Prompts are padded to one fixed length, so that a prompt's activations do not depend on its neighbours.
    Steering contexts that are open on the model act here too. Chapter: *DiffMean directions*.

    Parameters
    ----------
    model : MusicModel
    prompts : sequence of str, or Attribute
        For an attribute: its positive prompts, then its negative ones.
    position : {"eos", "start"}
        The prompt's end-of-sequence token in the decoder (paper A section 3.1), or the start token, which
        follows the whole prefix and from which the first frame is predicted.
    site : {"residual", "attention"}
        The output of each block, or that of its self-attention before it is added to the stream.
    batch_size : int, optional
        Prompts per pass; by default up to 32, fewer of a wide model, so that its widest layer stays small.
        ``benchmarks/extraction.py`` measures it.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    Activations

    Raises
    ------
    ValueError
        For an empty list of prompts, an unknown position or site, a model in training mode, or the EOS of a
        model whose prompt is not in its decoder.
    """
    for name, value, names in (("position", position, Position), ("site", site, Site)):
        if value not in get_args(names):
            raise ValueError(f"{name} must be one of {', '.join(get_args(names))}; got {value!r}")
    stack = model.stack
    if batch_size is None:
        positions = (model.config.chroma_length if model.is_prefix else 0) + model.text_length + 1
        batch_size = min(32, max(1, _PASS_BYTES // (4 * positions * stack.config.ffn_dim)))
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if position == "eos" and not model.is_prefix:
        raise ValueError(
            f"{type(model.network).__name__} reads its prompt through cross-attention: the prompt's EOS is not in "
            "its decoder and has no activation there. Use a MusicGen-Melody model, or position='start'"
        )
    model.check_eval("activations")

    attribute = prompts if isinstance(prompts, Attribute) else None
    labels = None
    if isinstance(prompts, Attribute):
        prompts = prompts.positive_prompts + prompts.negative_prompts
        labels = torch.arange(len(prompts)) < len(prompts) // 2
    encoded = model.encode(prompts)
    input_ids, mask = encoded["input_ids"], encoded["attention_mask"]
    last = mask.sum(1) - 1
    if (
        position == "eos"
        and (input_ids.gather(1, last[:, None]) != model.processor.tokenizer.eos_token_id).any()
    ):
        raise ValueError(
            "the tokenizer does not end prompts with its end-of-sequence token, as MusicGen's (T5) does"
        )

    values = torch.zeros(len(prompts), model.depth, model.width)
    with (
        torch.inference_mode(),
        tqdm(total=len(prompts), desc="activations", unit="prompt", disable=not progress) as bar,
    ):
        for begin in range(0, len(prompts), batch_size):
            rows = slice(begin, begin + batch_size)
            prefix = model.read_text(input_ids[rows], mask[rows])
            prefix = _with_null_melody(model, prefix) if model.is_prefix else prefix
            start = prefix.shape[1] if model.is_prefix else 0
            where = (
                model.config.chroma_length + last[rows]
                if position == "eos"
                else torch.full_like(last[rows], start)
            )
            tokens = torch.full((len(prefix), model.codebooks, 1), model.start_token)
            wanted = site, partial(_at, where=where), values[rows]
            _record(model, _read(model, prefix, mask[rows], tokens), [wanted])
            bar.update(len(prefix))

    metadata = {
        **model.identity,
        "position": position,
        "site": site,
        "text_length": model.text_length,
        "prompts_sha256": prompts_hash(prompts),
        "versions": versions(),
    }
    return Activations(values, labels, tuple(prompts), attribute, metadata)


def extract_audio_activations(
    model: MusicModel,
    audio: Sound | FloatArray,
    *,
    sample_rate: int | None = None,
    position: AudioPosition = "last",
    site: Place = "residual",
    labels: Sequence[bool] | npt.NDArray[np.bool_] | Tensor | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Activations:
    """Let the model hear clips, without a prompt, and keep one activation per layer (paper B section IV-C).

    Chapters: *Concepts in audio*, *Probes*.

    Parameters
    ----------
    model : MusicModel
    audio : Clips or ndarray, shape (clips, samples)
        In [-1, 1]; resampled to the codec's rate.
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    position : {"last", "mean"}
        The last token, which has heard the whole clip (paper B section IV-C1), or the mean over the clip's
        tokens.
    site : {"residual", "attention", "heads"}
        The output of each block, that of its self-attention before it is added to the stream, or what the heads of
        its self-attention give before they are mixed, one after the other.
    labels : sequence of bool, shape (clips,), optional
        True for clips of the positive pole, for `diff_mean`.
    batch_size : int, optional
        Clips per pass; by default at most 16, and fewer if the codec's first layer would fill over 256 MB.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    Activations
        In the order of the clips.

    Raises
    ------
    TypeError
        If an array comes without a sample rate, or holds whole numbers.
    ValueError
        For audio of another shape, too long for the model or shorter than 0.1 s, NaN in it, labels that do
        not fit, an unknown position or site, or a model in training mode.

    Examples
    --------
    >>> bright = extract_audio_activations(model, clips)                            # doctest: +SKIP
    """
    options: dict[str, Any] = {"labels": labels, "batch_size": batch_size, "progress": progress}
    return hear(model, audio, [(position, site)], sample_rate=sample_rate, **options)[0]


def hear(
    model: MusicModel,
    audio: Sound | FloatArray,
    readings: Sequence[tuple[AudioPosition, Place]],
    *,
    sample_rate: int | None = None,
    labels: Sequence[bool] | npt.NDArray[np.bool_] | Tensor | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> list[Activations]:
    """`extract_audio_activations` at several positions and sites of one pass.

    Chapters: *Known truth and controls*, *Methods*.

    Parameters
    ----------
    model, audio, sample_rate, labels, batch_size, progress
        See `extract_audio_activations`.
    readings : sequence of (position, site)

    Returns
    -------
    list of Activations
        In the order of the readings.

    Raises
    ------
    TypeError, ValueError
        As `extract_audio_activations`, and if there are no readings.
    """
    if not readings:
        raise ValueError("readings is empty: give at least one, such as ('last', 'residual')")
    for position, site in readings:
        for name, value, names in (("position", position, AudioPosition), ("site", site, Place)):
            if value not in get_args(names):
                raise ValueError(f"{name} must be one of {', '.join(get_args(names))}; got {value!r}")
    samples = _samples(model, audio, sample_rate, batch_size)
    poles = None if labels is None else torch.as_tensor(labels)
    if poles is not None and (poles.dtype != torch.bool or tuple(poles.shape) != (len(samples),)):
        raise ValueError(
            f"labels must be {len(samples)} booleans, one for each clip, got {poles.dtype} of shape "
            f"{tuple(poles.shape)}"
        )
    kept = [torch.zeros(len(samples), model.depth, model.width) for _ in readings]
    digest = hashlib.sha256()
    for rows, codes, read in _heard(model, samples, batch_size, progress):
        digest.update(codes.to(torch.int32).cpu().numpy().tobytes())
        reduce = {"last": partial(_of_last, count=1), "mean": partial(_of_last, count=codes.shape[2])}
        wanted = [
            (site, reduce[position], values[rows])
            for (position, site), values in zip(readings, kept, strict=True)
        ]
        _record(model, read, wanted)

    prompts = tuple(getattr(audio, "prompts", None) or [f"clip {index}" for index in range(len(samples))])
    metadata = {
        **model.identity,
        "text_length": model.text_length,
        "audio_tokens_sha256": digest.hexdigest(),
        "versions": versions(),
    }
    return [
        Activations(values, poles, prompts, None, {**metadata, "position": position, "site": site})
        for (position, site), values in zip(readings, kept, strict=True)
    ]


def audio_states(
    model: MusicModel,
    audio: Sound | FloatArray,
    layer: int,
    *,
    sample_rate: int | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> Tensor:
    """The residual stream of one layer at every frame of clips that the model hears, without a prompt.

    For what is learnt from single states, such as sparse features. Chapter: *Methods*.

    Parameters
    ----------
    model, audio, sample_rate, batch_size, progress
        See `extract_audio_activations`.
    layer : int
        Block whose output is kept, 0-based.

    Returns
    -------
    Tensor, shape (clips, frames, hidden), float32, on the CPU

    Raises
    ------
    TypeError, ValueError
        As `extract_audio_activations`, and if there is no such layer.
    """
    if isinstance(layer, bool) or not isinstance(layer, int) or not 0 <= layer < model.depth:
        raise ValueError(f"layer must be a block of the model, 0 to {model.depth - 1}, got {layer!r}")
    samples = _samples(model, audio, sample_rate, batch_size)
    found = []
    for _, codes, read in _heard(model, samples, batch_size, progress):
        states = torch.zeros(len(codes), codes.shape[2], model.width)
        _record(model, read, [("residual", partial(_last_of, count=codes.shape[2]), states)], layer)
        found.append(states)
    return torch.cat(found)


def _samples(
    model: MusicModel, audio: Sound | FloatArray, sample_rate: int | None, batch_size: int | None
) -> npt.NDArray[np.float32]:
    """Clips (clips, samples) at the codec's rate, checked to fit the model."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    model.check_eval("activations")
    given, rate = check(audio, sample_rate)
    samples = np.ascontiguousarray(resample(given, rate, model.sample_rate))
    frames = int(samples.shape[1] / model.sample_rate * model.frame_rate)
    most = model.config.decoder.max_position_embeddings - model.prefix_length - 1
    if not 1 <= frames <= most:
        raise ValueError(
            f"the clips have {frames} frames of the codec, but the model has positions for 1 to {most}: "
            "give shorter or longer clips"
        )
    return samples


def _heard(
    model: MusicModel, samples: npt.NDArray[np.float32], batch_size: int | None, progress: bool
) -> Iterator[tuple[slice, Tensor, dict[str, Any]]]:
    """Some clips at a time: their rows, their codes (clips, codebooks, frames), and what the decoder reads.

    Before the codes the decoder reads an empty prompt and the start token, the same for all clips: where these are
    part of its sequence, it reads them once.
    """
    if batch_size is None:
        channels = getattr(model.config.audio_encoder, "num_filters", 16)
        batch_size = max(1, min(16, 2**28 // (4 * samples.shape[1] * channels)))
    text = torch.zeros(1, model.text_length, model.width).to(model.stack.layer_norm.weight)
    prefix = _with_null_melody(model, text) if model.is_prefix else text
    before = None
    if model.is_prefix and not active_steering(model):
        before = DynamicCache(config=model.config.decoder)
        start = torch.full((1, model.codebooks, 1), model.start_token)
        with torch.inference_mode():
            model.stack(**_read(model, prefix, None, start), past_key_values=before, use_cache=True)
    with tqdm(total=len(samples), desc="activations", unit="clip", disable=not progress) as bar:
        for begin in range(0, len(samples), batch_size):
            rows = slice(begin, begin + batch_size)
            batch = torch.from_numpy(samples[rows])[:, None].to(model.device, torch.float32)
            with torch.inference_mode():
                codes = model.network.audio_encoder.encode(batch).audio_codes[0]
                tokens = _delayed(codes, model.start_token)
                read = _read(model, prefix.expand(len(codes), -1, -1), None, tokens)
                if before is not None:
                    past = deepcopy(before)
                    past.batch_repeat_interleave(len(codes))
                    read = {"input_ids": tokens[:, :, 1:].to(model.device), "past_key_values": past, "use_cache": True}
            yield rows, codes, read
            bar.update(len(codes))


def _read(model: MusicModel, prefix: Tensor, mask: Tensor | None, tokens: Tensor) -> dict[str, Any]:
    """What the decoder is called with to read a prefix and then tokens (rows, codebooks, positions)."""
    text_mask = {} if mask is None or model.is_prefix else {"encoder_attention_mask": mask}
    return {"input_ids": tokens.to(prefix.device), "encoder_hidden_states": prefix, **text_mask}


def stream_norms(model: MusicModel) -> Tensor:
    """Mean norm of the residual stream after each block where music is written: what a push is measured against.

    Taken where the tokens of eight unsteered clips of two seconds are read, not at the prompt's end-of-sequence token,
    whose states can be far longer. Made once for a model. Used by every sweep, for its column ``kappa``.

    Parameters
    ----------
    model : MusicModel
        Without open steering contexts.

    Returns
    -------
    Tensor, shape (layers,), float32
    """
    known, backend = _NORMS.setdefault(model, {}), os.environ.get(BACKEND)
    if backend not in known:
        model.check_eval("activations")
        seeds, run = [0, 1], Run(progress=False)
        prompts = [prompt for prompt in _SAMPLE for _ in seeds]
        clips = generate(model, prompts, seconds=2, seed=seeds * len(_SAMPLE), run=run)
        encoded = model.encode(prompts)
        input_ids, mask = encoded["input_ids"], encoded["attention_mask"]
        tokens = _delayed(torch.from_numpy(clips.tokens).long(), model.start_token)
        frames, values = clips.tokens.shape[2], torch.zeros(len(prompts), model.depth, 1)

        def reduce(hidden: Tensor) -> Tensor:
            return hidden[:, -frames:].float().norm(dim=-1).mean(dim=1, keepdim=True)

        with torch.inference_mode():
            prefix = model.read_text(input_ids, mask)
            prefix = _with_null_melody(model, prefix) if model.is_prefix else prefix
            _record(model, _read(model, prefix, mask, tokens), [("residual", reduce, values)])
        known[backend] = values.mean(dim=(0, 2))
    return known[backend]


def _of_last(hidden: Tensor, count: int) -> Tensor:
    """Mean (rows, hidden) over the last positions of sequences (rows, positions, hidden)."""
    return hidden[:, -count:].mean(dim=1, dtype=torch.float32)


def _last_of(hidden: Tensor, count: int) -> Tensor:
    """The last positions of sequences (rows, positions, hidden)."""
    return hidden[:, -count:]


def _with_null_melody(model: MusicModel, text: Tensor) -> Tensor:
    """What the decoder reads: [null melody | text]."""
    melody = torch.zeros(len(text), model.config.chroma_length, model.config.num_chroma).to(text)
    melody[:, :, 0] = 1
    return torch.cat([model.read_melody(melody), text], dim=1)


@torch.inference_mode()
def _record(
    model: MusicModel,
    read: dict[str, Any],
    wanted: Sequence[tuple[Place, Callable[[Tensor], Tensor], Tensor]],
    only: int | None = None,
) -> None:
    """Run the decoder over what it is to read, and keep what is wanted of it: (site, `reduce`, `into`).

    What `reduce` keeps of a sequence goes `into` a tensor (rows, layers, hidden). It is preallocated: allocating small
    results between large temporaries fragments the heap. With the layer `only` it has whatever shape `reduce` gives of
    that one.
    """

    def keep(layer: int, site: Place, reduce: Callable[[Tensor], Tensor], into: Tensor) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            seen = args[0] if site == "heads" else output[0] if isinstance(output, tuple) else output
            (into if only is not None else into[:, layer])[...] = reduce(seen)

        return hook

    targets = {
        "residual": lambda block: block, "attention": lambda block: block.self_attn,
        "heads": lambda block: block.self_attn.out_proj,
    }  # fmt: skip
    with ExitStack() as hooks:
        for layer, block in enumerate(model.stack.layers):
            for site, reduce, into in wanted if only in (None, layer) else ():
                hooks.callback(targets[site](block).register_forward_hook(keep(layer, site, reduce, into)).remove)
        model.stack(**{"use_cache": False, **read})


def _at(hidden: Tensor, where: Tensor) -> Tensor:
    """The states (rows, hidden) at one position of each row's sequence (rows, positions, hidden)."""
    return hidden[torch.arange(len(hidden), device=hidden.device), where]


def _delayed(codes: Tensor, start_token: int) -> Tensor:
    """Codes (rows, codebooks, frames) as generation feeds them: the start token, then codebook k k steps late."""
    rows, codebooks, frames = codes.shape
    tokens = codes.new_full((rows, codebooks, frames + 1), start_token)
    for k in range(min(codebooks, frames)):
        tokens[:, k, k + 1 :] = codes[:, k, : frames - k]
    return tokens
