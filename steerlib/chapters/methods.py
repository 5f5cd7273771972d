"""Methods, scores and figures of the chapter *Methods* (``notebooks/methods.ipynb``): which way to steer is best?

Every way acts at the strongest λ of one ladder of κ that a budget of quality allows, found on other prompts than those
of the score. The score of a prompt is the harmonic mean of three shares between 0 and 1, as in AxBench (Wu et al.,
2025): how much of the attribute's own words it *reached*, how much of the prompt is *kept*, and how *likely* the
unsteered model finds the music. A clip of which nothing can be measured has reached nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from IPython.display import HTML

from steerlib.activations import Activations, audio_states, hear, stream_norms
from steerlib.directions import diff_mean, erase_and_set, random_direction, shuffled_direction, transport
from steerlib.engine.generation import Run
from steerlib.evidence import choices, stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.measure import clap_scores
from steerlib.music.captions import LEADS, STYLES
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured
from steerlib.page.style import PALETTE, number
from steerlib.prompts import load_prompts, say
from steerlib.readout.features import SparseCode, feature_for, train_sparse
from steerlib.readout.probes import head_directions, probe_directions
from steerlib.steering import Edit, Steering, SteeringVector, kappa
from steerlib.study import Study
from steerlib.sweeps.grid import BASELINE, sweep, sweep_cells

__all__ = [
    "WORDS",
    "Heard",
    "Method",
    "draw_ranks",
    "draw_scores",
    "draw_strengths",
    "findings",
    "hear_words",
    "learn_features",
    "listen",
    "make",
    "parts",
    "ranks",
    "score",
    "strengths",
    "table_of_scores",
    "try_out",
]

WORDS = "words"
"""The method that says it in the prompt instead of steering."""
_SIGNS = (-1, 1)
_PARTS = ("reached", "kept", "likely")


# --- what the methods learn from ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Heard:
    """Clips that the model wrote for the prompts of an attribute, unsteered, and what it makes of them.

    Attributes
    ----------
    table : DataFrame
        The clips, positive prompts first.
    audio : ndarray, shape (clips, samples)
    residual, heads : Activations
        Mean over the frames of a clip, with labels.
    states : Tensor, shape (clips, frames, hidden)
        Of the source layer.
    """

    table: pd.DataFrame
    audio: npt.NDArray[np.float32]
    residual: Activations
    heads: Activations
    states: torch.Tensor

    @property
    def labels(self) -> torch.Tensor:
        return torch.arange(len(self.audio)) < len(self.audio) // 2


def hear_words(study: Study, name: str, pairs: int, layer: int) -> Heard:
    """Let the model write the first pairs of an attribute's prompts, and hear them again without a prompt."""
    attribute = study.attributes[name].first(pairs)
    prompts = [*attribute.positive_prompts, *attribute.negative_prompts]
    table = sweep(
        study.model, prompts, BASELINE, store=study.store, seconds=study.seconds, seeds=[study.seed],
        sampling=study.sampling, metrics=[attribute.metric], beats=study.beats,
    )  # fmt: skip
    audio = study.sounds(table)
    labels = torch.arange(len(audio)) < len(audio) // 2
    options: dict[str, Any] = {"sample_rate": study.model.sample_rate, "progress": False}
    residual, heads = hear(study.model, audio, [("mean", "residual"), ("mean", "heads")], labels=labels, **options)
    return Heard(table, audio, residual, heads, audio_states(study.model, audio, layer, **options))


def learn_features(heard: Mapping[str, Heard], **settings: Any) -> SparseCode:
    """A dictionary of all states that were heard; `settings` are those of `readout.features.train_sparse`."""
    return train_sparse(torch.cat([each.states.flatten(0, 1) for each in heard.values()]), **settings)


# --- the methods --------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Method:
    """One way to steer an attribute.

    Attributes
    ----------
    name : str
    edit : SteeringVector or SteeringMap
    how : dict
        Further settings of `Steering`.
    control : bool, default False
        Whether it should not work.
    """

    name: str
    edit: Edit
    how: Mapping[str, Any] = field(default_factory=dict)
    control: bool = False

    def at(self, multiplier: float) -> Steering:
        return Steering(self.edit, multiplier, **self.how)


