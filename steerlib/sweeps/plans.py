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

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import torch

from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.clips import AudioFormat
from steerlib.engine.generation import Run
from steerlib.engine.sampling import Sampling
from steerlib.files import check_name, read_yaml, short
from steerlib.measure.registry import METRICS
from steerlib.measure.rhythm import tracker
from steerlib.model import MusicModel
from steerlib.prompts import Attribute, load_attribute, load_prompts, prompts_hash
from steerlib.steering import Branches, Positions, Site, SteeringVector, Steps
from steerlib.sweeps.export import save_vector
from steerlib.sweeps.grid import Grid, Strategy, distinct

__all__ = ["SweepPlan", "read_plans"]

_GRID = [each.name for each in fields(Grid) if each.name != "vectors"]
_SAMPLING = [each.name for each in fields(Sampling)]
_WORDS = {"weights": "weights", "site": "site", "prompts_sha256": "prompts"}


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
        unknown = sorted(short(key).strip("'") for key in set(given) - set(known))
        if unknown:
            raise ValueError(
                f"sweep {name!r} has unknown settings {', '.join(unknown)}; there are {', '.join(known)}"
            )
        lacking = {"attributes", "multipliers"} - set(given)
        if lacking:
            raise ValueError(f"sweep {name!r} lacks {', '.join(sorted(lacking))}")
        for key, value in given.items():
            fits, expected = _EXPECTED[key]
            if not fits(value):
                raise ValueError(f"sweep {name!r}: {key} must be {expected}, got {short(value)}")
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
        values.setdefault("layers", None if values.get("strategy") == "all_to_all" else "all")
        parts = {"own": own, "grid": _GRID, "sampling": _SAMPLING, "run": ["batch_size"]}
        part: dict[str, dict[str, Any]] = {
            which: {key: values[key] for key in keys if key in values} for which, keys in parts.items()
        }
        try:
            sampling, run = Sampling(**part["sampling"]), Run(**part["run"])
        except ValueError as error:
            raise ValueError(f"sweep {name!r}: {error}") from None
        return cls(name, dict(given), grid=part["grid"], sampling=sampling, run=run, **part["own"])

    def changed(self, changes: Mapping[str, Any]) -> "SweepPlan":
        """The plan with other settings; raises as `of`."""
        return self.of(self.name, {**self.given, **changes})

    @cached_property
    def loaded_attributes(self) -> list[Attribute]:
        """The attributes, of each the first `pairs` pairs.

        Raises
        ------
        ValueError
            If there is no such attribute, or two have one name, for which there is one file.
        """
        loaded = [load_attribute(name) for name in self.attributes]
        names = [each.name for each in loaded]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"two of its attributes have the name {twice[0]!r}")
        return [each.first(self.pairs) if self.pairs else each for each in loaded]

    def check(self) -> None:
        """Raise now what would be raised once the model is loaded: a missing prompt list, say, or a layer twice."""
        names = [each.name for each in self.loaded_attributes]
        load_prompts(self.prompts)
        if self.beats and {"bpm", "sure_bpm"} & set(self.metrics):
            tracker(self.beats)
        for key in ("multipliers", "layers"):
            given = self.grid.get(key)
            lacking = [name for name in names if isinstance(given, Mapping) and name not in given]
            if lacking:
                raise ValueError(f"{key} has nothing for the attribute {lacking[0]!r}")
        for key, given in {**self.grid, "seeds": self.seeds}.items():
            for each in given.values() if isinstance(given, Mapping) else [given]:
                if isinstance(each, list | tuple):
                    distinct(key, each)
        if (self.grid.get("strategy") == "all_to_all") == (self.grid["layers"] is not None):
            raise ValueError(
                "strategy all_to_all takes each block's own direction and no layers, every other strategy needs layers"
            )
        if self.grid.get("branches") == "unconditional" and self.sampling.guidance_scale <= 1:
            raise ValueError(
                "branches is 'unconditional', but with guidance_scale <= 1 there is no such branch: raise it"
            )

    def vectors(
        self,
        model: MusicModel,
        folder: Path,
        *,
        stand_ins: bool = False,
        progress: bool = True,
    ) -> dict[str, SteeringVector]:
        """The vectors of the attributes, from the folder, or made and put there with their cards.

        All shards must steer with the same numbers: whoever cuts a sweep makes the vectors first. With `stand_ins`,
        a vector that is not there is replaced by random numbers, which cost the same.
        """
        found: dict[str, SteeringVector] = {}
        site = self.grid.get("site", "residual")
        for attribute in self.loaded_attributes:
            path = folder / f"{attribute.name}.safetensors"
            if path.exists():
                vector = SteeringVector.load(path, model=model)
                made = {key: vector.metadata.get(key) for key in ("weights", "site", "prompts_sha256")}
                wanted = {
                    "weights": model.identity["weights"],
                    "site": site,
                    "prompts_sha256": prompts_hash(attribute.positive_prompts + attribute.negative_prompts),
                }
                other = [key for key, value in wanted.items() if made[key] != value]
                if other:
                    raise ValueError(
                        f"{path} was made with other {' and '.join(_WORDS[key] for key in other)} than the sweep "
                        "asks for: delete it, or name another output folder"
                    )
            elif stand_ins:
                # equal directions would share their clips
                random = torch.Generator().manual_seed(len(found))
                vector = SteeringVector(torch.randn(model.depth, model.width, generator=random))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                vector = diff_mean(extract_activations(model, attribute, site=site, progress=progress))
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
    content = read_yaml(path)
    given = content.get("sweeps") if isinstance(content, Mapping) else None
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{path} has no section 'sweeps'; data/experiments/sweeps.yaml shows one")
    plans = {}
    for name, settings in given.items():
        if not isinstance(settings, Mapping):
            raise ValueError(
                f"{path}: sweep {short(name)} must be a mapping of settings, got {short(settings)}"
            )
        try:
            plans[str(name)] = SweepPlan.of(check_name(str(name), "the sweep"), settings)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    return plans


