"""Effects with their uncertainty: intervals of means and of pairs, ranges of controls, AUC, the summary of a sweep.

Paper A gives means and standard deviations over 50 prompts, without saying which differences chance would
make (table 1, figures 4, 5 and 8). Here every clip is compared with the clip of the *same* prompt and seed at
multiplier 0, and every effect has an interval, the number of pairs behind it and the number of pairs that
could not be measured. Values keep the unit of the metric (BPM, Hz, onsets per second); relative effects are
fractions, 0.25 for +25 %.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

__all__ = [
    "OCTAVES",
    "Interval",
    "auc",
    "check_columns",
    "control_range",
    "effect_of",
    "holm",
    "jackknife_interval",
    "mean_interval",
    "median_interval",
    "middle",
    "paired_interval",
    "ratio_interval",
    "share_interval",
    "shifts",
    "sign_flip_interval",
    "summarise",
    "typical",
]

FloatArray = npt.NDArray[np.floating[Any]]

OCTAVES = ("bpm", "centroid", "onset_rate")
"""Measures whose effects multiply: an octave is twice as much."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval.

    Attributes
    ----------
    estimate, low, high : float
        In the unit of what was estimated; `low` and `high` are NaN where there is too little to tell.
    n : int
        Pairs (or values) behind the estimate.
    dropped : int
        Pairs (or values) left out because one of them was NaN, such as a tempo from too few beats.
    df : float
        Degrees of freedom of Student's distribution behind the limits; infinite for the normal one.
    """

    estimate: float
    low: float
    high: float
    n: int
    dropped: int = 0
    df: float = math.inf

    def __str__(self) -> str:
        left_out = f", {self.dropped} not measurable" if self.dropped else ""
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n}{left_out})"


def mean_interval(
    values: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Mean of values, with Student's interval over values (or clusters of them).

    Parameters
    ----------
    values : array_like, shape (N,)
        For instance shifts of prompts. NaN are dropped and counted.
    clusters, level
        See `paired_interval`.

    Returns
    -------
    Interval
        With NaN limits where under two values (or clusters) are left.

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level makes no sense.

    Examples
    --------
    >>> mean = mean_interval([26, 30, 18, float("nan")])
    >>> round(mean.estimate, 1), mean.n, mean.dropped
    (24.7, 3, 1)
    """
    values = _flat(values, "values")
    return ratio_interval(values, np.ones_like(values), clusters=clusters, level=level)


def median_interval(values: npt.ArrayLike, *, level: float = 0.95) -> Interval:
    """Median of values that are independent, with the exact interval between two of them in order.

    Distribution-free: so many values lie below the median as heads fall in as many tosses. With under six values no
    interval of 95 % exists, and the limits are infinite. NaN are dropped and counted.

    Examples
    --------
    >>> print(median_interval([1, 2, 3, 4, 5, 9]))
    3.5 [1, 9] (n = 6)
    """
    values = _flat(values, "values")
    kept = np.sort(values[~np.isnan(values)])
    n, dropped = len(kept), len(values) - len(kept)
    if not n:
        return Interval(np.nan, np.nan, np.nan, 0, dropped)
    beyond = int(
        stats.binom.ppf((1 - level) / 2, n, 0.5)
    )  # the largest number of values to leave out on a side
    low, high = (kept[beyond - 1], kept[-beyond]) if beyond else (-np.inf, np.inf)
    return Interval(float(np.median(kept)), float(low), float(high), n, dropped)