def make(
    study: Study, name: str, heard: Heard, code: SparseCode, *, layer: int, draws: int, heads: int = 8
) -> list[Method]:
    """All methods for an attribute, and the controls.

    Parameters
    ----------
    study : Study
    name : str
        Of the attribute.
    heard : Heard
    code : SparseCode
        From `learn_features`.
    layer : int
        Source layer.
    draws : int
        Random directions, drawn within the covariance of the prompts' activations.
    heads : int, default 8
        See `readout.probes.head_directions`.
    """
    everywhere, there = {"source_layer": layer}, {"layers": (layer,), "positions": "audio"}
    text, audio = study.activations[name], heard.residual
    words = np.where(heard.labels.numpy(), "yes", "no")
    of_prompts = study.vectors[name]
    feature = feature_for(code, heard.states, heard.labels, layers=study.model.depth).vector

    def probe(loss: Any) -> SteeringVector:
        return probe_directions(audio, words, "yes", against="no", method=loss, seed=study.seed)

    return [
        Method("DiffMean, prompts", of_prompts, everywhere),
        Method("DiffMean, audio", diff_mean(audio), everywhere),
        Method("probe (BCE)", probe("bce"), everywhere),
        Method("probe (MSE)", probe("mse"), everywhere),
        Method("rotation", of_prompts, everywhere | {"preserve_norm": True}),
        Method("transport", transport(audio), there),
        Method("erase and set", erase_and_set(audio), {"positions": "audio"}),
        Method("sparse feature", feature, everywhere),
        Method(
            "per head", head_directions(study.model, heard.heads, heads=heads, seed=study.seed), {"site": "attention"}
        ),
        Method("shuffled poles", shuffled_direction(text, seed=study.seed), everywhere, control=True),
        *(
            Method(f"random {k + 1}", random_direction(of_prompts, seed=study.seed + k, within=text), everywhere, True)
            for k in range(draws)
        ),
    ]  # fmt: skip


# --- one strength for all -----------------------------------------------------------------------------------


def strengths(
    study: Study, methods: Mapping[str, Sequence[Method]], kappas: Sequence[float], *, prompts: int, seconds: float
) -> pd.DataFrame:
    """What each κ of each method costs, on neutral prompts and short clips.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``method``, ``kappa``, ``multiplier`` (with its sign) and the excess ``nll`` (nats per
        token) with ``nll_low`` and ``nll_high``, 95 %.
    """
    if prompts < 2:
        raise ValueError(f"{prompts} prompts tell no interval of the cost: give at least two")
    told, norms = load_prompts("neutral")[:prompts], stream_norms(study.model)
    records: list[tuple[Any, ...]] = [("", "", 0.0, 0.0, prompt, ()) for prompt in told]
    for name, each in methods.items():
        for method in each:
            unit = kappa([method.at(1.0)], norms)
            for size in kappas:
                for sign in _SIGNS:
                    steering = (method.at(sign * size / unit),)
                    records += [
                        (name, method.name, size, sign * size / unit, prompt, steering) for prompt in told
                    ]
    names = ["attribute", "method", "size", "multiplier", "prompt", "steering"]
    table = _sweep(study, pd.DataFrame(records, columns=names), seconds=seconds, metrics=["rms"])
    plain = table[table["multiplier"] == 0].set_index("prompt")["nll"]
    rows = []
    steered = table[table["multiplier"] != 0]
    for (name, way, size, multiplier), part in steered.groupby(names[:4], sort=False):
        cost = stats.paired_interval(part["nll"].to_numpy(), part["prompt"].map(plain).to_numpy())
        rows.append((name, way, size, multiplier, cost.estimate, cost.low, cost.high))
    return pd.DataFrame(
        rows, columns=["attribute", "method", "kappa", "multiplier", "nll", "nll_low", "nll_high"]
    )


def chosen(tried: pd.DataFrame, margin: float) -> dict[tuple[str, str], float | None]:
    """The largest size of λ within the budget, by attribute and method; None if there is none."""
    groups = tried.groupby(["attribute", "method"], sort=False)
    return {key: choices.strongest(part, {"nll": margin}) for key, part in groups}


