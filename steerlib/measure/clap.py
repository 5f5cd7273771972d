"""What CLAP hears in clips: probabilities of labels, and embeddings.

Method. Paper B scores genres and instruments with CLAP through the zero-shot pipeline of transformers (tables I
to III). Embeddings are taken before normalisation, for the Fréchet distance (`steerlib.measure.frechet`).

Conventions. Clips are resampled to the rate of the model; scores are probabilities that compare only within
one list of labels; see `steerlib.measure.audio` for audio.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steerlib.files import DATA
from steerlib.measure.audio import FloatArray, Sound, check, resample
from steerlib.measure.known import known

__all__ = ["clap_dimensions", "clap_embeddings", "clap_scores"]


def clap_scores(
    clips: Sound | FloatArray,
    labels: Sequence[str],
    *,
    sample_rate: int | None = None,
    model: str | Path | None = None,
    template: str = "This is a sound of {}.",
    abstain: bool = False,
) -> FloatArray:
    """Probability of each label for each clip: CLAP in transformers' zero-shot pipeline (paper B, tables I to
    III).

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
        Resampled to the model's rate; of a clip longer than the model's window (10 s) the beginning is
        scored, because transformers would cut a random part.
    labels : sequence of str
        At least two. Scores are a softmax over them, so they compare only within one list of labels.
    sample_rate : int, optional
        In Hz; needed for an array, taken from `Clips` otherwise.
    model : str or path, optional
        Folder or hub name of a `ClapModel`, such as "laion/clap-htsat-unfused" (paper B). Default:
        ``data/pocket/clap``, which knows the styles and instruments of the pocket model's music.
    template : str
        Sentence that each label is put into at ``{}``; transformers' default.
    abstain : bool
        Give NaN where the pocket model's CLAP cannot tell: clips unlike the music that it knows
        (`steerlib.measure.known`). Without it CLAP names a label for any sound.

    Returns
    -------
    ndarray, shape (N, labels)
        Each row sums to 1, or is NaN.

    Raises
    ------
    ValueError
        On fewer than two labels, repeated labels, a template without ``{}``, or `abstain` with another model.
    FileNotFoundError
        If the pocket CLAP is not there; says how to make it.
    """
    audio, rate = check(clips, sample_rate)
    if abstain and model is not None:
        raise ValueError(
            f"what {model!r} knows is not recorded: abstain=True is for the pocket model's CLAP alone"
        )
    unknown = ~known(audio, sample_rate=rate) if abstain else np.zeros(len(audio), dtype=bool)
    labels = [labels] if isinstance(labels, str) else list(labels)
    if len(labels) < 2 or len(set(labels)) < len(labels) or not all(label.strip() for label in labels):
        raise ValueError(f"CLAP needs at least two different, non-empty labels to choose from, got {labels}")
    if "{}" not in template:
        raise ValueError(f"the template {template!r} has no {{}} to put the label into")
    classifier = _clap(model)
    extractor = classifier.feature_extractor
    audio = resample(audio, rate, extractor.sampling_rate)[:, : extractor.nb_max_samples]
    answers = classifier(list(audio), candidate_labels=labels, hypothesis_template=template)
    scores = [{item["label"]: item["score"] for item in answer} for answer in answers]
    return np.where(unknown[:, None], np.nan, [[row[label] for label in labels] for row in scores])


def clap_embeddings(
    clips: Sound | FloatArray,
    *,
    sample_rate: int | None = None,
    model: str | Path | None = None,
    window: float = 2.0,
    batch_size: int = 16,
) -> FloatArray:
    """CLAP audio embeddings of consecutive windows of each clip, for `frechet_distance`.

    Not normalised to unit length: of unit vectors the distance is at most 4, and paper A's table 1 has 6.76.

    Parameters
    ----------
    clips : Clips or ndarray, shape (N, samples)
    sample_rate, model
        As in `clap_scores`.
    window : float
        Seconds; a remainder shorter than a window is left out. CLAP repeats a window up to its own length.
    batch_size : int
        Windows embedded at once.

    Returns
    -------
    ndarray, shape (N, windows, D)
    """
    audio, rate = check(clips, sample_rate)
    seconds = audio.shape[1] / rate
    if not 0 < window <= seconds:
        raise ValueError(
            f"window is {window} s but the clips last {seconds:.2f} s: choose a window within the clip"
        )
    classifier = _clap(model)
    extractor, clap = classifier.feature_extractor, classifier.model
    if window > extractor.max_length_s:
        raise ValueError(
            f"window is {window} s, but this CLAP hears at most {extractor.max_length_s} s at once"
        )
    audio = resample(audio, rate, extractor.sampling_rate)
    length = int(window * extractor.sampling_rate)
    count = audio.shape[1] // length
    pieces = audio[:, : count * length].reshape(-1, length)
    embedded = []
    with torch.inference_mode():
        for start in range(0, len(pieces), batch_size):
            batch = list(pieces[start : start + batch_size])
            inputs = extractor(batch, sampling_rate=extractor.sampling_rate, return_tensors="pt").to(
                clap.device
            )
            embedded.append(
                clap.audio_projection(clap.audio_model(**inputs).pooler_output).float().cpu().numpy()
            )
    return np.concatenate(embedded).reshape(len(audio), count, -1)


def clap_dimensions(model: str | Path | None = None) -> int:
    """Length of the embeddings of a CLAP model; `model` as for `clap_embeddings`."""
    return int(_clap(model).model.config.projection_dim)


def _clap(model: str | Path | None) -> Any:
    if model is None:
        model = DATA / "pocket" / "clap"
        if not (model / "config.json").is_file():
            raise FileNotFoundError(
                f"no CLAP at {model}: train it (python -m steerlib.pocket clap, then export), or pass "
                "model='laion/clap-htsat-unfused' (needs a network the first time)"
            )
    return _load_clap(str(model))


@lru_cache(maxsize=1)
def _load_clap(name: str) -> Any:
    from transformers import pipeline

    try:
        return pipeline(
            "zero-shot-audio-classification",
            model=name,
            dtype=torch.float32,
            trust_remote_code=False,  # None would ask, and run it on a "y"
            model_kwargs={"use_safetensors": True},  # a pickle can run code
        )
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error):
            raise ValueError(
                f"the CLAP model {name!r} wants to run code that it brings along, which is never done here: expected a "
                "ClapModel of transformers' own"
            ) from None
        raise FileNotFoundError(
            f"cannot get the CLAP model {name!r}: it is neither a complete folder here nor in the cache of the "
            f"Hugging Face Hub. Where there is a network, run 'hf download {name} --local-dir FOLDER' (config.json, "
            f"model.safetensors, processor and tokenizer files from https://huggingface.co/{name}), copy FOLDER to "
            f"this machine and give its path. transformers said: {str(error)[:400]}"
        ) from error
