"""Figures and tables of the chapter *Probes* (``notebooks/probes.ipynb``; paper B, sections IV-B2 and IV-E2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from steerlib.activations import Activations
from steerlib.evidence import stats
from steerlib.evidence.stats import check_columns
from steerlib.page import figures
from steerlib.page.style import PALETTE
from steerlib.readout.probes import probe_accuracy
from steerlib.steering import Site
from steerlib.study import Study
from steerlib.sweeps.transfer import Push, score_clips, steer_toward

__all__ = [
    "accuracy_by_layer",
    "best_layers",
    "contrasts",
    "draw",
    "draw_probe_accuracy",
    "effects",
    "means",
    "players",
    "steer",
]


def accuracy_by_layer(accuracy: Mapping[str, pd.DataFrame]) -> None:
    """Held-out accuracy against the layer, a panel for each site."""
    titles = {"residual": "residual stream", "attention": "attention output"}
    axes = figures.panels(1, len(accuracy), size=(4.5, 3.4), sharey=True)
    for ax, (site, table) in zip(axes, accuracy.items(), strict=True):
        draw_probe_accuracy(table, ax, title=titles[site])
    plt.show()


def best_layers(accuracy: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """The layer that each loss reads best at each site, of probes with true labels."""
    true = _true(accuracy)
    best = true.loc[true.groupby(["site", "loss"])["accuracy"].idxmax()]
    shown = ["site", "loss", "layer", "accuracy", "low", "high", "chance", "n"]
    return best[shown].round(3).set_index(["site", "loss"])


def means(accuracy: Mapping[str, pd.DataFrame]) -> None:
    """Say the mean accuracy of each loss."""
    true = _true(accuracy)
    mse, bce = (true.loc[true["loss"] == loss, "accuracy"].mean() for loss in ("mse", "bce"))
    chance = true["chance"].iloc[0]
    print(f"mean over layers and sites: MSE {mse:.3f}, BCE {bce:.3f}, chance {chance:.3f}")


def contrasts(
    activations: Activations,
    labels: "pd.Series[Any]",
    groups: "pd.Series[Any]",
    tests: Sequence[tuple[str, str]],
    **options: Any,
) -> pd.DataFrame:
    """The best layer of each loss for each test (target, against); `options` as for `probe_accuracy`."""
    rows = [
        probe_accuracy(
            activations, labels, groups, target=target, against=against, control=False, **options
        ).assign(test=f"{target} against {against}")
        for target, against in tests
    ]
    best = pd.concat(rows).sort_values("accuracy").groupby(["test", "loss"]).tail(1)
    shown = ["test", "loss", "layer", "accuracy", "low", "high", "n"]
    return best[shown].round(3).sort_values("test").set_index(["test", "loss"])


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
    return table.assign(score=[row[f"score {row['target']}"] for _, row in table.iterrows()])


def effects(table: pd.DataFrame) -> pd.DataFrame:
    """Change of the target's score along the direction of each loss."""
    rows = [
        stats.summarise(part, value="score", by=["target", "multiplier"]).assign(
            name=target, kind=method.upper()
        )
        for (target, method), part in table.groupby(["target", "method"], sort=False)
    ]
    shown = ["name", "kind", "multiplier", "n", "baseline", "mean", "effect", "low", "high"]
    return pd.concat(rows, ignore_index=True)[shown]


def draw(table: pd.DataFrame) -> None:
    """Draw a table of `effects`."""
    [ax] = figures.panels(1, size=(6, 0.6 * table["name"].nunique() + 1))
    figures.score_effects(table, ax, quantity="change of CLAP's score of the genre")
    plt.show()


def players(study: Study, table: pd.DataFrame, targets: Sequence[str]) -> None:
    """The first prompt, not steered and steered toward each target along the direction of each loss."""
    for target in targets:
        rows = table[(table["target"] == target) & (table["prompt_id"] == 0)].drop_duplicates("key")
        labels = [row["method"].upper() if row["multiplier"] else "not steered" for _, row in rows.iterrows()]
        display(study.players(rows, labels, label=f"{study.prompts[0]}, toward {target}"))


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
