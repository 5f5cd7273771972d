"""Clips, figures and checks of the chapter *Control* (``notebooks/control.ipynb``).

Errors are in octaves: 12 % are 0.16, 6 % are 0.084. Calibrations and probes come from neutral prompts, and everything
that is reported from held-out ones.
"""

import warnings
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from IPython.display import HTML
from scipy.stats import spearmanr

from steerlib import control, yardsticks
from steerlib.control import Calibration, Probe, Strength
from steerlib.directions import random_direction
from steerlib.engine.generation import Run, generate
from steerlib.evidence import choices, stats
from steerlib.evidence.scorecard import Check, Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.measure import spectral_centroid, tempo
from steerlib.measure.registry import CHECKPOINTS, METRICS, Metric
from steerlib.page import figures, style
from steerlib.page.bottom_line import listed, measured, moved, told
from steerlib.page.players import players as listen
from steerlib.page.style import HIGH, LOW, METRIC_LABELS, PALETTE
from steerlib.prompts import load_prompts
from steerlib.steering import Feedback, Steering, SteeringVector
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import BASELINE, sweep_cells

__all__ = [
    "automatic",
    "calibrations",
    "clips_over_time",
    "costs",
    "curves",
    "draw_loop",
    "draw_over_time",
    "draw_targets",
    "errors",
    "findings",
    "followed",
    "hear_over_time",
    "heard",
    "hit",
    "in_reach",
    "interval_of",
    "likelihoods",
    "of_sweep",
    "players",
    "probes",
    "reach",
    "shares",
    "steadiness",
    "within_budget",
]

_WINDOWS = {"bpm": 4.0}
"""Seconds that a probe looks back: a tempo takes some beats, a sound takes less."""
_SHORT = 0.15
"""Seconds of a window in which the answer to a step is looked for: hardly more than one frame of the centroid."""
_COLOURS = {"open loop": LOW, "closed loop": HIGH, "words": "#009E73", "random": PALETTE["baseline"]}
_METRICS = ("bpm", "centroid")
_SURE = {"bpm": "sure_bpm"}
"""Metrics that may say that they cannot tell, beside those that always answer."""


def calibrations(trial: Trial, limit: float) -> dict[str, Calibration]:
    """What each λ makes of each attribute, as far as κ stays below a limit; what cannot be told is left out."""
    found, study = {}, trial.study
    for name, attribute in study.attributes.items():
        try:
            scale = control.calibrate(trial.parts[name], attribute.metric)
        except ValueError as error:
            print(f"{name} is left out: {error}")
            continue
        layer = study.layers[name]
        largest = control.largest_multiplier(study.model, study.vectors[name], limit, source_layer=layer)
        found[name] = scale.within(largest)
    return found


def curves(trial: Trial, scales: Mapping[str, Calibration]) -> None:
    """Each clip's change against λ, and the monotone curve through them."""
    reach = []
    for ax, (name, scale) in zip(
        figures.panels(1, len(scales), size=(4.4, 3.4)), scales.items(), strict=True
    ):
        low, high = scale.reach()
        reach.append(f"{name} from {low:.0f} to {high:.0f} {trial.study.attributes[name].unit}")
        part = trial.parts[name].assign(value=lambda rows, m=scale.metric: control.scaled(rows[m], m))
        wide = part.pivot(index="prompt_id", columns="multiplier", values="value")
        for factor, change in wide.sub(wide[0.0], axis=0).items():
            ax.plot([factor] * len(change), change, ".", color=PALETTE["baseline"], alpha=0.35)
        ax.plot(scale.multipliers, scale.changes, color=HIGH, marker="o", markersize=4)
        ax.locator_params("x", nbins=5)
        unit = "octaves" if scale.metric in stats.OCTAVES else trial.study.attributes[name].unit
        ax.set(
            xlabel="λ", ylabel=f"change of {METRIC_LABELS[scale.metric].split(' (')[0]} ({unit})", title=name
        )
    if reach:
        figures.message(f"λ moves the typical clip’s {listed(reach)}")
    plt.show()


