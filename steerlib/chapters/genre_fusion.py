"""Figures and tables of the chapter *Genre fusion* (``notebooks/genre_fusion.ipynb``; paper B, section IV-E)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import display

from steerlib.activations import Activations
from steerlib.evidence import scorecard, stats
from steerlib.page import figures
from steerlib.steering import Site
from steerlib.study import Study
from steerlib.sweeps.transfer import Push, score_clips, steer_toward

__all__ = ["Fusion", "by_pair", "by_setting", "draw", "genres_of", "name", "players", "tables_1_and_2"]

Pair = Sequence[str]
Setting = Sequence[Any]
_ENDS = {"target": "target genre", "source": "source genre"}


def genres_of(pairs: Sequence[Pair], labels: Sequence[str]) -> list[str]:
    """The genres of the pairs, of which CLAP must be able to choose each."""
    genres = sorted({genre for pair in pairs for genre in pair})
    absent = set(genres) - set(labels)
    if absent:
        raise ValueError(f"CLAP must be able to choose every genre of the pairs: add {absent} to labels")
    return genres


def name(setting: Setting) -> str:
    """Direction, place and blocks of a setting in words: "mse, residual, all"."""
    return ", ".join(setting[:3])


@dataclass(frozen=True, eq=False)
class Fusion:
    """What all the steering of the chapter has in common.

    Attributes
    ----------
    study : Study
    heard : mapping of site to Activations
    genres : Series
        The genre of each clip that was heard.
    best : mapping of (source, target) to int
        The block for settings that steer one block alone.
    labels : sequence of str
        Genres that CLAP chooses from.
    penalty : float
        Of the probes.
    """

    study: Study
    heard: Mapping[Site, Activations]
    genres: "pd.Series[Any]"
    best: Mapping[tuple[str, str], int]
    labels: Sequence[str]
    penalty: float

    def steer(
        self,
        prompts: Sequence[str],
        pairs: Sequence[Pair],
        settings: Sequence[Setting],
        strengths: "pd.Series[float] | None" = None,
    ) -> pd.DataFrame:
        """Steer every pair in every setting: with all its strengths, or with one given for (setting, pair).

        Returns
        -------
        DataFrame
            As `steer_toward` returns it, with ``setting``, ``pair``, ``target score`` and ``source score``.
        """
        names, pushes = [], []
        for method, site, blocks, several in settings:
            for source, target in pairs:
                names.append((name((method, site, blocks)), f"{source} to {target}"))
                push = Push(
                    tuple(prompt.format(source) for prompt in prompts),
                    target,
                    tuple(several) if strengths is None else (strengths[names[-1]],),
                    against=source,
                    method=method,
                    site=site,
                    layer=self.best[source, target] if blocks == "best" else None,
                )
                pushes.append(push)
        study = self.study
        table = steer_toward(
            study.model, self.heard, self.genres, pushes, penalty=self.penalty, seed=study.seed,
            seconds=study.seconds, seeds=[study.seed], store=study.store,
        )  # fmt: skip
        table = score_clips(table, study.store, self.labels, clap=study.clap)
        table[["setting", "pair"]] = [names[number] for number in table["push"]]
        for end, column in (("target", "target"), ("source", "against")):
            table[f"{end} score"] = [row[f"score {row[column]}"] for _, row in table.iterrows()]
        return table


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    """Change of both scores for each pair, of one setting (paper B, tables I and II)."""
    rows = [
        stats.summarise(part, value=f"{end} score", by=["target", "multiplier"]).assign(name=pair, kind=kind)
        for pair, part in table.groupby("pair", sort=False)
        for end, kind in _ENDS.items()
    ]
    columns = ["name", "kind", "multiplier", "n", "baseline", "mean", "effect", "low", "high"]
    return pd.concat(rows, ignore_index=True)[columns]


def by_setting(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Change of both scores for each way of steering, over all pairs."""
    rows = []
    for setting, part in table.groupby("setting", sort=False):
        steered, plain = part[part["multiplier"] != 0], part[part["multiplier"] == 0]
        clips = steered.merge(plain, on=["pair", "prompt_id", "seed"], suffixes=("", " before"))
        for end, kind in _ENDS.items():
            after, before = clips[f"{end} score"], clips[f"{end} score before"]
            change = stats.paired_interval(after, before)
            rows.append({
                "name": setting, "kind": kind, "n": change.n, "baseline": before.mean(), "steered": after.mean(),
                "effect": change.estimate, "low": change.low, "high": change.high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def draw(effects: pd.DataFrame) -> None:
    """Draw a table of `by_pair` or `by_setting`."""
    [ax] = figures.panels(1, size=(6.5, 0.5 * effects["name"].nunique() + 1.2))
    figures.score_effects(effects, ax, quantity="change of CLAP's score")
    plt.show()


def players(study: Study, table: pd.DataFrame, pairs: int = 4) -> None:
    """The first prompt of the first pairs, not steered and steered."""
    first = table[table["prompt_id"] == 0]
    for pair, rows in list(first.groupby("pair", sort=False))[:pairs]:
        labels = [
            f"toward {row['target']}" if row["multiplier"] else "not steered" for _, row in rows.iterrows()
        ]
        display(study.players(rows, labels, label=f"{rows['prompt'].iloc[0]}: {pair}"))


def tables_1_and_2(effects: pd.DataFrame) -> pd.DataFrame:
    """The paper's scores before and after steering (tables I and II) beside those of `by_pair`."""
    published, rows = scorecard.paper("b"), []
    for line in published["table_I"] + published["table_II"]:
        pair = f"{line['source']} to {line['target']}".lower()
        source, target = zip(line["unsteered"], line["steered"], strict=True)
        row = {"pair": pair, "paper: source": source[0], "then": source[1],
               "paper: target": target[0], "then ": target[1]}  # fmt: skip
        ours = effects[effects["name"] == pair].set_index("kind")
        for kind in ("source genre", "target genre") if len(ours) else ():
            row |= {f"ours: {kind}": ours["baseline"][kind], f"then, {kind}": ours["mean"][kind]}
        rows.append(row)
    return pd.DataFrame(rows).round(3).set_index("pair")