def paired_interval(
    values: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    relative: bool = False,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Mean effect over pairs, with Student's interval over pairs (or clusters of them).

    The standard error is that of the clusters' sums (Cochran 1977, section 6.4), with as many degrees of freedom as
    there are clusters less one; a ratio has Fieller's interval. For effects that multiply, such as those on tempo and
    frequency, give logarithms: ``paired_interval(np.log2(steered), np.log2(plain))`` is in octaves.

    Parameters
    ----------
    values, baseline : array_like, shape (N,)
        Entry i of one is paired with entry i of the other. Pairs with a NaN are dropped and counted.
    relative : bool
        If True, the relative change of the mean, ``mean(values) / mean(baseline) - 1``, as in paper A's table
        1; otherwise the mean of ``values - baseline``.
    clusters : array_like, shape (N,), optional
        Names of what is independent, such as the prompt when each prompt was sung with several seeds.
    level : float
        Confidence level, between 0 and 1.

    Returns
    -------
    Interval
        With NaN limits where under two pairs (or clusters) are left.

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level makes no sense.

    Notes
    -----
    How often such intervals cover the truth is simulated in ``benchmarks/interval_coverage.py``. Where a quantity has
    a floor and few values stand off it, take `sign_flip_interval` of the difference to a control instead.

    Examples
    --------
    >>> effect = paired_interval([130, 150, 128, 149], [100, 120, 110, float("nan")])
    >>> effect.estimate, effect.n, effect.dropped
    (26.0, 3, 1)
    """
    values, baseline = _flat(values, "values"), _flat(baseline, "baseline")
    if len(values) != len(baseline):
        raise ValueError(
            f"{len(values)} values cannot be paired with {len(baseline)} of the baseline: align them by "
            "prompt and seed"
        )
    if relative:
        found = ratio_interval(values, baseline, clusters=clusters, level=level)
        return replace(found, estimate=found.estimate - 1, low=found.low - 1, high=found.high - 1)
    return mean_interval(values - baseline, clusters=clusters, level=level)


def ratio_interval(
    above: npt.ArrayLike,
    below: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
) -> Interval:
    """Ratio of two means over the same pairs, with Fieller's interval (1954) over pairs or clusters of them.

    The interval holds all ratios r at which the mean of ``above - r * below`` is compatible with 0, so that it covers
    the truth also where the mean below is small against its spread. Where that mean is compatible with 0 itself, no
    finite interval does, and the limits are NaN.

    Parameters
    ----------
    above, below : array_like, shape (N,)
        Pairs with a NaN are dropped and counted.
    clusters, level
        See `paired_interval`.

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level makes no sense.
    """
    above, below = _flat(above, "above"), _flat(below, "below")
    if len(above) != len(below):
        raise ValueError(f"{len(above)} values above cannot be paired with {len(below)} below")
    names, whole = _clusters(clusters, above, level), ~np.isnan(above + below)
    n, dropped = int(whole.sum()), int((~whole).sum())
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, dropped)
    _, of = np.unique(names[whole], return_inverse=True)
    sums = np.array([np.bincount(of, weights=each[whole]) for each in (above, below, np.ones_like(above))])
    count, (top, bottom, number) = sums.shape[1], sums.sum(axis=1)
    ratio = float(top / bottom) if bottom else np.nan
    if count < 2:
        return Interval(ratio, np.nan, np.nan, n, dropped)
    # Variances of the sums; a cluster's deviation is from the share that its number of pairs would have.
    residual = sums[:2] - np.outer((top, bottom), sums[2] / number)
    (v_top, v_both), (_, v_bottom) = count / (count - 1) * residual @ residual.T
    t = float(stats.t.ppf((1 + level) / 2, count - 1))
    a, b, c = bottom**2 - t**2 * v_bottom, top * bottom - t**2 * v_both, top**2 - t**2 * v_top
    if a <= 0:
        return Interval(ratio, np.nan, np.nan, n, dropped, df=count - 1)
    reach = np.sqrt(max(b**2 - a * c, 0)) / a
    return Interval(ratio, float(b / a - reach), float(b / a + reach), n, dropped, df=count - 1)


def sign_flip_interval(
    values: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None, level: float = 0.95
) -> Interval:
    """Mean of values, with the interval that belongs to the sign-flip permutation test.

    The limits are quantiles of the means of all subsets of the clusters' means (Hartigan, 1969, "typical values"):
    exact for values that are symmetric about their centre, however heavy their tails. With under six clusters no
    interval of 95 % exists, and the limits are infinite.

    Parameters
    ----------
    values : array_like, shape (N,)
        Differences, such as a shift less that of its control; NaN are dropped and counted.
    clusters, level
        See `paired_interval`. Over 16 clusters, 65,535 random subsets stand for all.

    Returns
    -------
    Interval

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level makes no sense.
    """
    values = _flat(values, "values")
    names, whole = _clusters(clusters, values, level), ~np.isnan(values)
    n, dropped = int(whole.sum()), int((~whole).sum())
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, dropped)
    means = pd.Series(values[whole]).groupby(names[whole]).mean().to_numpy()
    count = len(means)
    if count <= 16:
        chosen = (np.arange(1, 2**count)[:, None] >> np.arange(count)) & 1
    else:
        chosen = np.random.default_rng(0).integers(0, 2, size=(2**16 - 1, count))
        chosen = chosen[chosen.any(axis=1)]
    typical = np.sort(chosen @ means / chosen.sum(axis=1))
    beyond = int((1 - level) / 2 * (len(typical) + 1) + 1e-9)  # of as many + 1 gaps, equally likely each
    low, high = (typical[beyond - 1], typical[-beyond]) if beyond else (-np.inf, np.inf)
    return Interval(float(means.mean()), float(low), float(high), n, dropped, df=max(count - 1, 1))


def share_interval(hits: npt.ArrayLike, *, clusters: npt.ArrayLike | None = None) -> Interval:
    """Share of clips of which something is true, with an interval of 95 % over clips (or clusters of them).

    Student's interval over the clusters' shares, cut to [0, 1]. Where all clusters have one share, which has no spread
    to go by, Clopper and Pearson's for as many clips as there are clusters: nothing seen in eight prompts is not never.

    Parameters
    ----------
    hits : array_like of bool, shape (N,)
    clusters : array_like, shape (N,), optional
        See `paired_interval`.

    Examples
    --------
    >>> print(share_interval([False] * 8))
    0 [0, 0.3694] (n = 8)
    """
    hits = _flat(hits, "hits")
    found = mean_interval(hits, clusters=clusters)
    if found.n and (found.low == found.high or np.isnan(found.low)):
        count = found.n if clusters is None else len(np.unique(np.asarray(clusters)[~np.isnan(hits)]))
        exact = stats.binomtest(round(found.estimate * count), count).proportion_ci(0.95)
        found = replace(found, low=min(exact.low, found.estimate), high=max(exact.high, found.estimate))
    return replace(found, low=max(0.0, float(found.low)), high=min(1.0, float(found.high)))


def control_range(
    estimates: npt.ArrayLike, *, symmetric: bool = True, correlation: bool = False, level: float = 0.95
) -> Interval:
    """Where results of a control lie: the range in which one more draw of it would lie with 95 % chance.

    Parameters
    ----------
    estimates : array_like, shape (K,)
        The same quantity measured with each of K draws of the control: random directions, shuffled labels. NaN are
        dropped and counted.
    symmetric : bool, default True
        Whether the quantity changes its sign with the direction, as a shift does, so that the control's mean is
        known to be 0. One draw is then enough for a range, if a wide one; otherwise it takes two.
    correlation : bool, default False
        Whether the quantity lies between -1 and 1; the range is then made on the scale of Fisher's z.
    level : float

    Returns
    -------
    Interval
        Student's range of prediction; `n` is the number of draws.

    Examples
    --------
    >>> print(control_range([0.1, -0.2, 0.05]))
    0 [-0.4211, 0.4211] (n = 3)
    """
    values = _flat(estimates, "estimates")
    drawn = values[~np.isnan(values)]
    if correlation:
        found = control_range(np.arctanh(np.clip(values, -0.999, 0.999)), symmetric=symmetric, level=level)
        estimate, low, high = (float(np.tanh(each)) for each in (found.estimate, found.low, found.high))
        return replace(found, estimate=estimate, low=low, high=high)
    count, dropped = len(drawn), len(values) - len(drawn)
    free = count if symmetric else count - 1
    if free < 1:
        return Interval(np.nan, np.nan, np.nan, count, dropped)
    centre = 0.0 if symmetric else float(drawn.mean())
    spread = np.sqrt(((drawn - centre) ** 2).sum() / free * (1 if symmetric else 1 + 1 / count))
    reach = float(stats.t.ppf((1 + level) / 2, free) * spread)
    return Interval(centre, centre - reach, centre + reach, count, dropped, df=free)


def holm(chances: npt.ArrayLike) -> FloatArray:
    """P-values, adjusted for their number by Holm's step-down method (1979); NaN stay NaN and do not count."""
    p = _flat(chances, "chances")
    found = np.full(p.shape, np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    found[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return found


def auc(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    *,
    clusters: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    level: float = 0.95,
) -> Interval:
    """Area under the ROC curve: the chance that a positive value exceeds a negative one (ties count half).

    The interval is DeLong's (1988; over clusters, Obuchowski's of 1997) on the scale of the logit, and so between 0
    and 1. Where the sets do not overlap, it has no width, and Newcombe's interval (2006, method 5) takes its place.

    Parameters
    ----------
    positive, negative : array_like, shapes (P,) and (N,)
        For instance BPM of clips steered toward fast and toward slow. NaN are dropped and counted.
    clusters : (array_like, array_like), optional
        Names of what is independent, of each positive and each negative value: the prompts, if the same ones stand
        on both sides.
    level : float

    Returns
    -------
    Interval
        Between 0 and 1, 0.5 for no difference; `n` counts both sets.

    Raises
    ------
    ValueError
        If either set is empty.
    """
    sets = [_flat(positive, "positive"), _flat(negative, "negative")]
    names = clusters or (np.arange(len(sets[0])), len(sets[0]) + np.arange(len(sets[1])))
    of = [_clusters(name, values, level)[~np.isnan(values)] for name, values in zip(names, sets, strict=True)]
    high_set, low_set = (values[~np.isnan(values)] for values in sets)
    dropped = sum(map(len, sets)) - len(high_set) - len(low_set)
    if len(high_set) == 0 or len(low_set) == 0:
        raise ValueError(
            f"AUC needs both sets, got {len(high_set)} positive and {len(low_set)} negative values "
            f"({dropped} were NaN)"
        )
    wins = (high_set[:, None] > low_set) + 0.5 * (high_set[:, None] == low_set)
    area, n = float(wins.mean()), sum(wins.shape)
    parts = [(wins.mean(1) - area) / wins.shape[0], (wins.mean(0) - area) / wins.shape[1]]
    sums = pd.Series(np.concatenate(parts)).groupby(np.concatenate(of)).sum()
    count = len(sums)
    error = float(np.sqrt(count / max(count - 1, 1) * (sums**2).sum()))
    if 0 < area < 1 and error > 0:
        reach = stats.norm.ppf((1 + level) / 2) * error / (area * (1 - area))
        low, high = (1 / (1 + np.exp(-(np.log(area / (1 - area)) + side * reach))) for side in (-1, 1))
    else:
        low, high = _newcombe(area, len(high_set), len(low_set), level)
    return Interval(area, float(low), float(high), n, dropped)


def _newcombe(area: float, positive: int, negative: int, level: float) -> tuple[float, float]:
    """Limits at which Hanley and McNeil's standard error (1982) just reaches the area: Newcombe's method 5."""
    z, mean = stats.norm.ppf((1 + level) / 2), (positive + negative) / 2 - 1

    def excess(limit: float) -> float:
        spread = 1 + mean * ((1 - limit) / (2 - limit) + limit / (1 + limit))
        return (area - limit) ** 2 - z**2 * limit * (1 - limit) * spread / (positive * negative)

    low = (
        0.0 if area <= 0 else optimize.brentq(excess, 0, area - 1e-9)
    )  # at the area itself it is always 0 or less
    high = 1.0 if area >= 1 else optimize.brentq(excess, area + 1e-9, 1)
    return float(low), float(high)


def jackknife_interval(
    statistic: Callable[[npt.NDArray[Any]], float],
    samples: npt.ArrayLike,
    *,
    blocks: int = 10,
    groups: npt.ArrayLike | None = None,
    unbias: bool = False,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of a statistic that must not see repeated samples, such as the Fréchet distance.

    A bootstrap repeats samples, which shrinks covariances and so biases the distance. Here one random block
    of samples after the other is left out, and the spread of the results gives the standard error.

    Parameters
    ----------
    statistic : callable
        Takes samples, returns a number: ``lambda clips: frechet_distance(clips, reference)``.
    samples : array_like, shape (N, ...)
        Independent along the first axis (clips).
    blocks : int
        At least 2 and at most N, or as many as there are groups.
    groups : array_like, shape (N,), optional
        Names of what is independent, such as tracks or prompts: whole groups are left out.
    unbias : bool, default False
        Take off the jackknife's estimate of the bias, for statistics such as the mutual information of two labellings,
        which is too large in small samples.
    level : float
        Confidence level, between 0 and 1.
    seed : int
        Seeds the division into blocks.

    Returns
    -------
    Interval
        Student interval around the statistic of all samples.
    """
    samples = np.asarray(samples)
    names, of = np.unique(
        np.arange(len(samples)) if groups is None else np.asarray(groups), return_inverse=True
    )
    if len(of) != len(samples):
        raise ValueError(f"there are {len(of)} groups for {len(samples)} samples: one name for each")
    if not 2 <= blocks <= len(names):
        raise ValueError(
            f"{len(names)} samples or groups cannot be divided into {blocks} blocks: choose 2 to {len(names)}"
        )
    _check_level(level)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(names)), blocks)
    without = np.array([statistic(samples[~np.isin(of, part)]) for part in parts])
    error = np.sqrt((blocks - 1) / blocks * ((without - without.mean()) ** 2).sum())
    estimate = float(statistic(samples))
    if unbias:
        estimate = float(blocks * estimate - (blocks - 1) * without.mean())
    reach = float(stats.t.ppf((1 + level) / 2, blocks - 1) * error)
    return Interval(estimate, estimate - reach, estimate + reach, len(samples), df=blocks - 1)


def summarise(
    table: pd.DataFrame,
    *,
    value: str,
    by: Sequence[str] = ("attribute", "source_layer", "multiplier"),
    cluster: str = "prompt_id",
    level: float = 0.95,
) -> pd.DataFrame:
    """Paired effects of a sweep: each group of clips against the same prompts and seeds at multiplier 0.

    Parameters
    ----------
    table : DataFrame
        One row a clip, as `sweep` returns it: at least ``multiplier``, ``prompt_id``, ``seed``, `value` and
        `by`. The rows at multiplier 0 are the baseline of all others, whatever their attribute and layer.
    value : str
        Column that was measured: "bpm", "centroid" or "onset_rate".
    by : sequence of str
        Columns that make a group. Groups appear in sorted order; missing values (All-to-All has no source
        layer) are a group of their own.
    cluster : str
        Column of what is independent; the seeds of one prompt are not.
    level
        See `paired_interval`.

    Returns
    -------
    DataFrame
        Columns `by`, ``kappa`` if the table has it, ``metric`` (the name in `value`), then ``n`` and ``dropped``
        (pairs), ``baseline``, ``mean`` and ``std`` (of the pairs, unit of `value`), ``effect``, ``low``, ``high``
        (mean difference, same unit), ``relative``, ``relative_low`` and ``relative_high`` (fractions), ``octaves``,
        ``octaves_low`` and ``octaves_high`` (mean of the logarithms' difference; NaN for what has no octaves, see
        `OCTAVES`), ``right`` and ``wrong`` (shares of the pairs that move to the side of their multiplier's sign, and
        to the other). Multiplier 0 has no rows: it is the baseline.

    Raises
    ------
    ValueError
        If a column is missing, a clip has no baseline, or a prompt and seed have two different ones.

    Notes
    -----
    Used in the chapters on the layer scan (paper A, figure 4), the multiplier sweep (figure 5) and table 1.
    """
    key = ["prompt_id", "seed"]
    check_columns(table, [*key, "multiplier", cluster, value, *by])
    base = table.loc[table["multiplier"] == 0, [*key, value]].drop_duplicates()
    twice = base[base.duplicated(key)]
    if len(twice):
        raise ValueError(
            f"prompt and seed {tuple(twice.iloc[0][key])} have two different baselines: the table mixes "
            "several models or settings; summarise each by itself"
        )
    steered = table[table["multiplier"] != 0].merge(
        base.rename(columns={value: "_baseline"}), on=key, how="left", indicator="_found"
    )
    alone = (steered["_found"] == "left_only").sum()
    if alone or not len(steered):
        raise ValueError(
            f"{alone} of {len(steered)} steered clips have no clip of the same prompt_id and seed at "
            "multiplier 0: sweep with multiplier 0 among the multipliers, and keep those rows when you filter"
        )
    rows = []
    for group, part in steered.groupby(list(by), dropna=False, sort=True):
        pairs = part[[value, "_baseline"]].to_numpy(dtype=float)
        whole = pairs[~np.isnan(pairs).any(axis=1)]
        effect, relative = (
            paired_interval(*pairs.T, relative=r, clusters=part[cluster], level=level) for r in (False, True)
        )
        doublings = _octaves(pairs) if value in OCTAVES else np.full_like(pairs, np.nan)
        octaves = paired_interval(*doublings.T, clusters=part[cluster], level=level)
        moved = (pairs[:, 0] - pairs[:, 1]) * np.sign(part["multiplier"].to_numpy())
        moved = moved[~np.isnan(moved)]
        push = {"kappa": part["kappa"].mean()} if "kappa" in part else {}
        rows.append(
            dict(zip(by, group, strict=True))
            | push
            | {
                "metric": value,
                "n": effect.n,
                "dropped": effect.dropped,
                "baseline": whole[:, 1].mean() if len(whole) else np.nan,
                "mean": whole[:, 0].mean() if len(whole) else np.nan,
                "std": whole[:, 0].std(ddof=1) if len(whole) > 1 else np.nan,
                "effect": effect.estimate,
                "low": effect.low,
                "high": effect.high,
                "relative": relative.estimate,
                "relative_low": relative.low,
                "relative_high": relative.high,
                "octaves": octaves.estimate,
                "octaves_low": octaves.low,
                "octaves_high": octaves.high,
                "right": float((moved > 0).mean()) if len(whole) else np.nan,
                "wrong": float((moved < 0).mean()) if len(whole) else np.nan,
            }
        )
    return pd.DataFrame(rows).astype({name: steered[name].dtype for name in by})


def effect_of(row: "pd.Series[Any]") -> Interval:
    """The effect in a row of `summarise`, or of any table with its columns ``effect``, ``low``, ``high`` and ``n``."""
    return Interval(row["effect"], row["low"], row["high"], int(row["n"]), int(row.get("dropped", 0)))


def middle(values: "pd.Series[float]") -> Any:
    """The label of the median (of two, the higher): an example that is neither the best nor the worst.

    The first label where nothing was measured.

    Examples
    --------
    >>> middle(pd.Series({"a": 9.0, "b": 1.0, "c": 2.0}))
    'c'
    """
    told = values.dropna().sort_values()
    return told.index[len(told) // 2] if len(told) else values.index[0]


def typical(
    table: pd.DataFrame, *, value: str, size: float | None = None, where: Mapping[str, Any] | None = None
) -> pd.DataFrame:
    """One prompt to hear or to see, at minus `size`, 0 and plus `size`, lowest multiplier first.

    It is the prompt with the median difference between the poles (`middle`). Used by `steerlib.study.Trial.typical`.

    Parameters
    ----------
    table : DataFrame
        Columns ``prompt_id``, ``multiplier`` and `value`, of one attribute.
    value : str
    size : float, optional
        Of the multiplier; the largest by default.
    where : mapping, optional
        Values of columns that the steered clips must have, such as ``{"source_layer": 5}``.
    """
    check_columns(table, ["prompt_id", "multiplier", value, *(where or {})])
    for column, wanted in (where or {}).items():
        table = table[(table[column] == wanted) | (table["multiplier"] == 0)]
    size = float(table["multiplier"].max()) if size is None else size
    rows = table[table["multiplier"].isin([-size, 0.0, size])].drop_duplicates(["prompt_id", "multiplier"])
    wide = rows.pivot(index="prompt_id", columns="multiplier", values=value)
    return rows[rows["prompt_id"] == middle(wide[size] - wide[-size])].sort_values("multiplier")


def shifts(table: pd.DataFrame, *, value: str, by: Sequence[str], octaves: bool = False) -> pd.DataFrame:
    """How far each prompt is moved along an attribute: half the way from its negative to its positive clip.

    Half of ``value(+λ) - value(-λ)``, for every prompt and seed. What steering does in *both* directions
    alike, such as breaking the music, cancels out, and a setting has one number a prompt, so that two
    settings can be compared pair by pair.

    Parameters
    ----------
    table : DataFrame
        One row a clip, as `sweep` returns it; rows at multiplier 0 are not used.
    value : str
        Column that was measured.
    by : sequence of str
        Columns that make a setting; within it each prompt and seed has one clip on either side of 0.
    octaves : bool
        Of the logarithm of what was measured, to base 2; 0 has none and counts as not measurable.

    Returns
    -------
    DataFrame
        Columns `by`, ``prompt_id``, ``seed``, ``metric`` and ``shift`` (unit of `value`; NaN where one of the
        two clips could not be measured), sorted.

    Raises
    ------
    ValueError
        If a column is missing, or a prompt and seed lack one of the two clips or have several.

    Notes
    -----
    The interval of a setting is ``mean_interval(shift, clusters=prompt_id)``, that of the difference of two
    settings ``paired_interval(shift_1, shift_2, clusters=prompt_id)``. Used in the chapters *Where and
    when to inject*, *How many prompts* and *Known truth and controls*.
    """
    key = [*by, "prompt_id", "seed"]
    check_columns(table, [*key, "multiplier", value])
    steered = table[table["multiplier"] != 0]
    if octaves:
        steered = steered.assign(**{value: _octaves(steered[value].to_numpy(dtype=float))})
    sides = []
    for name, part in (
        ("positive", steered[steered["multiplier"] > 0]),
        ("negative", steered[steered["multiplier"] < 0]),
    ):
        twice = part[part.duplicated(key)]
        if len(twice):
            raise ValueError(
                f"{tuple(twice.iloc[0][key])} has several clips with a {name} multiplier: filter the table, or "
                f"add to `by` ({list(by)}) the column in which they differ"
            )
        sides.append(part[[*key, value]].rename(columns={value: name}))
    pairs = sides[0].merge(sides[1], on=key, how="outer", indicator="_found")
    alone = pairs[pairs["_found"] != "both"]
    if len(alone) or not len(pairs):
        raise ValueError(
            f"{len(alone)} of {len(pairs)} settings of a prompt and seed have a clip on one side of multiplier 0 "
            "only: sweep with a positive and a negative multiplier"
        )
    shift = (pairs["positive"] - pairs["negative"]) / 2
    columns = [*key, "metric", "shift"]
    return pairs.assign(metric=value, shift=shift)[columns].sort_values(key, ignore_index=True)


def _octaves(values: FloatArray) -> FloatArray:
    return np.log2(np.where(values > 0, values, np.nan))


def check_columns(table: pd.DataFrame, columns: Iterable[str], *, what: str = "the table") -> None:
    """Raise a ValueError that names the columns that a table lacks; `what` is what the message calls it."""
    missing = [name for name in dict.fromkeys(columns) if name not in table.columns]
    if missing:
        raise ValueError(f"{what} lacks {missing}; it has {list(table.columns)}")


def _clusters(clusters: npt.ArrayLike | None, values: FloatArray, level: float) -> npt.NDArray[Any]:
    """The name of each value's cluster, checked; by default each value is one."""
    _check_level(level)
    names = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    if names.shape != values.shape:
        raise ValueError(f"clusters have shape {names.shape}, values {values.shape}: one name for each value")
    return names


def _flat(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a flat list of numbers, got shape {array.shape}")
    return array


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but a confidence level lies between 0 and 1, for instance 0.95")
