"""A number instead of λ: calibrate, invert, find the strongest push that quality affords, and correct while writing.

    scale = calibrate(table, "bpm")  # the table of a sweep
    vector.apply(model, scale.multiplier_for(128), source_layer=8)

Neither paper says which λ gives 128 BPM; paper A picks one that is "a good trade-off" (section 4.5). Here λ follows
from a target by monotone regression (`calibrate`), from a budget of quality by bisection (`strongest`), or, frame by
frame, from what the model has just written, read by a probe (`closed_loop`). Chapter: *Control*.

Units: what multiplies (BPM, Hz, events per second) is compared in octaves, everything else in its own unit. κ is that
of `steerlib.steering.kappa`, quality is excess negative log-likelihood in nats per token.
"""

import json
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from steerlib.activations import stream_norms
from steerlib.engine.clips import Clips, Row
from steerlib.engine.generation import Run, stream
from steerlib.engine.sampling import Sampling
from steerlib.evidence import choices
from steerlib.evidence.stats import OCTAVES, check_columns, paired_interval
from steerlib.files import digest
from steerlib.model import MusicModel, check_shape
from steerlib.prompts import Attribute, load_prompts
from steerlib.steering import Edit, Feedback, Steering, kappa

__all__ = [
    "Calibration",
    "Probe",
    "Strength",
    "calibrate",
    "closed_loop",
    "cut",
    "largest_multiplier",
    "scaled",
    "schedule",
    "strongest",
    "train_probe",
]

_MULTIPLIES = {*OCTAVES, "sure_bpm", "pulse", "cutoff", "attacks"}
_PENALTIES = np.logspace(-1, 5, 13)


def scaled(values: npt.ArrayLike, metric: str) -> Any:
    """Values of a metric on the scale on which differences are taken: log2 where the metric multiplies."""
    found = np.asarray(values, dtype=float)
    if metric not in _MULTIPLIES:
        return found
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(found > 0, np.log2(found), np.nan)


