"""Figures and tables of the chapter *Probes* (``notebooks/probes.ipynb``; paper B, sections IV-B2 and IV-E2)."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.activations import Activations
from steerlib.evidence import stats
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.evidence.stats import check_columns
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured, told
from steerlib.page.style import PALETTE, signed
from steerlib.readout.probes import Loss, Nested, nested_accuracy
from steerlib.steering import Site
from steerlib.study import Study
from steerlib.sweeps.transfer import Push, score_clips, steer_toward, strongest, unless_overspent

__all__ = [
    "accuracy_by_layer",
    "common_strength",
    "contrasts",
    "draw",
    "draw_probe_accuracy",
    "effects",
    "findings",
    "heard",
    "means",
    "nested",
    "nested_table",
    "players",
    "pushes",
    "steer",
    "verdict",
]


def accuracy_by_layer(accuracy: Mapping[str, pd.DataFrame]) -> None:
    """Held-out accuracy against the layer, a panel for each site."""
    titles = {"residual": "residual stream", "attention": "attention output"}
    axes = figures.panels(1, len(accuracy), size=(4.5, 3.4), sharey=True)
    for ax, (site, table) in zip(axes, accuracy.items(), strict=True):
        draw_probe_accuracy(table, ax, title=titles[site])
    true = _true(accuracy)
    best, worst = (true.loc[find] for find in (true["accuracy"].idxmax(), true["accuracy"].idxmin()))
    above = int((true["low"] > true["chance"]).sum())
    figures.message(
        f"{above} of {len(true)} probes are shown to beat guessing; accuracy goes from {worst.accuracy:.2f} (layer "
        f"{worst.layer}) to {best.accuracy:.2f} (layer {best.layer})",
    )
    plt.show()


def means(accuracy: Mapping[str, pd.DataFrame]) -> None:
    """Say the mean accuracy of each loss."""
    true = _true(accuracy)
    mse, bce = (true.loc[true["loss"] == loss, "accuracy"].mean() for loss in ("mse", "bce"))
    chance = true["chance"].iloc[0]
    print(f"mean over layers and sites: MSE {mse:.3f}, BCE {bce:.3f}, chance {chance:.3f}")


def nested(
    heard: Mapping[str, Activations],
    labels: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    *,
    penalties: Sequence[float],
    folds: int,
    seed: int,
) -> dict[tuple[str, Loss], Nested]:
    """Nested accuracy of all classes at once for each site and loss."""
    return {
        (site, loss): nested_accuracy(
            each, labels, groups, loss=loss, penalties=penalties, folds=folds, seed=seed
        )
        for site, each in heard.items()
        for loss in get_args(Loss)
    }


def contrasts(
    activations: Activations,
    labels: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    tests: Sequence[tuple[str, str]],
    **options: Any,
) -> dict[tuple[str, Loss], Nested]:
    """Nested accuracy of each test (target, against) and loss; `options` as for `nested_accuracy`."""
    return {
        (f"{target} against {against}", loss): nested_accuracy(
            activations, labels, groups, loss=loss, target=target, against=against, **options
        )
        for target, against in tests
        for loss in get_args(Loss)
    }


def nested_table(found: Mapping[tuple[str, Loss], Nested]) -> pd.DataFrame:
    """Accuracy with its interval, and what the folds chose."""
    rows = [
        {
            "of": what, "loss": loss.upper(), "accuracy [95 %]": str(each.accuracy), "chance": round(each.chance, 2),
            "layers chosen": each.layers, "penalties chosen": each.penalties,
        }
        for (what, loss), each in found.items()
    ]  # fmt: skip
    return pd.DataFrame(rows).set_index(["of", "loss"])


def pushes(
    prompts: Sequence[str], classes: Sequence[str], strengths: Sequence[float], *, every: bool = True
) -> list[Push]:
    """Toward each class along both losses, one against the rest; with `every`, one-hot and a random direction too."""
    ways: list[dict[str, Any]] = [{"method": "bce"}, {"method": "mse"}]
    ways += [{"against": "one-hot"}, {"control": "random direction"}] if every else []
    return [
        Push(tuple(prompts), target, tuple(strengths), draw=number, **way)
        for number, target in enumerate(classes)
        for way in ways
    ]


def common_strength(searched: pd.DataFrame, budget: float) -> tuple[float, bool]:
    """The strongest push that both losses can afford, over all classes: neither is helped by the choice.

    Returns
    -------
    strength : float
    within : bool
        False if one of them has none within the budget: nothing measured with the strength can then pass.
    """
    chosen = strongest(searched, by=["method"], budget=budget)
    strength, within = float(chosen["multiplier"].min()), bool(chosen["within"].all())
    print(
        f"strength {strength:g} for both losses{'' if within else ', over the budget: no claim on steering can pass'}"
    )
    return strength, within


def steer(
    study: Study,
    heard: Mapping[Site, Activations],
    labels: "pd.Series[Any]",
    pushes: Sequence[Push],
    *,
    classes: Sequence[str],
    penalty: float,
) -> pd.DataFrame:
    """As `steer_toward`, with CLAP's ``score`` of each clip's target among the classes."""
    table = steer_toward(
        study.model, heard, labels, pushes, penalty=penalty, seed=study.seed, seconds=study.seconds,
        seeds=[study.seed], store=study.store,
    )  # fmt: skip
    table = score_clips(table, study.store, classes, clap=study.clap)
    way = table["method"].str.upper().where(table["against"] == "rest", "one-hot")
    return table.assign(
        score=[row[f"score {row['target']}"] for _, row in table.iterrows()],
        way=way.where(table["control"] == "", table["control"]),
    )


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """Change of the target's score along the direction of each way: BCE, MSE, one-hot, random."""
    rows = [
        stats.summarise(part, value="score", by=["target", "multiplier"]).assign(name=target, kind=way)
        for (target, way), part in table.groupby(["target", "way"], sort=False)
    ]
    shown = ["name", "kind", "multiplier", "n", "baseline", "mean", "effect", "low", "high"]
    return pd.concat(rows, ignore_index=True)[shown]


