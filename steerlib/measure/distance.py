"""What steering does to the sound as a whole: the Fréchet distance of the clips of a sweep, setting by setting.

Method: paper A, section 4.3, figure 7 and table 1, which do not state the embedding or the reference. Ours are
the audio embeddings of CLAP, of consecutive windows, against *unsteered clips of the same prompts from other
random numbers*. So at multiplier 0 the distance is what chance alone makes, both sets are independent, as the
extrapolation to infinitely many samples needs, and neither training data nor recordings are needed. It tells
how far steering leaves what the model does by itself; it does not say whether that sounds worse.

Intervals are jackknifed over clips: a clip and its reference of the same prompt are left out together.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from steerlib.evidence.stats import Interval, jackknife_interval
from steerlib.measure.audio import FloatArray, read_clips
from steerlib.measure.clap import clap_dimensions, clap_embeddings
from steerlib.measure.frechet import frechet_distance, frechet_infinity
from steerlib.measure.spectrum import mel_statistics

__all__ = [
    "check_bend",
    "EMBEDDINGS",
    "Distances",
    "check_windows",
    "embed_clips",
    "frechet_bend",
    "frechet_setting",
    "frechet_table",
]

EMBEDDINGS = ("clap", "mel")
"""CLAP's, which was trained on labels of style; and levels in mel bands, which nobody trained."""

_BATCH = 32  # clips read at once


def check_windows(
    clips: int,
    seconds: float,
    *,
    window: float = 2.0,
    clap: str | Path | None = None,
    extrapolate: bool = True,
) -> None:
    """Raise before anything is generated if a Fréchet distance would have too few windows for its dimensions.

    Parameters
    ----------
    clips : int
        Clips in a set.
    seconds, window : float
        Length of a clip and of a window.
    clap : str or Path, optional
        See `embed_clips`.
    extrapolate : bool
        Whether FAD∞ is wanted too, which needs half as many again.

    Raises
    ------
    ValueError
        With the number that is needed.
    """
    size = clap_dimensions(clap)
    rows, needed = (
        clips * int(seconds / window + 1e-9),
        math.ceil((1.5 if extrapolate else 10 / 9) * (size + 1)),
    )
    if rows < needed:
        raise ValueError(
            f"the Fréchet distance of embeddings with {size} dimensions needs {needed} windows in a set, and {clips} "
            f"clips of {seconds:g} s have {rows} of {window:g} s: take "
            f"{math.ceil(needed / max(int(seconds / window), 1))} prompts, or windows of "
            f"{clips * seconds / needed:.2g} s"
        )


def embed_clips(
    table: pd.DataFrame,
    store: str | Path,
    *,
    window: float = 2.0,
    clap: str | Path | None = None,
    embedding: str = "clap",
) -> dict[str, FloatArray]:
    """Embeddings of the clips of a sweep, each clip once.

    Parameters
    ----------
    table : DataFrame
        From `sweep`: its columns ``key`` and ``clip`` are read.
    store : str or Path
        Folder of the store.
    window : float
        Seconds; see `steerlib.measure.clap.clap_embeddings`.
    clap : str or Path, optional
        Folder or name of a `ClapModel`; by default the pocket model's.
    embedding : {"clap", "mel"}
        Those of CLAP, or `steerlib.measure.spectrum.mel_statistics`.

    Returns
    -------
    dict of str to ndarray, shape (windows, D)
        By the key of the row.
    """
    if embedding not in EMBEDDINGS:
        raise ValueError(f"embedding must be one of {', '.join(EMBEDDINGS)}, got {embedding!r}")
    unique = table.drop_duplicates("key")
    found: dict[str, FloatArray] = {}
    for start in range(0, len(unique), _BATCH):
        rows = unique.iloc[start : start + _BATCH]
        audio, rate = read_clips(rows, store)
        embedded = (
            clap_embeddings(audio, sample_rate=rate, model=clap, window=window)
            if embedding == "clap"
            else mel_statistics(audio, sample_rate=rate, window=window)
        )
        found |= dict(zip(rows["key"], embedded, strict=True))
    return found


