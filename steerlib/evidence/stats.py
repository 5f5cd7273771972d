"""Effects with their uncertainty: bootstrap intervals of means and of pairs, AUC, and the summary of a sweep.

Paper A gives means and standard deviations over 50 prompts, without saying which differences chance would
make (table 1, figures 4, 5 and 8). Here every clip is compared with the clip of the *same* prompt and seed at
multiplier 0, and every effect has an interval, the number of pairs behind it and the number of pairs that
could not be measured. Values keep the unit of the metric (BPM, Hz, onsets per second); relative effects are
fractions, 0.25 for +25 %.
"""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

__all__ = [
    "Interval",
    "auc",
    "check_columns",
    "effect_of",
    "jackknife_interval",
    "mean_interval",
    "paired_interval",
    "shifts",
    "summarise",
]

FloatArray = npt.NDArray[np.floating[Any]]


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
    """

    estimate: float
    low: float
    high: float
    n: int
    dropped: int = 0

    def __str__(self) -> str:
        left_out = f", {self.dropped} not measurable" if self.dropped else ""
        return f"{self.estimate:.4g} [{self.low:.4g}, {self.high:.4g}] (n = {self.n}{left_out})"


def mean_interval(
    values: npt.ArrayLike,
    *,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of values, with a bootstrap interval over values (or clusters of them).

    The same method and random numbers as `paired_interval`, and the same result as against a baseline of zeros.

    Parameters
    ----------
    values : array_like, shape (N,)
        For instance shifts of prompts. NaN are dropped and counted.
    clusters, level, resamples, seed
        See `paired_interval`.

    Returns
    -------
    Interval
        With NaN limits where under two values (or clusters) are left.

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level or resamples make no sense.

    Examples
    --------
    >>> mean = mean_interval([26, 30, 18, float("nan")])
    >>> round(mean.estimate, 1), mean.n, mean.dropped
    (24.7, 3, 1)
    """
    return _bootstrap(
        [_flat(values, "values")],
        lambda value, count: value / count,
        clusters=clusters,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def paired_interval(
    values: npt.ArrayLike,
    baseline: npt.ArrayLike,
    *,
    relative: bool = False,
    clusters: npt.ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean effect over pairs, with a bootstrap interval over pairs (or clusters of them).

    Bias-corrected and accelerated (BCa) bootstrap of `scipy.stats.bootstrap`; where BCa is undefined, because
    all effects are equal, the percentile interval.

    Parameters
    ----------
    values, baseline : array_like, shape (N,)
        Entry i of one is paired with entry i of the other. Pairs with a NaN are dropped and counted.
    relative : bool
        If True, the relative change of the mean, ``mean(values) / mean(baseline) - 1``, as in paper A's table
        1; otherwise the mean of ``values - baseline``.
    clusters : array_like, shape (N,), optional
        Names of what is independent, such as the prompt when each prompt was sung with several seeds: whole
        clusters are resampled.
    level : float
        Confidence level, between 0 and 1.
    resamples : int
        Bootstrap samples.
    seed : int
        Seeds the bootstrap.

    Returns
    -------
    Interval
        With NaN limits where under two pairs (or clusters) are left.

    Raises
    ------
    ValueError
        If shapes differ or are not flat, or level or resamples make no sense.

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
    return _bootstrap(
        [values, baseline],
        lambda value, base, count: value / base - 1 if relative else (value - base) / count,
        clusters=clusters,
        level=level,
        resamples=resamples,
        seed=seed,
    )


def auc(
    positive: npt.ArrayLike,
    negative: npt.ArrayLike,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Area under the ROC curve: the chance that a positive value exceeds a negative one (ties count half).

    Parameters
    ----------
    positive, negative : array_like, shapes (P,) and (N,)
        For instance BPM of clips steered toward fast and toward slow. NaN are dropped and counted.
    level, resamples, seed
        Settings of the percentile bootstrap, which resamples each set on its own.

    Returns
    -------
    Interval
        Between 0 and 1, 0.5 for no difference; `n` counts both sets. Sets that do not overlap give 1 with an
        interval of no width: it then says less than `n` does.

    Raises
    ------
    ValueError
        If either set is empty.
    """
    sets = [_flat(positive, "positive"), _flat(negative, "negative")]
    _check(level, resamples)
    high_set, low_set = (values[~np.isnan(values)] for values in sets)
    dropped = sum(map(len, sets)) - len(high_set) - len(low_set)
    if len(high_set) == 0 or len(low_set) == 0:
        raise ValueError(
            f"AUC needs both sets, got {len(high_set)} positive and {len(low_set)} negative values "
            f"({dropped} were NaN)"
        )
    wins = (high_set[:, None] > low_set) + 0.5 * (high_set[:, None] == low_set)
    rng = np.random.default_rng(seed)
    weights = [rng.multinomial(m, np.full(m, 1 / m), size=resamples) / m for m in wins.shape]
    low, high = _percentiles(((weights[0] @ wins) * weights[1]).sum(axis=1), level)
    return Interval(float(wins.mean()), low, high, wins.shape[0] + wins.shape[1], dropped)


def jackknife_interval(
    statistic: Callable[[npt.NDArray[Any]], float],
    samples: npt.ArrayLike,
    *,
    blocks: int = 10,
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
        At least 2 and at most N.
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
    if not 2 <= blocks <= len(samples):
        raise ValueError(
            f"{len(samples)} samples cannot be divided into {blocks} blocks: choose 2 to {len(samples)}"
        )
    _check(level, 1)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(samples)), blocks)
    without = np.array([statistic(np.delete(samples, part, axis=0)) for part in parts])
    error = np.sqrt((blocks - 1) / blocks * ((without - without.mean()) ** 2).sum())
    estimate = float(statistic(samples))
    reach = float(stats.t.ppf((1 + level) / 2, blocks - 1) * error)
    return Interval(estimate, estimate - reach, estimate + reach, len(samples))


def summarise(
    table: pd.DataFrame,
    *,
    value: str,
    by: Sequence[str] = ("attribute", "source_layer", "multiplier"),
    cluster: str = "prompt_id",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
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
        Column of what is resampled together, because the seeds of one prompt are not independent.
    level, resamples, seed
        See `paired_interval`.

    Returns
    -------
    DataFrame
        Columns `by`, ``metric`` (the name in `value`), then ``n`` and ``dropped`` (pairs), ``baseline``,
        ``mean`` and ``std`` (of the pairs, unit of `value`), ``effect``, ``low``, ``high`` (mean difference,
        same unit), ``relative``, ``relative_low`` and ``relative_high`` (fractions). Multiplier 0 has no
        rows: it is the baseline.

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
            paired_interval(
                *pairs.T, relative=r, clusters=part[cluster], level=level, resamples=resamples, seed=seed
            )
            for r in (False, True)
        )
        rows.append(
            dict(zip(by, group, strict=True))
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
            }
        )
    return pd.DataFrame(rows).astype({name: steered[name].dtype for name in by})


def effect_of(row: "pd.Series[Any]") -> Interval:
    """The effect in a row of `summarise`, or of any table with its columns ``effect``, ``low``, ``high`` and ``n``."""
    return Interval(row["effect"], row["low"], row["high"], int(row["n"]), int(row.get("dropped", 0)))


def shifts(table: pd.DataFrame, *, value: str, by: Sequence[str]) -> pd.DataFrame:
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
    when to inject*, *How many prompts* and *What only we can ask*.
    """
    key = [*by, "prompt_id", "seed"]
    check_columns(table, [*key, "multiplier", value])
    steered = table[table["multiplier"] != 0]
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


def check_columns(table: pd.DataFrame, columns: Iterable[str], *, what: str = "the table") -> None:
    """Raise a ValueError that names the columns that a table lacks; `what` is what the message calls it."""
    missing = [name for name in dict.fromkeys(columns) if name not in table.columns]
    if missing:
        raise ValueError(f"{what} lacks {missing}; it has {list(table.columns)}")


def _bootstrap(
    columns: Sequence[FloatArray],
    statistic: Callable[..., FloatArray],
    *,
    clusters: npt.ArrayLike | None,
    level: float,
    resamples: int,
    seed: int,
) -> Interval:
    """Interval of a function of the sums of the columns and of the count, resampling whole clusters."""
    shape = columns[0].shape
    names = np.arange(len(columns[0])) if clusters is None else np.asarray(clusters)
    if names.shape != shape:
        raise ValueError(f"clusters have shape {names.shape}, values {shape}: one name for each value")
    _check(level, resamples)
    whole = ~np.isnan(columns).any(axis=0)
    n, dropped = int(whole.sum()), int((~whole).sum())
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0, dropped)
    _, of = np.unique(names[whole], return_inverse=True)
    # The statistic depends on sums only, so that a cluster counts as its sums.
    weights = [*(column[whole] for column in columns), np.ones(n)]
    totals = [np.bincount(of, weights=weight).astype(float) for weight in weights]

    def of_sums(*sums: FloatArray, axis: int = -1) -> FloatArray:
        return statistic(*(each.sum(axis=axis) for each in sums))

    estimate = float(of_sums(*totals))
    if len(totals[0]) < 2:
        return Interval(estimate, np.nan, np.nan, n, dropped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.bootstrap(
            totals,
            of_sums,
            paired=True,
            vectorized=True,
            n_resamples=resamples,
            confidence_level=level,
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if np.isnan(low) or np.isnan(high):
        low, high = _percentiles(result.bootstrap_distribution, level)
    return Interval(estimate, float(low), float(high), n, dropped)


def _percentiles(distribution: npt.ArrayLike, level: float) -> tuple[float, float]:
    low, high = np.quantile(np.asarray(distribution, dtype=float), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _flat(values: npt.ArrayLike, name: str) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a flat list of numbers, got shape {array.shape}")
    return array


def _check(level: float, resamples: int) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level is {level}, but a confidence level lies between 0 and 1, for instance 0.95")
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}, but must be at least 1")