def steadiness(trial: Trial, scales: Mapping[str, Calibration]) -> pd.DataFrame:
    """How well one clip tells its metric, from unsteered clips: what error can be hoped for.

    Returns
    -------
    DataFrame
        ``apart``, the median distance of the two halves of a clip (octaves, or the metric's unit), with its interval
        and ``n``; and ``sure``, the share of the clips in which the judge is sure of its answer.
    """
    study, rows = trial.study, []
    for name, scale in scales.items():
        sounds = study.sounds(trial.parts[name].query("multiplier == 0"))
        sure, judge = (
            _judge(study, metric) for metric in (_SURE.get(scale.metric, scale.metric), scale.metric)
        )
        first, last = (
            control.scaled(judge(half, sample_rate=study.model.sample_rate), scale.metric)
            for half in np.split(sounds[:, : sounds.shape[1] // 2 * 2], 2, axis=1)
        )
        apart = stats.median_interval(abs(first - last))
        told = np.isfinite(sure(sounds, sample_rate=study.model.sample_rate)).mean()
        rows.append({
            "attribute": name, "apart": apart.estimate, "low": apart.low, "high": apart.high, "n": apart.n,
            "sure": told,
        })  # fmt: skip
    return pd.DataFrame(rows)


def _judge(study: Study, metric: str) -> Metric:
    return partial(METRICS[metric], checkpoint=study.beats) if metric in CHECKPOINTS else METRICS[metric]


def probes(
    study: Study, scales: Mapping[str, Calibration], *, layer: int, prompts: int, seconds: float
) -> dict[str, Probe]:
    """A probe for each attribute, trained on neutral prompts, unsteered and steered to the ends of each calibration."""
    told = load_prompts("neutral")[:prompts]

    def hold(factor: float) -> Feedback:
        return Feedback(layer, lambda heard: factor)

    some = study.vectors[next(iter(scales))]
    ways, pushes = [Steering(some, schedule=hold(0.0))], [""]
    for name, scale in scales.items():
        ends = {scale.multipliers[0], scale.multipliers[-1]} - {0.0}
        ways += [_steer(study, name, schedule=hold(factor)) for factor in sorted(ends)]
        pushes += [f"{name} {factor:g}" for factor in sorted(ends)]
    steering = [each for each in ways for _ in told]
    clips = generate(
        study.model, list(told) * len(ways), seconds=seconds, seed=study.seed + 1, steering=steering,
        sampling=study.sampling,
    )  # fmt: skip
    found = {}
    for name, scale in scales.items():
        window = round(min(_WINDOWS.get(scale.metric, 1.0), seconds) * study.model.frame_rate)
        judge = _judge(study, scale.metric)
        heard = clips.audio if scale.metric == "bpm" else control.cut(clips, window)
        truth = judge(heard, sample_rate=clips.sample_rate)
        try:
            found[name] = control.train_probe(
                clips, truth, metric=scale.metric, layer=layer, window=window, folds=min(5, len(told)),
                push=np.repeat(pushes, len(told)).tolist(),
            )  # fmt: skip
        except ValueError as error:
            print(f"{name} has no closed loop: {error}")
            continue
        print(
            f"{name}: the probe reads {100 * found[name].r2:.0f} % of the variance of prompts left out, and "
            f"{100 * max(found[name].within, 0):.0f} % among clips that are pushed alike"
        )
    return found


def _steer(
    study: Study, name: str, multiplier: float = 1.0, vector: SteeringVector | None = None, **how: Any
) -> Steering:
    vector = study.vectors[name] if vector is None else vector
    return Steering(vector, multiplier, source_layer=study.layers[name], **how)


def _sweep(study: Study, records: list[dict[str, Any]], prompts: Sequence[str] | None = None) -> pd.DataFrame:
    cells = pd.DataFrame(records).assign(seed=study.seed)
    cells["steering"] = [each if isinstance(each, tuple) else (each,) for each in cells["steering"]]
    return sweep_cells(
        study.model, cells, store=study.store, seconds=study.seconds, sampling=study.sampling, metrics=_METRICS,
        beats=study.beats, run=Run(),
    )  # fmt: skip


def reach(
    study: Study,
    scales: Mapping[str, Calibration],
    probes: Mapping[str, Probe],
    targets: Mapping[str, Sequence[float]],
    *,
    gains: tuple[float, float],
    draws: int,
    control_prompts: int,
) -> pd.DataFrame:
    """Ask every prompt for every target, in every way.

    Open loop: the λ of the calibration, corrected by the prompt's own unsteered clip. Closed loop: that, corrected
    while it writes. Words: the pole's name, added to the prompt. Random: a random direction at the λ of the open loop.

    Returns
    -------
    DataFrame
        ``attribute``, ``way`` ("unsteered", "open loop", "closed loop", "words", "random 1" and on), ``prompt_id``,
        ``prompt``, ``target``, ``multiplier`` (at the beginning), ``reachable``, ``value``, ``error`` (octaves, without
        sign), ``plain`` and ``nll0`` (the unsteered clip), ``nll`` and ``clip``.
    """
    plain = study.compare(BASELINE, metrics=_METRICS).table.set_index("prompt_id")
    records: list[dict[str, Any]] = []
    for name, scale in scales.items():
        attribute, vector = study.attributes[name], study.vectors[name]
        randoms = [random_direction(vector, seed=study.seed + k) for k in range(draws)]
        for number, prompt in enumerate(study.prompts):
            own = float(plain.loc[number, scale.metric])
            base = None if np.isnan(own) else own
            low, high = scale.reach(base)
            for target in targets[name]:
                about = {
                    "attribute": name,
                    "prompt_id": number,
                    "target": target,
                    "prompt": prompt,
                    "plain": own,
                }
                about["reachable"] = low <= target <= high
                word = attribute.positive if target > scale.plain else attribute.negative
                ways: dict[str, Any] = {"words": ()}
                with warnings.catch_warnings():  # what is out of reach stands in the table
                    warnings.simplefilter("ignore", UserWarning)
                    factor = scale.multiplier_for(target, base)
                    ways["open loop"] = _steer(study, name, factor) if factor else ()
                    if name in probes:
                        loop = _loop(scale, probes[name], target, base, gains)
                        ways["closed loop"] = _steer(study, name, schedule=loop)
                if number < control_prompts:
                    ways |= {
                        f"random {k + 1}": _steer(study, name, factor, each) if factor else ()
                        for k, each in enumerate(randoms)
                    }
                for way, steering in ways.items():
                    said = f"{prompt}, {word}" if way == "words" else prompt
                    records.append(
                        {**about, "way": way, "prompt": said, "multiplier": factor, "steering": steering}
                    )
    table = _sweep(study, records)
    table["nll0"] = table["prompt_id"].map(plain["nll"])
    metric = table["attribute"].map({name: scale.metric for name, scale in scales.items()})
    table["value"] = [row[name] for name, (_, row) in zip(metric, table.iterrows(), strict=True)]
    scaled = {name: control.scaled(table[name], name) for name in set(metric)}
    aims = {name: control.scaled(table["target"], name) for name in set(metric)}
    table["error"] = [abs(scaled[name][k] - aims[name][k]) for k, name in enumerate(metric)]
    return table


def _loop(
    scale: Calibration, probe: Probe, target: float, base: float | None, gains: tuple[float, float]
) -> Feedback:
    return control.closed_loop(scale, probe, target, unsteered=base, proportional=gains[0], integral=gains[1])


def _medians(rows: pd.DataFrame) -> "pd.Series[float]":
    """Each prompt's median error over its targets."""
    return rows.groupby("prompt_id")["error"].median()


def errors(table: pd.DataFrame) -> pd.DataFrame:
    """Median error of each way in octaves, over prompts, and the excess negative log-likelihood.

    `in reach` is the share of the targets that the calibration expects to reach, `error in reach` the median error of
    those.
    """
    rows = []
    for (name, way), part in table.assign(way=table["way"].str.replace(r" \d+$", "", regex=True)).groupby(
        ["attribute", "way"], sort=False
    ):
        median = stats.median_interval(_medians(part))
        rows.append({
            "attribute": name, "way": way, "clips": len(part), "error": median.estimate, "low": median.low,
            "high": median.high, "in reach": part["reachable"].mean(),
            "error in reach": _medians(part[part["reachable"]]).median(), "nll": (part["nll"] - part["nll0"]).mean(),
        })  # fmt: skip
    return pd.DataFrame(rows)


def in_reach(table: pd.DataFrame) -> str:
    """The share of the targets that the calibration expects to reach, for the note of C1."""
    shares = table[table["way"] == "open loop"].groupby("attribute", sort=False)["reachable"].mean()
    return ", ".join(f"{100 * share:.0f} % for {name}" for name, share in shares.items())


def hit(table: pd.DataFrame) -> dict[str, Measured]:
    """The parts of C1: the median error of both loops for each attribute, beside random directions."""
    found = {}
    for name, part in table.groupby("attribute", sort=False):
        random = part[part["way"].str.startswith("random")]
        drawn = [float(_medians(rows).median()) for _, rows in random.groupby("way")]
        reached = stats.control_range(drawn, symmetric=False)
        for way in [way for way in ("open loop", "closed loop") if (part["way"] == way).any()]:
            median = stats.median_interval(_medians(part[part["way"] == way]))
            found[f"{name}, {way}"] = Measured(median, control=reached)
    return found


def likelihoods(table: pd.DataFrame) -> list[Check]:
    """What the closed loop costs beyond the open one, and words beside them: descriptive."""
    checks = []
    closed = table[table["way"] == "closed loop"]["attribute"]
    for name, part in table[table["attribute"].isin(closed)].groupby("attribute", sort=False):
        wide = part.pivot_table(index=["prompt_id", "target"], columns="way", values=["nll", "error"])
        clusters = wide.index.get_level_values("prompt_id")
        for quantity, unit, against in (
            ("nll", "nats per token", "open loop"),
            ("error", "octaves", "words"),
        ):
            excess = stats.paired_interval(
                wide[quantity]["closed loop"], wide[quantity][against], clusters=clusters
            )
            what = f"{name}: {quantity} of the closed loop less that of the {against}"
            checks.append(Check(what, excess, below=0, unit=unit))
    return checks


def draw_targets(table: pd.DataFrame, scales: Mapping[str, Calibration]) -> None:
    """What was asked for, and what came."""
    closer = {}
    for ax, (name, scale) in zip(
        figures.panels(1, len(scales), size=(4.4, 3.8)), scales.items(), strict=True
    ):
        part = table[table["attribute"] == name]
        aims = np.array(sorted(part["target"].unique()))
        for number, (way, colour) in enumerate(_COLOURS.items()):
            rows = part[part["way"].str.startswith(way)]
            place = rows["target"] * 2 ** (0.06 * (number - 1.5))
            ax.plot(place, rows["value"], ".", color=colour, alpha=0.5)
            middle = rows.groupby("target")["value"].median().reindex(aims)
            ax.plot(aims * 2 ** (0.06 * (number - 1.5)), middle, "_", markersize=14, markeredgewidth=2.5,
                    color=colour, label=way)  # fmt: skip
        ax.plot(aims[[0, -1]], aims[[0, -1]], color=PALETTE["baseline"], linewidth=1, linestyle=":")
        unit = METRIC_LABELS[scale.metric]
        ax.set(xscale="log", yscale="log", xlabel=f"asked: {unit}", ylabel="measured")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(plt.FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_formatter(plt.NullFormatter())
        ax.set_xticks(aims)
        ax.set_yticks(aims)
        figures.legend(ax)
        errors = {way: _medians(part[part["way"].str.startswith(way)]).median() for way in _COLOURS}
        least = np.nanmin([errors["open loop"], errors["closed loop"], np.inf])
        closer[f"{name} (typical miss: {moved(float(least), 'octaves')})"] = least < errors["random"]
    if closer:
        yes = "Asked for a number, steering comes closer than random directions for {}"
        figures.message(told(closer, yes, "it is not shown to come closer than random ones for {}"))
    plt.show()


def draw_loop(
    study: Study,
    scales: Mapping[str, Calibration],
    probes: Mapping[str, Probe],
    table: pd.DataFrame,
    *,
    gains: tuple[float, float],
) -> HTML | None:
    """The first prompt on its way to each attribute's last target: what the probe reads, and λ; and its sound."""
    if not probes:
        return None
    told, pairs, ways = study.prompts[0], [], []
    for name, probe in probes.items():
        row = table.query("attribute == @name and way == 'closed loop' and prompt_id == 0").iloc[-1]
        base = None if np.isnan(row["plain"]) else row["plain"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            loop = _loop(scales[name], probe, row["target"], base, gains)
        pairs.append((name, row["target"], loop, probe))
        ways.append(_steer(study, name, schedule=loop))
    clips = generate(
        study.model, [told] * len(ways), seconds=study.seconds, seed=study.seed, sampling=study.sampling,
        steering=ways, run=Run(progress=False),
    )  # fmt: skip
    assert clips.heard is not None
    axes, rate, away = figures.panels(2, len(probes), size=(4.4, 2.4)), study.model.frame_rate, []
    for k, (name, target, loop, probe) in enumerate(pairs):
        heard, upper, lower = torch.from_numpy(clips.heard[k]), axes[k], axes[len(pairs) + k]
        ends = range(probe.window, len(heard) + 1, 5)
        read = [2 ** probe.read(heard[:end]) for end in ends]
        upper.plot([end / rate for end in ends], read, color=HIGH)
        upper.axhline(target, color=PALETTE["baseline"], linestyle=":", linewidth=1)
        upper.set(title=name, ylabel=f"read ({study.attributes[name].unit})")
        frames = range(len(heard) + 1)
        factors = [loop.factor(frame, heard) for frame in frames]
        lower.step([frame / rate for frame in frames], factors, color=LOW)
        lower.set(xlabel="time (s)", ylabel="λ")
        if read:  # a clip may be shorter than what the probe listens to
            away.append(f"{style.number(read[-1])} of {target:g} {study.attributes[name].unit} for {name}")
    if away:
        figures.message(f"At the end of the clip, the probe reads {listed(away)}")
    plt.show()
    sounds = {
        f"{name} {target:g} {study.attributes[name].unit}": audio
        for (name, target, *_), audio in zip(pairs, clips.audio, strict=True)
    }
    return listen(sounds, study.model.sample_rate, label=told)


def players(study: Study, table: pd.DataFrame, name: str) -> HTML:
    """The first prompt, asked for the last target in each way."""
    rows = table.query("attribute == @name and prompt_id == 0")
    return _ways(study, rows[rows["target"] == rows["target"].iloc[-1]])


def heard(study: Study, table: pd.DataFrame) -> HTML:
    """The prompt and target that the open loop misses by the median error, asked for in each way."""
    key = ["attribute", "prompt_id", "target"]
    chosen = stats.middle(table[table["way"] == "open loop"].set_index(key)["error"])
    return _ways(study, table.set_index(key).sort_index().loc[[chosen]].reset_index(), "Hear it: ")


def _ways(study: Study, rows: pd.DataFrame, before: str = "") -> HTML:
    """Clips of one prompt that was asked for one target, but for random directions."""
    rows = rows[~rows["way"].str.startswith("random")]
    unit, prompt = study.attributes[rows["attribute"].iloc[0]].unit, study.prompts[rows["prompt_id"].iloc[0]]
    labels = [f"{row.way}: {row.value:.0f} {unit}" for row in rows.itertuples()]
    return study.players(rows, labels, label=f"{before}{prompt}, {rows['target'].iloc[0]:g} {unit} asked for")


# --- over time ----------------------------------------------------------------------------------------------


def clips_over_time(
    study: Study, scales: Mapping[str, Calibration], *, draws: int, control_prompts: int
) -> pd.DataFrame:
    """Clips with a ramp of brightness, a step of brightness and a step of tempo in the middle, and unsteered ones.

    Returns
    -------
    DataFrame
        ``kind`` ("ramp", "step", "tempo"; "" for unsteered), ``along`` ("own", "random 1" and on), ``prompt_id``,
        ``clip``.
    """
    middle, end = study.seconds / 2, study.seconds
    ramp, step = [(0, -1), (end, 1)], [(middle, 0), (middle, 1)]
    metrics = {scale.metric: name for name, scale in scales.items()}
    kinds = {"ramp": ("centroid", ramp), "step": ("centroid", step), "tempo": ("bpm", step)}
    records: list[dict[str, Any]] = [
        {"kind": "", "along": "", "prompt_id": k, "prompt": prompt, "steering": ()}
        for k, prompt in enumerate(study.prompts)
    ]
    for kind, (metric, points) in kinds.items():
        if metric not in metrics:
            continue
        name = metrics[metric]
        size, own = scales[name].multipliers[-1], study.vectors[name]
        ways = {"own": own} | {
            f"random {k + 1}": random_direction(own, seed=study.seed + k) for k in range(draws)
        }
        factors = control.schedule(points, study.model, end)
        for along, vector in ways.items():
            steering = _steer(study, name, size, vector, schedule=factors)
            records += [
                {"kind": kind, "along": along, "prompt_id": k, "prompt": prompt, "steering": steering}
                for k, prompt in enumerate(study.prompts[: None if along == "own" else control_prompts])
            ]
    return _sweep(study, records)


def _centroids(sounds: npt.NDArray[np.float32], rate: int, seconds: float) -> npt.NDArray[Any]:
    """Octaves of the centroid of each clip (clips, windows) in windows of so many seconds."""
    size = round(seconds * rate)
    count = sounds.shape[1] // size
    parts = sounds[:, : count * size].reshape(-1, size)
    found = spectral_centroid(parts, sample_rate=rate)
    return np.asarray(control.scaled(found, "centroid")).reshape(len(sounds), count)


def followed(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """For each clip whether the music followed its schedule, by the measures of C3.

    Returns
    -------
    DataFrame
        ``kind``, ``along``, ``prompt_id``, ``found`` (rank correlation; seconds; octaves of BPM) and ``hit``.
    """
    rate, middle = study.model.sample_rate, study.seconds / 2
    plain = dict(
        zip(table[table["kind"] == ""]["prompt_id"], study.sounds(table[table["kind"] == ""]), strict=True)
    )
    rows = []
    for (kind, along), part in table[table["kind"] != ""].groupby(["kind", "along"], sort=False):
        sounds = study.sounds(part)
        base = np.stack([plain[number] for number in part["prompt_id"]])
        if kind == "ramp":
            curve = _centroids(sounds, rate, 0.5)
            found = np.array(
                [spearmanr(range(len(each)), each, nan_policy="omit").statistic for each in curve]
            )
            hits = found >= 0.8
        elif kind == "step":
            change = _centroids(sounds, rate, _SHORT) - _centroids(base, rate, _SHORT)
            found = np.array([_response(each, round(middle / _SHORT)) * _SHORT for each in change])
            hits = found <= 0.5
        else:
            half = sounds.shape[1] // 2
            late = [
                tempo(each[:, half:], sample_rate=rate, checkpoint=study.beats) for each in (sounds, base)
            ]
            found = np.log2(late[0] / late[1])
            hits = found >= np.log2(1.15)
        for number, value, is_hit in zip(part["prompt_id"], found, hits, strict=True):
            rows.append(
                {"kind": kind, "along": along, "prompt_id": number, "found": value, "hit": bool(is_hit)}
            )
    return pd.DataFrame(rows)


def _response(change: npt.NDArray[Any], step: int) -> float:
    """Windows after the step until 63 % of the last change is there, on the mean of three windows; NaN if it fell."""
    smooth = pd.Series(change).rolling(3, min_periods=1).mean().to_numpy()
    tail = change[step + (len(change) - step) // 2 :]
    last = np.nanmedian(tail) if np.isfinite(tail).any() else 0.0
    reached = np.flatnonzero(smooth[step:] >= 0.63 * last)
    return float(reached[0] + 1) if last > 0 and len(reached) else float("nan")


def shares(clips: pd.DataFrame) -> dict[str, Measured]:
    """The parts of C3: the share of clips that follow, beside random directions."""
    found = {}
    for kind, part in clips.groupby("kind", sort=False):
        own = part[part["along"] == "own"]
        drawn = part[part["along"] != "own"].groupby("along")["hit"].mean()
        reached = stats.control_range(drawn, symmetric=False)
        found[str(kind)] = Measured(stats.share_interval(own["hit"]), control=reached)
    return found


def draw_over_time(study: Study, table: pd.DataFrame) -> None:
    """Brightness over time, against that of the unsteered clip: the median over prompts, own and random directions."""
    rate, size = study.model.sample_rate, 0.25
    plain = dict(
        zip(table[table["kind"] == ""]["prompt_id"], study.sounds(table[table["kind"] == ""]), strict=True)
    )
    kinds = [kind for kind in ("ramp", "step") if kind in set(table["kind"])]
    if not kinds:
        return
    gained: dict[tuple[str, str], list[float]] = defaultdict(list)
    for ax, kind in zip(figures.panels(1, len(kinds), size=(4.4, 3.2)), kinds, strict=True):
        for along, part in table[table["kind"] == kind].groupby("along", sort=False):
            base = np.stack([plain[number] for number in part["prompt_id"]])
            change = _centroids(study.sounds(part), rate, size) - _centroids(base, rate, size)
            times = (np.arange(change.shape[1]) + 0.5) * size
            colour = HIGH if along == "own" else PALETTE["baseline"]
            label = {"own": "own direction", "random 1": "random directions"}.get(str(along))
            middle = np.nanmedian(change, axis=0)
            ax.plot(times, middle, color=colour, label=label)
            gained[kind, "own" if along == "own" else "random"].append(middle[-1] - middle[0])
        ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
        ax.set_title(str(kind), loc="right")
        ax.set(xlabel="time (s)", ylabel="change of brightness (octaves)")
        figures.legend(ax)
    followed = {
        f"a {kind}": gained[kind, "own"][0] > max(map(abs, gained[kind, "random"]), default=0.0)
        for kind in kinds
    }
    yes = "From beginning to end, brightness rises more than along random directions for {}"
    figures.message(told(followed, yes, "it is not shown to rise more than along random directions for {}"))
    plt.show()


def hear_over_time(study: Study, table: pd.DataFrame) -> HTML:
    """The first prompt: unsteered, and with each schedule."""
    rows = table[(table["prompt_id"] == 0) & table["along"].isin(["", "own"])]
    names = {"": "unsteered", "ramp": "ramp from dark to bright", "step": "bright from the middle on",
             "tempo": "faster from the middle on"}  # fmt: skip
    return study.players(rows, [names[kind] for kind in rows["kind"]], label=study.prompts[0])


# --- strength by itself -------------------------------------------------------------------------------------


def automatic(
    trial: Trial, *, nll_margin: float, kappa_limit: float, prompts: int, seconds: float, sizes: int
) -> dict[str, Strength]:
    """The strongest λ within the budget for each attribute, from a few short clips; says how it was found."""
    study, found = trial.study, {}
    for name, vector in study.vectors.items():
        try:
            found[name] = control.strongest(
                study.model, vector, attribute=study.attributes[name], source_layer=study.layers[name],
                nll_margin=nll_margin, kappa_limit=kappa_limit, seconds=seconds, sizes=sizes,
                prompts=load_prompts("neutral")[:prompts], seed=study.seed, sampling=study.sampling,
            )  # fmt: skip
            print(f"{name}: {found[name]}")
        except ValueError as error:
            print(f"{name}: {error}")
    return found


def costs(trial: Trial, *, word_pairs: int) -> pd.DataFrame:
    """What each λ of the sweep costs beyond the words, in nats per token: see `choices.beyond_words`."""
    words = yardsticks.quality_of_words(trial.study, word_pairs, window=None)
    return choices.beyond_words(yardsticks.quality(trial, {}), words)


def within_budget(quality: pd.DataFrame, nll_margin: float) -> float:
    """The size of λ at which a sweep meets the budget: where its upper limit does, worse pole, between its sizes.

    The rule of `choices.strongest`, but that the sizes of the sweep are joined by lines. The largest size that was
    tried if all are within the budget; 0 if none is.

    Parameters
    ----------
    quality : DataFrame
        From `costs`, of one attribute.
    nll_margin : float
    """
    worse = quality.groupby(quality["multiplier"].abs())["nll_high"].max().sort_index()
    sizes, limits = worse.index.to_numpy(), worse.to_numpy()
    over = np.flatnonzero(~(limits < nll_margin))
    if not len(over):
        return float(sizes[-1])
    k = int(over[0])
    return float(np.interp(nll_margin, limits[k - 1 : k + 1], sizes[k - 1 : k + 1])) if k else 0.0


def _shifts(trial: Trial, name: str, size: float) -> "pd.Series[float]":
    """Half the difference of the poles by prompt, interpolated between the λ of the sweep."""
    metric = trial.study.attributes[name].metric
    part = trial.parts[name]
    part = part.assign(value=control.scaled(part[metric], metric))
    wide = part.pivot(index="prompt_id", columns="multiplier", values="value")
    factors = wide.columns.to_numpy(dtype=float)
    ends = [[np.interp(sign * size, factors, row) for row in wide.to_numpy()] for sign in (1, -1)]
    return pd.Series((np.array(ends[0]) - np.array(ends[1])) / 2, index=wide.index)


def of_sweep(
    trial: Trial, strengths: Mapping[str, Strength], quality: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, Measured]]:
    """What the λ found by itself does, as a share of what the λ does at which the full sweep meets its budget: C5.

    Both effects are read off the sweep, prompt by prompt, and beyond its largest λ at that. The control is any other
    size of the sweep.
    """
    rows, parts = [], {}
    for name, strength in strengths.items():
        best = within_budget(quality[quality["attribute"] == name], strength.nll_margin)
        if not best:
            print(f"{name}: the sweep shows no λ to be within the budget")
            continue
        shift, reference = _shifts(trial, name, strength.multiplier), _shifts(trial, name, best)
        share = stats.ratio_interval(shift, reference)
        sizes = sorted({abs(each) for each in trial.parts[name]["multiplier"]} - {0.0})
        others = [_shifts(trial, name, size).mean() / reference.mean() for size in sizes]
        parts[name] = Measured(share, control=stats.control_range(others, symmetric=False))
        clips = trial.parts[name]["key"].nunique()
        rows.append({
            "attribute": name, "λ": strength.multiplier, "κ": strength.kappa, "λ of the sweep": best,
            "largest that the sweep tried": sizes[-1], "shift": shift.mean(), "shift of the sweep": reference.mean(),
            "share": share.estimate, "cost (share of the sweep)": strength.seconds / (clips * trial.study.seconds),
        })  # fmt: skip
    return pd.DataFrame(rows), parts


def findings(verdicts: Sequence[Verdict]) -> tuple[list[str], str]:
    """What this run found, a sentence for each claim, and what speaks against it."""
    by_claim = {verdict.check.claim: verdict for verdict in verdicts}
    templates = {
        "C1": "Asked for a number instead of λ, half of the clips miss it by more than {}",
        "C3": "A curve of λ is followed in time by {} of the clips",
        "C5": "The strength that is found from a few short clips does {} of what the best one of the full sweep does",
    }
    found = []
    for claim, template in templates.items():
        if claim in by_claim:
            verdict = by_claim[claim]
            told = [
                f"{moved(each, 'octaves') if claim == 'C1' else measured(each, sign=False, share=True)} ({name})"
                for name, each in ((name, part.interval) for name, part in verdict.parts.items())
                if np.isfinite(each.estimate)
            ]
            sentence = template.format(listed(told) if told else "an unknown share")
            found.append(f"{sentence}: the claim ({claim}) is **{verdict.verdict}**.")
    parts = by_claim["C1"].parts if "C1" in by_claim else {}
    control = [each.control.high for each in parts.values() if each.control is not None]
    random = f"Random directions would miss by up to {moved(max(control), 'octaves')}. " if control else ""
    count = max((each.interval.n for verdict in verdicts for each in verdict.parts.values()), default=0)
    return (
        found or ["Too few clips could be measured to tell."],
        f"{random}All of this comes from one model, and each number from at most {count} prompts.",
    )


def interval_of(clips: pd.DataFrame, kind: str) -> Interval:
    """Median of what was found of one kind along the attribute's own direction."""
    return stats.median_interval(clips.query("kind == @kind and along == 'own'")["found"])
