"""Linear probes: is a concept readable from the activations of a layer, and does its direction steer?

Method: paper B, sections III and IV-C. A probe is a linear function of one layer's activations, trained with
binary cross-entropy ("bce": logistic regression) or mean squared error ("mse": ridge regression on 0 and 1), of
one class against the rest, of one class against another, or of all classes at once (one-hot; every class its own
output). Its weights, at unit length, are a direction to steer along; so is the difference of means ("diffmean").

The paper does not state a penalty. Here activations are centred and divided by one number for each layer (their
root mean square), so that weights keep their direction in the model's own space, and a stated L2 penalty is
added: without one, more dimensions than clips can fit anything.

Accuracies are shares between 0 and 1 on clips that the probe has not seen; no track (or instrument) is on both
sides of a split.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from steerlib.activations import Activations
from steerlib.directions import diff_mean
from steerlib.evidence.stats import Interval, mean_interval, share_interval
from steerlib.model import MusicModel
from steerlib.steering import SteeringVector

__all__ = [
    "Loss",
    "Method",
    "Nested",
    "grouped_splits",
    "head_directions",
    "nested_accuracy",
    "probe_accuracy",
    "probe_directions",
    "scaled",
]

Loss = Literal["bce", "mse"]
Method = Literal["diffmean", "bce", "mse"]
FloatArray = npt.NDArray[np.floating[Any]]


def probe_directions(
    activations: Activations,
    labels: Sequence[str] | npt.NDArray[Any] | pd.Series,
    target: str,
    *,
    against: str = "rest",
    method: Method = "mse",
    penalty: float = 10.0,
    seed: int = 0,
) -> SteeringVector:
    """The unit direction toward a class at every layer (paper B section IV-C). Chapter: *Probes*.

    Parameters
    ----------
    activations : Activations
        Of N clips, see `extract_audio_activations`.
    labels : sequence of str, shape (N,)
    target : str
        The class to steer toward.
    against : str
        "rest": as many clips of the other classes, drawn evenly from them; "one-hot": all clips of all classes,
        every class an output of one probe; else the name of a class.
    method : {"diffmean", "bce", "mse"}
        Difference of means, or the weights of a probe trained with that loss.
    penalty : float
        L2 penalty of the probe: `Ridge`'s alpha, and 1 / C of `LogisticRegression`.
    seed : int
        Seeds the draw of the rest.

    Returns
    -------
    SteeringVector
        Directions of length 1, positive toward `target`.

    Raises
    ------
    ValueError
        If a class has no clips, or a name is unknown.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}; got {method!r}")
    names = _labels(activations, labels)
    rows, positive = _contrast(names, target, against, seed)
    if method == "diffmean":
        vector = diff_mean(
            replace(
                activations,
                values=activations.values[rows],
                labels=torch.from_numpy(positive),
                prompts=tuple(activations.prompts[row] for row in rows),
            )
        ).directions
    else:
        values = activations.values[rows].numpy().transpose(1, 0, 2)
        weights = [_fit(layer, positive[:, None], method, penalty)[0][0] for layer in values]
        vector = torch.from_numpy(np.stack(weights))
    metadata = {
        **activations.metadata,
        "method": {"diffmean": "DiffMean", "bce": "probe (BCE)", "mse": "probe (MSE)"}[method],
        "positive": target,
        "negative": "other classes" if against in ("rest", "one-hot") else against,
        "against": against,
        "n_positive": int(positive.sum()),
        "n_negative": int((~positive).sum()),
    }
    return SteeringVector(vector, metadata).unit()


