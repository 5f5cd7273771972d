"""Figures from tables: each takes a tidy DataFrame (or arrays) and the `ax` to draw on.

The figures follow paper A: activations (figure 2), layer scan (4), multipliers (5), cosines (6), Fréchet
distance (7), number of prompts (8) and spectrograms (9), with what the paper leaves out: bands are 95 %
intervals. Colours and labels are those of `steerlib.page.style`; call its `use_style` once before drawing.
"""

from collections.abc import Sequence
from typing import Any

import librosa
import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped]
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from sklearn.decomposition import PCA

from steerlib.activations import Activations
from steerlib.evidence.stats import check_columns
from steerlib.page.style import INK, METRIC_LABELS, PALETTE, pole_colour, signed
from steerlib.prompts import Attribute
from steerlib.readout.analysis import Blocks, knee

__all__ = [
    "activation_kde",
    "agreement_by_layer",
    "agreement_curve",
    "cosine_matrix",
    "cross_effects",
    "effect_and_quality",
    "fad_curve",
    "forest",
    "jaccard_matrix",
    "layer_curves",
    "layer_scan",
    "multiplier_curve",
    "panels",
    "probe_accuracy",
    "prompt_count_curve",
    "score_effects",
    "separation_by_layer",
    "spectrogram",
]


def panels(
    rows: int, columns: int = 1, *, size: tuple[float, float] = (4.2, 3.4), **options: Any
) -> list[Axes]:
    """Axes of a grid of panels, row after row, each of `size` inches; `options` as for ``plt.subplots``."""
    shape = (size[0] * columns, size[1] * rows)
    return list(plt.subplots(rows, columns, figsize=shape, squeeze=False, **options)[1].flat)


def activation_kde(activations: Activations, layer: int, ax: Axes) -> None:
    """Activations of the two poles at one layer, projected on two principal components (paper A, figure 2).

    Points are prompts; contours are seaborn's Gaussian kernel density of each pole (Scott's bandwidth), outside
    of which lie 20, 40, 60 and 80 % of its mass. Poles of fewer than 5 prompts, or on a line, have points only.

    Parameters
    ----------
    activations : Activations
        With labels and at least 3 prompts.
    layer : int
        0-based; the residual stream at the output of that block.
    ax : Axes
    """
    if activations.labels is None:
        raise ValueError("these activations have no labels: extract them from an Attribute, not from a list")
    layers = activations.values.shape[1]
    if not 0 <= layer < layers:
        raise ValueError(f"layer {layer} does not exist: these activations have layers 0 to {layers - 1}")
    labels = activations.labels.numpy().astype(bool)
    pca = PCA(n_components=2)
    points = pca.fit_transform(activations.values[:, layer].numpy().astype(float))
    attribute = activations.attribute
    names = (attribute.positive, attribute.negative) if attribute else ("positive", "negative")
    for name, positive in zip(names, (True, False), strict=True):
        cloud = points[labels == positive]
        colour = pole_colour(name, positive)
        if _is_plane(cloud):
            x, y = cloud.T
            levels = [0.2, 0.4, 0.6, 0.8, 1.0]
            sns.kdeplot(x=x, y=y, levels=levels, fill=True, color=colour, alpha=0.25, ax=ax)
            sns.kdeplot(x=x, y=y, levels=levels[:-1], color=colour, alpha=0.7, linewidths=0.8, ax=ax)
        ax.scatter(cloud[:, 0], cloud[:, 1], s=14, color=colour, label=name, linewidths=0)
    shares = 100 * pca.explained_variance_ratio_
    ax.set(
        xlabel=f"component 1 ({shares[0]:.0f} % of variance)",
        ylabel=f"component 2 ({shares[1]:.0f} % of variance)",
    )
    ax.set_title(f"layer {layer}", loc="right")
    _legend(ax)


