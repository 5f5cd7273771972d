"""Directions, cosines and figures of the chapter *Superposition* (``notebooks/superposition.ipynb``).

A *factor* is something that the composer drew for a clip by itself: a number, such as the tempo, or a class, such as
the style. Its *pattern* at a layer is how the activations move with it: a direction for a number, for classes the
subspace that their means span.

Units: R² and shares have none. The cosine of two subspaces is the root mean square of the cosines of their principal
angles; of two lines, it is the size of their cosine.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeAlias

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.activations import Activations, extract_audio_activations
from steerlib.evidence import stats
from steerlib.evidence.stats import Interval
from steerlib.model import MusicModel
from steerlib.music import corpus
from steerlib.music.corpus import Truth
from steerlib.page import figures, style
from steerlib.page.bottom_line import measured

__all__ = [
    "FACTORS",
    "cosine",
    "cosines",
    "dimensions",
    "draw_cosines",
    "draw_layers",
    "draw_lost",
    "factors",
    "findings",
    "heard",
    "lost",
    "patterns",
    "readable",
]

Codes = Mapping[str, npt.NDArray[np.floating]]
FloatArray = npt.NDArray[np.floating]

FACTORS: dict[str, Callable[[Truth], float | str]] = {
    "tempo": lambda truth: float(np.log2(truth.bpm)),
    "timbre": lambda truth: float(np.log2(truth.cutoff)),
    "loudness": lambda truth: truth.level,
    "energy": lambda truth: truth.energy,
    "mode": lambda truth: truth.mode,
    "style": lambda truth: truth.style,
    "lead": lambda truth: truth.lead,
    "key": lambda truth: str(truth.key),
}
"""What the composer draws for each clip, by its name; numbers in the units in which they are drawn evenly."""
_PENALTIES = np.logspace(-1, 5, 13)
_SHARE = 1e-6  # of a pattern's largest singular value: below it there is no further dimension


def heard(model: MusicModel, path: str | Path, seeds: Sequence[int]) -> tuple[list[Truth], Activations]:
    """The truths of composed clips, and the mean activation of each clip when the model hears it.

    Parameters
    ----------
    model : MusicModel
    path : str or Path
        From `Activations.save`, in the chapter *Known truth and controls*; empty to compose and hear the clips here.
    seeds : sequence of int
        Of the clips, in the order in which they were heard.

    Raises
    ------
    ValueError
        If the file has other clips than those of the seeds, or was taken from another model.
    """
    if not path:
        truths, audio = zip(*corpus.stream(seeds, workers=0), strict=True)
        seen = extract_audio_activations(
            model, np.stack(audio), sample_rate=corpus.SAMPLE_RATE, position="mean"
        )
        return list(truths), seen
    truths, seen = [corpus.compose(seed)[0] for seed in seeds], Activations.load(path, model=model)
    if seen.prompts != tuple(truth.caption for truth in truths):
        raise ValueError(
            f"{path} has {len(seen)} clips, which are not those of the {len(truths)} seeds from {seeds[0]}: give both "
            "chapters the same `first` and `clips`, or an empty `heard_from`"
        )
    return list(truths), seen


def factors(truths: Sequence[Truth], names: Sequence[str] | None = None) -> dict[str, FloatArray]:
    """The truth of each factor as columns with mean 0: one for a number, one for each class.

    Raises
    ------
    ValueError
        For a factor that is not in `FACTORS`, or one that is the same in all clips.
    """
    unknown = [name for name in names or () if name not in FACTORS]
    if unknown:
        raise ValueError(f"unknown factors {unknown}: expected some of {', '.join(FACTORS)}")
    codes = {}
    for name in names or FACTORS:
        values = np.array([FACTORS[name](truth) for truth in truths])
        if len(np.unique(values)) < 2:
            raise ValueError(f"{name} is the same in all {len(values)} clips: take more clips")
        coded = values[:, None] if values.dtype.kind == "f" else values[:, None] == np.unique(values)
        codes[name] = coded - coded.mean(axis=0)
    return codes


def patterns(values: FloatArray, codes: Codes) -> dict[str, FloatArray]:
    """How the activations of one layer move with each factor while the others are held fixed.

    The covariance of the activations with what of a factor's columns the columns of the other factors do not explain.
    Truths that were drawn independently still agree a little in so many clips, and a factor with large
    activations would leak into all others.

    Parameters
    ----------
    values : ndarray, shape (clips, hidden)
    codes : mapping of str to ndarray (clips, columns)
        From `factors`.

    Returns
    -------
    dict of str to ndarray, shape (hidden, dimensions)
        Orthonormal: 1 dimension for a number, one fewer than its classes for a class.
    """
    centred, found = values - values.mean(axis=0), {}
    for name, code in codes.items():
        others = [each for other, each in codes.items() if other != name]
        rest = code - code.mean(axis=0)
        if others:
            beside = np.column_stack(others) - np.column_stack(others).mean(axis=0)
            rest = rest - beside @ np.linalg.lstsq(beside, rest, rcond=1e-9)[0]
        axes, sizes, _ = np.linalg.svd(centred.T @ rest, full_matrices=False)
        found[name] = axes[:, : max(1, int((sizes > _SHARE * sizes[0]).sum()))]
    return found


def cosine(one: FloatArray, other: FloatArray) -> float:
    """Root mean square of the cosines of the principal angles of two orthonormal bases (hidden, dimensions)."""
    return float(np.linalg.norm(one.T @ other) / np.sqrt(min(one.shape[1], other.shape[1])))


def cosines(values: FloatArray, codes: Codes, *, shuffles: int, seed: int) -> pd.DataFrame:
    """The cosine of each two factors at one layer, beside what factors have that mean nothing.

    Returns
    -------
    DataFrame
        Columns ``one``, ``other``, ``cosine``, ``isotropic`` (root mean square for subspaces drawn evenly from all),
        ``shuffled`` (mean where the truth of either was shuffled over the clips) and ``high`` (which 95 % of those do
        not exceed).
    """
    own, drawn = patterns(values, codes), _shuffled(values, codes, shuffles, seed)
    rows, names = [], list(codes)
    for at, one in enumerate(names):
        for other in names[:at]:
            chance = [cosine(each[one], own[other]) for each in drawn[one]]
            chance += [cosine(own[one], each[other]) for each in drawn[other]]
            most = max(own[one].shape[1], own[other].shape[1])
            isotropic = np.sqrt(most / values.shape[1])
            high = float(np.quantile(chance, 0.95))
            rows.append((one, other, cosine(own[one], own[other]), isotropic, np.mean(chance), high))
    return pd.DataFrame(rows, columns=["one", "other", "cosine", "isotropic", "shuffled", "high"])


def _shuffled(
    values: FloatArray, codes: Codes, shuffles: int, seed: int
) -> dict[str, list[dict[str, FloatArray]]]:
    """Patterns where the truth of one factor was shuffled over the clips and the others were left, by that factor."""
    rng = np.random.default_rng(seed)
    return {
        name: [patterns(values, {**codes, name: rng.permutation(code)}) for _ in range(shuffles)]
        for name, code in codes.items()
    }


def dimensions(seen: Activations, codes: Codes, *, seed: int) -> pd.DataFrame:
    """How many dimensions the patterns of all factors span together, layer by layer.

    The participation ratio of the stacked bases, ``(sum of eigenvalues)² / sum of their squares`` of their Gram matrix:
    their number if all are at right angles, 1 if all are one direction.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``series`` ("factors", "shuffled truths", "drawn evenly") and ``value``; attribute
        ``number`` in ``attrs``: how many directions there are.
    """
    rng, rows, number = np.random.default_rng(seed), [], 0
    for layer, values in enumerate(_layers(seen)):
        order = rng.permutation(len(values))
        stacks = {
            "factors": np.hstack([*patterns(values, codes).values()]),
            "shuffled truths": np.hstack(
                [*patterns(values, {name: each[order] for name, each in codes.items()}).values()]
            ),
        }
        widths = [each.shape[1] for each in patterns(values, codes).values()]
        stacks["drawn evenly"] = np.hstack(
            [np.linalg.qr(rng.normal(size=(values.shape[1], width)))[0] for width in widths]
        )
        number = sum(widths)
        rows += [(layer, series, _participation(each)) for series, each in stacks.items()]
    table = pd.DataFrame(rows, columns=["layer", "series", "value"])
    table.attrs["number"] = number
    return table


def _participation(stack: FloatArray) -> float:
    return float(stack.shape[1] ** 2 / (np.linalg.norm(stack.T @ stack) ** 2))


def _layers(seen: Activations) -> list[FloatArray]:
    return list(seen.values.numpy().astype(float).transpose(1, 0, 2))


def readable(values: FloatArray, codes: Codes, *, folds: int = 5, seed: int = 0) -> dict[str, Interval]:
    """Held-out R² of each factor at one layer: of a number, or of the columns of a class together."""
    error, spread = _errors(values, codes, folds, seed, [_nothing])
    return {name: _r2(error[0][name], spread[name]) for name in codes}


def lost(
    values: FloatArray, codes: Codes, *, folds: int = 5, shuffles: int = 2, seed: int = 0
) -> pd.DataFrame:
    """What is lost of each factor's readability when the pattern of another is projected out of the activations.

    Patterns and decoders are made from the training folds. The control projects out a subspace of the same size that
    means nothing: the pattern of the shuffled truth.

    Parameters
    ----------
    values : ndarray, shape (clips, hidden)
        Of one layer.
    codes : mapping of str to ndarray (clips, columns)
        From `factors`.
    folds, shuffles, seed : int

    Returns
    -------
    DataFrame
        Columns ``read``, ``removed``, ``r2`` (held-out R² of what is read, with all there), ``kept`` (share of it that
        is left), ``control`` (share that is left where the control was projected out), ``lost``, ``low``, ``high``
        (control less kept, 95 % over clips for the decoders as they were trained). Shares of an R² that is not shown to
        be above 0 are NaN.
    """
    rng, rows = np.random.default_rng(seed), []
    ways: list[_Way] = [_nothing]
    for name in codes:
        ways += [partial(_pattern, values, name, mixed) for mixed in (None, *[rng] * shuffles)]
    error, spread = _errors(values, codes, folds, seed, ways)
    for at, removed in enumerate(codes):
        first = 1 + at * (1 + shuffles)
        for read in codes:
            control = np.mean([each[read] for each in error[first + 1 : first + 1 + shuffles]], axis=0)
            without, known = error[first][read], spread[read] - error[0][read]
            share = stats.ratio_interval(without - control, known)
            if not _r2(error[0][read], spread[read]).low > 0:
                share = Interval(np.nan, np.nan, np.nan, share.n)
            of = np.nan if np.isnan(share.estimate) else float(known.sum())
            rows.append({
                "read": read, "removed": removed, "r2": float(known.sum() / spread[read].sum()),
                "kept": float((spread[read] - without).sum() / of),
                "control": float((spread[read] - control).sum() / of),
                "lost": share.estimate, "low": share.low, "high": share.high,
            })  # fmt: skip
    return pd.DataFrame(rows)


_Way: TypeAlias = Callable[[npt.NDArray[np.intp], Codes], FloatArray | None]
"""What is projected out: an orthonormal basis, made from the rows of a training fold and their truths."""


def _nothing(train: npt.NDArray[np.intp], own: Codes) -> None:
    return None


def _pattern(
    values: FloatArray, name: str, mixed: np.random.Generator | None, train: npt.NDArray[np.intp], own: Codes
) -> FloatArray:
    """The pattern of a factor in a training fold; of its shuffled truth where there is a generator to mix it."""
    code = own[name] if mixed is None else mixed.permutation(own[name])
    return patterns(values[train], {**own, name: code})[name]


def _errors(
    values: FloatArray, codes: Codes, folds: int, seed: int, ways: Sequence[_Way]
) -> tuple[list[dict[str, FloatArray]], dict[str, FloatArray]]:
    """Squared error of each factor in each held-out clip after each way to project, and the squared error of the mean.

    The penalty is chosen where all is there: a basis that knows the training rows' truths would mislead the choice.
    """
    target = np.hstack([*codes.values()])
    errors, spread = [np.empty_like(target) for _ in ways], np.empty_like(target)
    for train, test in KFold(folds, shuffle=True, random_state=seed).split(values):
        spread[test] = (target[test] - target[train].mean(axis=0)) ** 2
        chosen = make_pipeline(StandardScaler(), RidgeCV(_PENALTIES, alpha_per_target=True))
        alphas = np.atleast_1d(chosen.fit(values[train], target[train])[-1].alpha_)
        for error, way in zip(errors, ways, strict=True):
            taken = way(train, {name: code[train] for name, code in codes.items()})
            left = values if taken is None else values - values @ taken @ taken.T
            # not "svd": LAPACK's may fail to converge once a pattern has been projected out
            decoder = make_pipeline(StandardScaler(), Ridge(alphas, solver="cholesky"))
            predicted = decoder.fit(left[train], target[train]).predict(left[test])
            error[test] = (target[test] - predicted.reshape(len(test), -1)) ** 2
    return [_by_factor(error, codes) for error in errors], _by_factor(spread, codes)


def _by_factor(squares: FloatArray, codes: Codes) -> dict[str, FloatArray]:
    ends = np.cumsum([code.shape[1] for code in codes.values()])[:-1]
    return {name: part.sum(axis=1) for name, part in zip(codes, np.split(squares, ends, axis=1), strict=True)}


def _r2(error: FloatArray, spread: FloatArray) -> Interval:
    change = stats.paired_interval(error, spread, relative=True)
    return Interval(-change.estimate, -change.high, -change.low, change.n)


# --- figures ------------------------------------------------------------------------------------------------


def draw_cosines(table: pd.DataFrame, layer: int) -> None:
    """The matrix of `cosines`: below the diagonal the patterns', above it the limit of shuffled truths.

    A frame marks patterns above that limit.
    """
    closer = (table["cosine"] > table["high"]).sum()
    figures.message(f"{closer} of {len(table)} pairs of factors lie closer than 95 % of shuffled truths do")
    own = table.rename(columns={"one": "attribute", "other": "metric", "cosine": "shift"})
    own = own.assign(low=own["shift"] - own["high"], high=np.inf)
    limit = table.rename(columns={"other": "attribute", "one": "metric", "high": "shift"})
    names = list(dict.fromkeys([*table["other"], *table["one"]]))
    itself = pd.DataFrame({"attribute": names, "metric": names, "shift": np.nan})
    rows = pd.concat([itself, own, limit.assign(low=np.nan, high=np.nan)])[_CELLS]
    _matrix(rows, "cosine (root mean square)", f"layer {layer}", ("factor", "factor"), form=".2f")


def draw_lost(table: pd.DataFrame, layer: int) -> None:
    """The matrix of `lost`; a frame marks losses whose 95 % interval over clips lies above 0."""
    known = table.dropna(subset=["lost"])
    itself, shown = known["read"] == known["removed"], known["low"] > 0
    figures.message(
        f"A factor is shown to be less readable without its own pattern in {shown[itself].sum()} of {itself.sum()} "
        f"cases, and without that of another in {shown[~itself].sum()} of {(~itself).sum()}"
    )
    rows = table.rename(columns={"read": "attribute", "removed": "metric", "lost": "shift"})
    rows = rows.assign(high=np.inf)
    _matrix(rows, "share of R² lost", f"layer {layer}", ("projected out", "read"))


_CELLS = ["attribute", "metric", "shift", "low", "high"]


def _matrix(
    rows: pd.DataFrame, quantity: str, title: str, labels: tuple[str, str], form: str = "+.2f"
) -> None:
    size = 0.62 * rows["attribute"].nunique() + 1.5
    _, ax = plt.subplots(figsize=(size + 1.5, size))
    figures.cross_effects(rows, ax, quantity=quantity, form=form)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.set_title(title, loc="left")
    plt.show()


def draw_layers(spanned: pd.DataFrame, loss: pd.DataFrame) -> None:
    """Layer by layer: how many dimensions all patterns span, and what the loss of another factor's costs."""
    one, two = figures.panels(1, 2, size=(4.4, 3.6))
    number = spanned.attrs["number"]
    one.axhline(number, color=style.PALETTE["baseline"], linestyle="--", linewidth=1)
    for series, part in spanned.groupby("series", sort=False):
        one.plot(part["layer"], part["value"], marker="o", markersize=4, label=series)
    one.set(xlabel="layer", ylabel=f"dimensions spanned (of {number})", ylim=(0, 1.08 * number))
    spans = {
        series: f"{part['value'].min():.1f} to {part['value'].max():.1f}"
        for series, part in spanned.groupby("series")
    }
    figures.message(
        f"In each layer, patterns of {number} directions span {spans['factors']} dimensions, those of shuffled truths "
        f"{spans['shuffled truths']}"
    )
    apart = loss[loss["read"] != loss["removed"]]
    two.axhline(0, color=style.PALETTE["baseline"], linewidth=1)
    for series, part in (("another factor", apart), ("itself", loss[loss["read"] == loss["removed"]])):
        mean = part.groupby("layer")["lost"].mean()
        two.plot(mean.index, mean, marker="o", markersize=4, label=series)
    two.set(xlabel="layer", ylabel="share of R² lost, mean")
    for ax in (one, two):
        figures.legend(ax)
    plt.show()