@dataclass(frozen=True)
class Calibration:
    """What each λ makes of a metric, as a curve that can be read in both directions.

    A weak push leaves a prompt's own value nearly as it is, a strong one overrides it: at λ a clip is expected at
    ``mean + change + kept * (unsteered - mean)``, with `changes` and `kept` of that λ and the mean of unsteered clips.

    Attributes
    ----------
    metric : str
        Such as "bpm".
    multipliers : tuple of float
        Those that were tried, ascending, 0 among them.
    changes : tuple of float
        Of a clip whose prompt has the mean value, at each: octaves where the metric multiplies (BPM, Hz), else its own
        unit. 0 at 0, and monotone.
    kept : tuple of float
        Share of a prompt's distance from the mean that is left at each. 1 at 0, from there falling, 0 to 1.
    plain : float
        Of the unsteered clips, in the metric's unit: the geometric mean where it multiplies.
    clips : int
        Steered clips behind the curve.
    """

    metric: str
    multipliers: tuple[float, ...]
    changes: tuple[float, ...]
    kept: tuple[float, ...]
    plain: float
    clips: int

    def value_at(self, multiplier: float, unsteered: float | None = None) -> float:
        """What a λ is expected to give, in the metric's unit; beyond what was tried, the value at the end.

        Parameters
        ----------
        multiplier : float
        unsteered : float, optional
            The same prompt's clip without steering; by default the mean of the calibration.
        """
        return self._unscaled(float(np.interp(multiplier, self.multipliers, self.curve(unsteered))))

    def reach(self, unsteered: float | None = None) -> tuple[float, float]:
        """The lowest and the highest value that is expected, in the metric's unit."""
        curve = self.curve(unsteered)
        return self._unscaled(min(curve)), self._unscaled(max(curve))

    def curve(self, unsteered: float | None = None) -> list[float]:
        """The values that are expected at `multipliers`, on the scale of `scaled`."""
        mean = float(scaled(self.plain, self.metric))
        own = self._base(unsteered) - mean
        return [mean + change + kept * own for change, kept in zip(self.changes, self.kept, strict=True)]

    def multiplier_for(self, target: float, unsteered: float | None = None, *, strict: bool = False) -> float:
        """The λ that is expected to give a value; of several, the smallest in size.

        Parameters
        ----------
        target : float
            In the metric's unit: BPM, Hz, dB.
        unsteered : float, optional
            The metric of the same prompt's clip without steering, at which the curve then starts; by default the
            mean of the calibration.
        strict : bool, default False
            Raise where the target cannot be reached.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the target or `unsteered` is no possible value, or with `strict` out of reach.

        Warns
        -----
        UserWarning
            If the target is out of reach; the nearest value that can be reached is taken.
        """
        value, curve = float(scaled(target, self.metric)), self.curve(unsteered)
        if not math.isfinite(value):
            raise ValueError(f"{target} is no target for {self.metric}: expected a {self._kind} number")
        if not min(curve) - 1e-9 <= value <= max(curve) + 1e-9:
            low, high = self.reach(unsteered)
            out = f"{self.metric} {target:g} is out of reach: λ from {self.multipliers[0]:g} to "
            out += f"{self.multipliers[-1]:g} gives {low:.4g} to {high:.4g}"
            if strict:
                raise ValueError(f"{out}. Ask for a value in between, or calibrate over stronger steering")
            warnings.warn(f"{out}; {low if target < low else high:.4g} is taken", stacklevel=2)
        return self.nearest(value, unsteered)

    def nearest(self, value: float, unsteered: float | None = None) -> float:
        """The λ, smallest in size, of the value in reach that is nearest to this one; on the scale of `scaled`."""
        curve = self.curve(unsteered)
        value = min(max(value, min(curve)), max(curve))
        points = list(zip(self.multipliers, curve, strict=True))
        found = [factor for factor, each in points if each == value]
        for (left, a), (right, b) in zip(points, points[1:], strict=False):
            if min(a, b) < value < max(a, b):
                found.append(left + (value - a) / (b - a) * (right - left))
        return min(found, key=abs)

    def within(self, size: float) -> "Calibration":
        """The part of the curve in which λ is at most so large."""
        inside = [each for each in self.multipliers if abs(each) <= size]
        ends = [each for each in (-size, size) if self.multipliers[0] < each < self.multipliers[-1]]
        factors = sorted({0.0, *inside, *ends})
        changes, kept = (
            tuple(map(float, np.interp(factors, self.multipliers, each)))
            for each in (self.changes, self.kept)
        )
        return Calibration(self.metric, tuple(factors), changes, kept, self.plain, self.clips)

    @property
    def _kind(self) -> str:
        return "positive" if self.metric in _MULTIPLIES else "finite"

    def _base(self, unsteered: float | None) -> float:
        base = float(scaled(self.plain if unsteered is None else unsteered, self.metric))
        if not math.isfinite(base):
            raise ValueError(
                f"the unsteered clip has {self.metric} {unsteered}: where it cannot be measured, leave it out, and the "
                "mean of the calibration is taken"
            )
        return base

    def _unscaled(self, value: float) -> float:
        return float(2**value) if self.metric in _MULTIPLIES else float(value)