def try_out(
    study: Study, methods: Mapping[str, Sequence[Method]], tried: pd.DataFrame, *, margin: float
) -> pd.DataFrame:
    """The study's prompts by each method at its strength, in words, and unsteered.

    Parameters
    ----------
    study : Study
    methods : mapping of str to sequence of Method
        By attribute.
    tried : DataFrame
        From `strengths`.
    margin : float
        Nats per token: the upper limit of the cost toward either pole must lie below it. A method that no size is
        allowed makes no clips, and scores 0.

    Returns
    -------
    DataFrame
        Columns ``attribute``, ``method`` ("" unsteered), ``control``, ``sign``, ``prompt_id``, ``told`` (the prompt
        without words for the pole), those of `sweep_cells`.
    """
    sizes = chosen(tried, margin)
    records: list[tuple[Any, ...]] = []
    for name, each in methods.items():
        attribute = study.attributes[name]
        for k, prompt in enumerate(study.prompts):
            records.append((name, "", False, 0, 0.0, k, prompt, prompt, ()))
            for sign in _SIGNS:
                said = say(prompt, [attribute.positive if sign > 0 else attribute.negative])
                records.append((name, WORDS, False, sign, 0.0, k, prompt, said, ()))
                for method in each:
                    size = sizes[name, method.name]
                    if size is not None:
                        records.append((
                            name, method.name, method.control, sign, sign * size, k, prompt, prompt,
                            (method.at(sign * size),),
                        ))  # fmt: skip
    names = ["attribute", "method", "control", "sign", "multiplier", "prompt_id", "told", "prompt", "steering"]
    metrics = list(dict.fromkeys(each.metric for each in study.attributes.values()))
    return _sweep(study, pd.DataFrame(records, columns=names), seconds=study.seconds, metrics=metrics)


def _sweep(study: Study, cells: pd.DataFrame, *, seconds: float, metrics: Sequence[str]) -> pd.DataFrame:
    return sweep_cells(
        study.model, cells.assign(seed=study.seed), store=study.store, seconds=seconds, sampling=study.sampling,
        metrics=metrics, beats=study.beats, run=Run(),
    )  # fmt: skip


# --- the score ----------------------------------------------------------------------------------------------


def named(prompt: str) -> dict[str, str]:
    """The style and the lead instrument that a prompt names, of those that the captions have.

    Examples
    --------
    >>> named("A synth riff on a boom-bap jam"), named("A theme with a full band")
    ({'style': 'hip-hop', 'lead': 'synth'}, {})
    """
    found = {}
    for what, labels in (("style", STYLES), ("lead", LEADS)):
        words = {word: label for label, each in labels.items() for word in each}
        hits = [word for word in words if re.search(rf"\b{re.escape(word)}\b", prompt.lower())]
        if hits:
            found[what] = words[max(hits, key=len)]
    return found


def kept(study: Study, table: pd.DataFrame) -> "pd.Series[float]":
    """What is left of the style and lead that a prompt names, by clip, from 0 to 1; NaN if it names neither.

    The probability that CLAP gives the label, among all styles or all leads, over that in the unsteered clip of the
    same prompt, at most 1; the mean of both if the prompt names both.
    """
    once = table.drop_duplicates("clip")
    audio, rate = study.sounds(once), study.model.sample_rate
    shares = {}
    for what, labels in (("style", list(STYLES)), ("lead", list(LEADS))):
        scores = clap_scores(audio, labels, sample_rate=rate, model=study.clap)
        of = pd.DataFrame(scores, index=once["clip"].to_numpy(), columns=labels)
        label = table["told"].map(lambda prompt, what=what: named(prompt).get(what))
        has = label.notna()
        heard = pd.Series(np.nan, table.index)
        heard[has] = [of.at[clip, each] for clip, each in zip(table.loc[has, "clip"], label[has], strict=True)]
        plain = heard[table["method"] == ""].groupby(table["told"]).first()
        shares[what] = (heard / table["told"].map(plain)).clip(upper=1)
    return pd.DataFrame(shares).mean(axis=1)