# --- what each setting may be -------------------------------------------------------------------------------

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_positive(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_layer(value: Any) -> bool:
    return _is_whole(value) and value >= 0


def _is_count(value: Any) -> bool:
    return _is_whole(value) and 1 <= value < 2**31


def _is_seed(value: Any) -> bool:
    return _is_whole(value) and -(2**63) <= value < 2**63


def _list(of: Check) -> Check:
    return lambda value: isinstance(value, list | tuple) and bool(value) and all(map(of, value))


def _any(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _is(*values: Any) -> Check:
    return lambda value: any(value is each or isinstance(each, str) and value == each for each in values)


def _by_name(of: Check) -> Check:
    return lambda value: isinstance(value, Mapping) and bool(value) and all(map(of, value.values()))


def _one_of(alias: Any) -> tuple[Check, str]:
    return _is(*get_args(alias)), f"one of {', '.join(get_args(alias))}"


_COUNT = _is_count, "a whole number from 1"
_COUNT_OR_NONE = _any(_is_count, _is(None)), "a whole number from 1, or null"
_TEXT = _is_text, "a text"
_TEXT_OR_NONE = _any(_is_text, _is(None)), "a text, or null"
_POSITIVE = _is_positive, "a positive number"
_SWITCH = _is(True, False), "true or false"
_LAYERS = _list(_is_layer)

_EXPECTED: dict[str, tuple[Check, str]] = {
    "attributes": (_list(_is_text), "a list of names with something in it"),
    "multipliers": (
        _any(_list(_is_number), _by_name(_any(_is_number, _list(_is_number)))),
        "a list of numbers with something in it, or a mapping of attributes to such",
    ),
    "layers": (
        _any(_is("all", None), _is_layer, _LAYERS, _by_name(_any(_is_layer, _LAYERS))),
        "'all', a list of layers from 0, a mapping of attributes to such, or null for all_to_all",
    ),
    "seeds": (
        _any(_is_count, _list(_is_seed)),
        "a whole number from 1, or a list of whole numbers of at most 64 bits",
    ),
    "metrics": (_list(_is(*METRICS)), f"a list of {', '.join(METRICS)} with something in it"),
    "strategy": _one_of(Strategy),
    "steps": _one_of(Steps),
    "branches": _one_of(Branches),
    "site": _one_of(Site),
    "positions": _one_of(Positions),
    "keep": (_is(None, *get_args(AudioFormat)), f"one of {', '.join(get_args(AudioFormat))}, or null"),
    "preserve_norm": _SWITCH,
    "do_sample": _SWITCH,
    "exact": _SWITCH,
    "pairs": _COUNT_OR_NONE,
    "prompt_count": _COUNT_OR_NONE,
    "batch_size": _COUNT_OR_NONE,
    "top_k": _COUNT_OR_NONE,
    "shards": _COUNT,
    "seconds": _POSITIVE,
    "guidance_scale": _POSITIVE,
    "temperature": _POSITIVE,
    "model": _TEXT,
    "prompts": _TEXT,
    "device": _TEXT,
    "dtype": _TEXT,
    "revision": _TEXT_OR_NONE,
    "beats": _TEXT_OR_NONE,
}
