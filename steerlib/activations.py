"""Record what a model makes of prompts: one activation per prompt and layer.

Paper A, section 3.1: the model reads the prompt, and the hidden state at its end-of-sequence token stands for
the prompt as a whole. In MusicGen-Melody the prompt is part of the decoder's sequence, so that token has a
state in every layer, at position ``chroma_length + (tokens of the prompt) - 1``. The melody is null, as in
the paper.

Layers are 0-based: layer k is the output of decoder block k, without the final normalisation. Only the
position asked for is kept, so memory is layers x hidden a prompt, whatever the length of the sequence.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.models import decoder_stack, encode_prompts, model_id, text_length_of, versions
from steerlib.prompts import Attribute, prompts_hash
from steerlib.steering import Site

__all__ = ["Activations", "Position", "extract_activations"]

Position = Literal["eos", "start"]


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations of prompts, with what they were taken from.

    Attributes
    ----------
    values : Tensor, shape (prompts, layers, hidden), float32, on the CPU
    labels : Tensor, shape (prompts,), bool, or None
        True for prompts of the positive pole; None if the prompts are not those of an attribute.
    prompts : tuple of str
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


def extract_activations(
    model: PreTrainedModel,
    processor: MusicgenMelodyProcessor,
    prompts: Sequence[str] | Attribute,
    *,
    position: Position = "eos",
    site: Site = "residual",
    batch_size: int = 32,
    progress: bool = True,
) -> Activations:
    """Run prompts through the model and keep one activation per layer.

    Prompts are padded to one fixed length, so that a prompt's activations do not depend on its neighbours.
    Steering contexts that are open on the model act here too. Chapter: *DiffMean directions*.

    Parameters
    ----------
    model, processor
        As `load_model` returns them.
    prompts : sequence of str, or Attribute
        For an attribute: its positive prompts, then its negative ones.
    position : {"eos", "start"}
        The prompt's end-of-sequence token in the decoder (paper A section 3.1), or the start token, which
        follows the whole prefix and from which the first frame is predicted.
    site : {"residual", "attention"}
        The output of each block, or that of its self-attention before it is added to the stream.
    batch_size : int, default 32
        Prompts per pass.
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
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    stack = decoder_stack(model)
    text_is_prefix = not hasattr(stack.layers[0], "encoder_attn")
    if position == "eos" and not text_is_prefix:
        raise ValueError(
            f"{type(model).__name__} reads its prompt through cross-attention: the prompt's EOS is not in "
            "its decoder and has no activation there. Use a MusicGen-Melody model, or position='start'"
        )
    if model.training:
        raise ValueError(
            "the model is in training mode, where dropout makes activations random: call model.eval()"
        )

    attribute = prompts if isinstance(prompts, Attribute) else None
    labels = None
    if isinstance(prompts, Attribute):
        prompts = prompts.positive_prompts + prompts.negative_prompts
        labels = torch.arange(len(prompts)) < len(prompts) // 2
    encoded = encode_prompts(model, processor, prompts)
    input_ids, mask = encoded["input_ids"], encoded["attention_mask"]
    last = mask.sum(1) - 1
    if position == "eos" and (input_ids.gather(1, last[:, None]) != processor.tokenizer.eos_token_id).any():
        raise ValueError(
            "the tokenizer does not end prompts with its end-of-sequence token, as MusicGen's (T5) does"
        )

    values = torch.empty(len(prompts), len(stack.layers), stack.config.hidden_size)
    with (
        torch.inference_mode(),
        tqdm(total=len(prompts), desc="activations", unit="prompt", disable=not progress) as bar,
    ):
        for begin in range(0, len(prompts), batch_size):
            rows = slice(begin, begin + batch_size)
            prefix = _prefix(model, input_ids[rows], mask[rows], text_is_prefix=text_is_prefix)
            start = prefix.shape[1] if text_is_prefix else 0
            where = (
                model.config.chroma_length + last[rows]
                if position == "eos"
                else torch.full_like(last[rows], start)
            )
            _record(model, prefix, mask[rows], where, site, values[rows])
            bar.update(len(prefix))

    metadata = {
        **model_id(model),
        "position": position,
        "site": site,
        "text_length": text_length_of(processor),
        "prompts_sha256": prompts_hash(prompts),
        "versions": versions(),
    }
    return Activations(values, labels, tuple(prompts), attribute, metadata)


def _prefix(model: Any, input_ids: Tensor, mask: Tensor, *, text_is_prefix: bool) -> Tensor:
    """What the decoder reads of prompts: [null melody | text], or the text alone for cross-attention."""
    text = model.text_encoder(input_ids=input_ids, attention_mask=mask).last_hidden_state
    if hasattr(model, "enc_to_dec_proj"):
        text = model.enc_to_dec_proj(text)
    text = text * mask[..., None]
    if not text_is_prefix:
        return text
    melody = torch.zeros(len(text), model.config.chroma_length, model.config.num_chroma).to(text)
    melody[:, :, 0] = 1
    if hasattr(model, "audio_enc_to_dec_proj"):
        melody = model.audio_enc_to_dec_proj(melody)
    return torch.cat([melody, text], dim=1)


def _record(model: Any, prefix: Tensor, mask: Tensor, where: Tensor, site: Site, values: Tensor) -> None:
    """Run the decoder over prefix and start token; write (rows, layers, hidden) at positions `where`."""
    stack = decoder_stack(model)
    rows = torch.arange(len(where), device=where.device)

    def keep(layer: int) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            values[:, layer] = hidden[rows, where].float().cpu()

        return hook

    start_token = model.generation_config.decoder_start_token_id
    if start_token is None:
        start_token = model.generation_config.bos_token_id
    start = torch.full((len(prefix), stack.num_codebooks, 1), start_token, device=prefix.device)
    text_mask = {} if not hasattr(stack.layers[0], "encoder_attn") else {"encoder_attention_mask": mask}
    with ExitStack() as hooks:
        for layer, block in enumerate(stack.layers):
            target = block if site == "residual" else block.self_attn
            hooks.callback(target.register_forward_hook(keep(layer)).remove)
        stack(input_ids=start, encoder_hidden_states=prefix, use_cache=False, **text_mask)
