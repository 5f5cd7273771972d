"""Figures, tables and verdicts of *Genre fusion* (``notebooks/genre_fusion.ipynb``; paper B, section IV-E).

A clip is *fused* if CLAP gives at least `FUSED` to both the source and the target genre. It is counted clip by clip: a
mean over clips that are wholly the one genre or the other looks like a mixture too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, get_args

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, display

from steerlib.activations import Activations
from steerlib.engine.generation import Run
from steerlib.evidence import scorecard, stats
from steerlib.evidence.scorecard import Check, Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.measure import clap_scores
from steerlib.page import figures
from steerlib.page.bottom_line import listed, measured
from steerlib.page.style import signed
from steerlib.steering import Site
from steerlib.study import Study
from steerlib.sweeps.grid import sweep_cells
from steerlib.sweeps.transfer import Control, Push, score_clips, steer_toward, unless_overspent

__all__ = [
    "FUSED",
    "Fusion",
    "allowed",
    "by_pair",
    "by_setting",
    "draw",
    "draw_clips",
    "findings",
    "genres_of",
    "heard",
    "name",
    "players",
    "shares",
    "tables_1_and_2",
    "verdict_b2",
    "verdict_b4",
]

FUSED = 0.1
"""Least score of both genres in a clip that counts as fused; four of paper B's five steered rows reach it."""

Pair = Sequence[str]
Setting = Sequence[Any]
_CONTROLS = [control for control in get_args(Control) if control]
_ARMS = {
    "steered": "the steered clips",
    "words": "clips whose prompt names both",
    "random direction": "clips that are pushed at random",
}
_ENDS = {"target": "target genre", "source": "source genre", "other": "other genres, mean"}


def genres_of(pairs: Sequence[Pair], labels: Sequence[str]) -> list[str]:
    """The genres of the pairs, of which CLAP must be able to choose each, and at least one more."""
    genres = sorted({genre for pair in pairs for genre in pair})
    absent = set(genres) - set(labels)
    if absent:
        raise ValueError(f"CLAP must be able to choose every genre of the pairs: add {absent} to labels")
    if len(labels) < 3:
        raise ValueError(f"CLAP needs genres that are neither source nor target, got labels {list(labels)}")
    return genres


def name(setting: Setting) -> str:
    """Direction, place and blocks of a setting in words: "mse, residual, all"."""
    return ", ".join(setting[:3])