# --- in words -----------------------------------------------------------------------------------------------


def findings(
    table: pd.DataFrame, spanned: pd.DataFrame, loss: pd.DataFrame, layer: int
) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    at = spanned[spanned["layer"] == layer].set_index("series")["value"]
    own, drawn = at["factors"], at["shuffled truths"]
    apart = loss[(loss["layer"] == layer) & (loss["read"] != loss["removed"])].dropna(subset=["lost"])
    shown, names = table[table["cosine"] > table["high"]], {*table["one"], *table["other"]}
    most = table.loc[(table["cosine"] - table["high"]).idxmax()]
    said = [
        f"At layer {layer}, the {spanned.attrs['number']} directions of {len(names)} factors span "
        f"{own:.1f} dimensions; of shuffled truths they span {drawn:.1f}.",
        f"{len(shown)} of {len(table)} pairs of factors have patterns that lie closer than 95 % of shuffled truths do. "
        f"Of all, {most['one']} and {most['other']} come furthest, with a cosine of {most['cosine']:.2f} where that "
        f"limit is {most['high']:.2f}.",
    ]
    if len(apart):
        worst = apart.loc[apart["lost"].idxmax()]
        cost = Interval(worst["lost"], worst["low"], worst["high"], 0)
        mean = style.signed(round(100 * apart["lost"].mean(), 1) + 0.0)
        said.append(
            f"Without the pattern of another, a factor loses {mean} % of its R² on average beyond what a pattern that "
            f"means nothing costs, and at most {measured(cost, share=True, sign=False)} ({worst['read']} without "
            f"{worst['removed']})."
        )
    return said, (
        "The composer draws all factors independently of each other, so nothing in the music asks the model to share "
        "directions among them; music in which fast is also loud may teach a model otherwise. And a pattern is what a "
        "*linear* reader sees at one position: the mean over a clip."
    )