def score(
    study: Study, methods: Mapping[str, Sequence[Method]], table: pd.DataFrame, heard: Mapping[str, Heard]
) -> pd.DataFrame:
    """How well each method steers each prompt.

    Parameters
    ----------
    study : Study
    methods : mapping of str to sequence of Method
        By attribute. One that has no clips scores 0.
    table : DataFrame
        From `try_out`.
    heard : mapping of str to Heard
        By attribute: what its words do is the whole of what can be reached.

    Returns
    -------
    DataFrame
        A row for each ``attribute``, ``method`` and ``prompt_id``: ``control``, ``reached`` (half the difference of
        the poles over that of the attribute's own prompts), ``kept`` and ``likely`` (means of both poles), all from 0
        to 1, and their harmonic mean ``score``.
    """
    table = table.assign(kept=kept(study, table))
    plain = table[table["method"] == ""].set_index(["attribute", "prompt_id"])
    excess = table["nll"] - plain["nll"].reindex(
        pd.MultiIndex.from_frame(table[["attribute", "prompt_id"]])
    ).to_numpy()
    table["likely"] = np.exp(-excess.clip(lower=0))
    rows = []
    for name, attribute in study.attributes.items():
        whole = _words_alone(attribute.metric, heard[name])
        part = table[(table["attribute"] == name) & (table["method"] != "")]
        part = part.assign(value=_scaled(part[attribute.metric], attribute.metric) * part["sign"] / 2)
        for method, each in part.groupby("method", sort=False):
            clips = each.groupby("prompt_id")
            shift = clips["value"].sum(min_count=2)
            found = pd.DataFrame({
                "reached": (shift / whole).clip(0, 1).fillna(0.0), "kept": clips["kept"].mean(),
                "likely": clips["likely"].mean(),
            })  # fmt: skip
            found["score"] = _harmonic(found)
            about = {"attribute": name, "method": method, "control": bool(each["control"].iloc[0])}
            rows.append(found.assign(**about).reset_index())
        for method in methods[name]:
            if method.name not in set(part["method"]):
                nothing = {"attribute": name, "method": method.name, "control": method.control, "score": 0.0}
                rows.append(pd.DataFrame({**nothing, "prompt_id": range(len(study.prompts))}))
    names = ["attribute", "method", "control", "prompt_id", *_PARTS, "score"]
    return pd.concat(rows, ignore_index=True).reindex(columns=names)


def _harmonic(shares: pd.DataFrame) -> "pd.Series[float]":
    """By row, of the shares that there are: a prompt that names no style and no lead has none to lose."""
    return shares.count(axis=1) / (1 / shares).sum(axis=1)


def _scaled(values: "pd.Series[float]", metric: str) -> "pd.Series[float]":
    return values.where(values > 0).map(np.log2) if metric in stats.OCTAVES else values


def _words_alone(metric: str, heard: Heard) -> float:
    """Half the difference between the poles of an attribute's own prompts; NaN if it is not the intended way."""
    value, half = _scaled(heard.table[metric], metric).to_numpy(), len(heard.table) // 2
    whole = float(np.nanmean(value[:half] - value[half:]) / 2)
    return whole if whole > 0 else np.nan


def parts(study: Study, scores: pd.DataFrame, heard: Mapping[str, Heard]) -> dict[str, Measured]:
    """The parts of C4: by how much the best method beats the better control, by attribute.

    The best is chosen on the other half of the prompts than those that it is scored on, so that luck is not counted.
    The control is what each control would score against the best of the others.
    """
    found = {}
    for name, attribute in study.attributes.items():
        part = scores[scores["attribute"] == name]
        wide = part.pivot(index="prompt_id", columns="method", values="score")
        means, controls = wide.mean(), sorted(part.loc[part["control"], "method"].unique())
        real = [each for each in wide if each not in (*controls, WORDS)]
        difference = pd.Series(np.nan, wide.index)
        for half in (0, 1):
            here = wide.index % 2 == half
            if real and controls and here.any() and not here.all():
                best = wide.loc[~here, real].mean().idxmax()
                difference[here] = wide.loc[here, best] - wide.loc[here, means[controls].idxmax()]
        beyond = [means[each] - max(means[[*controls]].drop(each)) for each in controls if len(controls) > 1]
        sides = _scaled(heard[name].table[attribute.metric], attribute.metric).to_numpy().reshape(2, -1)
        found[name] = Measured(
            stats.mean_interval(difference), control=stats.control_range(beyond, symmetric=False),
            testable=stats.auc(*sides),
        )  # fmt: skip
    return found


