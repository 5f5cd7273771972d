"""Figures, tables and checks of the chapter *Steering sweep* (``notebooks/steering_sweep.ipynb``)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from myst_nb import glue

from steerlib import yardsticks
from steerlib.evidence import choices, stats
from steerlib.evidence.stats import Interval, check_columns
from steerlib.measure.distance import Distances
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured, moved, told
from steerlib.page.players import Curve
from steerlib.page.style import PALETTE, signed
from steerlib.prompts import Attribute
from steerlib.readout.analysis import knee
from steerlib.study import Study, Trial

__all__ = [
    "budget",
    "cost_of_words",
    "controls",
    "curves",
    "distance_curves",
    "draw_fad_curve",
    "draw_multiplier_curve",
    "effects",
    "findings",
    "knees",
    "of_random",
    "linked",
    "sliders",
    "smoothness",
    "steps",
    "strongest",
    "tell",
]


def sliders(trial: Trial, prompts: int) -> None:
    """A slider over λ for each attribute and prompt; the first of an attribute is kept for the front page."""
    for number, (name, rows) in enumerate(trial.parts.items()):
        for prompt in range(prompts):
            one = rows[rows["prompt_id"] == prompt]
            slider = trial.study.slider(one, trial.study.attributes[name], spectrogram=True)
            display(slider)
            if prompt == 0:
                glue(f"front_{name}" if number else "front", slider, display=False)


def curves(trial: Trial) -> None:
    """The measures against λ, a row of panels for each attribute, its own measure first (paper A, figure 5)."""
    measures = {
        name: list(dict.fromkeys([each.metric, "bpm", "centroid", "onset_rate"]))
        for name, each in trial.study.attributes.items()
    }
    columns = max(map(len, measures.values()))
    axes = iter(figures.panels(len(measures), columns, size=(3.0, 3.5)))
    for name, metrics in measures.items():
        for place, metric in enumerate(metrics):
            ax = next(axes)
            draw_multiplier_curve(trial.effects(name, metric), ax, attribute=trial.study.attributes[name])
            if place and (legend := ax.get_legend()):  # one legend a row
                legend.remove()
    rising = {name: _rises(trial.effects(name)) for name in measures}
    figures.message(
        told(
            rising,
            "The larger λ, the further it moves {} as intended",
            "no steady change as intended is shown for {}",
        ),
    )
    plt.show()


def _rises(summary: pd.DataFrame) -> bool:
    """Whether the mean rises with λ from end to end (rank correlation of 0.9), and both ends are shown to be moved."""
    steered = summary[summary["multiplier"] != 0].sort_values("multiplier")
    ends = [choices.intended(row) for _, row in steered.iloc[[0, -1]].iterrows()]
    rank = steered["multiplier"].corr(steered["effect"], method="spearman")
    return bool(rank >= 0.9 and all(end.low > 0 for end in ends))


def effects(trial: Trial) -> pd.DataFrame:
    """The effect of each λ on the attribute's own measure.

    `right` and `wrong` are the shares of prompts that move as intended and the other way; `shift` is half the
    difference of the poles, which leaves out what a push does whichever way it points, and `drift` is that.
    """
    shown = [
        "kappa",
        "n",
        "dropped",
        "baseline",
        "mean",
        "effect",
        "low",
        "high",
        "relative",
        "octaves",
        "right",
        "wrong",
    ]
    table = trial.all_effects.set_index(["attribute", "multiplier"])[shown]
    other = table["effect"].rename(lambda value: -value, level="multiplier").reindex(table.index)
    sign = np.sign(table.index.get_level_values("multiplier"))
    return table.assign(
        shift=sign * (table["effect"] - other) / 2, drift=(table["effect"] + other) / 2
    ).round(2)


def strongest(trial: Trial) -> None:
    """Say for each pole at which λ the shift in the intended direction is largest, its interval beyond 0."""
    for pole in trial.poles():
        rows = trial.all_effects.query("attribute == @pole.key and multiplier * @pole.sign > 0")
        intended = {row.multiplier: choices.intended(row) for _, row in rows.iterrows()}
        shown = {value: effect for value, effect in intended.items() if effect.low > 0}
        where = f"{trial.study.model.name}, toward {pole.name}"
        if not shown:
            print(f"{where}: no λ has an interval wholly on the intended side of 0")
            continue
        best = max(shown, key=lambda value: shown[value].estimate)
        print(f"{where}: largest intended change at λ = {signed(best)}: {measured(shown[best], pole.unit)}")


def distance_curves(study: Study, distances: Distances) -> None:
    """The Fréchet distance against λ, a panel for each attribute (paper A, figure 7)."""
    axes, worse = figures.panels(len(study.attributes), size=(6.5, 4.2)), []
    for ax, (name, attribute) in zip(axes, study.attributes.items(), strict=True):
        rows = distances.table[distances.table["attribute"] == name]
        pushes = distances.rows.groupby(["attribute", "multiplier"])["kappa"].mean().reset_index()
        draw_fad_curve(rows.merge(pushes), ax, attribute=attribute)
        sizes = [abs(value) for value in _worse(distances, name)]
        worse.append(f"already at |λ| = {min(sizes):g} for {name}" if sizes else f"at no λ for {name}")
    figures.message(f"Steered music is shown to be further from the model’s own {listed(worse)}")
    plt.show()


def _worse(distances: Distances, name: str) -> list[float]:
    """The multipliers of an attribute at which the distance is shown to be larger than that of unsteered clips."""
    rows = distances.rows[distances.rows["attribute"] == name]
    plain, parts = rows[rows["multiplier"] == 0], rows[rows["multiplier"] != 0].groupby("multiplier")
    return [float(value) for value, part in parts if distances.of(part, versus=plain).low > 0]


def linked(trial: Trial, distances: Distances, prompt: int = 0) -> None:
    """A slider for each attribute over the curves of tempo, centroid and distance, shaded where that is shown worse."""
    study, table = trial.study, distances.table
    for name, rows in trial.parts.items():
        far = table[table["attribute"] == name].sort_values("multiplier")
        curves = [_curve(trial.effects(name, metric), *label) for metric, label in _LINKED.items()]
        values, mean, low, high = _columns(far, "multiplier", "fad", "fad_low", "fad_high")
        curves.append(
            Curve(
                "distance from the model's own music (Fréchet)",
                "",
                values,
                mean,
                low,
                high,
                _worse(distances, name),
            )
        )
        one = rows[rows["prompt_id"] == prompt]
        display(study.slider(one, study.attributes[name], spectrogram=True, curves=curves))


_LINKED = {
    "bpm": ("tempo, mean over prompts", "BPM"),
    "centroid": ("spectral centroid, mean over prompts", "Hz"),
}


def _curve(summary: pd.DataFrame, name: str, unit: str) -> Curve:
    """Means, with the interval of the paired effect around the baseline, and the baseline itself at λ = 0."""
    baseline = float(summary.loc[summary["n"].idxmax(), "baseline"])
    steered = summary[summary["multiplier"] != 0]
    steered = steered.assign(
        low=steered["baseline"] + steered["low"], high=steered["baseline"] + steered["high"]
    )
    plain = pd.DataFrame({"multiplier": [0.0], "mean": [baseline], "low": [baseline], "high": [baseline]})
    both = pd.concat([steered[list(plain)], plain]).sort_values("multiplier")
    return Curve(name, unit, *_columns(both, "multiplier", "mean", "low", "high"))


def _columns(table: pd.DataFrame, *names: str) -> list[list[float]]:
    return [table[name].astype(float).tolist() for name in names]


def knees(trial: Trial, distances: Distances) -> pd.DataFrame:
    """Say where each pole's distance has a knee, and give the distances."""
    for pole in trial.poles():
        table = distances.table
        curve = table[(table["attribute"] == pole.key) & (table["multiplier"] * pole.sign >= 0)]
        found = knee(curve["multiplier"].abs(), curve["fad"])
        print(f"toward {pole.name}: " + (
            "no knee (one line fits nearly as well as two, or there are fewer than 5 points)"
            if np.isnan(found) else f"knee at |λ| = {found:.3g}"))  # fmt: skip
    return distances.table.set_index(["attribute", "multiplier"]).drop(columns="source_layer").round(2)