def calibrate(table: pd.DataFrame, metric: str) -> Calibration:
    """Learn from a sweep what each λ makes of a metric, by isotonic regression.

    First what is kept: the slope, at each λ, of a clip's value on that of the unsteered clip of its prompt and seed,
    made to fall from 1 as λ grows. Then the changes, of what the slopes leave, through (0, 0).

    Parameters
    ----------
    table : DataFrame
        From `steerlib.sweep`, of one vector and source layer: ``prompt``, ``seed``, ``multiplier`` and the metric.
    metric : str
        A column: "bpm", "centroid", "loudness", ...

    Returns
    -------
    Calibration

    Raises
    ------
    ValueError
        If a column is missing, the table mixes vectors or layers or has no unsteered clips, or nothing could be
        measured.

    Examples
    --------
    >>> rows = [("a song", 0, -1, 60), ("a song", 0, 0, 120), ("a song", 0, 1, 240)]
    >>> scale = calibrate(pd.DataFrame(rows, columns=["prompt", "seed", "multiplier", "bpm"]), "bpm")
    >>> round(scale.multiplier_for(90), 3), scale.value_at(0.5, unsteered=60)
    (-0.415, 84.8528137423857)
    """
    check_columns(table, ["prompt", "seed", "multiplier", metric], what="the table of the sweep")
    for name in ("attribute", "source_layer"):
        if name in table and table[name].nunique() > 1:
            raise ValueError(
                f"the table has several values of {name}: calibrate one vector from one layer at a time"
            )
    rows = table.assign(value=scaled(table[metric], metric))
    plain = (
        rows[rows["multiplier"] == 0]
        .drop_duplicates(["prompt", "seed"])
        .set_index(["prompt", "seed"])["value"]
    )
    steered = rows[rows["multiplier"] != 0]
    base = plain.reindex(pd.MultiIndex.from_frame(steered[["prompt", "seed"]])).to_numpy()
    steered = steered.assign(change=steered["value"] - base).dropna(subset=["change"])
    if steered.empty:
        raise ValueError(
            f"no clip has a {metric} beside an unsteered clip of its prompt and seed: sweep with multiplier 0 and "
            "others, and measure what can be measured"
        )
    mean = plain.mean()
    steered["own"] = steered["value"] - steered["change"] - mean
    kept = _kept(steered)
    lost = (1 - steered["multiplier"].map(kept)) * steered["own"]
    factors = np.append(steered["multiplier"].to_numpy(), 0.0)
    changes = np.append((steered["change"] + lost).to_numpy(), 0.0)
    heavy = np.append(np.ones(len(steered)), _HOLD)
    upward = bool((factors * changes).sum() >= 0)
    curve = IsotonicRegression(increasing=upward).fit(factors, changes, sample_weight=heavy)
    tried = tuple(sorted(kept))
    fitted = curve.predict(tried)
    shown = tuple(map(float, fitted - fitted[tried.index(0.0)]))
    level = float(2**mean) if metric in _MULTIPLIES else float(mean)
    return Calibration(metric, tried, shown, tuple(kept[each] for each in tried), level, len(steered))


_HOLD = 1e9
"""Weight that holds a curve at what is known without measuring it: at λ = 0 nothing changes."""


def _kept(steered: pd.DataFrame) -> dict[float, float]:
    """By λ, 0 among them, the share of a prompt's own value that is left: slopes, made to fall on either side of 0."""
    slopes = {0.0: (1.0, _HOLD)}
    for factor, part in steered.groupby("multiplier"):
        spread = ((part["own"] - part["own"].mean()) ** 2).sum()
        slope = 1 + (part["change"] * (part["own"] - part["own"].mean())).sum() / spread if spread else 1.0
        slopes[float(factor)] = slope, spread  # type: ignore[arg-type]
    found: dict[float, float] = {}
    for sign in (1, -1):
        side = {abs(factor): each for factor, each in slopes.items() if factor * sign >= 0}
        fall = IsotonicRegression(increasing=False, y_min=0, y_max=1)
        values, weights = np.array(list(side.values())).T
        shown = fall.fit_transform(list(side), values, sample_weight=weights + 1e-9)
        found |= {sign * size: float(each) for size, each in zip(side, shown, strict=True)}
    return found | {0.0: 1.0}