def separation_by_layer(table: pd.DataFrame, ax: Axes) -> None:
    """Separation of the poles at each layer, as `steerlib.readout.analysis.separation` measures it (beside figure 2).

    Parameters
    ----------
    table : DataFrame
        Columns ``layer``, and ``auc`` and ``silhouette`` each with ``_low`` and ``_high``.
    ax : Axes
    """
    measures = {"auc": ("linear classifier (AUC)", "#009E73"), "silhouette": ("silhouette", "#CC79A7")}
    check_columns(table, ["layer", *(f"{m}{end}" for m in measures for end in ("", "_low", "_high"))])
    for measure, (label, colour) in measures.items():
        ax.plot(table["layer"], table[measure], color=colour, marker="o", markersize=4, label=label)
        ax.fill_between(
            table["layer"],
            table[f"{measure}_low"],
            table[f"{measure}_high"],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
    ax.axhline(0.5, color="#009E73", linestyle=":", linewidth=1, label="AUC by chance")
    ax.set(xlabel="layer", ylabel="separation (no unit)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax)


def cosine_matrix(matrix: npt.ArrayLike, ax: Axes, *, blocks: Blocks | None = None) -> None:
    """Cosine similarity of the directions of all layers (paper A, figure 6).

    Parameters
    ----------
    matrix : array_like, shape (layers, layers)
        For instance ``vector.cosine_similarity()``.
    ax : Axes
    blocks : Blocks, optional
        Outlined, from `steerlib.readout.analysis.similarity_blocks`.
    """
    image = ax.imshow(np.asarray(matrix, dtype=float), cmap="RdBu_r", vmin=-1, vmax=1)
    bar = ax.figure.colorbar(image, ax=ax, label="cosine similarity", shrink=0.85)
    bar.outline.set_visible(False)
    for first, last in blocks.bounds if blocks else ():
        size = last - first + 1
        ax.add_patch(
            Rectangle((first - 0.5, first - 0.5), size, size, fill=False, edgecolor="black", linewidth=2)
        )
    ax.set(xlabel="layer", ylabel="layer")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))


