"""Steer toward a genre or an instrument, and let CLAP say how much of it is there (paper B, sections IV-D and E).

The rule is paper B's: a unit direction times a strength is added, and the sum scaled back to the norm before. The
strength is given as a share of the usual norm of the activations at each layer (`probes.scaled`), because
the paper's factor would mean something else at every layer and model. How the paper found its strengths it calls a
"hyper-parameter search"; ours is stated in `strongest`: it looks at other prompts than those reported, and at what
the push costs, not at what it gains.

Scores are class probabilities of CLAP's zero-shot classification, between 0 and 1, and compare only within one
list of labels.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from steerlib.activations import Activations
from steerlib.directions import random_direction
from steerlib.engine.generation import Run
from steerlib.evidence.scorecard import Measured
from steerlib.evidence.stats import Interval, check_columns, mean_interval
from steerlib.measure import clap_scores
from steerlib.measure.audio import read_clips
from steerlib.model import MusicModel
from steerlib.readout.probes import Method, probe_directions, scaled
from steerlib.steering import Site, Steering, SteeringVector
from steerlib.sweeps.grid import sweep_cells

__all__ = ["Control", "Push", "control_of", "score_clips", "steer_toward", "strongest", "unless_overspent"]

Control = Literal["", "random direction", "shuffled labels"]


@dataclass(frozen=True)
class Push:
    """Prompts, a class to steer them toward, and how.

    Attributes
    ----------
    prompts : tuple of str
        Must not mention the target class.
    target, against, method
        What the direction tells apart, see `probe_directions`.
    strengths : tuple of float
        Shares of the usual norm at each layer. The unsteered baseline is always made.
    site : {"residual", "attention"}
    layer : int, optional
        Steer this block alone; by default every block, each with its own direction.
    control : {"", "random direction", "shuffled labels"}
        Push along a direction of the same length that means nothing instead: uniform on the sphere, or made in the same
        way from clips whose labels were shuffled, which lies where activations do.
    draw : int
        Number of the control: each has other random numbers.

    Raises
    ------
    ValueError
        If a prompt names the target: its score would be the prompt's doing. If there is no prompt or strength, or
        a strength is 0 or there twice.
    """

    prompts: tuple[str, ...]
    target: str
    strengths: tuple[float, ...]
    against: str = "rest"
    method: Method = "mse"
    site: Site = "residual"
    layer: int | None = None
    control: Control = ""
    draw: int = 0

    def __post_init__(self) -> None:
        if isinstance(cast(Any, self.prompts), str):
            raise TypeError(f"prompts must be a tuple of strings, got one string: write ({self.prompts!r},)")
        named = rf"\b{re.escape(self.target.lower().replace('-', ''))}\b"
        naming = [prompt for prompt in self.prompts if re.search(named, prompt.lower().replace("-", ""))]
        if naming:
            raise ValueError(
                f"the prompt {naming[0]!r} names the target {self.target!r}: take prompts that do not"
            )
        if not self.prompts or not self.strengths:
            raise ValueError(f"a push toward {self.target!r} needs at least one prompt and one strength")
        if 0 in self.strengths or len(set(self.strengths)) < len(self.strengths):
            raise ValueError(f"strengths must differ, and from 0, which is always made; got {self.strengths}")


def steer_toward(
    model: MusicModel,
    activations: Mapping[Site, Activations],
    labels: Sequence[str] | npt.NDArray[Any] | pd.Series,
    pushes: Sequence[Push],
    *,
    store: str | Path,
    penalty: float = 10.0,
    seed: int = 0,
    seconds: float = 8.0,
    seeds: Sequence[int] = (0,),
    progress: bool = True,
) -> pd.DataFrame:
    """Generate from prompts, steered toward classes with paper B's rule. Chapters: *Probes*, *Genre fusion*.

    Parameters
    ----------
    model : MusicModel
    activations : mapping of site to Activations
        What the directions are made of, at each site that is steered.
    labels, penalty, seed
        See `probe_directions`.
    pushes : sequence of Push
        All their clips are made together, those that are alike once.
    store : str or Path
        Folder of rows and clips, see `sweep`.
    seconds, seeds, progress
        See `sweep`.

    Returns
    -------
    DataFrame
        One row for each push, strength (``multiplier``; 0 is the baseline), prompt and seed, with ``target``,
        ``against``, ``method``, ``site``, ``scope`` ("all" or "layer 7"), ``control``, ``draw``, ``push`` (its number),
        ``nll`` and ``clip``.
    """

    @cache
    def vector(
        target: str, against: str, method: Method, site: Site, control: Control, draw: int
    ) -> SteeringVector:
        if site not in activations:
            raise ValueError(f"there are no activations of the site {site!r}: there are {list(activations)}")
        heard = activations[site]
        names = np.asarray(labels)

        def probe(names: npt.NDArray[Any]) -> SteeringVector:
            unit = probe_directions(
                heard, names, target, against=against, method=method, penalty=penalty, seed=seed
            )
            return scaled(unit, heard)

        return control_of(probe, names, control, draw)

    records = []
    for number, push in enumerate(pushes):
        direction = vector(push.target, push.against, push.method, push.site, push.control, push.draw)
        layers = None if push.layer is None else (push.layer,)
        about = {
            "push": number, "target": push.target, "against": push.against, "method": push.method,
            "site": push.site, "scope": "all" if push.layer is None else f"layer {push.layer}",
            "control": push.control, "draw": push.draw,
        }  # fmt: skip
        for strength in (0.0, *push.strengths):
            steering = Steering(
                direction,
                strength,
                source_layer=push.layer,
                layers=layers,
                site=push.site,
                preserve_norm=True,
            )
            acting = (steering,) if strength else ()
            records += [
                about
                | {
                    "multiplier": strength,
                    "prompt_id": place,
                    "prompt": prompt,
                    "seed": seed,
                    "steering": acting,
                }
                for place, prompt in enumerate(push.prompts)
                for seed in seeds
            ]
    return sweep_cells(
        model, pd.DataFrame(records), store=store, seconds=seconds, metrics=(), keep="flac",
        run=Run(progress=progress),
    )  # fmt: skip


def score_clips(
    table: pd.DataFrame, store: str | Path, labels: Sequence[str], *, clap: str | Path | None = None
) -> pd.DataFrame:
    """The table of a sweep with CLAP's score of each label; a clip that stands in several rows is scored once.

    Parameters
    ----------
    table : DataFrame
        With ``clip``, the path of each clip within the store.
    store : str or Path
    labels : sequence of str
        See `clap_scores`.
    clap : str or path, optional
        Folder or name of the CLAP model; the pocket's by default.

    Returns
    -------
    DataFrame
        A column ``score <label>`` more for each label.
    """
    if "clip" not in table or table["clip"].isna().any():
        raise ValueError("the table has rows without a clip: sweep with keep='mp3'")
    once = table.drop_duplicates("clip")
    audio, rate = read_clips(once, store)
    scores = clap_scores(audio, labels, sample_rate=rate, model=clap)
    columns = pd.DataFrame(scores, index=once["clip"], columns=[f"score {label}" for label in labels])
    return table.join(columns, on="clip")


def control_of(
    make: Callable[[npt.NDArray[Any]], SteeringVector], labels: npt.NDArray[Any], control: Control, draw: int
) -> SteeringVector:
    """The vector that `make` makes of labels, or a control of it: see `Push`.

    Chapters: *Genre fusion*, *Timbre transfer*.
    """
    if control == "shuffled labels":
        return make(np.random.default_rng(draw).permutation(labels))
    vector = make(labels)
    return random_direction(vector, seed=draw) if control else vector


def strongest(table: pd.DataFrame, *, by: Sequence[str], budget: float) -> pd.DataFrame:
    """The strongest push that quality can afford, for each setting: the rule where paper B states none.

    Quality is the negative log-likelihood of a clip's tokens under the unsteered model (`engine.generation.nll`), less
    that of the unsteered clip of the same prompt and seed. A strength is allowed if the mean over the clips of the
    search is within the budget, and that of all smaller strengths. No judge takes part, so that what is tested
    afterwards is not what was chosen by. Search on other prompts than those that are reported.
    Chapters: *Genre fusion*, *Timbre transfer*, *Probes*.

    Parameters
    ----------
    table : DataFrame
        One row a clip: `by`, ``multiplier`` (0 is the baseline, which is in the rows of each setting), ``prompt``,
        ``seed`` and ``nll``.
    by : sequence of str
        Columns that make a setting.
    budget : float
        Nats a token.

    Returns
    -------
    DataFrame
        A row for each setting: `by`, ``multiplier``, ``within`` (False where none is allowed: the multiplier is then
        the smallest, and nothing measured with it can pass, see `unless_overspent`), ``excess`` (an Interval, there).

    Raises
    ------
    ValueError
        If a setting lacks the baseline of a clip, or has nothing beside it.
    """
    check_columns(table, [*by, "multiplier", "prompt", "seed", "nll"])
    key, rows = ["prompt", "seed"], []
    for name, part in table.groupby(list(by), sort=False, dropna=False):
        plain = part[part["multiplier"] == 0].drop_duplicates(key).set_index(key)["nll"]
        steered = part[part["multiplier"] != 0]
        before = steered.join(plain.rename("before"), on=key)["before"]
        if steered.empty or before.isna().any():
            raise ValueError(f"the search for {name} needs the baseline (multiplier 0) of every steered clip")
        excess = steered.assign(excess=steered["nll"] - before)
        found: dict[float, Interval] = {
            float(strength): mean_interval(clips["excess"], clusters=clips["prompt"])
            for strength, clips in excess.groupby("multiplier", sort=True)
        }
        allowed = [
            strength for strength in found if all(found[s].estimate <= budget for s in found if s <= strength)
        ]
        chosen = max(allowed, default=min(found))
        about = {"multiplier": chosen, "within": bool(allowed), "excess": found[chosen]}
        rows.append(dict(zip(by, name, strict=True)) | about)
    return pd.DataFrame(rows)


def unless_overspent(measured: Measured, within: bool) -> Measured:
    """What was measured; of pushes over the budget, with a control that reaches all scores, so that no check holds."""
    if within:
        return measured
    return replace(measured, control=Interval(0.0, -1.0, 1.0, measured.interval.n))