@dataclass(frozen=True, eq=False)
class Fusion:
    """What all the clips of the chapter have in common.

    All methods return a DataFrame with a row for each clip and pair: ``arm`` (what was done), ``setting``, ``pair``,
    ``prompt_id``, ``draw``, ``multiplier``, ``nll``, ``source score``, ``target score``, ``other score`` (mean of the
    genres that are neither) and ``fused``.

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
        strengths: "Mapping[str, float] | None" = None,
        *,
        draws: int = 0,
    ) -> pd.DataFrame:
        """Steer every pair in every setting: with all its strengths, or with the one given for the setting.

        With `draws`, so many controls take the direction's place: random directions and shuffled labels in turn.
        """
        arms: list[tuple[Control, int]] = [("", 0)]
        if draws:
            arms = [(_CONTROLS[number % len(_CONTROLS)], number) for number in range(draws)]
        names, pushes = [], []
        for (method, site, blocks, several), (number, (source, target)), (control, arm) in product(
            settings, enumerate(pairs), arms
        ):
            setting = name((method, site, blocks))
            if strengths is not None and setting not in strengths:
                continue
            names.append((setting, f"{source} to {target}"))
            push = Push(
                tuple(prompt.format(source) for prompt in prompts),
                target,
                tuple(several) if strengths is None else (strengths[setting],),
                against=source,
                method=method,
                site=site,
                layer=self.best[source, target] if blocks == "best" else None,
                control=control,
                draw=number * draws + arm,  # another one for each pair
            )
            pushes.append(push)
        study = self.study
        table = steer_toward(
            study.model, self.heard, self.genres, pushes, penalty=self.penalty, seed=study.seed,
            seconds=study.seconds, seeds=[study.seed], store=study.store,
        )  # fmt: skip
        table[["setting", "pair"]] = [names[number] for number in table["push"]]
        arm = table["control"].replace("", "steered").where(table["multiplier"] != 0, "not steered")
        table = table.rename(columns={"against": "source"}).assign(arm=arm)
        return self._scored(table)

    def words(self, prompts: Sequence[str], pairs: Sequence[Pair]) -> pd.DataFrame:
        """Name both genres in the prompt instead, "a folk rock song": what words can do without steering."""
        return self._plain("words", prompts, pairs, lambda pair: " ".join(sorted(pair)))

    def overlays(self, prompts: Sequence[str], pairs: Sequence[Pair]) -> pd.DataFrame:
        """Play an unsteered clip of either genre at the same time, equally loud: surely both, if the judge hears it."""
        parts = [self._plain("overlay", prompts, pairs, lambda pair, end=end: pair[end]) for end in (0, 1)]
        sounds = [self.study.sounds(part) for part in parts]
        mixed = sum(each / np.sqrt((each**2).mean(axis=1, keepdims=True) + 1e-12) for each in sounds)
        mixed = (mixed / np.abs(mixed).max(axis=1, keepdims=True)).astype(np.float32)
        scores = clap_scores(
            mixed, self.labels, sample_rate=self.study.model.sample_rate, model=self.study.clap
        )
        columns = pd.DataFrame(scores, columns=[f"score {label}" for label in self.labels])
        table = parts[0].drop(columns=[*columns.columns, "clip", "nll"]).reset_index(drop=True)
        return self._with_ends(table.join(columns))

    def _plain(self, arm: str, prompts: Sequence[str], pairs: Sequence[Pair], word: Any) -> pd.DataFrame:
        """Unsteered clips of every prompt with the word that is made of a pair."""
        records = [
            {
                "arm": arm, "setting": arm, "pair": f"{source} to {target}", "source": source, "target": target,
                "multiplier": 0.0, "draw": 0, "prompt_id": number, "prompt": prompt.format(word((source, target))),
                "seed": self.study.seed, "steering": (),
            }
            for source, target in pairs
            for number, prompt in enumerate(prompts)
        ]  # fmt: skip
        table = sweep_cells(
            self.study.model, pd.DataFrame(records), store=self.study.store, seconds=self.study.seconds, metrics=(),
            keep="flac", run=Run(),
        )  # fmt: skip
        return self._scored(table)

    def _scored(self, table: pd.DataFrame) -> pd.DataFrame:
        return self._with_ends(score_clips(table, self.study.store, self.labels, clap=self.study.clap))

    def _with_ends(self, table: pd.DataFrame) -> pd.DataFrame:
        scores = table[[f"score {label}" for label in self.labels]]
        ends = {
            end: np.array([row[f"score {row[end]}"] for _, row in table.iterrows()])
            for end in ("source", "target")
        }
        other = (scores.sum(axis=1) - ends["source"] - ends["target"]) / (len(self.labels) - 2)
        fused = np.minimum(ends["source"], ends["target"]) >= FUSED
        return table.assign(
            **{f"{end} score": values for end, values in ends.items()},
            **{"other score": other, "fused": fused},
        )


def allowed(chosen: pd.DataFrame, main: Setting) -> dict[str, float]:
    """The strength of the main setting and of each other one that has one within the budget (`strongest`)."""
    left = [setting for setting in chosen.index[~chosen["within"]] if setting != name(main)]
    if left:
        print(f"no strength within the budget, left out: {'; '.join(left)}")
    if not chosen["within"][name(main)]:
        print(
            "no strength of the main setting is within the budget: the smallest is shown, and no claim can pass"
        )
    return {str(setting): float(size) for setting, size in chosen["multiplier"].drop(left).items()}


def shares(table: pd.DataFrame) -> pd.DataFrame:
    """Share of fused clips in each arm, with Student's interval over prompts, the mean scores, and what pushes cost.

    The cost (``nll``) is in nats a token, beyond the same prompt unsteered.
    """
    rows, key = [], ["pair", "prompt_id"]
    plain = table[table["arm"] == "not steered"].drop_duplicates(key).set_index(key)["nll"]
    for arm, part in table.groupby("arm", sort=False):
        clips = part.drop_duplicates([*key, "draw"])
        share = _share(clips)
        cost = clips["nll"] - clips.join(plain.rename("before"), on=key)["before"]
        rows.append({
            "name": arm, "n": share.n, "effect": share.estimate, "low": share.low, "high": share.high,
            **{f"{end} score": clips[f"{end} score"].mean() for end in _ENDS},
            "nll": cost.mean() if clips["multiplier"].any() else np.nan,
        })  # fmt: skip
    return pd.DataFrame(rows)


def by_pair(table: pd.DataFrame) -> pd.DataFrame:
    """Change of the scores for each pair, of one setting (paper B, tables I and II), with intervals over prompts."""
    return _changes(table, "pair")


def by_setting(table: pd.DataFrame) -> pd.DataFrame:
    """Change of the scores for each way of steering, over all pairs, and the share of fused clips there."""
    steered = table[table["arm"] == "steered"].groupby("setting", sort=False)
    shared = {setting: _share(part) for setting, part in steered}
    strength = steered["multiplier"].first()
    found = _changes(table, "setting")
    return found.assign(
        strength=found["name"].map(strength), fused=[shared[setting].estimate for setting in found["name"]]
    )


def draw(
    effects: pd.DataFrame, quantity: str = "change of CLAP's score", *, limit: float | None = None
) -> None:
    """Draw a table of `by_pair`, `by_setting` or `shares`; a limit as a dotted line."""
    [ax] = figures.panels(
        1, size=(6.5, (0.5 if "kind" in effects else 0.35) * effects["name"].nunique() + 1.2)
    )
    figures.score_effects(effects, ax, quantity=quantity)
    if limit is not None:
        ax.axvline(limit, color="#999999", linestyle=":", linewidth=1.2)
    figures.message(_changed(effects) if "kind" in effects else _fused(effects))
    plt.show()


def _changed(effects: pd.DataFrame) -> str:
    """For how many pairs, or settings, the target is shown to rise, and the source to fall."""
    target, source = (effects[effects["kind"] == _ENDS[end]] for end in ("target", "source"))
    return (
        f"The target genre is shown to rise in {(target['low'] > 0).sum()} of {len(target)} rows, "
        f"the source genre to fall in {(source['high'] < 0).sum()}"
    )


def _fused(shares: pd.DataFrame) -> str:
    """How often clips are fused by steering, and by words."""
    of = shares.set_index("name")["effect"]
    told = [f"{100 * of[arm]:.0f} % of {what}" for arm, what in _ARMS.items() if arm in of]
    return f"CLAP hears both genres in {listed(told)}"


def draw_clips(table: pd.DataFrame, arms: Sequence[str]) -> None:
    """Both scores of every clip, a panel for each arm; the corner in which a clip counts as fused is shaded."""
    axes = figures.panels(1, len(arms), size=(2.2, 2.5), sharey=True)
    for ax, arm in zip(axes, arms, strict=True):
        part = table[table["arm"] == arm].drop_duplicates(["pair", "prompt_id", "draw"])
        ax.fill(
            [FUSED, FUSED, 1 - FUSED], [FUSED, 1 - FUSED, FUSED], color="#009E73", alpha=0.15, linewidth=0
        )
        ax.plot(part["source score"], part["target score"], "o", color="#0072B2", markersize=4, alpha=0.5)
        ax.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), xlabel="source genre's score", xticks=[0, 0.5, 1])
        ax.set_title(f"{arm}\n{part['fused'].mean():.0%} of {len(part)} fused", loc="left")
    axes[0].set(ylabel="target genre's score")
    clips = table[table["arm"].isin(arms)].drop_duplicates(["arm", "pair", "prompt_id", "draw"])
    sure = clips[["source score", "target score"]].max(axis=1) >= 1 - FUSED
    figures.message(f"CLAP is nearly sure of one genre in {100 * sure.mean():.0f} % of these clips")
    plt.show()


def players(study: Study, table: pd.DataFrame, pairs: int = 4) -> None:
    """The first prompt of the first pairs, not steered and steered."""
    first = table[(table["prompt_id"] == 0) & table["arm"].isin(["not steered", "steered"])]
    for pair, rows in list(first.groupby("pair", sort=False))[:pairs]:
        labels = [
            f"toward {row['target']}" if row["multiplier"] else "not steered" for _, row in rows.iterrows()
        ]
        display(study.players(rows, labels, label=f"{rows['prompt'].iloc[0]}: {pair}"))


def heard(study: Study, table: pd.DataFrame) -> HTML:
    """The clip with the median change of the target genre's score, and its unsteered twin; from the main setting."""
    key = ["pair", "prompt_id"]
    steered, plain = (
        table[table["arm"] == arm].drop_duplicates(key).set_index(key) for arm in ("steered", "not steered")
    )
    pair, prompt = stats.middle(steered["target score"] - plain["target score"])
    rows = table[(table["pair"] == pair) & (table["prompt_id"] == prompt)].drop_duplicates("arm")
    labels = [f"toward {row['target']}" if row["multiplier"] else "not steered" for _, row in rows.iterrows()]
    return study.players(rows, labels, label=f"Hear it: {rows['prompt'].iloc[0]}")