# --- the strongest push within a budget ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Strength:
    """The strongest λ within a budget of quality, and how it was found. Prints as a sentence.

    Attributes
    ----------
    multiplier, kappa : float
        The size of λ, and its κ.
    tried : DataFrame
        ``kappa``, ``multiplier``, ``nll_high`` (nats per token: upper limit toward the worse pole, beyond what its
        words cost) and ``within``, in the order in which they were tried.
    nll_margin : float
        Nats per token.
    seconds : float
        Of sound that it took.
    words : bool
        Whether the attribute's words were measured.
    """

    multiplier: float
    kappa: float
    tried: pd.DataFrame
    nll_margin: float
    seconds: float
    words: bool

    def __str__(self) -> str:
        beyond = "beyond what its words cost" if self.words else "beside unsteered clips"
        ends = "" if (self.tried["kappa"] > self.kappa).any() else ", and the largest that was allowed"
        return (
            f"λ = {self.multiplier:.3g} (κ = {self.kappa:.3g}): of {len(self.tried)} sizes the strongest that toward "
            f"either pole is shown to cost less than {self.nll_margin:g} nats per token {beyond}{ends}; "
            f"{self.seconds:g} s of sound"
        )


def strongest(
    model: MusicModel,
    vector: Edit,
    *,
    attribute: Attribute | None = None,
    source_layer: int | None = None,
    nll_margin: float = choices.NLL_MARGIN,
    kappa_limit: float = 0.4,
    prompts: Sequence[str] | None = None,
    seconds: float = 2.0,
    sizes: int = 5,
    seed: int = 0,
    sampling: Sampling = Sampling(),
    **how: Any,
) -> Strength:
    """Find the strongest λ that quality affords from a few short clips: ``multiplier="auto"``.

    The rule is that of the chapter *Steering sweep* (`evidence.choices.strongest`, `beyond_words`), for likelihood
    alone: a few clips tell no distance between distributions. κ, a strength that means the same on every model, is
    doubled from a quarter of its limit up to that, until clips cost too much, and then bisected. No size beyond one
    that costs too much is tried: broken music can be likely again.

    Parameters
    ----------
    model : MusicModel
    vector : SteeringVector or SteeringMap
    attribute : Attribute, optional
        Whose words are measured as well; left out, they count as costing nothing.
    source_layer : int, optional
        As for `Steering`; further settings of it go into `how`.
    nll_margin : float
        Nats per token. At both poles the upper 95 % limit of the cost beyond the words' must lie below it.
    kappa_limit : float, default 0.4
        Largest κ that is tried.
    prompts : sequence of str, optional
        At least two; by default eight of the neutral list. As many pairs of the attribute are measured.
    seconds : float, default 2
    sizes : int, default 5
        How many to try.
    seed : int
    sampling : Sampling
    **how
        Such as ``layers`` or ``preserve_norm``.

    Returns
    -------
    Strength

    Raises
    ------
    ValueError
        If the vector does not fit or is zero, a number makes no sense, or already the smallest size costs too much.
    """
    if not (0 < nll_margin < math.inf and 0 < kappa_limit < math.inf and sizes >= 1):
        raise ValueError(
            f"nll_margin and kappa_limit must be positive and sizes at least 1, got {nll_margin}, {kappa_limit} and "
            f"{sizes}"
        )
    check_shape(model, vector.directions, "the vector")
    told = load_prompts("neutral")[:8] if prompts is None else list(prompts)
    if len(told) < 2:
        raise ValueError(
            f"{len(told)} prompts tell no interval: give at least two, or none for those of the project"
        )
    unit = kappa([Steering(vector, source_layer=source_layer, **how)], stream_norms(model))
    if not unit > 0:
        raise ValueError("the vector adds nothing: its directions are zero in the layers that are steered")
    quiet, heard = Run(progress=False), 0

    def likelihood(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
        nonlocal heard
        heard += len(rows)
        found = np.empty(len(rows))
        for indices, clips, _ in stream(
            model, rows, seconds=seconds, sampling=sampling, likelihood=True, run=quiet
        ):
            found[indices] = clips.nll
        return found

    def cost(
        found: npt.NDArray[np.float64], base: npt.NDArray[np.float64], factors: Sequence[float]
    ) -> pd.DataFrame:
        """The table of `choices.beyond_words`, of (factors, prompts)."""
        excess = [paired_interval(each, base) for each in found.reshape(len(factors), -1)]
        return pd.DataFrame([
            {"attribute": "", "multiplier": factor, "kappa": abs(factor) * unit, "nll": each.estimate,
             "nll_low": each.low, "nll_high": each.high}
            for factor, each in zip(factors, excess, strict=True)
        ])  # fmt: skip

    words = None
    if attribute is not None:
        some = [k for k, shared in enumerate(attribute.shared_prompts) if shared][: len(told)]
        if len(some) < 2:
            raise ValueError(
                f"the prompts of {attribute.name} share words in {len(some)} pairs only, so that what its words cost "
                "cannot be told: leave the attribute out"
            )
        sides = attribute.shared_prompts, attribute.positive_prompts, attribute.negative_prompts
        said = likelihood([Row(side[k], seed) for side in sides for k in some]).reshape(3, -1)
        words = cost(said[1:], said[0], [1.0, -1.0])
    plain = likelihood([Row(prompt, seed) for prompt in told])

    tried: list[tuple[float, float, float, bool]] = []
    inside, outside, size = 0.0, math.inf, kappa_limit / 4
    while len(tried) < sizes and inside < kappa_limit:
        poles = [-size / unit, size / unit]
        steered = [
            Row(prompt, seed, (Steering(vector, each, source_layer=source_layer, **how),))
            for each in poles
            for prompt in told
        ]
        quality = cost(likelihood(steered), plain, poles)
        quality = quality if words is None else choices.beyond_words(quality, words)
        within = choices.strongest(quality, {"nll": nll_margin}) is not None
        tried.append((size, size / unit, float(quality["nll_high"].max()), within))
        inside, outside = (size, outside) if within else (inside, size)
        bisected = math.sqrt(inside * outside) if inside else outside / 2
        size = min(2 * inside, kappa_limit) if outside == math.inf else bisected
    if not inside:
        raise ValueError(
            f"no strength down to κ = {tried[-1][0]:.2g} is shown to cost less than {nll_margin:g} nats per token: "
            "take more prompts, allow more, or take another vector or layer"
        )
    table = pd.DataFrame(tried, columns=["kappa", "multiplier", "nll_high", "within"])
    return Strength(inside / unit, inside, table, nll_margin, seconds * heard, words is not None)


def largest_multiplier(
    model: MusicModel, vector: Edit, limit: float, *, source_layer: int | None = None
) -> float:
    """The size of λ at which κ reaches a limit."""
    if not (math.isfinite(limit) and limit > 0):
        raise ValueError(f"the limit of κ must be a positive number, got {limit}")
    return limit / kappa([Steering(vector, source_layer=source_layer)], stream_norms(model))


# --- over time ----------------------------------------------------------------------------------------------


def schedule(points: Sequence[tuple[float, float]], model: MusicModel, seconds: float) -> tuple[float, ...]:
    """A `Steering.schedule` from points in time: straight lines between them, two at one time for a step.

    Parameters
    ----------
    points : sequence of (seconds, factor of λ)
        In order of time. Before the first and after the last, their factors hold.
    model : MusicModel
        Whose frames are counted.
    seconds : float
        Length of the clip.

    Returns
    -------
    tuple of float
        A factor for each frame.

    Raises
    ------
    ValueError
        If there are no points, one is not finite, or times go back or lie outside the clip.

    Examples
    --------
    >>> schedule([(0, -1), (8, 1)], model, 8)                        # doctest: +SKIP
    >>> schedule([(4, 0), (4, 1)], model, 8)                         # doctest: +SKIP
    >>> decay = [(t / 10, 0.5 ** (t / 20)) for t in range(80)]       # half after two seconds

    The first is a ramp, the second a switch at four seconds.
    """
    pairs = np.asarray(points, dtype=float)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not len(pairs) or not np.isfinite(pairs).all():
        raise ValueError(
            f"a schedule needs points (seconds, factor), finite numbers, at least one; got {list(points)}"
        )
    times, factors = pairs.T
    if (np.diff(times) < 0).any() or times[0] < 0 or times[-1] > seconds:
        raise ValueError(
            f"the times of a schedule must not go back, and lie within the clip, 0 to {seconds:g} s; got "
            f"{times.tolist()}"
        )
    frames = np.arange(model.frames(seconds)) / model.frame_rate
    after = np.searchsorted(times, frames, side="right")  # of two points at one time the later one holds
    left, right = np.clip(after - 1, 0, None), np.clip(after, None, len(times) - 1)
    span = times[right] - times[left]
    share = np.divide(frames - times[left], span, out=np.zeros_like(frames), where=span > 0)
    return tuple(map(float, factors[left] + share * (factors[right] - factors[left])))


# --- closed loop --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Probe:
    """Reads a metric from what a block has just put out: ridge regression on mean and spread of the last frames.

    Attributes
    ----------
    metric : str
    layer : int
    weights : Tensor, shape (2 hidden,), float64
        For the mean of the states over the window, then for their standard deviation.
    bias : float
    window : int
        Frames that it looks back.
    r2 : float
        Share of the variance of prompts left out that it reads, before anybody steers by it.
    within : float
        The same among clips of one push. A probe that reads the push, and not the music, has none; NaN if it was not
        told which push each clip had.
    """

    metric: str
    layer: int
    weights: Tensor
    bias: float
    window: int
    r2: float
    within: float = math.nan

    def read(self, heard: Tensor) -> float:
        """The metric (octaves where it multiplies) of the last frames of `heard`, (frames, hidden)."""
        return float(_summary(heard[-self.window :]) @ self.weights) + self.bias


def _summary(states: Tensor) -> Tensor:
    """Mean and standard deviation over the first axis, side by side in the last."""
    states = states.double()
    return torch.cat([states.mean(dim=0), states.std(dim=0, correction=0)], dim=-1)


def cut(clips: Clips, frames: int) -> npt.NDArray[np.float32]:
    """The clips in windows of so many frames, (N windows, samples): what a truth for `train_probe` is measured on."""
    samples = frames * (clips.audio.shape[1] // clips.tokens.shape[2])
    count = clips.tokens.shape[2] // frames
    return clips.audio[:, : count * samples].reshape(len(clips) * count, samples)


def train_probe(
    clips: Clips,
    truth: npt.ArrayLike,
    *,
    metric: str,
    layer: int,
    window: int,
    folds: int = 5,
    push: Sequence[Any] | None = None,
) -> Probe:
    """Train a probe on clips that were listened to while they were made.

    Parameters
    ----------
    clips : Clips
        With ``heard``: made with a `Feedback` that listens to the layer, unsteered and steered.
    truth : array_like, shape (N,) or (N windows,)
        The metric of each clip, or of each window as `cut` gives them, in its unit; NaN are left out.
    metric : str
    layer : int
    window : int
        Frames in a window.
    folds : int, default 5
        Of the cross-validation, by prompt.
    push : sequence, optional
        A name for how each clip was pushed, such as its λ.

    Returns
    -------
    Probe

    Raises
    ------
    ValueError
        If the clips were not listened to, are shorter than a window, or too few could be measured.
    """
    if clips.heard is None:
        raise ValueError("nothing listened to these clips: make them with a Feedback in Steering.schedule")
    count = clips.tokens.shape[2] // window
    if not count:
        raise ValueError(
            f"the clips have {clips.tokens.shape[2]} frames, and a window {window}: make longer clips"
        )
    heard = torch.from_numpy(clips.heard[:, : count * window])
    states = torch.stack([_summary(part.transpose(0, 1)) for part in heard.split(window, dim=1)], dim=1)
    y = np.asarray(scaled(truth, metric), dtype=float)
    y = np.repeat(y, count) if y.shape == (len(clips),) else y
    if y.shape != (len(clips) * count,):
        raise ValueError(f"truth must have {len(clips)} or {len(clips) * count} values, got {y.shape}")
    x, groups = states.flatten(0, 1).numpy(), np.repeat(np.array(clips.prompts), count)
    good = np.isfinite(y) & np.isfinite(x).all(axis=1)
    x, y, groups = x[good], y[good], groups[good]
    if len(set(groups)) < folds:
        raise ValueError(
            f"{len(set(groups))} prompts could be measured, fewer than {folds} folds: make more clips"
        )
    ridge = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))
    left_out = cross_val_predict(ridge, x, y, groups=groups, cv=GroupKFold(folds))
    ridge.fit(x, y)
    scale, fitted = ridge["standardscaler"], ridge["ridgecv"]
    weights = fitted.coef_ / scale.scale_
    bias = float(fitted.intercept_ - weights @ scale.mean_)
    table = pd.DataFrame({"truth": y, "error": y - left_out})
    r2 = 1 - (table["error"] ** 2).mean() / y.var()
    within = math.nan
    if push is not None:
        around = table - table.groupby(np.repeat(np.asarray(push), count)[good]).transform("mean")
        within = 1 - float((around["error"] ** 2).sum() / (around["truth"] ** 2).sum())
    return Probe(metric, layer, torch.from_numpy(weights), bias, window, float(r2), within)


