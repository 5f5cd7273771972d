"""How well a true number, such as the tempo of a clip, is linearly decodable from activations, and along which
direction.

Neither paper can ask this: nobody knows the tempo of the music that trained their model. Of ours everything
is known (`steerlib.music.corpus`). The decoder is a ridge regression of the number on standardised
activations. Its weights are a *filter*: they also cancel what disturbs. The direction along which the
activations move with the number is the *pattern*, their covariance with it (Haufe et al., 2014, equation 6).
The two need not agree, and which of them steers is a question for an experiment.

Units: log2 of BPM and of Hz are octaves, the natural unit of both. Chapter: *Known truth and controls*.
"""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.activations import Activations
from steerlib.evidence.stats import paired_interval
from steerlib.steering import SteeringVector

__all__ = ["Direction", "decodability", "ridge_direction"]

Direction = Literal["filter", "pattern"]
_PENALTIES = np.logspace(-1, 5, 13)


def decodability(
    values: Activations | npt.ArrayLike,
    target: npt.ArrayLike,
    *,
    groups: npt.ArrayLike | None = None,
    folds: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of a number's variance that a linear decoder finds in activations it has not seen, by layer.

    ``R² = 1 - sum (y - prediction)² / sum (y - mean of the training folds)²`` over all held-out rows. 1 is
    perfect; 0 is no better than the mean; below 0 is worse. The penalty is chosen within the training folds.

    Parameters
    ----------
    values : Activations, or array_like of shape (rows, layers, hidden)
    target : array_like, shape (rows,)
        The true number of each row.
    groups : array_like, shape (rows,), optional
        Rows of one clip or track, which are held out together. Default: each row by itself.
    folds : int, default 5
        Parts of the cross-validation.
    seed : int
        Seeds the folds.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``r2``, ``low``, ``high`` (95 % interval over groups, for the decoders
        as they were trained) and ``n`` (rows).

    Raises
    ------
    ValueError
        If shapes disagree, a number is not finite, or there are fewer groups than folds.
    """
    x, y = _checked(values, target)
    names = np.arange(len(y)) if groups is None else np.asarray(groups)
    if names.shape != y.shape:
        raise ValueError(f"groups have shape {names.shape}, but there are {len(y)} rows: one name for each")
    count = len(np.unique(names))
    if not 2 <= folds <= count:
        raise ValueError(f"{count} groups cannot be divided into {folds} folds: choose 2 to {count}")
    splits = list(GroupKFold(folds, shuffle=True, random_state=seed).split(y, y, names))
    rows = []
    for layer in range(x.shape[1]):
        error, spread = np.empty_like(y), np.empty_like(y)
        for train, test in splits:
            predicted = _ridge().fit(x[train, layer], y[train]).predict(x[test, layer])
            error[test], spread[test] = (y[test] - predicted) ** 2, (y[test] - y[train].mean()) ** 2
        # R² is by how much the decoder's error is smaller than that of the mean, relative to it: a change times -1.
        change = paired_interval(error, spread, relative=True, clusters=names)
        found = {"r2": -change.estimate, "low": -change.high, "high": -change.low}
        rows.append({"layer": layer, **found, "n": change.n})
    return pd.DataFrame(rows)


def ridge_direction(
    activations: Activations, target: npt.ArrayLike, *, kind: Direction = "filter"
) -> SteeringVector:
    """The direction along which a number is decoded from activations, at each layer.

    Parameters
    ----------
    activations : Activations
    target : array_like, shape (rows,)
        The true number of each row; it grows toward the positive pole.
    kind : {"filter", "pattern"}
        The decoder's weights in the space of the activations, or the covariance of the activations with
        what it decodes.

    Returns
    -------
    SteeringVector
        Unit length at each layer: multiply by the norm to add.

    Raises
    ------
    ValueError
        If shapes disagree, a number is not finite, or the kind is unknown.
    """
    if kind not in get_args(Direction):
        raise ValueError(f"kind must be one of {', '.join(get_args(Direction))}; got {kind!r}")
    x, y = _checked(activations, target)
    directions = []
    for layer in range(x.shape[1]):
        fitted = _ridge().fit(x[:, layer], y)
        if kind == "filter":
            directions.append(fitted["ridgecv"].coef_ / fitted["standardscaler"].scale_)
        else:
            predicted = fitted.predict(x[:, layer])
            centred = x[:, layer] - x[:, layer].mean(axis=0)
            directions.append((predicted - predicted.mean()) @ centred / len(y))
    metadata = {**activations.metadata, "method": f"ridge, {kind}", "rows": len(y)}
    return SteeringVector(torch.tensor(np.array(directions)), metadata).unit()


def _ridge() -> Pipeline:
    return make_pipeline(StandardScaler(), RidgeCV(_PENALTIES))


def _checked(
    values: Activations | npt.ArrayLike, target: npt.ArrayLike
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    x = np.asarray(values.values if isinstance(values, Activations) else values, dtype=float)
    y = np.asarray(target, dtype=float)
    if x.ndim != 3 or y.shape != (len(x),):
        raise ValueError(
            f"expected values of shape (rows, layers, hidden) and one number a row, got {x.shape} and {y.shape}"
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("values and target must be finite numbers: leave out rows whose truth is not known")
    return x, y