def budget(study: Study, quality: pd.DataFrame, margins: Mapping[str, float]) -> None:
    """What each λ costs beyond the words, with the margin that its upper limit must stay below."""
    labels = {
        "nll": "negative log-likelihood beyond\nthe words' (nats per token)",
        "clap": "Fréchet distance beyond\nthe words', CLAP (share of variance)",
        "mel": "Fréchet distance beyond the\nwords', mel bands (share of variance)",
    }
    axes = iter(figures.panels(len(study.attributes), len(margins), size=(3.0, 3.5)))
    for name, attribute in study.attributes.items():
        rows = quality[quality["attribute"] == name]
        for measure, margin in margins.items():
            ax = next(axes)
            ax.axhline(margin, color=PALETTE["baseline"], linestyle="--", linewidth=1, label="margin")
            for sign in (1, -1):
                pole, colour = figures.pole(attribute, sign)
                part = rows[np.sign(rows["multiplier"]) == sign].sort_values("multiplier", key=abs)
                size = part["multiplier"].abs()
                ax.fill_between(
                    size,
                    part[f"{measure}_low"],
                    part[f"{measure}_high"],
                    color=colour,
                    alpha=0.2,
                    linewidth=0,
                )
                ax.plot(size, part[measure], color=colour, marker="o", markersize=4, label=f"toward {pole}")
            ax.set(xlabel="size of λ", ylabel=labels[measure])
            figures.kappa_axis(ax, rows)
            if measure == next(iter(margins)):  # one legend a row
                figures.legend(ax)
    largest = {
        name: choices.strongest(rows, margins) for name, rows in quality.groupby("attribute", sort=False)
    }
    within = listed([f"no λ for {name}" if size is None else f"λ up to {size:g} for {name}"
                     for name, size in largest.items()])  # fmt: skip
    figures.message(f"Within the budget: {within}")
    plt.show()