def closed_loop(
    calibration: Calibration,
    probe: Probe,
    target: float,
    *,
    unsteered: float | None = None,
    proportional: float = 0.5,
    integral: float = 0.1,
    every: int = 25,
    largest: float = math.inf,
) -> Feedback:
    """A schedule that corrects λ while the model writes: PI control on the scale of the metric.

    Begin with the λ of the calibration. At every decision the probe reads what was written, and its distance from the
    target, times `proportional`, and the sum of all distances so far, times `integral`, are added to the target
    for which the calibration gives λ. The sum grows only as far as it still changes λ. With both gains 0 it is
    the open loop, token for token.

    Parameters
    ----------
    calibration : Calibration
    probe : Probe
        For the same metric.
    target : float
        In the metric's unit.
    unsteered : float, optional
        See `Calibration.multiplier_for`.
    proportional, integral : float
        Gains; the second for each decision.
    every : int, default 25
        Frames between decisions.
    largest : float, optional
        Limit on the size of λ: `largest_multiplier` gives that of a κ.

    Returns
    -------
    Feedback
        For ``Steering(vector, 1.0, schedule=...)``: its factor is λ.

    Raises
    ------
    ValueError
        If the probe reads another metric, or a number makes no sense.

    Warns
    -----
    UserWarning
        If the target is out of reach, as `Calibration.multiplier_for`.
    """
    if probe.metric != calibration.metric:
        raise ValueError(
            f"the probe reads {probe.metric}, the calibration is of {calibration.metric}: take one metric for both"
        )
    if not (0 <= proportional < math.inf and 0 <= integral < math.inf and largest > 0):
        raise ValueError("gains must not be negative, and the largest λ must be positive")
    curve = calibration if largest == math.inf else calibration.within(largest)
    curve.multiplier_for(target, unsteered)  # says what is wrong with the target
    wanted = float(scaled(target, calibration.metric))
    reach = curve.curve(unsteered)
    low, high = min(reach), max(reach)

    def rule(heard: Tensor) -> float:
        total = correction = 0.0
        for end in range(every - 1, len(heard) + 1, every):
            if end < probe.window - 1:
                continue
            error = wanted - probe.read(heard[:end])
            rest = wanted + proportional * error
            if integral and error > 0:  # as far as it still changes λ: no windup
                total = max(total, min(total + error, (high - rest) / integral))
            elif integral:
                total = min(total, max(total + error, (low - rest) / integral))
            correction = proportional * error + integral * total
        return curve.nearest(wanted + correction, unsteered)

    about = [curve.multipliers, reach, wanted, proportional, integral, probe.window]
    content = json.dumps(about).encode() + probe.weights.numpy().tobytes() + repr(probe.bias).encode()
    return Feedback(probe.layer, rule, every, digest(content))