def frechet_table(
    table: pd.DataFrame,
    reference: pd.DataFrame,
    embeddings: Mapping[str, FloatArray],
    *,
    by: Sequence[str] = ("attribute", "source_layer", "multiplier"),
) -> pd.DataFrame:
    """Fréchet distance of each setting of a sweep to the reference clips (paper A, figure 7 and table 1).

    Parameters
    ----------
    table : DataFrame
        From `sweep`. Multiplier 0 is a setting like the others.
    reference : DataFrame
        From `sweep` at multiplier 0 with other seeds: as many clips of each prompt as a setting has.
    embeddings : mapping of str to ndarray, shape (windows, D)
        Embeddings of the rows of both, from `embed_clips`.
    by : sequence of str
        Columns that make a setting.

    Returns
    -------
    DataFrame
        Columns `by`, ``fad``, ``fad_low``, ``fad_high`` (95 %, jackknife), ``fad_infinity`` (embedding units
        squared) and ``n`` (clips). What `steerlib.page.figures.fad_curve` draws.

    Raises
    ------
    ValueError
        If a setting and the reference do not have the same prompts equally often, or there are too few clips.
    """
    rows = []
    for group, part in table.groupby(list(by), dropna=False, sort=True):
        pairs = np.stack([_stack(part, embeddings), _reference(part, reference, embeddings)], axis=1)
        interval = jackknife_interval(
            lambda both: frechet_distance(both[:, 0], both[:, 1]), pairs, blocks=min(10, len(pairs))
        )
        rows.append(
            dict(zip(by, group, strict=True))
            | {
                "fad": interval.estimate,
                "fad_low": interval.low,
                "fad_high": interval.high,
                "fad_infinity": frechet_infinity(pairs[:, 0], pairs[:, 1], paired=True),
                "n": interval.n,
            }
        )
    return pd.DataFrame(rows).astype({name: table[name].dtype for name in by})


def check_bend(multipliers: Sequence[float]) -> None:
    """Raise before anything is generated if `frechet_bend` would have too few points on a side.

    Parameters
    ----------
    multipliers : sequence of float
        Multipliers of a sweep. Used in the chapter *Steering sweep*.

    Raises
    ------
    ValueError
        If 0 is missing, or a side lacks two sizes where one is at most half the other.
    """
    sides = [[abs(factor) for factor in multipliers if factor * sign > 0] for sign in (1, -1)]
    if 0 not in multipliers or any(not side or 2 * min(side) > max(side) for side in sides):
        raise ValueError(
            "whether the Fréchet distance bends is asked of 0 and, on each side of it, of two sizes of λ, one at most "
            f"half the other: take for instance [-0.1, -0.05, 0.0, 0.05, 0.1] instead of {list(multipliers)}"
        )


def frechet_bend(
    table: pd.DataFrame, reference: pd.DataFrame, embeddings: Mapping[str, FloatArray]
) -> Interval:
    """Whether the distance rises faster over the upper half of the multipliers than over the lower (figure 7).

    With F the distance and m the largest size of a multiplier up to half of the greatest M: ``(F(M) - F(m)) /
    (M - m) - (F(m) - F(0)) / m``. It needs no knee to be found first, and is 0 for a straight line.

    Parameters
    ----------
    table : DataFrame
        From `sweep`, of one attribute, one source layer and one pole, with the baseline.
    reference, embeddings
        See `frechet_table`.

    Returns
    -------
    Interval
        Embedding units squared per unit of λ, 95 % by jackknife.

    Raises
    ------
    ValueError
        If there is no baseline, no multiplier in the lower half, or multipliers of both signs.
    """
    sizes = sorted(table["multiplier"].abs().unique())
    lower = [size for size in sizes if 0 < size <= sizes[-1] / 2]
    signs = set(np.sign(table["multiplier"])) - {0}
    if not sizes or sizes[0] != 0 or not lower or len(signs) != 1:
        raise ValueError(
            f"a bend needs multiplier 0, one of at most half the greatest, and one sign; got "
            f"{sorted(table['multiplier'].unique())}"
        )
    middle, greatest = lower[-1], sizes[-1]
    parts = [table[table["multiplier"].abs() == size] for size in (0, middle, greatest)]
    sets = [*(_stack(part, embeddings) for part in parts), _reference(parts[0], reference, embeddings)]

    def bend(samples: FloatArray) -> float:
        start, half, end = (frechet_distance(samples[:, i], samples[:, 3]) for i in range(3))
        return (end - half) / (greatest - middle) - (half - start) / middle

    samples = np.stack(sets, axis=1)
    return jackknife_interval(bend, samples, blocks=min(10, len(samples)))


