"""The chapter-level object: what one chapter studies, and what came of it.

A `Study` holds the model, the attributes, the prompts, the judges and the store of a chapter; its sweeps are
`Trial` objects, which know their poles, effects, distances and sounds. Both delegate: what is computed, and how, stands
in the wings (`sweeps`, `measure`, `evidence`, `page`); rules of choice and verdicts stand in the notebook, where they
are read.

Units: those of the metrics (BPM, Hz, onsets per second), seconds of audio, embedding units squared for distances.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML, display

from steerlib.activations import Activations, extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.generation import Run
from steerlib.engine.sampling import Sampling
from steerlib.evidence import choices, scorecard, stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.measure import distance, judges
from steerlib.measure.audio import read_clips
from steerlib.measure.distance import Distances
from steerlib.measure.registry import add_columns
from steerlib.model import MusicModel
from steerlib.page import players
from steerlib.page.bottom_line import bottom_line, of_verdicts
from steerlib.page.remake import remake
from steerlib.prompts import Attribute, load_attribute, load_prompts
from steerlib.steering import SteeringVector
from steerlib.sweeps.grid import BASELINE, Grid, sweep

__all__ = ["Pole", "Study", "Trial"]


class Study:
    """What a chapter studies.

    Parameters
    ----------
    chapter : str
        Name of the notebook, written into its verdicts.
    model : MusicModel
    attributes : sequence of str
        Names in ``data/prompts``, or paths of YAML files.
    prompts : tuple of (str, int), or list of str
        A prompt list and how many of it to generate from, or the prompts themselves.
    pairs : int, optional
        Pairs of prompts for each direction; all by default.
    seconds : float
        Length of a clip.
    seed : int
    guidance : float
        Scale of classifier-free guidance.
    beats, clap : str
        Checkpoints of the judges; empty for those that fit the model (`measure.judges`).
    store : str or Path
        Folder of rows and clips; a study that was stopped goes on from it.
    scores : str or Path
        Folder of the verdicts.
    """

    def __init__(
        self,
        chapter: str,
        model: MusicModel,
        attributes: Sequence[str],
        *,
        prompts: tuple[str, int] | list[str] = ("neutral", 24),
        pairs: int | None = None,
        seconds: float = 8.0,
        seed: int = 0,
        guidance: float = 3.0,
        beats: str = "",
        clap: str = "",
        store: str | Path = "trial/store",
        scores: str | Path = "trial/scorecard",
    ) -> None:
        if not isinstance(prompts, list) and (type(prompts[1]) is not int or prompts[1] < 1):
            raise ValueError(f"prompts must be a list and how many of it, at least 1; got {tuple(prompts)}")
        self.chapter, self.model = chapter, model
        loaded = {name: load_attribute(name) for name in attributes}
        self.attributes: dict[str, Attribute] = {
            name: each if pairs is None else each.first(pairs) for name, each in loaded.items()
        }
        self.prompts = tuple(prompts) if isinstance(prompts, list) else load_prompts(prompts[0])[: prompts[1]]
        self.seconds, self.seed, self.sampling = seconds, seed, Sampling(guidance)
        self.beats, self.clap = judges(model.name, beats=beats, clap=clap)
        self.store, self.scores = Path(store), Path(scores)
        self.layers: dict[str, int] = {}
        self.sizes: dict[str, float] = {}
        self.verdicts: list[Verdict] = []

    def __repr__(self) -> str:
        return (
            f"Study({self.chapter!r}: {self.model.name}, {', '.join(self.attributes) or 'no attribute'}, "
            f"{len(self.prompts)} prompts of {self.seconds:g} s)"
        )

    @cached_property
    def activations(self) -> dict[str, Activations]:
        """What the model makes of the prompts of each attribute."""
        return {name: extract_activations(self.model, each) for name, each in self.attributes.items()}

    @cached_property
    def vectors(self) -> dict[str, SteeringVector]:
        """The DiffMean vector of each attribute."""
        return {name: diff_mean(each) for name, each in self.activations.items()}

    def take_layers(self, path: str | Path, by_hand: int) -> None:
        """Take the source layers that an earlier chapter chose into `layers`; `by_hand` if `path` is empty.

        An attribute that its rule allows none is left out. If all are, claims are recorded as open, and it ends there.
        """
        self.layers = {name: int(value) for name, value in self._take("source layer", path, by_hand).items()}

    def take_sizes(self, path: str | Path, by_hand: float) -> None:
        """Take the sizes of λ that an earlier chapter chose into `sizes`; see `take_layers`."""
        self.sizes = self._take("size of λ", path, by_hand)

    def _take(self, what: str, path: str | Path, by_hand: float) -> dict[str, float]:
        choice = choices.take(path, [*self.attributes], what=what, model=self.model.name, by_hand=by_hand)
        print(choice)
        self.attributes = {name: self.attributes[name] for name in choice.allowed}
        self.layers = {name: layer for name, layer in self.layers.items() if name in choice.allowed}
        if not self.attributes:
            scorecard.record_open(self.chapter, model=self.model.name, folder=self.scores, note=str(choice))
            display(self.bottom_line([f"No {what} is allowed."], "More prompts might allow one."))
            raise SystemExit
        return choice.allowed

    def choose(
        self, what: str, file: str, values: Mapping[str, float | None], rule: str = choices.RULE
    ) -> None:
        """Save a choice into the store, for the chapters that come after."""
        self.store.mkdir(parents=True, exist_ok=True)
        choices.save(self.store / file, values, what=what, model=self.model.name, rule=rule)

    def poles(self) -> "dict[str, tuple[float, float]]":
        """Minus and plus the size of λ of each attribute."""
        return {name: (-size, size) for name, size in self.sizes.items()}

    def sweep(
        self,
        multipliers: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
        layers: Sequence[int] | Mapping[str, Any] | None = None,
        *,
        vectors: Mapping[str, SteeringVector] | None = None,
        metrics: Sequence[str] = ("bpm", "centroid", "onset_rate"),
    ) -> "Trial":
        """Steer every prompt, One-to-All: by default with `vectors`, from `layers`, at ± `sizes`."""
        grid = Grid(
            self.vectors if vectors is None else vectors,
            self.poles() if multipliers is None else multipliers,
            self.layers if layers is None else layers,
        )
        return self.compare(grid, metrics=metrics)

    def compare(
        self,
        grid: Grid | Mapping[str, Grid],
        *,
        prompts: int | None = None,
        metrics: Sequence[str] = ("bpm", "centroid", "onset_rate"),
    ) -> "Trial":
        """Steer every prompt, or the first so many, in every way of one grid or several; see `steerlib.sweep`."""
        if prompts is not None and (type(prompts) is not int or prompts < 1):
            raise ValueError(f"prompts must be how many to take, at least 1; got {prompts!r}")
        return Trial(self, self._sweep(grid, self.seed, metrics, prompts))

    @cached_property
    def reference(self) -> pd.DataFrame:
        """Unsteered clips of the same prompts with other random numbers: what distances are taken to."""
        return self._sweep(BASELINE, self.seed + 1, ("bpm", "centroid", "onset_rate"))

    def _sweep(
        self, grid: Grid | Mapping[str, Grid], seed: int, metrics: Sequence[str], prompts: int | None = None
    ) -> pd.DataFrame:
        return sweep(
            self.model, self.prompts[:prompts], grid, store=self.store, seconds=self.seconds, seeds=[seed],
            sampling=self.sampling, metrics=metrics, beats=self.beats, run=Run(progress=True),
        )  # fmt: skip

    def check_windows(self, window: float, *, extrapolate: bool = True) -> None:
        """Raise before anything is generated if the prompts are too few for a Fréchet distance."""
        distance.check_windows(
            len(self.prompts), self.seconds, window=window, clap=self.clap, extrapolate=extrapolate
        )

    def sounds(self, rows: pd.DataFrame) -> npt.NDArray[np.float32]:
        """The clips (rows, samples) of the rows of a table."""
        return read_clips(rows, self.store)[0]

    def players(self, rows: pd.DataFrame, labels: Sequence[str], *, label: str, **options: Any) -> HTML:
        """A player for each row, see `page.players.players`."""
        sounds = dict(zip(labels, self.sounds(rows), strict=True))
        return players.players(sounds, self.model.sample_rate, label=label, **options)

    def slider(self, rows: pd.DataFrame, attribute: Attribute, **options: Any) -> HTML:
        """A slider over the multipliers of one prompt, see `page.players.lambda_slider`."""
        rows = rows.sort_values("multiplier")
        sounds = dict(zip(rows["multiplier"], self.sounds(rows), strict=True))
        return players.lambda_slider(
            sounds,
            self.model.sample_rate,
            label=rows["prompt"].iloc[0],
            readouts={"BPM": rows["bpm"].round().tolist(), "Hz": rows["centroid"].round().tolist()},
            poles=(attribute.positive, attribute.negative),
            remake=remake(self, rows, rows["multiplier"]),
            **options,
        )

    def verdict(self, claim: str, measured: Mapping[str, Measured] | Measured, **options: Any) -> Verdict:
        """Judge a claim by its primary check, and record it; options are those of `evidence.scorecard.record`."""
        options |= {"model": self.model.name, "folder": self.scores, "notebook": self.chapter}
        self.verdicts.append(scorecard.record(claim, measured, **options))
        return self.verdicts[-1]

    def bottom_line(
        self, found: Sequence[str] = (), against: str = "", *, hear: pd.DataFrame | HTML | None = None
    ) -> HTML:
        """What this run found, for the box below the chapter's question; see `page.bottom_line.bottom_line`.

        Without words of the chapter's own, those of its verdicts (`page.bottom_line.of_verdicts`). `hear` is a player,
        or has the rows of its clips, as from `Trial.typical`.
        """
        if isinstance(hear, pd.DataFrame):
            attribute = self.attributes[hear["attribute"].iloc[0]]
            names = {-1.0: attribute.negative, 0.0: "not steered", 1.0: attribute.positive}
            labels = [names[sign] for sign in np.sign(hear["multiplier"])]
            hear = self.players(hear, labels, label=f"Hear it: {hear['prompt'].iloc[0]}")
        if not found:
            found, against = of_verdicts(self.verdicts)
        return bottom_line(self.chapter, found, against, model=self.model.name, folder=self.scores, hear=hear)


@dataclass(frozen=True, eq=False)
class Pole:
    """One direction of one attribute, and the rows of a sweep on its side of λ = 0, the baseline with them.

    Attributes
    ----------
    key : str
        What the study calls the attribute: its name, or the path of its file.
    attribute : Attribute
    sign : {1, -1}
    rows : DataFrame
    """

    key: str
    attribute: Attribute
    sign: int
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return self.attribute.positive if self.sign > 0 else self.attribute.negative

    @property
    def metric(self) -> str:
        return self.attribute.metric

    @property
    def unit(self) -> str:
        return self.attribute.unit


class Trial:
    """A sweep of a study.

    Parameters
    ----------
    study : Study
    table : DataFrame
        As `steerlib.sweep` returns it.
    """

    def __init__(self, study: Study, table: pd.DataFrame) -> None:
        self.study, self.table = study, table

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        rows = self.study.reference if "reference" in vars(self.study) else self.table[:0]
        count = pd.concat([self.table, rows])["key"].nunique()
        return f"{count} clips of {self.study.seconds:g} s, {len(self.study.prompts)} prompts"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}.</p>"

    @property
    def parts(self) -> dict[str, pd.DataFrame]:
        """The rows of each attribute."""
        return {name: self.table[self.table["attribute"] == name] for name in self.study.attributes}

    def poles(self) -> Iterator[Pole]:
        """Each attribute toward its positive, then toward its negative pole."""
        for name, rows in self.parts.items():
            for sign in (1, -1):
                yield Pole(name, self.study.attributes[name], sign, rows[rows["multiplier"] * sign >= 0])

    def effects(self, name: str, metric: str | None = None) -> pd.DataFrame:
        """Paired effects on an attribute's metric (or another), by setting; see `evidence.stats.summarise`."""
        return stats.summarise(self._rows(name, metric), value=metric or self.study.attributes[name].metric)

    def _rows(self, name: str, metric: str | None) -> pd.DataFrame:
        """The rows of an attribute; a metric that the sweep did not have is measured on its clips."""
        self.table = add_columns(self.table, self.study.store, [metric] if metric else [])
        return self.parts[name]

    @cached_property
    def all_effects(self) -> pd.DataFrame:
        """`effects` of every attribute on its own metric."""
        return pd.concat([self.effects(name) for name in self.parts], ignore_index=True)

    def shifts(
        self,
        name: str,
        by: Sequence[str] = ("attribute",),
        metric: str | None = None,
        *,
        octaves: bool = False,
    ) -> pd.DataFrame:
        """Half the distance between the poles of an attribute, by prompt and `by`; see `evidence.stats.shifts`."""
        value = metric or self.study.attributes[name].metric
        return stats.shifts(self._rows(name, metric), value=value, by=by, octaves=octaves)

    def typical(self, name: str, *, size: float | None = None, **where: Any) -> pd.DataFrame:
        """Clips of an attribute to be heard, with such values of columns; see `evidence.stats.typical`."""
        metric = self.study.attributes[name].metric
        return stats.typical(self.parts[name], value=metric, size=size, where=where)

    def distances(self, *, window: float, embedding: str = "clap") -> Distances:
        """Fréchet distances to the unsteered clips of other random numbers, in windows of so many seconds."""
        rows = pd.concat([self.table, self.study.reference])
        embeddings = distance.embed_clips(
            rows, self.study.store, window=window, clap=self.study.clap, embedding=embedding
        )
        return Distances(self.table, self.study.reference, embeddings)