def tables_1_and_2(effects: pd.DataFrame) -> pd.DataFrame:
    """The paper's scores before and after steering (tables I and II) beside those of `by_pair`."""
    published, rows = scorecard.paper("b"), []
    for line in published["table_I"] + published["table_II"]:
        pair = f"{line['source']} to {line['target']}".lower()
        row: dict[str, Any] = {"pair": pair}
        ours = effects[effects["name"] == pair].set_index("kind")
        ends = zip(("source", "target"), line["unsteered"], line["steered"], strict=True)
        for kind, before, after in ends:
            row[f"paper: {kind}"] = f"{before:.3f} → {after:.3f}"
            if len(ours):
                found = ours.loc[_ENDS[kind]]
                row[f"ours: {kind}"] = f"{found['baseline']:.3f} → {found['mean']:.3f}"
        rows.append(row)
    return pd.DataFrame(rows).set_index("pair").fillna("not run")


def verdict_b2(study: Study, main: pd.DataFrame, controls: pd.DataFrame, chosen: pd.DataFrame) -> Verdict:
    """Judge B2, pair by pair: does the target rise more than the genres that are neither source nor target do?"""
    found = {
        pair: stats.sign_flip_interval(part) for pair, part in _specific(main).groupby("pair", sort=False)
    }
    drawn = _specific(controls).groupby(["pair", "draw"]).mean()
    control = stats.control_range(drawn, symmetric=False)
    way = chosen.loc[main["setting"].iloc[0]]
    return study.verdict(
        "B2",
        {
            pair: unless_overspent(Measured(rise, control=control), bool(way["within"]))
            for pair, rise in found.items()
        },
        note=f"Setting: {way.name}, strength {way['multiplier']:g}{'' if way['within'] else ', over the budget'}.",
    )