def head_directions(
    model: MusicModel, activations: Activations, *, heads: int = 8, penalty: float = 1.0, folds: int = 4, seed: int = 0
) -> SteeringVector:
    """A direction for the output of each block's self-attention, made of the heads that know a class best.

    Inference-time intervention, per head, as SMITIN does it in a MusicGen (Koo et al., 2024; without its monitor that
    turns the push off): a logistic regression on what each head gives; of the heads with the best cross-validated
    accuracy, the direction times the spread along it. What is added to a head is added to the block's attention by its
    output projection, so that the vector acts at ``site="attention"``. Chapter: *Methods*.

    Parameters
    ----------
    model : MusicModel
    activations : Activations
        With labels, from `extract_audio_activations` with ``site="heads"``.
    heads : int, default 8
        How many of all heads of all blocks.
    penalty : float
        1 / C of `LogisticRegression`, on standardised values.
    folds : int
    seed : int

    Returns
    -------
    SteeringVector
        Zero at blocks without a chosen head. Its metadata names the heads as [block, head], with their accuracies.

    Raises
    ------
    ValueError
        If the activations are not those of heads, have no labels, or there are not so many heads.
    """
    count = model.stack.layers[0].self_attn.num_heads
    if activations.metadata.get("site") != "heads" or activations.labels is None:
        raise ValueError("give labelled activations of heads: extract_audio_activations(..., site='heads', labels=...)")
    if not 1 <= heads <= model.depth * count:
        raise ValueError(f"heads must be 1 to the {model.depth * count} of the model, got {heads}")
    values = activations.values.unflatten(2, (count, -1)).double().numpy()
    labels = activations.labels.numpy()
    splits = StratifiedKFold(folds, shuffle=True, random_state=seed)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=1000))
    scores = np.array([
        [cross_val_score(probe, values[:, layer, head], labels, cv=splits).mean() for head in range(count)]
        for layer in range(model.depth)
    ])  # fmt: skip
    best = [divmod(int(each), count) for each in np.argsort(-scores, axis=None, kind="stable")[:heads]]
    directions = torch.zeros(model.depth, model.width, dtype=torch.float64)
    for layer, head in best:
        fitted = probe.fit(values[:, layer, head], labels)
        weights = fitted[-1].coef_[0] / fitted[0].scale_
        along = weights / np.linalg.norm(weights)
        push = torch.from_numpy(along * (values[:, layer, head] @ along).std())
        out = model.stack.layers[layer].self_attn.out_proj.weight.detach().cpu().double()
        directions[layer] += out.unflatten(1, (count, -1))[:, head] @ push
    about = {"method": "per head (ITI)", "heads": [[*each, float(scores[each])] for each in best]}
    return SteeringVector(directions, {**activations.metadata, **about})


def scaled(vector: SteeringVector, activations: Activations) -> SteeringVector:
    """The vector with the mean norm of the activations as its length at each layer.

    Paper B's scaling factor has the unit of the activations, whose norm grows from layer to layer. With this
    vector a multiplier is a share instead: 0.1 adds a tenth of the usual norm.
    """
    norms = activations.values.double().norm(dim=2).mean(dim=0)
    return SteeringVector(vector.unit().directions * norms[:, None], {**vector.metadata, "scaled": True})


def probe_accuracy(
    activations: Activations,
    labels: Sequence[str] | npt.NDArray[Any] | pd.Series,
    groups: Sequence[str] | npt.NDArray[Any] | pd.Series,
    *,
    target: str | None = None,
    against: str = "rest",
    losses: Sequence[Loss] = get_args(Loss),
    folds: int = 4,
    penalty: float = 10.0,
    control: bool = True,
    seed: int = 0,
) -> pd.DataFrame:
    """Held-out accuracy of probes at every layer, with a shuffled-label control. Chapter: *Probes*.

    Parameters
    ----------
    activations, labels, penalty
        See `probe_directions`.
    groups : sequence, shape (N,)
        What must not be split: track or instrument.
    target : str, optional
        A class to tell from `against` ("rest" or a class). By default all classes are told apart by one probe
        with an output for each (one-hot), and the largest output counts.
    losses : sequence of {"bce", "mse"}
    folds : int
        Cross-validation folds, grouped; every class is in every fold as far as the groups allow.
    control : bool
        Also train on shuffled labels: what is left then is chance, or a leak.
    seed : int
        Seeds folds, shuffles and the bootstrap.

    Returns
    -------
    DataFrame
        Columns ``layer``, ``loss``, ``labels`` ("true" or "shuffled"), ``accuracy`` with ``low`` and ``high``
        (95 % bootstrap interval over groups, the probes held fixed), ``chance`` (share of the largest class) and
        ``n``.

    Raises
    ------
    ValueError
        If a class has too few groups for the folds; it is named.
    """
    unknown = set(losses) - set(get_args(Loss))
    if unknown or not losses:
        raise ValueError(f"losses must be some of {', '.join(get_args(Loss))}; got {list(losses)}")
    names = _labels(activations, labels)
    rows = np.arange(len(names))
    if target is not None:
        rows, positive = _contrast(names, target, against, seed)
        names = np.where(positive, target, f"not {target}")
    else:
        names = names[rows]
    units = np.asarray(groups).astype(str)[rows]
    splits = grouped_splits(names, units, folds=folds, seed=seed)
    classes, codes = np.unique(names, return_inverse=True)
    values = activations.values[rows].numpy()
    shuffled = np.random.default_rng(seed).permutation(codes)
    records = []
    for layer, loss in [(layer, loss) for layer in range(values.shape[1]) for loss in losses]:
        for kind, truth in [("true", codes), ("shuffled", shuffled)][: 1 + control]:
            guess = np.empty(len(codes), dtype=int)
            for train, test in splits:
                one_hot = truth[train, None] == np.arange(len(classes))
                weights, biases = _fit(values[train, layer], one_hot, loss, penalty)
                guess[test] = (values[test, layer] @ weights.T + biases).argmax(axis=1)
            right = mean_interval(guess == truth, clusters=units)
            records.append(
                {
                    "layer": layer,
                    "loss": loss,
                    "labels": kind,
                    "accuracy": right.estimate,
                    "low": right.low,
                    "high": right.high,
                    "chance": np.bincount(codes).max() / len(codes),
                    "n": right.n,
                }
            )
    return pd.DataFrame(records)