def layer_scan(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Relative effect of the direction of each layer (paper A, figure 4); bands are 95 % intervals.

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise` by attribute, source layer and multiplier; of one attribute. A row
        without a source layer (All-to-All) becomes a dashed line across.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(
        summary, ["metric", "source_layer", "multiplier", "relative", "relative_low", "relative_high"]
    )
    _one_attribute(summary)
    quantity, _ = _metric(summary)
    _one_row_each(summary, ["source_layer", "multiplier"])
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    strengths = sorted(summary["multiplier"].abs().unique())
    for multiplier, part in reversed(list(summary.groupby("multiplier"))):
        name, colour = _pole(attribute, float(multiplier))
        alpha = 0.4 + 0.6 * (strengths.index(abs(multiplier)) + 1) / len(strengths)
        layers = part[part["source_layer"].notna()].sort_values("source_layer")
        x = layers["source_layer"].astype(int)
        ax.fill_between(
            x,
            100 * layers["relative_low"],
            100 * layers["relative_high"],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        label = f"{name} (λ = {signed(float(multiplier), '+g')})"
        ax.plot(x, 100 * layers["relative"], color=colour, alpha=alpha, marker="o", markersize=4, label=label)
        for level in 100 * part.loc[part["source_layer"].isna(), "relative"]:
            ax.axhline(
                level, color=colour, alpha=alpha, linestyle="--", linewidth=1.2, label=f"{label}, All-to-All"
            )
    ax.set(xlabel="source layer of the direction", ylabel=f"change of {quantity} (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax)


def multiplier_curve(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
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
    _one_attribute(summary)
    _, quantity = _metric(summary)
    _one_row_each(summary, ["multiplier"])
    baseline = float(summary.loc[summary["n"].idxmax(), "baseline"])
    ax.axhline(baseline, color=PALETTE["baseline"], linestyle="--", linewidth=1, label="baseline (λ = 0)")
    for sign in (1, -1):
        part = summary[np.sign(summary["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = _pole(attribute, sign)
        part = part.assign(size=part["multiplier"].abs()).sort_values("size")
        x = np.append(0, part["size"])
        mean = np.append(baseline, part["mean"])
        low = np.append(baseline, part["baseline"] + part["low"])
        high = np.append(baseline, part["baseline"] + part["high"])
        ax.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=colour, marker="o", markersize=4, label=f"toward {name}")
        _mark_knee(ax, x, mean, colour)
    ax.set(xlabel="size of the multiplier |λ|", ylabel=quantity)
    _legend(ax)


def fad_curve(table: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
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
    _one_attribute(table)
    _one_row_each(table, ["multiplier"])
    for sign in (1, -1):
        part = table[np.sign(table["multiplier"]) == sign]
        if part.empty:
            continue
        name, colour = _pole(attribute, sign)
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
        _mark_knee(ax, part["size"], part["fad"], colour)
    ax.set(xlabel="size of the multiplier |λ|", ylabel="Fréchet audio distance (embedding units²)")
    _legend(ax)


def prompt_count_curve(summary: pd.DataFrame, ax: Axes, *, attribute: Attribute) -> None:
    """Effect against the number of prompts that the direction was made of (paper A, figure 8).

    Points are random subsets of prompts, the line their mean, the band their range.

    Parameters
    ----------
    summary : DataFrame
        From `steerlib.evidence.stats.summarise` by attribute, ``prompts`` (how many a pole), ``subset`` and
        multiplier.
    ax : Axes
    attribute : Attribute
        For the names of the poles.
    """
    check_columns(summary, ["metric", "prompts", "subset", "multiplier", "effect"])
    _one_attribute(summary)
    _, quantity = _metric(summary)
    _one_row_each(summary, ["prompts", "subset", "multiplier"])
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    for multiplier, part in reversed(list(summary.groupby("multiplier"))):
        name, colour = _pole(attribute, float(multiplier))
        spread = part.groupby("prompts")["effect"].agg(["mean", "min", "max"])
        ax.fill_between(spread.index, spread["min"], spread["max"], color=colour, alpha=0.2, linewidth=0)
        ax.scatter(part["prompts"], part["effect"], color=colour, s=10, alpha=0.6, linewidths=0)
        ax.plot(
            spread.index,
            spread["mean"],
            color=colour,
            label=f"{name} (λ = {signed(float(multiplier), '+g')})",
        )
    counts = sorted(summary["prompts"].unique())
    _count_axis(ax, counts)
    ax.set(xlabel="prompts of each pole", ylabel=f"change of {quantity}")
    _legend(ax)


def agreement_curve(table: pd.DataFrame, ax: Axes, *, layer: int) -> None:
    """How well directions of few prompts agree with that of all, and with each other (beside paper A, figure 8).

    Lines are means over random subsets, bands hold 95 % of the subsets. The second curve ends at half of the
    prompts, beyond which two subsets cannot be disjoint.

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.analysis.subset_agreement`.
    ax : Axes
    layer : int
        Layer whose directions are compared.
    """
    check_columns(table, ["prompts", "layer", "with_all", "with_other"])
    part = table[table["layer"] == layer]
    if part.empty:
        raise ValueError(f"the table has no layer {layer}: it has {sorted(table['layer'].unique())}")
    curves = {
        "with_all": ("with the direction of all prompts", "#009E73"),
        "with_other": ("with that of as many other prompts", "#CC79A7"),
    }
    for column, (label, colour) in curves.items():
        groups = part.dropna(subset=[column]).groupby("prompts")[column]
        mean = groups.mean()
        ax.fill_between(
            mean.index, groups.quantile(0.025), groups.quantile(0.975), color=colour, alpha=0.2, linewidth=0
        )
        ax.plot(mean.index, mean, color=colour, marker="o", markersize=4, label=label)
    _count_axis(ax, sorted(part["prompts"].unique()))
    ax.set(xlabel="prompts of each pole", ylabel="cosine similarity")
    ax.set_title(f"layer {layer}", loc="right")
    ax.legend(loc="lower right", fontsize="small")  # where the curves have left room


def effect_and_quality(table: pd.DataFrame, ax: Axes, *, quantity: str) -> None:
    """Effect of each setting against its distance from unsteered music: to the right and low is good.

    Parameters
    ----------
    table : DataFrame
        One row a setting: ``setting`` (its name), ``shift``, ``shift_low``, ``shift_high``, ``fad``,
        ``fad_low`` and ``fad_high``. Settings are numbered in the order of the rows; the legend tells the
        names.
    ax : Axes
    quantity : str
        What shifts, with its unit.
    """
    check_columns(
        table, ["setting", *(f"{m}{end}" for m in ("shift", "fad") for end in ("", "_low", "_high"))]
    )
    colours = sns.color_palette("colorblind", 10)
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    for number, row in enumerate(table.itertuples(), start=1):
        colour = colours[(number - 1) % 10]
        ax.plot([row.shift_low, row.shift_high], [row.fad, row.fad], color=colour, linewidth=1.2)
        ax.plot([row.shift, row.shift], [row.fad_low, row.fad_high], color=colour, linewidth=1.2)
        ax.plot(row.shift, row.fad, "o", color=colour, markersize=5, label=f"{number} {row.setting}")
        ax.annotate(str(number), (row.shift, row.fad), xytext=(4, 4), textcoords="offset points", color=INK)
    ax.set(xlabel=f"shift of {quantity}", ylabel="Fréchet audio distance (embedding units²)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), borderaxespad=0)


def cross_effects(table: pd.DataFrame, ax: Axes) -> None:
    """Which steering moves which measure: a matrix of shifts in standard deviations of unsteered clips.

    Cells whose 95 % interval lies wholly on one side of 0 have a frame.

    Parameters
    ----------
    table : DataFrame
        Columns ``attribute``, ``metric``, ``shift``, ``low`` and ``high``, all three divided by the standard
        deviation of the metric over unsteered clips; one row a cell, in the order to be drawn.
    ax : Axes
    """
    check_columns(table, ["attribute", "metric", "shift", "low", "high"])
    _one_row_each(table, ["attribute", "metric"])
    attributes, metrics = list(table["attribute"].unique()), list(table["metric"].unique())
    matrix = table.pivot(index="attribute", columns="metric", values="shift").loc[attributes, metrics]
    reach = max(1.0, float(np.nanmax(np.abs(matrix.to_numpy()), initial=0)))
    image = ax.imshow(matrix, cmap="RdBu_r", vmin=-reach, vmax=reach, aspect="auto")
    for row in table.itertuples():
        x, y = metrics.index(row.metric), attributes.index(row.attribute)
        ink = "white" if abs(row.shift) > 0.6 * reach else "black"
        ax.text(x, y, signed(row.shift, "+.2f"), ha="center", va="center", color=ink)
        if row.low > 0 or row.high < 0:
            frame = Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="black", linewidth=2)
            ax.add_patch(frame)
    ax.set_xticks(range(len(metrics)), [METRIC_LABELS.get(name, name).split(" (")[0] for name in metrics])
    ax.set_yticks(range(len(attributes)), attributes)
    ax.set(xlabel="measure", ylabel="steered attribute")
    bar = ax.figure.colorbar(image, ax=ax, label="shift (standard deviations)", shrink=0.85)
    bar.outline.set_visible(False)


def layer_curves(table: pd.DataFrame, ax: Axes, *, ylabel: str) -> None:
    """One curve a series over the layers, with 95 % bands where there are any.

    Parameters
    ----------
    table : DataFrame
        Columns ``layer``, ``series`` (label of the curve) and ``value``, and if wanted ``low`` and ``high``.
    ax : Axes
    ylabel : str
        With its unit.
    """
    check_columns(table, ["layer", "series", "value"])
    _one_row_each(table, ["layer", "series"])
    colours = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    for number, (series, part) in enumerate(table.groupby("series", sort=False)):
        part, colour = part.sort_values("layer"), colours[number % len(colours)]
        if {"low", "high"} <= set(part):
            ax.fill_between(part["layer"], part["low"], part["high"], color=colour, alpha=0.2, linewidth=0)
        ax.plot(part["layer"], part["value"], color=colour, marker="o", markersize=4, label=series)
    ax.set(xlabel="layer", ylabel=ylabel)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax)


def forest(table: pd.DataFrame, ax: Axes, *, xlabel: str) -> None:
    """Estimates with their 95 % intervals, one below the other, around the line of no effect.

    Parameters
    ----------
    table : DataFrame
        Columns ``label``, ``estimate``, ``low`` and ``high``, and if wanted ``colour``; the first row is drawn
        on top.
    ax : Axes
    xlabel : str
        With its unit.
    """
    check_columns(table, ["label", "estimate", "low", "high"])
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    for y, row in enumerate(table.itertuples()):
        colour = getattr(row, "colour", "#0072B2")
        ax.plot([row.low, row.high], [y, y], color=colour)
        ax.plot(row.estimate, y, "o", color=colour, markersize=5)
    ax.set_yticks(range(len(table)), table["label"])
    ax.invert_yaxis()
    ax.set_xlabel(xlabel)


def agreement_by_layer(table: pd.DataFrame, ax: Axes, *, label: str, colour: str = "#0072B2") -> None:
    """Agreement of clusters with labels at each layer: adjusted Rand index solid, mutual information dashed.

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.analysis.clusters`.
    ax : Axes
    label : str
        What the labels are, for the title.
    colour : str
    """
    check_columns(table, ["layer", *(f"{m}{end}" for m in ("ari", "nmi") for end in ("", "_low", "_high"))])
    for measure, name, style in (("ari", "adjusted Rand index", "-"), ("nmi", "mutual information", "--")):
        ax.fill_between(
            table["layer"],
            table[f"{measure}_low"],
            table[f"{measure}_high"],
            color=colour,
            alpha=0.15,
            linewidth=0,
        )
        ax.plot(table["layer"], table[measure], color=colour, linestyle=style, label=name)
    ax.axhline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set(xlabel="layer", ylabel="agreement (no unit)", ylim=(-0.1, 1.02))
    ax.set_title(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def jaccard_matrix(table: pd.DataFrame, ax: Axes) -> None:
    """Overlap of labels (rows) with their matched clusters (columns), from `steerlib.readout.analysis.jaccard`."""
    image = ax.imshow(table.to_numpy(dtype=float), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="Jaccard index").outline.set_visible(False)
    ax.set_yticks(range(len(table)), labels=[str(name) for name in table.index], fontsize=7)
    ax.set_xticks([])
    ax.set(xlabel="cluster matched to the label", ylabel="label")


def probe_accuracy(table: pd.DataFrame, ax: Axes, *, title: str = "") -> None:
    """Held-out accuracy of probes at each layer, with the shuffled control and chance (paper B section III).

    Parameters
    ----------
    table : DataFrame
        From `steerlib.readout.probes.probe_accuracy`.
    ax : Axes
    title : str
        Said beside the axis, for the legend takes the place above.
    """
    check_columns(table, ["layer", "loss", "labels", "accuracy", "low", "high", "chance"])
    colours = {"mse": "#D55E00", "bce": "#0072B2"}
    for (loss, labels), part in table.groupby(["loss", "labels"]):
        style = "-" if labels == "true" else ":"
        name = f"{str(loss).upper()}, {labels} labels"
        ax.fill_between(
            part["layer"], part["low"], part["high"], color=colours[str(loss)], alpha=0.12, linewidth=0
        )
        ax.plot(part["layer"], part["accuracy"], color=colours[str(loss)], linestyle=style, label=name)
    ax.axhline(
        table["chance"].iloc[0], color=PALETTE["baseline"], linestyle="--", linewidth=1, label="chance"
    )
    ax.set(xlabel=f"layer, {title}" if title else "layer", ylabel="held-out accuracy", ylim=(0, 1.02))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(ax)


def score_effects(table: pd.DataFrame, ax: Axes, *, quantity: str) -> None:
    """Effects with their intervals, one row each, and a line at no effect.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``effect``, ``low`` and ``high``, and if wanted ``kind``, which gives the colour.
    ax : Axes
    quantity : str
        For the axis.
    """
    check_columns(table, ["name", "effect", "low", "high"])
    colours = ["#009E73", "#D55E00", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9"]
    kinds = table["kind"] if "kind" in table else pd.Series("", index=table.index)
    names = list(dict.fromkeys(table["name"]))
    for number, (kind, part) in enumerate(table.groupby(kinds, sort=False)):
        height = np.array([names.index(name) for name in part["name"]]) + 0.18 * (
            number - (kinds.nunique() - 1) / 2
        )
        errors = np.abs(part[["low", "high"]].to_numpy(dtype=float).T - part["effect"].to_numpy(dtype=float))
        ax.errorbar(
            part["effect"], height, xerr=errors, fmt="o", markersize=5, color=colours[number % 6], label=kind
        )
    ax.axvline(0, color=PALETTE["baseline"], linewidth=1)
    ax.set_yticks(range(len(names)), labels=names)
    ax.invert_yaxis()
    ax.set(xlabel=quantity)
    if "kind" in table:
        _legend(ax)


def spectrogram(
    audio: npt.ArrayLike,
    sample_rate: int,
    ax: Axes,
    *,
    peak: float | None = None,
    log_frequency: bool = True,
    colorbar: bool = True,
) -> None:
    """Spectrogram in dB (paper A, figure 9): power of frames of 1024 samples, hop 256, over a range of 70 dB.

    Parameters
    ----------
    audio : array_like, shape (samples,)
    sample_rate : int
        Hz.
    ax : Axes
    peak : float, optional
        Magnitude that counts as 0 dB; give the same to figures that are to be compared. Default: the clip's
        own peak.
    log_frequency : bool
        Logarithmic frequency from 0.06 kHz up, or linear.
    colorbar : bool
        Draw the scale beside it.
    """
    samples = np.asarray(audio, dtype=np.float32)
    if samples.ndim != 1 or not len(samples):
        raise ValueError(
            f"a spectrogram needs one clip of shape (samples,), got {samples.shape}; take clips.audio[i]"
        )
    magnitude = np.abs(librosa.stft(samples, n_fft=1024, hop_length=256))
    reference = float(magnitude.max()) if peak is None else peak
    decibels = 20 * np.log10(np.maximum(magnitude, 1e-10) / max(reference, 1e-10))
    seconds = np.arange(magnitude.shape[1]) * 256 / sample_rate
    kilohertz = np.arange(magnitude.shape[0]) * sample_rate / 1024 / 1000
    mesh = ax.pcolormesh(
        seconds, kilohertz, decibels, cmap="magma", vmin=-70, vmax=0, shading="nearest", rasterized=True
    )
    if log_frequency:
        ax.set_yscale("log")
        ax.set_ylim(0.06, kilohertz[-1])
        ax.yaxis.set_major_locator(
            FixedLocator([t for t in (0.1, 0.2, 0.5, 1, 2, 5, 10) if t < kilohertz[-1]])
        )
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set(xlabel="time (s)", ylabel="frequency (kHz)")
    if colorbar:
        bar = ax.figure.colorbar(mesh, ax=ax, label="power (dB)")
        bar.outline.set_visible(False)


def _count_axis(ax: Axes, counts: Sequence[int]) -> None:
    """A logarithmic x axis with ticks at the counts that were tried."""
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(counts))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _legend(ax: Axes) -> None:
    """Above the axes, where it covers no data; narrow, for the axes shrink to what stands above them."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=2,
        borderaxespad=0.2,
        columnspacing=0.8,
        fontsize="small",
        handlelength=1.2,
        handletextpad=0.4,
    )


def _is_plane(cloud: npt.NDArray[np.float64]) -> bool:
    """Whether points are enough for a density in two dimensions, and not all on a line."""
    centred = cloud - cloud.mean(axis=0)
    return len(cloud) >= 5 and bool(np.linalg.matrix_rank(centred, tol=1e-6 * np.abs(centred).max()) == 2)


def _one_attribute(table: pd.DataFrame) -> None:
    if table.empty:
        raise ValueError("there is nothing to draw: the table has no rows")
    names = list(table["attribute"].dropna().unique()) if "attribute" in table else []
    if len(names) > 1:
        raise ValueError(
            f"this figure shows one attribute, the table has {names}: filter it, one ax for each"
        )


def _pole(attribute: Attribute, multiplier: float) -> tuple[str, str]:
    name = attribute.positive if multiplier > 0 else attribute.negative
    return name, pole_colour(name, multiplier > 0)


def _metric(summary: pd.DataFrame) -> tuple[str, str]:
    """What was measured, without and with its unit."""
    names = summary["metric"].unique()
    if len(names) > 1:
        raise ValueError(
            f"this figure shows one metric, the table has {list(names)}: filter it, one ax for each"
        )
    label = METRIC_LABELS.get(names[0], names[0])
    return label.split(" (")[0], label


def _mark_knee(ax: Axes, x: npt.ArrayLike, y: npt.ArrayLike, colour: str) -> None:
    at = knee(x, y)
    if np.isfinite(at):
        ax.axvline(at, color=colour, linestyle=":", linewidth=1.2, label=f"knee at {at:.2g}")


def _one_row_each(table: pd.DataFrame, key: list[str]) -> None:
    repeated = table.duplicated(key)
    if repeated.any():
        raise ValueError(
            f"several rows for the same {', '.join(key)} (such as "
            f"{tuple(table.loc[repeated, key].iloc[0])}): filter the table to what the figure is about"
        )
