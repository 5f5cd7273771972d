"""Sweeps as data: the section ``sweeps`` of an experiment, which the command line and the Snakefile run.

An experiment is a YAML file in ``data/experiments``. Of its sections, this module reads one::

    sweeps:
      layers:                               # name of the sweep, and of its folder below results/sweeps
        model: pocket
        attributes: [tempo, timbre]         # names in data/prompts, or paths of YAML files
        prompts: neutral                    # likewise
        layers: all                         # or a list; left out for strategy all_to_all
        multipliers: [-0.1, 0.1]
        seeds: 3                            # 0, 1 and 2; or a list
        shards: 8                           # jobs that it is cut into

What is left out has its default. Other settings are the fields of `SweepPlan`, of `Grid` (but ``vectors``) and of
`Sampling`, and the ``batch_size`` of `Run`, all on one level.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import yaml  # type: ignore[import-untyped]

from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.generation import Run
from steerlib.engine.sampling import Sampling
from steerlib.model import MusicModel
from steerlib.prompts import load_attribute, load_prompts
from steerlib.steering import SteeringVector
from steerlib.sweeps.export import save_vector
from steerlib.sweeps.grid import Grid

__all__ = ["SweepPlan", "read_plans"]

_GRID = [each.name for each in fields(Grid) if each.name != "vectors"]
_SAMPLING = [each.name for each in fields(Sampling)]


@dataclass(frozen=True)
class SweepPlan:
    """One sweep of an experiment.

    Attributes
    ----------
    name : str
    given : mapping
        The settings as the file has them.
    attributes : tuple of str
        One vector each, DiffMean of its prompts (paper A equation 1).
    grid : mapping
        Fields of `Grid`; its ``layers`` may be "all".
    pairs : int or None
        Pairs of prompts for each vector; all by default.
    prompts : str
        A prompt list, of which the first `prompt_count` are taken; all by default.
    seeds : int or tuple of int
        A number n means 0 to n - 1.
    shards : int
        Parts that the Snakefile makes on their own.
    model, revision, device, dtype
        See `steerlib.load_model`.
    seconds, metrics, beats, keep, sampling, run
        See `steerlib.sweep`.
    """

    name: str
    given: Mapping[str, Any]
    attributes: tuple[str, ...]
    grid: Mapping[str, Any]
    sampling: Sampling
    run: Run
    model: str = "pocket"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    pairs: int | None = None
    prompts: str = "neutral"
    prompt_count: int | None = None
    seeds: int | tuple[int, ...] = 1
    shards: int = 1
    seconds: float = 8.0
    metrics: tuple[str, ...] = ("bpm", "centroid", "onset_rate")
    beats: str | None = None
    keep: str | None = "mp3"

    @classmethod
    def of(cls, name: str, given: Mapping[str, Any]) -> "SweepPlan":
        """The plan that settings on one level mean.

        Raises
        ------
        ValueError
            If there is no such setting, one is missing, or its value makes no sense.
        """
        own = [
            each.name for each in fields(cls) if each.name not in ("name", "given", "grid", "sampling", "run")
        ]
        known = [*own, *_GRID, *_SAMPLING, "batch_size"]
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise ValueError(
                f"sweep {name!r} has unknown settings {', '.join(unknown)}; there are {', '.join(known)}"
            )
        lacking = {"attributes", "multipliers"} - set(given)
        if lacking:
            raise ValueError(f"sweep {name!r} lacks {', '.join(sorted(lacking))}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        for key in ("attributes", "multipliers", "metrics"):
            if key in values and not (isinstance(values[key], tuple) and values[key]):
                raise ValueError(f"sweep {name!r}: {key} must be a list with something in it")
        layers = values.setdefault("layers", None if values.get("strategy") == "all_to_all" else "all")
        if isinstance(layers, str) and layers != "all":
            raise ValueError(
                f"sweep {name!r}: layers must be 'all', a list of layers, or null for all_to_all; got {layers!r}"
            )
        for key in ("pairs", "prompt_count", "shards", "seeds"):
            value = values.get(key)
            if isinstance(value, bool | float | str) or isinstance(value, int) and value < 1:
                raise ValueError(f"sweep {name!r}: {key} must be a whole number from 1, got {value!r}")
        parts = {"own": own, "grid": _GRID, "sampling": _SAMPLING, "run": ["batch_size"]}
        part: dict[str, dict[str, Any]] = {
            which: {key: values[key] for key in keys if key in values} for which, keys in parts.items()
        }
        return cls(
            name, dict(given), grid=part["grid"], sampling=Sampling(**part["sampling"]), run=Run(**part["run"]),
            **part["own"],
        )  # fmt: skip

    def changed(self, changes: Mapping[str, Any]) -> "SweepPlan":
        """The plan with other settings; raises as `of`."""
        return self.of(self.name, {**self.given, **changes})

    def vectors(
        self,
        model: MusicModel,
        folder: Path,
        *,
        stand_ins: bool = False,
    ) -> dict[str, SteeringVector]:
        """The vectors of the attributes, from the folder, or made and put there with their cards.

        All shards must steer with the same numbers: whoever cuts a sweep makes the vectors first. With `stand_ins`,
        a vector that is not there is replaced by random numbers, which cost the same.
        """
        found: dict[str, SteeringVector] = {}
        site = self.grid.get("site", "residual")
        for name in self.attributes:
            attribute = load_attribute(name)
            attribute = attribute.first(self.pairs) if self.pairs else attribute
            path = folder / f"{attribute.name}.safetensors"
            if path.is_file():
                vector = SteeringVector.load(path, model=model)
                made = (
                    vector.metadata.get("weights"),
                    vector.metadata.get("n_positive"),
                    vector.metadata.get("site"),
                )
                wanted = (model.identity["weights"], len(attribute.positive_prompts), site)
                if made != wanted:
                    raise ValueError(
                        f"{path} was made with (weights, pairs, site) = {made}, but the sweep {self.name!r} asks for "
                        f"{wanted}: delete it, or name another output folder"
                    )
            elif stand_ins:
                # equal directions would share their clips
                random = torch.Generator().manual_seed(len(found))
                vector = SteeringVector(torch.randn(model.depth, model.width, generator=random))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                vector = diff_mean(extract_activations(model, attribute, site=site))
                save_vector(vector, path)
            found[attribute.name] = vector
        return found

    def arguments(
        self,
        model: MusicModel,
        vectors: Mapping[str, SteeringVector],
        *,
        shard: str | None = None,
        progress: bool = True,
    ) -> dict[str, Any]:
        """Arguments of `steerlib.sweep` and `sweeps.cost`, but the model and the store."""
        grid = dict(self.grid)
        if grid["layers"] == "all":
            grid["layers"] = tuple(range(model.depth))
        return {
            "prompts": load_prompts(self.prompts)[: self.prompt_count],
            "grid": Grid(vectors, **grid),
            "seconds": self.seconds,
            "seeds": range(self.seeds) if isinstance(self.seeds, int) else self.seeds,
            "sampling": self.sampling,
            "metrics": self.metrics,
            "beats": self.beats,
            "keep": self.keep,
            "run": replace(self.run, shard=shard, progress=progress),
        }


def read_plans(experiment: str | Path) -> dict[str, SweepPlan]:
    """The sweeps of an experiment by name.

    Raises
    ------
    ValueError
        If the file is missing, has no sweeps, or one of them contains an unknown setting.
    """
    path = Path(experiment)
    if not path.is_file():
        raise ValueError(
            f"there is no experiment {path}: expected a YAML file such as data/experiments/sweeps.yaml"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from None
    given = content.get("sweeps") if isinstance(content, Mapping) else None
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{path} has no section 'sweeps'; data/experiments/sweeps.yaml shows one")
    plans = {}
    for name, settings in given.items():
        if not isinstance(settings, Mapping):
            raise ValueError(f"{path}: sweep {name!r} must be a mapping of settings, got {settings!r}")
        plans[str(name)] = SweepPlan.of(str(name), settings)
    return plans