def cost_of_words(study: Study, words: pd.DataFrame) -> pd.DataFrame:
    """What it costs to ask for each pole in words: see `yardsticks.quality_of_words`."""
    poles = {
        (name, side): figures.pole(attribute, side)[0]
        for name, attribute in study.attributes.items()
        for side in (1, -1)
    }
    asked = [poles[row["attribute"], int(row["multiplier"])] for _, row in words.iterrows()]
    shown = words.drop(columns=["attribute", "multiplier", "kappa"]).set_index(pd.Index(asked, name="words"))
    return shown.round(2)


def tell(
    quality: pd.DataFrame, best: Mapping[str, float | None], margins: Mapping[str, float]
) -> pd.DataFrame:
    """Say which size of λ the budget allows, and give what each multiplier costs."""
    for name, size in best.items():
        rows = quality[quality["attribute"] == name]
        if size is None:
            least = rows["multiplier"].abs().min()
            rows = rows[rows["multiplier"].abs() == least]
            over = [each for each, margin in margins.items() if not (rows[f"{each}_high"] < margin).all()]
            print(
                f"{name}: no λ is allowed. Even at |λ| = {least:g} the upper limit of {listed(over)} is not below its "
                "margin, because of harm or because there are too few prompts. Later chapters do not steer it"
            )
        else:
            kappa = rows.loc[rows["multiplier"].abs() == size, "kappa"].mean()
            print(f"{name}: the largest λ within the budget is ±{size:g}, κ = {kappa:.2g}")
    return quality.set_index(["attribute", "multiplier"]).round(3)


def steps(trial: Trial, name: str, size: float | None) -> list[float]:
    """The multipliers of an attribute within the budget, 0 among them; none if no size is."""
    every = sorted(trial.parts[name]["multiplier"].unique())
    return [value for value in every if size is not None and abs(value) <= size]


def smoothness(rows: pd.DataFrame, metric: str, multipliers: Sequence[float]) -> Interval:
    """Rank correlation of λ, sign and all, and a measure within a prompt, averaged over prompts.

    NaN with fewer than five λ: of two or three any order is smooth.
    """
    wide = rows[rows["multiplier"].isin(multipliers)].pivot(
        index="multiplier", columns="prompt_id", values=metric
    )
    if len(wide) < 5:
        return Interval(np.nan, np.nan, np.nan, 0, wide.shape[1])
    return stats.mean_interval(wide.reset_index().corr(method="spearman")["multiplier"].drop("multiplier"))


def controls(trial: Trial, best: Mapping[str, float | None], *, draws: int, prompts: int) -> pd.DataFrame:
    """Rank correlation and shift along directions that should not steer, as along the attribute's own.

    Of each attribute at five λ of the same size: 0, the size within the budget, and the largest of at most half of it.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``direction``, ``kind`` ("random", or "other"), ``rank`` and ``shift`` (octaves, or the
        unit of a measure that has none).
    """
    study, factors = trial.study, {}
    for name, size in best.items():
        inside = [value for value in steps(trial, name, size) if value > 0]
        half = [value for value in inside if 2 * value <= inside[-1]]
        if half:
            factors[name] = [-inside[-1], -half[-1], half[-1], inside[-1]]
    rows = []
    if factors:
        made = yardsticks.controls(study, draws=draws, prompts=prompts, multipliers=factors).table
        own = trial.table[trial.table["prompt_id"] < prompts].assign(setting=lambda each: each["attribute"])
        for (name, direction), part in pd.concat([own, made]).groupby(["setting", "attribute"], sort=False):
            if name not in factors:
                continue
            metric = study.attributes[name].metric
            ends = part[part["multiplier"].abs() == factors[name][-1]]
            shift = stats.shifts(ends, value=metric, by=["attribute"], octaves=metric in stats.OCTAVES)[
                "shift"
            ]
            rank = smoothness(part, metric, [0.0, *factors[name]])
            kind = "own" if direction == name else "random" if direction.startswith("random") else "other"
            rows.append([name, direction, kind, rank.estimate, shift.mean(), len(shift)])
    return pd.DataFrame(rows, columns=["attribute", "direction", "kind", "rank", "shift", "n"])


