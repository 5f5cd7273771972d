"""Sweeps as data: the section ``sweeps`` of an experiment, which the command line and the Snakefile run.

An experiment is a YAML file in ``data/experiments``. Of its sections, this module reads one::

    sweeps:
      layers:                               # name of the sweep, and of its folder below results/sweeps
        model: pocket
        attributes: [tempo, timbre]         # names in data/prompts, or paths of YAML files
        prompts: neutral                    # likewise
        source_layers: all                  # or a list; left out for strategy all_to_all
        multipliers: [-0.1, 0.1]
        seeds: 3                            # 0, 1 and 2; or a list
        shards: 8                           # jobs that it is cut into

What is left out has the default of `SweepPlan`, whose other names are those of `steerlib.sweep`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml  # type: ignore[import-untyped]
from transformers import MusicgenMelodyProcessor, PreTrainedModel

from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.model import decoder_blocks, model_id
from steerlib.prompts import load_attribute, load_prompts
from steerlib.steering import SteeringVector
from steerlib.sweeps.export import save_vector
from steerlib.sweeps.grid import Strategy, sweep

__all__ = ["SweepPlan", "read_plans"]


@dataclass(frozen=True)
class SweepPlan:
    """One sweep of an experiment.

    Attributes
    ----------
    name : str
    attributes : tuple of str
        One vector each, DiffMean of its prompts (paper A equation 1).
    multipliers : tuple of float
    pairs : int or None
        Pairs of prompts for each vector; all by default.
    prompts : str
        A prompt list, of which the first `prompt_count` are taken; all by default.
    source_layers : "all", tuple of int, or None
    seeds : int or tuple of int
        A number n means 0 to n - 1.
    shards : int
        Parts that the Snakefile makes on their own.
    model, revision, device, dtype
        See `steerlib.load_model`.
    strategy, steps, branches, site, preserve_norm, seconds, guidance_scale, temperature, top_k, metrics, beats,
    keep_audio, batch_size
        See `steerlib.sweep`.
    """

    name: str
    attributes: tuple[str, ...]
    multipliers: tuple[float, ...]
    model: str = "pocket"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    pairs: int | None = None
    prompts: str = "neutral"
    prompt_count: int | None = None
    source_layers: str | tuple[int, ...] | None = "all"
    seeds: int | tuple[int, ...] = 1
    shards: int = 1
    strategy: Strategy = "one_to_all"
    steps: str = "all"
    branches: str = "both"
    site: str = "residual"
    preserve_norm: bool = False
    seconds: float = 8.0
    guidance_scale: float = 3.0
    temperature: float = 1.0
    top_k: int | None = 250
    metrics: tuple[str, ...] = ("bpm", "centroid", "onset_rate")
    beats: str | None = None
    keep_audio: bool | str = True
    batch_size: int | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, list):
                object.__setattr__(self, each.name, tuple(value))
        for name in ("attributes", "multipliers", "metrics"):
            if not isinstance(getattr(self, name), tuple) or not getattr(self, name):
                raise ValueError(f"sweep {self.name!r}: {name} must be a list with something in it")
        if isinstance(self.source_layers, str) and self.source_layers != "all":
            raise ValueError(
                f"sweep {self.name!r}: source_layers must be 'all', a list of layers, or null for all_to_all; got "
                f"{self.source_layers!r}"
            )
        for name in ("pairs", "prompt_count", "shards", "seeds"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or isinstance(value, int)
                and value < 1
                or isinstance(value, float | str)
            ):
                raise ValueError(f"sweep {self.name!r}: {name} must be a whole number from 1, got {value!r}")

    def changed(self, changes: Mapping[str, Any]) -> "SweepPlan":
        """The plan with other settings.

        Raises
        ------
        ValueError
            If there is no such setting, or its value makes no sense.
        """
        _check_names(self.name, changes)
        return replace(self, **changes)

    def vectors(
        self,
        model: PreTrainedModel,
        processor: MusicgenMelodyProcessor,
        folder: Path,
        *,
        dry_run: bool = False,
    ) -> dict[str, SteeringVector]:
        """The vectors of the attributes, from the folder, or made and put there with their cards.

        All shards must steer with the same numbers: whoever cuts a sweep makes the vectors first. In a dry run,
        one that is not there is stood in for by random numbers, which cost the same.
        """
        found: dict[str, SteeringVector] = {}
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
                wanted = (model_id(model)["weights"], len(attribute.positive_prompts), self.site)
                if made != wanted:
                    raise ValueError(
                        f"{path} was made with (weights, pairs, site) = {made}, but the sweep {self.name!r} asks for "
                        f"{wanted}: delete it, or name another output folder"
                    )
            elif dry_run:
                shape = len(decoder_blocks(model)), model.config.decoder.hidden_size
                random = torch.Generator().manual_seed(len(found))  # equal directions would share their clips
                vector = SteeringVector(torch.randn(shape, generator=random))
            else:
                folder.mkdir(parents=True, exist_ok=True)
                vector = diff_mean(extract_activations(model, processor, attribute, site=self.site))  # type: ignore[arg-type]
                save_vector(vector, path)
            found[attribute.name] = vector
        return found

    def run(
        self,
        model: PreTrainedModel,
        processor: MusicgenMelodyProcessor,
        vectors: Mapping[str, SteeringVector],
        store: str | Path,
        *,
        shard: str | None = None,
        dry_run: bool = False,
        progress: bool = True,
    ) -> pd.DataFrame:
        """`steerlib.sweep` with the settings of the plan."""
        layers = self.source_layers
        if self.strategy == "all_to_all":
            layers = None
        elif layers == "all":
            layers = tuple(range(len(decoder_blocks(model))))
        given = asdict(self)
        names = (
            "strategy",
            "steps",
            "branches",
            "site",
            "preserve_norm",
            "seconds",
            "guidance_scale",
            "temperature",
        )
        names += ("top_k", "metrics", "beats", "keep_audio", "batch_size")  # type: ignore[assignment]
        return sweep(
            model,
            processor,
            load_prompts(self.prompts)[: self.prompt_count],
            vectors,
            source_layers=layers,  # type: ignore[arg-type]
            multipliers=self.multipliers,
            seeds=range(self.seeds) if isinstance(self.seeds, int) else self.seeds,
            store=store,
            shard=shard,
            dry_run=dry_run,
            progress=progress,
            **{name: given[name] for name in names},
        )


def read_plans(experiment: str | Path) -> dict[str, SweepPlan]:
    """The sweeps of an experiment by name.

    Raises
    ------
    ValueError
        If the file is missing, has no sweeps, or one of them has a setting that there is not.
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
        _check_names(str(name), settings)
        lacking = {"attributes", "multipliers"} - set(settings)
        if lacking:
            raise ValueError(f"{path}: sweep {name!r} lacks {', '.join(sorted(lacking))}")
        plans[str(name)] = SweepPlan(str(name), **settings)
    return plans


def _check_names(name: str, settings: Mapping[str, Any]) -> None:
    known = [each.name for each in fields(SweepPlan) if each.name != "name"]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(
            f"sweep {name!r} has unknown settings {', '.join(unknown)}; there are {', '.join(known)}"
        )