def verdict(
    study: Study,
    found: Mapping[tuple[str, Loss], Nested],
    table: pd.DataFrame,
    *,
    within: bool,
    draws: int = 200,
) -> Verdict:
    """Judge B3 by reading (accuracy on clips left out, residual stream) and by steering (score, same strength).

    The control exchanges the answers, or the clips, of the two losses at random for whole tracks, or prompts. Where
    the better of the two is at the ceiling, a difference could not show.
    """
    mse, bce = (found["residual", loss] for loss in get_args(Loss)[::-1])
    steered = table[(table["multiplier"] != 0) & table["way"].isin(["MSE", "BCE"])]
    scores = steered.pivot(index=["target", "prompt_id", "seed"], columns="way", values="score")
    measured = {
        "reading": _compared(mse.right, bce.right, mse.units, draws, study.seed),
        "steering": unless_overspent(
            _compared(
                scores["MSE"], scores["BCE"], scores.index.get_level_values("prompt_id"), draws, study.seed
            ),
            within,
        ),
    }
    return study.verdict("B3", measured, note="Same clips, same rule, and the same strength for both.")


def findings(found: Mapping[tuple[str, Loss], Nested], effects: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it; `effects` are those of `effects`."""
    best = max((found["residual", loss] for loss in get_args(Loss)), key=lambda each: each.accuracy.estimate)
    told = [
        f"A probe of the residual stream names the genre of {measured(best.accuracy, share=True, sign=False)} of the "
        f"clips that it has not seen; guessing would reach {100 * best.chance:.0f} %."
    ]
    mean = effects.groupby("kind", sort=False)["effect"].mean().round(2) + 0.0
    steered = [f"{signed(mean[kind], '+.2f')} ({kind})" for kind in ("MSE", "BCE") if kind in mean]
    if steered and effects["effect"].notna().all():
        told.append(
            f"Steering along a probe changes CLAP's score of the genre by {listed(steered)} on average."
        )
    random = [value for kind, value in mean.items() if "random" in str(kind)]
    against = (
        f"A random direction changes it by {signed(random[0], '+.2f')}. "
        if random and np.isfinite(random[0])
        else ""
    )
    return (
        told,
        f"{against}CLAP chooses among these genres only, and learned from the same kind of music as the model.",
    )


def _compared(mse: Any, bce: Any, units: Any, draws: int, seed: int) -> Measured:
    """By how much the first is better, what exchanging the two at random reaches, and the better of the two."""
    difference = np.asarray(mse, dtype=float) - np.asarray(bce, dtype=float)
    _, of = np.unique(np.asarray(units), return_inverse=True)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(draws, of.max() + 1))
    best = max((stats.mean_interval(np.asarray(each, dtype=float), clusters=of) for each in (mse, bce)),
               key=lambda each: each.estimate)  # fmt: skip
    return Measured(
        stats.sign_flip_interval(difference, clusters=of),
        control=stats.control_range((signs[:, of] * difference).mean(axis=1)),
        testable=best,
    )


def draw(table: pd.DataFrame) -> None:
    """Draw a table of `effects`."""
    [ax] = figures.panels(1, size=(6, 0.6 * table["name"].nunique() + 1))
    figures.score_effects(table, ax, quantity="change of CLAP's score of the genre")
    shown = {str(genre): _beats_random(rows) for genre, rows in table.groupby("name", sort=False)}
    yes = "Both probes’ directions bring {} out more than a random direction does"
    figures.message(told(shown, yes, "this is not shown for {}" if any(shown.values()) else
                    "no probe’s direction is shown to beat a random one for {}"))  # fmt: skip
    plt.show()


def _beats_random(rows: pd.DataFrame) -> bool:
    """Whether both probes' intervals lie above what the random direction does, of one genre."""
    kinds = rows.set_index("kind")
    random = kinds[kinds.index.str.contains("random")]["effect"].abs().max()
    return bool((kinds.loc[["BCE", "MSE"], "low"] > max(random, 0)).all())


def players(study: Study, table: pd.DataFrame, targets: Sequence[str]) -> None:
    """The first prompt, not steered and steered toward each target along the direction of each loss."""
    for target in targets:
        rows = table[(table["target"] == target) & (table["prompt_id"] == 0)].drop_duplicates("key")
        labels = [row["way"] if row["multiplier"] else "not steered" for _, row in rows.iterrows()]
        display(study.players(rows, labels, label=f"{study.prompts[0]}, toward {target}"))


def heard(study: Study, table: pd.DataFrame) -> HTML:
    """The prompt and genre with the median change of CLAP's score: not steered, and along both probes' directions."""
    key = ["target", "prompt_id"]
    steered = table[(table["multiplier"] != 0) & (table["way"] == "MSE")].set_index(key)["score"]
    plain = table[table["multiplier"] == 0].drop_duplicates(key).set_index(key)["score"]
    target, prompt = stats.middle(steered - plain)
    rows = table[(table["target"] == target) & (table["prompt_id"] == prompt)].drop_duplicates("key")
    rows = rows[(rows["multiplier"] == 0) | rows["way"].isin(["BCE", "MSE"])]
    labels = [
        f"toward {target} ({row['way']})" if row["multiplier"] else "not steered"
        for _, row in rows.iterrows()
    ]
    return study.players(rows, labels, label=f"Hear it: {study.prompts[prompt]}")


def _true(accuracy: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The rows of probes with true labels."""
    table = pd.concat([each.assign(site=site) for site, each in accuracy.items()], ignore_index=True)
    return table[table["labels"] == "true"]


def draw_probe_accuracy(table: pd.DataFrame, ax: Axes, *, title: str = "") -> None:
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
    figures.legend(ax)