def of_random(table: pd.DataFrame, name: str, column: str) -> Interval:
    """Where results of random directions lie; see `evidence.stats.control_range`."""
    return stats.control_range(table.query("attribute == @name and kind == 'random'")[column])


def findings(trial: Trial, best: Mapping[str, float | None], table: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    allowed, found = [], []
    units = {
        name: "octaves" if each.metric in stats.OCTAVES else each.unit
        for name, each in trial.study.attributes.items()
    }
    for name, size in best.items():
        if size is None:
            allowed.append(f"none for {name}")
            continue
        metric = trial.study.attributes[name].metric
        octaves = metric in stats.OCTAVES
        ends = trial.parts[name].query("multiplier.abs() == @size")
        shift = stats.mean_interval(
            stats.shifts(ends, value=metric, by=["attribute"], octaves=octaves)["shift"]
        )
        allowed.append(f"±{size:g} for {name}")
        if np.isfinite(shift.low):
            found.append(f"{name} by {moved(shift, units[name])}")
    sentences = [f"The largest λ within the budget of quality is {listed(allowed)}."]
    sentences += [f"There, steering changes {listed(found)}, on average of both poles."] if found else []
    random = table[table["kind"] == "random"]
    if random.empty:
        return sentences, "No control could be run, because it needs an allowed λ and a smaller one."
    reach = listed(
        [
            f"{name} by {moved(part['shift'].abs().max(), units[str(name)])}"
            for name, part in random.groupby("attribute")
        ]
    )
    return (
        sentences,
        f"The strongest of {random['direction'].nunique()} random directions of the same length changes {reach}.",
    )


def draw_multiplier_curve(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Metric against the size of the multiplier, one curve for each pole (paper A, figure 5).

    Bands are the 95 % intervals of the paired effect, drawn around the mean: they tell the distance from the
    baseline, not the spread of clips. The knee of a curve, where there is one, is marked
    (`steerlib.readout.analysis.knee`).

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise`, of one attribute and one source layer.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(summary, ["metric", "multiplier", "baseline", "mean", "low", "high", "n"])
    figures.check_one_attribute(summary)
    _, quantity = figures.metric_label(summary)
    figures.check_one_row_each(summary, ["multiplier"])
    baseline = float(summary.loc[summary["n"].idxmax(), "baseline"])
    ax.axhline(baseline, color=PALETTE["baseline"], linestyle="--", linewidth=1, label="baseline (λ = 0)")
    for sign in (1, -1):
        part = summary[np.sign(summary["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = figures.pole(attribute, sign)
        part = part.assign(size=part["multiplier"].abs()).sort_values("size")
        x = np.append(0, part["size"])
        mean = np.append(baseline, part["mean"])
        low = np.append(baseline, part["baseline"] + part["low"])
        high = np.append(baseline, part["baseline"] + part["high"])
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=colour, marker="o", markersize=4, label=f"toward {name}")
        figures.mark_knee(ax, x, mean, colour)
    ax.set(xlabel="size of λ", ylabel=quantity)
    if "kappa" in summary:
        figures.kappa_axis(ax, summary)
    figures.legend(ax)


def draw_fad_curve(table: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Fréchet audio distance against the size of the multiplier, one curve for each pole (paper A, figure 7).

    Parameters
    ----------
    table : DataFrame
        Columns ``attribute``, ``multiplier``, ``fad``, ``fad_low`` and ``fad_high`` (for instance from
        `steerlib.evidence.stats.jackknife_interval`), and if wanted ``fad_infinity`` (dashed); one row a multiplier.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(table, ["multiplier", "fad", "fad_low", "fad_high"])
    figures.check_one_attribute(table)
    figures.check_one_row_each(table, ["multiplier"])
    for sign in (1, -1):
        part = table[np.sign(table["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = figures.pole(attribute, sign)
        part = pd.concat([table[table["multiplier"] == 0], part])
        part = part.assign(size=part["multiplier"].abs()).sort_values("size")
        ax.fill_between(part["size"], part["fad_low"], part["fad_high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(part["size"], part["fad"], color=colour, marker="o", markersize=4, label=f"toward {name}")
        if "fad_infinity" in part:
            ax.plot(
                part["size"],
                part["fad_infinity"],
                color=colour,
                linestyle="--",
                linewidth=1.2,
                label=f"toward {name}, infinite samples",
            )
        figures.mark_knee(ax, part["size"], part["fad"], colour)
    ax.set(xlabel="size of λ", ylabel="Fréchet audio distance (embedding units²)")
    if "kappa" in table:
        figures.kappa_axis(ax, table)
    figures.legend(ax)
