"""Figures, tables and checks of the chapter *How many prompts* (``notebooks/prompt_count.ipynb``)."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

from steerlib.evidence import stats
from steerlib.page import figures
from steerlib.readout.analysis import subset_agreement
from steerlib.steering import SteeringVector
from steerlib.study import Study, Trial

__all__ = ["agreement", "curves", "effects", "nearest", "per_prompt", "players", "shifts", "sweep"]

Drawn = Mapping[tuple[int, int], SteeringVector]
"""Directions by the number of prompts, and the number of the draw."""


def agreement(study: Study, counts: Sequence[int], *, draws: int) -> None:
    """How directions of few prompts agree with that of all, and with each other (beside paper A, figure 8)."""
    axes = figures.panels(1, len(study.attributes), size=(4.5, 3.4), sharey=True)
    for ax, (name, activations) in zip(axes, study.activations.items(), strict=True):
        layer = study.layers[name]
        possible = [count for count in counts if count <= len(activations) // 2]
        table = subset_agreement(activations, possible, subsets=draws, seed=study.seed)
        figures.agreement_curve(table, ax, layer=layer)
        ax.set_title(name, loc="left", pad=36)
        means = table[table["layer"] == layer].groupby("prompts")[["with_all", "with_other", "length"]].mean()
        print(f"{name}, layer {layer}: means over {draws} draws\n{means.round(2).to_string()}\n")
    plt.show()


def sweep(study: Study, drawn: Mapping[str, Drawn]) -> Trial:
    """Steer with every direction of each attribute; columns ``prompts`` and ``subset`` say which."""
    names = {
        f"{name}/{count}/{subset}": (name, count, subset)
        for name, directions in drawn.items()
        for count, subset in directions
    }
    table = study.sweep(
        {each: study.poles()[name] for each, (name, _, _) in names.items()},
        {each: study.layers[name] for each, (name, _, _) in names.items()},
        vectors={each: drawn[name][count, subset] for each, (name, count, subset) in names.items()},
    ).table
    labels = pd.DataFrame(
        [names[each] for each in table["attribute"]], table.index, columns=["attribute", "prompts", "subset"]
    )
    return Trial(study, table.assign(**labels))


def curves(trial: Trial) -> None:
    """The effect against the number of prompts that the direction was made of (paper A, figure 8)."""
    axes = figures.panels(1, len(trial.parts), size=(4.5, 3.4))
    by = ("attribute", "prompts", "subset", "multiplier")
    for ax, (name, attribute) in zip(axes, trial.study.attributes.items(), strict=True):
        summary = stats.summarise(trial.parts[name], value=attribute.metric, by=by)
        figures.prompt_count_curve(summary, ax, attribute=attribute)
    plt.show()


def shifts(trial: Trial) -> pd.DataFrame:
    """The shift by the number of prompts, with intervals over neutral prompts and over draws."""
    rows = []
    for name in trial.parts:
        for count, part in trial.shifts(name, by=["prompts", "subset"]).groupby("prompts"):
            over, draws = (
                stats.mean_interval(part["shift"], clusters=part[by]) for by in ("prompt_id", "subset")
            )
            limits = [f"[{each.low:.1f}, {each.high:.1f}]" for each in (over, draws)]
            rows.append([name, count, part["subset"].nunique(), over.estimate, *limits, over.n, over.dropped])
    names = ["attribute", "prompts", "draws", "shift", "other prompts", "other draws", "n", "not measurable"]
    print("shift toward the first pole in BPM (tempo) or Hz (timbre), with 95 % intervals")
    return pd.DataFrame(rows, columns=names).set_index(["attribute", "prompts"]).round(1)


def players(trial: Trial, prompt: int, *, counts: Sequence[int]) -> None:
    """One neutral prompt, steered with the first draw of each of `counts` prompts."""
    for name, rows in trial.parts.items():
        attribute = trial.study.attributes[name]
        rows = rows[(rows["prompt_id"] == prompt) & (rows["subset"] == 0) & rows["prompts"].isin(counts)]
        rows = rows.drop_duplicates("key").sort_values(["multiplier", "prompts"])
        labels = [
            f"{attribute.positive if row.multiplier > 0 else attribute.negative}, {row.prompts} prompts"
            if row.multiplier
            else "not steered"
            for row in rows.itertuples()
        ]
        display(trial.study.players(rows, labels, label=f"{trial.study.prompts[prompt]}: {name}"))


def nearest(counts: Sequence[int], wanted: int) -> int:
    """The number of prompts nearest to one that is wanted; the greatest, which is all prompts, does not count."""
    counts = sorted(counts)
    return min(counts[:-1] or counts, key=lambda count: abs(count - wanted))


def effects(trial: Trial, name: str, prompts: int) -> pd.DataFrame:
    """The effect toward each pole of directions of so many prompts, all draws pooled."""
    rows = trial.parts[name]
    return stats.summarise(rows[rows["prompts"] == prompts], value=trial.study.attributes[name].metric)


def per_prompt(trial: Trial, name: str) -> pd.DataFrame:
    """The shift of each neutral prompt (rows), mean over draws, by the number of prompts (columns)."""
    table = trial.shifts(name, by=["prompts", "subset"])
    return table.groupby(["prompts", "prompt_id"])["shift"].mean().unstack("prompts")