def ranks(scores: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Mean score of each method over all attributes, and its rank with 95 % limits, by bootstrap over prompts.

    Returns
    -------
    DataFrame
        By method, best first: ``score``, ``low``, ``high`` (over prompts), ``rank``, ``best`` and ``worst``, and
        ``control``. Random directions are taken together.
    """
    together = scores.assign(method=scores["method"].str.replace(r"^random \d+$", "random", regex=True))
    wide = together.pivot_table(index="prompt_id", columns="method", values="score", aggfunc="mean")
    values = wide.to_numpy()
    rows = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    drawn = (-values[rows].mean(axis=1)).argsort(axis=1).argsort(axis=1) + 1
    limits = np.quantile(drawn, [0.025, 0.975], axis=0, method="nearest").astype(int)
    found = pd.DataFrame({"best": limits[0], "worst": limits[1]}, index=wide.columns)
    intervals = {method: stats.mean_interval(wide[method]) for method in wide}
    for column, attribute in (("score", "estimate"), ("low", "low"), ("high", "high")):
        found[column] = [getattr(intervals[method], attribute) for method in wide]
    found["rank"] = found["score"].rank(ascending=False, method="min").astype(int)
    found["control"] = together.groupby("method")["control"].first()
    return found.sort_values("rank")


# --- tables and figures -------------------------------------------------------------------------------------


def table_of_scores(scores: pd.DataFrame, tried: pd.DataFrame, margin: float) -> pd.DataFrame:
    """The three shares and the score of each method, by attribute, and the κ that it acted at."""
    norms = {key: size for key, size in chosen(tried, margin).items() if size is not None}
    strongest = tried.assign(size=tried["multiplier"].abs()).set_index(["attribute", "method", "size"])["kappa"]
    found = scores.groupby(["attribute", "method"], sort=False)[[*_PARTS, "score"]].mean()
    found.insert(0, "κ", [
        strongest.loc[(*key, norms[key])].iloc[0] if key in norms else np.nan for key in found.index
    ])  # fmt: skip
    return found.round(2).sort_values(["attribute", "score"], ascending=[True, False])


def draw_ranks(ranked: pd.DataFrame) -> None:
    """The mean score of each method with its interval, and above it which way wins, and whether words do."""
    figures.message(said(ranked))
    ax = plt.subplots(figsize=(7, 0.33 * len(ranked) + 1.4), layout="constrained")[1]
    colours = {"steering": PALETTE["positive"], "in the prompt": PALETTE["negative"], "control": PALETTE["baseline"]}
    kinds = ["in the prompt" if name == WORDS else "control" if each else "steering"
             for name, each in ranked["control"].items()]  # fmt: skip
    for kind, colour in colours.items():
        rows = np.flatnonzero(np.array(kinds) == kind)
        part = ranked.iloc[rows]
        errors = np.abs(part[["low", "high"]].to_numpy().T - part["score"].to_numpy())
        ax.errorbar(part["score"], rows, xerr=errors, fmt="o", markersize=5, color=colour, label=kind)
    ax.set_yticks(range(len(ranked)), ranked.index)
    ax.invert_yaxis()
    ax.set(xlabel="score, mean over attributes", xlim=(-0.02, 1.02))
    ax.legend(loc="lower right", frameon=False)
    plt.show()


def said(ranked: pd.DataFrame) -> str:
    """Whether asking in words beats the best way to steer, as far as the limits of their ranks tell."""
    steered = ranked[~ranked["control"].astype(bool) & (ranked.index != WORDS)]
    if steered.empty or WORDS not in ranked.index:
        return "No way to steer is within the budget"
    best, words = steered.iloc[0], ranked.loc[WORDS]
    if words["worst"] < best["best"]:
        return f"Words beat every way to steer; the best is {best.name}"
    if best["worst"] < words["best"]:
        return f"Steering by {best.name} beats words"
    return f"Between words and the best way to steer ({best.name}) the ranks do not decide"


def draw_scores(scores: pd.DataFrame) -> None:
    """What makes up the scores: a panel for each share, methods as rows, attributes as columns."""
    steered = scores[~scores["control"] & (scores["method"] != WORDS)]
    lowest = steered[[*_PARTS]].mean().idxmin()
    figures.message(
        "What holds the methods back most is "
        + {"reached": "how little of the attribute they reach.", "kept": "how much of the prompt they lose.",
           "likely": "how unlikely the music becomes."}[lowest]
    )  # fmt: skip
    order = ranks(scores, draws=1).index
    together = scores.assign(method=scores["method"].str.replace(r"^random \d+$", "random", regex=True))
    size = (3.2 + 1.5 * scores["attribute"].nunique(), 0.33 * len(order) + 1.2)
    axes = plt.subplots(1, len(_PARTS), figsize=size, sharey=True, layout="constrained")[1]
    for ax, share in zip(axes, _PARTS, strict=True):
        means = together.pivot_table(index="method", columns="attribute", values=share).loc[order]
        ax.imshow(means, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for (y, x), value in np.ndenumerate(means.to_numpy()):
            ink = "white" if value < 0.5 else "black"
            ax.text(x, y, f"{value:.2f}" if np.isfinite(value) else "–", ha="center", va="center", color=ink)
        ax.set_xticks(range(means.shape[1]), means.columns)
        ax.set_yticks(range(len(order)), order)
        ax.set_title({"reached": "attribute reached", "kept": "prompt kept", "likely": "likelihood kept"}[share])
        ax.tick_params(length=0)
    plt.show()


def draw_strengths(tried: pd.DataFrame, margin: float) -> None:
    """What each κ costs, by attribute: a line for each method, the costlier pole, and the budget."""
    sizes = chosen(tried, margin)
    barred = [f"{way} for {name}" for (name, way), size in sizes.items() if size is None]
    none = f"; no strength is shown to be within it for {listed(barred)}" if barred else ""
    figures.message(f"{len(sizes) - len(barred)} of {len(sizes)} pushes have a strength within the budget{none}")
    names, methods = tried["attribute"].unique(), tried["method"].unique()
    size = (1.5 + 2.1 * len(names), 3.6)
    figure, axes = plt.subplots(1, len(names), figsize=size, sharey=True, squeeze=False, layout="constrained")
    colours, ticks = plt.get_cmap("tab10"), np.sort(tried["kappa"].unique())[::-2]  # all would touch each other
    for ax, name in zip(axes[0], names, strict=True):
        for k, method in enumerate(methods):
            part = tried[(tried["attribute"] == name) & (tried["method"] == method)]
            worse = part.groupby("kappa")["nll"].max()
            line = {"color": colours(k % 10), "linestyle": "-" if k < 10 else ":", "linewidth": 1}
            ax.plot(worse.index, worse, marker=".", label=method, **line)
        ax.axhline(margin, color=PALETTE["baseline"], linewidth=1, linestyle="--")
        ax.set(xscale="log", xlabel="strength κ", title=name)
        ax.set_xticks(ticks, [f"{each:g}" for each in ticks])
        ax.minorticks_off()
    highest = min(float(tried["nll"].max()), 3 * margin)
    axes[0, 0].set(ylabel="excess negative log-likelihood\n(nats per token)", ylim=(None, max(highest, 1.2 * margin)))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    plt.show()


def listen(study: Study, table: pd.DataFrame, name: str, ranked: pd.DataFrame) -> HTML:
    """One prompt toward the positive pole: unsteered, in words, by the best way to steer, along a random direction."""
    steered = [each for each in ranked.index if each != WORDS and not ranked.loc[each, "control"]]
    part = table[(table["attribute"] == name) & (table["sign"] >= 0)]
    first = part[part["prompt_id"] == 0].set_index("method")
    wanted = {"": "not steered", WORDS: "in words", **{each: each for each in steered[:1]}, "random 1": "random"}
    shown = {method: label for method, label in wanted.items() if method in first.index}
    rows = first.loc[list(shown)].reset_index()
    attribute = study.attributes[name]
    return study.players(rows, list(shown.values()), label=f"{study.prompts[0]}, toward {attribute.positive}")


def findings(verdict: Verdict, ranked: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it."""
    steered = ranked[~ranked["control"].astype(bool) & (ranked.index != WORDS)]
    told = [
        f"{said(ranked)}. On average over attributes, {each} scores {number(ranked.loc[each, 'score'])} "
        f"[{number(ranked.loc[each, 'low'])}, {number(ranked.loc[each, 'high'])}]"
        for each in steered.index[:1]
    ]
    if WORDS in ranked.index:
        row = ranked.loc[WORDS]
        told[0] += f" and the prompt's own words {number(row['score'])} [{number(row['low'])}, {number(row['high'])}]."
    beats = [f"{measured(each.interval)} for {name}" for name, each in verdict.parts.items()]
    told.append(
        f"The best method beats the better control by {listed(beats)}, on a scale from 0 to 1. The claim that some "
        f"method stands out ({verdict.check.claim}) is **{verdict.verdict}**."
    )
    ways = ranked[~ranked["control"].astype(bool)]
    near = ways[ways["best"] <= 1].index
    return told, (
        f"By the 95 % limits of the ranks, {len(near)} of {len(ways)} ways may be the best ({listed(list(near))}). The "
        "score has three parts of equal weight, which is our choice; and all methods learnt from one small model."
    )