def frechet_setting(
    table: pd.DataFrame,
    reference: pd.DataFrame,
    embeddings: Mapping[str, FloatArray],
    *,
    versus: pd.DataFrame | None = None,
    relative: bool = False,
) -> Interval:
    """Fréchet distance of one setting, mean of its poles; or how much greater it is than that of another.

    A prompt's clips and its reference are left out together, so that in a difference what the two settings
    share cancels out.

    Parameters
    ----------
    table : DataFrame
        From `sweep`, of one setting; with several multipliers, each is measured by itself and the mean taken.
    reference, embeddings
        See `frechet_table`.
    versus : DataFrame, optional
        Another setting, with the same prompts and seeds; its distance is subtracted.
    relative : bool
        As a share of the reference's total variance (the trace of its covariance), which means the same in every
        embedding: 0.25 is what a shift of half a standard deviation makes.

    Returns
    -------
    Interval
        Embedding units squared, or a share; 95 % by jackknife.

    Raises
    ------
    ValueError
        If a setting and the reference do not have the same prompts equally often, or there are too few clips.
    """
    settings = [table] if versus is None else [table, versus]
    poles = [[part for _, part in setting.groupby("multiplier")] for setting in settings]
    parts = [part for setting in poles for part in setting]
    references = [_reference(part, reference, embeddings) for part in parts]  # the same, each one checked
    samples = np.stack([references[0], *(_stack(part, embeddings) for part in parts)], axis=1)
    weights = [sign / len(setting) for sign, setting in zip((1, -1), poles, strict=False) for _ in setting]

    def distance(many: FloatArray) -> float:
        found = sum(w * frechet_distance(many[:, i], many[:, 0]) for i, w in enumerate(weights, start=1))
        return found / float(many[:, 0].reshape(-1, many.shape[-1]).var(axis=0).sum()) if relative else found

    return jackknife_interval(distance, samples, blocks=min(10, len(samples)))


@dataclass(frozen=True, eq=False)
class Distances:
    """Fréchet distances of the settings of a sweep to its reference.

    Attributes
    ----------
    rows, reference : DataFrame
    embeddings : mapping of str to ndarray, shape (windows, D)
        By the key of a row.
    """

    rows: pd.DataFrame
    reference: pd.DataFrame
    embeddings: Mapping[str, FloatArray]

    @cached_property
    def table(self) -> pd.DataFrame:
        """The distance of each setting, with its interval; see `measure.frechet_table`."""
        return frechet_table(self.rows, self.reference, self.embeddings)

    def of(
        self, rows: pd.DataFrame, *, versus: pd.DataFrame | None = None, relative: bool = False
    ) -> Interval:
        """The distance of the rows of one setting, or by how much it exceeds that of another."""
        return frechet_setting(rows, self.reference, self.embeddings, versus=versus, relative=relative)

    def bend(self, rows: pd.DataFrame) -> Interval:
        """By how much steeper the distance rises over the upper half of the multipliers than over the lower."""
        return frechet_bend(rows, self.reference, self.embeddings)


def _stack(part: pd.DataFrame, embeddings: Mapping[str, FloatArray]) -> FloatArray:
    """Embeddings of the clips, (clips, windows, D), by prompt and seed."""
    return np.stack([embeddings[key] for key in part.sort_values(["prompt_id", "seed"])["key"]])


def _reference(
    part: pd.DataFrame, reference: pd.DataFrame, embeddings: Mapping[str, FloatArray]
) -> FloatArray:
    """Embeddings of the reference clips, checked to be of the same prompts equally often."""
    prompts, of_reference = (sorted(rows["prompt"]) for rows in (part, reference))
    if prompts != of_reference:
        raise ValueError(
            f"a setting has {len(prompts)} clips, the reference {len(of_reference)}, not of the same prompts equally "
            "often: sweep the reference over the same prompts, with as many seeds"
        )
    return _stack(reference, embeddings)
