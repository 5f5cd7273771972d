"""What the clips of a slider or a grid were made of, so that a page of the book makes them again with another seed.

The pages of the book bring the pocket model along as a script (``book/live``). A widget says in ``data-remake`` what
its clips are; where that script is there it offers to make them again, and everywhere else nothing changes.
"""

import base64
import html
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from steerlib.engine.sampling import Sampling
from steerlib.model import MusicModel
from steerlib.steering import SteeringVector

__all__ = ["Remake", "remake"]


@dataclass(frozen=True)
class Remake:
    """One-to-All clips: every block is steered by one direction, at every step.

    Attributes
    ----------
    weights : str
        Of the model, as `MusicModel.identity` has them: a page with others does not offer it.
    seed : int
    seconds, guidance : float
    directions : mapping of str to ndarray, shape (width,)
        By the name that `clips` calls them.
    clips : mapping of a clip's key to (prompt, direction, multiplier)
        The keys are those that the widget's own clips have.
    """

    weights: str
    seed: int
    seconds: float
    guidance: float
    directions: Mapping[str, NDArray[np.float32]]
    clips: Mapping[Any, tuple[str, str, float]]

    def attribute(self, keys: Sequence[Hashable]) -> str:
        """The attribute ``data-remake`` for a widget that shows its clips in this order.

        Raises
        ------
        ValueError
            If one of the keys is none of `clips`.
        """
        missing = [key for key in keys if key not in self.clips]
        if missing:
            raise ValueError(
                f"remake does not say what {missing[0]!r} was made of: name every clip that is shown"
            )
        content = {
            "weights": self.weights,
            "seed": self.seed,
            "seconds": self.seconds,
            "guidanceScale": self.guidance,
            "directions": {
                name: base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()
                for name, values in self.directions.items()
            },
            "clips": [
                dict(zip(("prompt", "direction", "multiplier"), self.clips[key], strict=True)) for key in keys
            ],
        }
        return f' data-remake="{html.escape(json.dumps(content))}"'


class Source(Protocol):
    """What a study says of its clips."""

    model: MusicModel
    seed: int
    seconds: float
    sampling: Sampling

    @property
    def vectors(self) -> Mapping[str, SteeringVector]: ...


def remake(study: Source, rows: pd.DataFrame, keys: Iterable[Any]) -> Remake | None:
    """What rows of a study's sweep were made of, by their keys in a widget.

    None if no page can make them: they are of another model than the book's, or not One-to-All at every step.
    """
    usual = {"strategy": "one_to_all", "steps": "all", "branches": "both", "site": "residual"}
    if study.model.name != "pocket" or not (rows[list(usual)] == pd.Series(usual)).all(axis=None):
        return None
    names = [f"{row.attribute} {row.source_layer}" for row in rows.itertuples()]
    return Remake(
        weights=study.model.identity["weights"],
        seed=study.seed,
        seconds=study.seconds,
        guidance=study.sampling.guidance_scale,
        directions={
            name: study.vectors[row.attribute].directions[row.source_layer].numpy()
            for name, row in zip(names, rows.itertuples(), strict=True)
        },
        clips=dict(zip(keys, zip(rows["prompt"], names, rows["multiplier"], strict=True), strict=True)),
    )
