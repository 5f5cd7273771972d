"""Recipes: JSON files that hold all that a clip was made of, as the book's page *Play* offers them for download.

A recipe has the prompt, seed, length, sampling settings and steering, with the directions themselves (float32, base64),
so that the clip can be made again without the prompts that the directions came from.
"""

import base64
import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from steerlib.engine.sampling import Sampling
from steerlib.model import MusicModel
from steerlib.steering import Steering, SteeringVector

__all__ = ["Recipe", "read_recipe"]

_FORMAT = "steerlib.clip/1"


@dataclass(frozen=True)
class Recipe:
    """What one clip is made of."""

    prompt: str
    seed: int
    seconds: float
    sampling: Sampling
    steering: tuple[Steering, ...]
    melody: torch.Tensor | None = None
    """Chroma (frames, 12), as `generate` takes it."""


def read_recipe(path: str | Path, *, model: MusicModel | None = None) -> Recipe:
    """Read a recipe.

    Parameters
    ----------
    path : str or Path
    model : MusicModel, optional
        The model that is to make the clip.

    Raises
    ------
    ValueError
        If the file is no recipe, or one of its settings makes no sense.
    OSError
        If it cannot be read.

    Warns
    -----
    UserWarning
        If the clip was made with other weights than those of the `model`, or with rounded ones: the tokens will differ.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("format") != _FORMAT:
            raise ValueError(f"format is {content.get('format')!r}, expected {_FORMAT!r}")
        recipe = Recipe(
            prompt=str(content["prompt"]),
            seed=int(content["seed"]),
            seconds=float(content["seconds"]),
            sampling=Sampling(
                content["guidance_scale"], content["temperature"], content["top_k"], content["do_sample"]
            ),
            steering=tuple(map(_steering, content["steering"])),
            melody=_melody(content.get("melody")),
        )
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is no recipe of a clip ({type(error).__name__}: {error}): give a JSON file of the page Play"
        ) from error
    if model is not None and content.get("weights") not in (None, model.identity["weights"]):
        warnings.warn(
            f"{path} was made with other weights than this model's: expect another clip", stacklevel=2
        )
    elif not content.get("exact", True):
        warnings.warn(f"{path} was made with the page's small weights: expect other tokens", stacklevel=2)
    return recipe


def _steering(entry: dict[str, Any]) -> Steering:
    directions = np.frombuffer(base64.b64decode(entry["directions"], validate=True), "<f4")
    names = {key: entry[key] for key in ("positive", "negative") if entry.get(key) is not None}
    return Steering(
        SteeringVector(torch.from_numpy(directions.reshape(int(entry["num_layers"]), -1).copy()), names),
        float(entry["multiplier"]),
        source_layer=entry["source_layer"],
        layers=None if entry["layers"] is None else tuple(entry["layers"]),
        steps=entry["steps"],
        branches=entry["branches"],
        site=entry["site"],
        preserve_norm=bool(entry["preserve_norm"]),
        schedule=None if entry["schedule"] is None else tuple(entry["schedule"]),
        positions=entry.get("positions", "all"),
    )


def _melody(pitches: list[int] | None) -> torch.Tensor | None:
    if pitches is None:
        return None
    if not pitches or not all(pitch in range(12) for pitch in pitches):
        raise ValueError(f"melody is {pitches!r}, expected pitch classes from 0 to 11")
    return torch.nn.functional.one_hot(torch.tensor(pitches), 12).float()