@dataclass(frozen=True, eq=False)
class Nested:
    """How often a probe is right on clips that chose neither its weights nor its layer nor its penalty.

    Attributes
    ----------
    right : ndarray, shape (N,), bool
        Whether it is right about each clip, NaN-free: every clip is left out once.
    units : ndarray, shape (N,)
        The track of each clip.
    layers : tuple of int
        The layer that each fold chose.
    penalties : tuple of float
    chance : float
        Share of the largest class.
    """

    right: npt.NDArray[np.bool_]
    units: npt.NDArray[np.str_]
    layers: tuple[int, ...]
    penalties: tuple[float, ...]
    chance: float

    @property
    def accuracy(self) -> Interval:
        """Share of clips, with its interval over tracks."""
        return share_interval(self.right, clusters=self.units)


def nested_accuracy(
    activations: Activations,
    labels: Sequence[str] | npt.NDArray[Any] | pd.Series,
    groups: Sequence[str] | npt.NDArray[Any] | pd.Series,
    *,
    loss: Loss,
    target: str | None = None,
    against: str = "rest",
    penalties: Sequence[float] = (1.0, 10.0, 100.0),
    folds: int = 4,
    inner: int = 2,
    seed: int = 0,
) -> Nested:
    """Accuracy by nested cross-validation: layer and penalty are chosen within the training tracks of each fold.

    The best of twelve layers on the clips that report it is better than it should be; here those clips had no part in
    the choice. Chapter: *Probes*.

    Parameters
    ----------
    activations, labels, groups, target, against, folds, seed
        See `probe_accuracy`.
    loss : {"mse", "bce"}
    penalties : sequence of float
        L2 penalties to choose from.
    inner : int
        Folds of the choice, within the training tracks.

    Returns
    -------
    Nested

    Raises
    ------
    ValueError
        If a class has too few groups for the folds, or too few are left for the inner ones; it is named.
    """
    names, rows = _labels(activations, labels), np.arange(len(activations))
    if target is not None:
        rows, positive = _contrast(names, target, against, seed)
        names = np.where(positive, target, f"not {target}")
    units = np.asarray(groups).astype(str)[rows]
    classes, codes = np.unique(names, return_inverse=True)
    values = activations.values[rows].numpy()

    def right(train: npt.NDArray[np.intp], test: npt.NDArray[np.intp], layer: int, penalty: float) -> Any:
        one_hot = codes[train, None] == np.arange(len(classes))
        weights, biases = _fit(values[train, layer], one_hot, loss, penalty)
        return (values[test, layer] @ weights.T + biases).argmax(axis=1) == codes[test]

    found, chosen = np.empty(len(codes), dtype=bool), []
    options = [(layer, float(penalty)) for penalty in penalties for layer in range(values.shape[1])]
    for train, test in grouped_splits(names, units, folds=folds, seed=seed):
        parts = [
            (train[fit], train[choose])
            for fit, choose in grouped_splits(names[train], units[train], folds=inner, seed=seed)
        ]
        score = [sum(right(fit, choose, *each).sum() for fit, choose in parts) for each in options]
        chosen.append(options[int(np.argmax(score))])
        found[test] = right(train, test, *chosen[-1])
    layers, costs = zip(*chosen, strict=True)
    return Nested(found, units, layers, costs, float(np.bincount(codes).max() / len(codes)))


