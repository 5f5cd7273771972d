"""Where in the pocket model an attribute is: what is readable, how directions lie, and what a push does.

All of it is reported and none of it wished for: what the text encoder hands over, what is readable at the EOS of each
block, the cosine between the directions of blocks, their length against the stream where music is written, and the
push at which the music breaks.

The push is kappa, the multiplier times the sum over blocks of the direction's length relative to the stream at the
audio positions: it can be compared between models whose directions have other lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib import measure
from steerlib.activations import extract_activations, extract_audio_activations
from steerlib.directions import diff_mean
from steerlib.engine.generation import generate
from steerlib.model import MusicModel
from steerlib.pocket.judges import NONE
from steerlib.pocket.second import corpus
from steerlib.pocket.second.captions import STYLES
from steerlib.prompts import load_attribute, load_prompts

_ATTRIBUTES = ("tempo", "timbre", "loudness", "energy", "mode")


def readability(model: MusicModel, *, captions: int = 1_000) -> pd.DataFrame:
    """How well a linear probe reads what a caption says, at the text encoder's output and at each block.

    Parameters
    ----------
    model : MusicModel
    captions : int
        Held-out captions; those that do not mention the attribute are left out of its probe.

    Returns
    -------
    DataFrame
        ``attribute``, ``layer`` (-2: mean of the text encoder's output over the words, -1: its output at the EOS,
        else a block, at the EOS), ``auc`` (of logistic regression, mean of five folds) and ``n``.
    """
    first = corpus.HELD_OUT + 4_000_000
    truths = [corpus.compose(number)[0] for number in range(first, first + captions)]
    tokens = model.processor.tokenizer
    truths = [t for t in truths if len(tokens(t.caption).input_ids) <= model.text_length]
    texts = [t.caption for t in truths]
    encoded = model.encode(texts)
    mask = encoded["attention_mask"]
    with torch.inference_mode():
        states = torch.cat(
            [
                model.network.text_encoder(input_ids=i, attention_mask=m).last_hidden_state.float()
                for i, m in zip(encoded["input_ids"].split(50), mask.split(50), strict=True)
            ]
        )
    at_end = states[torch.arange(len(texts)), mask.sum(1) - 1]
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    blocks = extract_activations(model, texts, progress=False).values
    layers = {-2: mean, -1: at_end} | {k: blocks[:, k] for k in range(blocks.shape[1])}
    rows = []
    for name in _ATTRIBUTES:
        poles = np.array([t.mentioned.get(name, "") for t in truths])
        said = poles != ""
        positive = poles[said] == load_attribute(name).positive
        for layer, values in layers.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
            scores = cross_val_score(probe, values[said].numpy(), positive, cv=5, scoring="roc_auc")
            rows.append({"attribute": name, "layer": layer, "auc": scores.mean(), "n": int(said.sum())})
    return pd.DataFrame(rows)


def audio_norms(model: MusicModel, audio: NDArray[np.float32]) -> NDArray[np.floating]:
    """Mean length of the stream after each block at the positions where clips are heard, without a prompt."""
    lengths: list[list[float]] = [[] for _ in range(model.depth)]

    def keep(layer: int):
        def hook(module: Any, args: Any, output: Any) -> None:
            hidden = output[0] if isinstance(output, tuple) else output
            lengths[layer].append(hidden[:, model.prefix_length :].float().norm(dim=-1).mean().item())

        return hook

    handles = [block.register_forward_hook(keep(k)) for k, block in enumerate(model.stack.layers)]
    try:
        extract_audio_activations(model, audio, sample_rate=corpus.SAMPLE_RATE, progress=False)
    finally:
        for handle in handles:
            handle.remove()
    return np.array([np.mean(each) for each in lengths])


def geometry(model: MusicModel, audio: NDArray[np.float32]) -> pd.DataFrame:
    """Directions of every attribute, by block.

    Parameters
    ----------
    model : MusicModel
    audio : ndarray of shape (clips, samples)
        Heard for the length of the stream; at `corpus.SAMPLE_RATE`.

    Returns
    -------
    DataFrame
        ``attribute``, ``layer``, ``norm`` of the direction, ``relative`` to the stream at the audio positions,
        ``cosine_first``, ``cosine_last`` and ``cosine_next`` with the directions of those blocks.
    """
    heard = audio_norms(model, audio[:32])
    rows = []
    for name in _ATTRIBUTES:
        vector = diff_mean(extract_activations(model, load_attribute(name), progress=False))
        norms, cosines = vector.norms.numpy(), vector.cosine_similarity().numpy()
        for layer, norm in enumerate(norms):
            following = min(layer + 1, len(norms) - 1)
            rows.append(
                {
                    "attribute": name,
                    "layer": layer,
                    "norm": norm,
                    "relative": norm / heard[layer],
                    "cosine_first": cosines[layer, 0],
                    "cosine_last": cosines[layer, -1],
                    "cosine_next": cosines[layer, following],
                }
            )
    return pd.DataFrame(rows)


def breaking(
    model: MusicModel,
    audio: NDArray[np.float32],
    judge: Path,
    *,
    prompts: int = 16,
    kappas: tuple[float, ...] = (0.0, 0.1, 0.2, 0.4, 0.8),
    seed: int = 0,
) -> pd.DataFrame:
    """Share of clips in which CLAP hears no style any more, by source layer and push, in both directions of tempo
    and timbre.

    Returns
    -------
    DataFrame
        ``attribute``, ``source_layer`` (a quarter, a half and three quarters up), ``kappa``, ``multiplier``,
        ``broken`` (share) and ``n``.
    """
    heard = audio_norms(model, audio[:32])
    texts, labels = list(load_prompts("neutral")[:prompts]), [*STYLES, NONE]
    rows = []
    for name in ("tempo", "timbre"):
        vector = diff_mean(extract_activations(model, load_attribute(name), progress=False))
        for source in (len(heard) // 4, len(heard) // 2, 3 * len(heard) // 4):
            push = float((vector.norms[source].item() / heard).sum())
            for kappa in kappas:
                said = []
                for sign in (1, -1) if kappa else (1,):
                    with vector.apply(model, sign * kappa / push, source_layer=source):
                        clips = generate(model, texts, seed=seed)
                    said += (
                        measure.clap_scores(clips, labels, model=judge).argmax(1) == len(STYLES)
                    ).tolist()
                rows.append(
                    {
                        "attribute": name,
                        "source_layer": source,
                        "kappa": kappa,
                        "multiplier": kappa / push,
                        "broken": float(np.mean(said)),
                        "n": len(said),
                    }
                )
    return pd.DataFrame(rows)