def verdict_b4(study: Study, arms: pd.DataFrame, chosen: pd.DataFrame) -> Verdict:
    """Judge B4 by the share of fused clips; overlays say whether the judge hears two genres at once at all."""
    part: dict[Any, pd.DataFrame] = dict(list(arms.groupby("arm")))
    controls = pd.concat([part[control] for control in _CONTROLS if control in part])
    drawn = controls.groupby(["pair", "draw"])["fused"].mean()
    measured = Measured(
        _share(part["steered"]),
        control=stats.control_range(drawn, symmetric=False),
        testable=_share(part["overlay"]),
    )
    key = ["pair", "prompt_id"]
    steered = part["steered"].set_index(key)["fused"].astype(float)
    also = []
    for arm, above in (("words", "naming both genres in the prompt"), ("not steered", "no steering")):
        other = part[arm].drop_duplicates(key).set_index(key)["fused"].astype(float)
        gain = stats.paired_interval(
            steered, other.loc[steered.index], clusters=steered.index.get_level_values(1)
        )
        also.append(Check(f"share of fused clips, steered minus {above}", gain, above=0, unit="of clips"))
    way = chosen.loc[part["steered"]["setting"].iloc[0]]
    return study.verdict("B4", unless_overspent(measured, bool(way["within"])), also=also)


def findings(shares: pd.DataFrame, effects: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, in sentences, and what speaks against it, from tables of `shares` and of `by_pair`."""
    of = {
        row["name"]: measured(
            Interval(row["effect"], row["low"], row["high"], row["n"]), share=True, sign=False
        )
        for _, row in shares.iterrows()
    }
    rise = effects[effects["kind"] == _ENDS["target"]].set_index("name")["effect"].round(2)
    return [
        f"CLAP hears both genres in {of['steered']} of the steered clips, in {of['words']} if the prompt names both, "
        f"and in {of['overlay']} of two clips played at once.",
        f"Steering changes the score of the target genre most for {rise.idxmax()} ({signed(rise.max() + 0.0, '+.2f')}) "
        f"and least for {rise.idxmin()} ({signed(rise.min() + 0.0, '+.2f')}); 1 would be certainty.",
    ], (
        f"Random directions of the same length reach {of['random direction']}. A judge that calls few overlays fused "
        "can hardly find fusion."
    )


def _share(clips: pd.DataFrame) -> Interval:
    """Share of fused clips, with its interval over prompts."""
    return stats.share_interval(clips["fused"], clusters=clips["prompt_id"])


def _paired(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Each steered clip beside the unsteered one of the same prompt (columns with " before")."""
    plain = table[table["multiplier"] == 0].drop_duplicates([*by, "prompt_id"])
    return table[table["multiplier"] != 0].merge(plain, on=[*by, "prompt_id"], suffixes=("", " before"))


def _changes(table: pd.DataFrame, by: str) -> pd.DataFrame:
    clips, rows = _paired(table, ["setting", "pair"]), []
    for name_, part in clips.groupby(by, sort=False):
        for end, kind in _ENDS.items():
            after, before = part[f"{end} score"], part[f"{end} score before"]
            change = stats.paired_interval(after, before, clusters=part["prompt_id"])
            rows.append({
                "name": name_, "kind": kind, "n": change.n, "baseline": before.mean(), "mean": after.mean(),
                "effect": change.estimate, "low": change.low, "high": change.high,
            })  # fmt: skip
    return pd.DataFrame(rows)


def _specific(table: pd.DataFrame) -> "pd.Series[float]":
    """Rise of the target's score less that of the other genres' mean, by pair, draw and prompt."""
    clips = _paired(table, ["pair", "draw"]).set_index(["pair", "draw", "prompt_id"])
    rise = {end: clips[f"{end} score"] - clips[f"{end} score before"] for end in ("target", "other")}
    return rise["target"] - rise["other"]