def grouped_splits(
    labels: Sequence[str] | npt.NDArray[Any],
    groups: Sequence[str] | npt.NDArray[Any],
    *,
    folds: int = 4,
    seed: int = 0,
) -> list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Cross-validation splits (training rows, test rows) that keep every group on one side.

    Raises
    ------
    ValueError
        If a class has fewer groups than folds: its name, and how many it has.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if labels.shape != groups.shape or labels.ndim != 1:
        raise ValueError(
            f"labels and groups must be flat and of one length, got {labels.shape}, {groups.shape}"
        )
    if folds < 2:
        raise ValueError(f"folds must be at least 2, got {folds}")
    tracks = {str(label): len(np.unique(groups[labels == label])) for label in np.unique(labels)}
    if len(tracks) < 2:
        raise ValueError(f"a probe needs at least two classes, got {list(tracks)}")
    few = [f"{label!r} has {count}" for label, count in tracks.items() if count < folds]
    if few:
        raise ValueError(
            f"{folds} grouped folds need {folds} tracks (groups) of every class, but {', '.join(few)}: add tracks, "
            "leave the class out, or use fewer folds"
        )
    return list(StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(labels, labels, groups))


def _labels(activations: Activations, labels: Any) -> npt.NDArray[np.str_]:
    names = np.asarray(labels).astype(str)
    if names.shape != (len(activations),):
        raise ValueError(
            f"labels must have shape ({len(activations)},), one for each clip, got {names.shape}"
        )
    return names


def _contrast(
    names: npt.NDArray[np.str_], target: str, against: str, seed: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Rows of a contrast, and which of them are the target's."""
    classes = sorted(set(names.tolist()))
    for name in (target, against):
        if name not in (*classes, "rest", "one-hot") or name == target == against:
            raise ValueError(f"no class {name!r} to tell {target!r} from {against!r}: there are {classes}")
    mine = np.flatnonzero(names == target)
    if not len(mine):
        raise ValueError(f"no clips of class {target!r}: there are {classes}")
    others = np.flatnonzero((names == against) if against in classes else (names != target))
    if against == "rest":
        shuffled = np.random.default_rng(seed).permutation(others)
        turn = pd.Series(names[shuffled]).groupby(names[shuffled]).cumcount().to_numpy()
        others = shuffled[np.argsort(turn, kind="stable")][: len(mine)]
    rows = np.sort(np.concatenate([mine, others]))
    return rows, names[rows] == target


def _fit(
    values: FloatArray, outputs: npt.NDArray[np.bool_], loss: str, penalty: float
) -> tuple[FloatArray, FloatArray]:
    """Weights (outputs, hidden) and biases (outputs,) of probes; for two outputs the second mirrors the first."""
    mean = values.mean(axis=0)
    size = float(np.sqrt(((values - mean) ** 2).mean())) or 1.0
    x = (values - mean) / size
    one = outputs[:, :1] if outputs.shape[1] <= 2 else outputs
    if loss == "mse":
        ridge = Ridge(alpha=penalty).fit(x, one.astype(float))
        weights, biases = np.atleast_2d(ridge.coef_), np.atleast_1d(ridge.intercept_) - 0.5
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits = [LogisticRegression(C=1 / penalty, max_iter=300).fit(x, column) for column in one.T]
        weights = np.concatenate([fit.coef_ for fit in fits])
        biases = np.concatenate([fit.intercept_ for fit in fits])
    weights = weights / size
    biases = biases - weights @ mean
    if outputs.shape[1] == 2:
        weights, biases = np.concatenate([weights, -weights]), np.concatenate([biases, -biases])
    return weights, biases
