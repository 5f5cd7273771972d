"""How often intervals cover the truth: data sets of which it is known, with prompts that differ, for each kind.

An interval of 95 % should cover in 93 to 97 of 100 data sets. All are small, as the book's are, and prompts have their
own level and their own answer to steering, so that clips of one prompt are alike. The scorecard shows the report.

    python benchmarks/interval_coverage.py --out data/benchmarks/coverage.json
    python benchmarks/interval_coverage.py --sets 50        (a trial)
"""

import argparse
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats as scipy_stats
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from steerlib.evidence import stats
from steerlib.evidence.stats import Interval

Rng = np.random.Generator
Array = npt.NDArray[Any]
ANSWER, NOISE, LEVEL = 0.3, 0.2, 0.4
"""Standard deviations in octaves: of prompts' answers to steering, of clips of one prompt, and of prompts."""


def effects(rng: Rng, prompts: int, seeds: int = 1) -> tuple[Array, Array, Array]:
    """Steered clips, their unsteered twins (octaves), and the prompts of both; the true effect is 0.3."""
    names = np.repeat(np.arange(prompts), seeds)
    level, answer = rng.normal(7, LEVEL, prompts), rng.normal(0.3, ANSWER, prompts)
    plain = level[names] + rng.normal(0, NOISE, len(names))
    return level[names] + answer[names] + rng.normal(0, NOISE, len(names)), plain, names


def octaves(rng: Rng, prompts: int, seeds: int) -> tuple[Interval, float]:
    steered, plain, names = effects(rng, prompts, seeds)
    return stats.paired_interval(steered, plain, clusters=names), 0.3


def permutation(rng: Rng, prompts: int) -> tuple[Interval, float]:
    """Heavy tails: most prompts hardly answer, some do a lot."""
    return stats.sign_flip_interval(0.3 + 0.2 * rng.standard_t(2, prompts)), 0.3


def relative(rng: Rng, prompts: int) -> tuple[Interval, float]:
    steered, plain, _ = effects(rng, prompts)
    truth = 2 ** (0.3) * np.exp(np.log(2) ** 2 * ANSWER**2 / 2) - 1
    return stats.paired_interval(2**steered, 2**plain, relative=True), float(truth)


def share(rng: Rng, prompts: int) -> tuple[Interval, float]:
    """The shift by few prompts over that by all, each with the prompt's own answer."""
    answer = rng.normal(0.5, ANSWER, prompts)
    few, whole = (factor * answer + rng.normal(0, NOISE, prompts) for factor in (0.9, 1.0))
    return stats.ratio_interval(few, whole), 0.9


def area(rng: Rng, prompts: int, distance: float, same: bool) -> tuple[Interval, float]:
    """AUC of two poles; with the same prompts on both sides, which have their own level."""
    level = rng.normal(0, np.sqrt(0.7), prompts) if same else 0.0
    spread = np.sqrt(0.3) if same else 1.0
    sides = [mean + level + rng.normal(0, spread, prompts) for mean in (distance, 0.0)]
    names = np.arange(prompts)
    found = stats.auc(*sides, clusters=(names, names) if same else None)
    return found, float(scipy_stats.norm.cdf(distance / np.sqrt(2)))


def reach(rng: Rng, draws: int) -> tuple[Interval, float]:
    """Whether the range of a control holds one more draw of it."""
    *drawn, one = rng.normal(0, 0.2, draws + 1)
    return stats.control_range(drawn), one


def labellings(rng: Rng, tracks: int, clips: int) -> tuple[Array, Array, Array]:
    """Labels of clips, clusters that agree with them, and tracks: clips of one track go astray together."""
    label, astray = rng.integers(4, size=(2, tracks))
    right = rng.random((tracks, clips)) < rng.beta(2.4, 1.6, tracks)[:, None]
    elsewhere = np.where(
        rng.random((tracks, clips)) < 0.7, astray[:, None], rng.integers(4, size=(tracks, clips))
    )
    clusters = np.where(right, label[:, None], elsewhere)
    return np.repeat(label, clips), clusters.ravel(), np.repeat(np.arange(tracks), clips)


MEASURES: dict[str, Callable[..., float]] = {
    "ARI": adjusted_rand_score,
    "NMI": normalized_mutual_info_score,
}
_MANY = labellings(np.random.default_rng(0), 200_000, 3)
AGREEMENT = {name: measure(*_MANY[:2]) for name, measure in MEASURES.items()}


def agreement(rng: Rng, name: str, tracks: int, clips: int) -> tuple[Interval, float]:
    labels, clusters, names = labellings(rng, tracks, clips)
    measure = MEASURES[name]
    found = stats.jackknife_interval(
        lambda rows: measure(labels[rows], clusters[rows]),
        np.arange(len(labels)), groups=names, blocks=min(24, tracks), unbias=True,
    )  # fmt: skip
    return found, AGREEMENT[name]


KINDS: dict[str, Callable[[Rng], tuple[Interval, float]]] = {
    "mean effect, 8 prompts": lambda rng: octaves(rng, 8, 1),
    "mean effect, 24 prompts": lambda rng: octaves(rng, 24, 1),
    "mean effect, 12 prompts with 3 seeds": lambda rng: octaves(rng, 12, 3),
    "mean effect, heavy tails, 12 prompts, sign flips": lambda rng: permutation(rng, 12),
    "relative effect, 24 prompts": lambda rng: relative(rng, 24),
    "share of a shift, 24 prompts": lambda rng: share(rng, 24),
    "AUC of 0.76, 12 + 12 prompts": lambda rng: area(rng, 12, 1, same=False),
    "AUC of 0.76, the same 24 prompts": lambda rng: area(rng, 24, 1, same=True),
    "AUC of 0.96, the same 24 prompts": lambda rng: area(rng, 24, 2.5, same=True),
    "range of a control, 3 draws": lambda rng: reach(rng, 3),
    "range of a control, 10 draws": lambda rng: reach(rng, 10),
    "ARI, 48 tracks of 3 clips": lambda rng: agreement(rng, "ARI", 48, 3),
    "NMI, 48 tracks of 3 clips": lambda rng: agreement(rng, "NMI", 48, 3),
}


def coverage(kind: str, sets: int) -> dict[str, Any]:
    """Share of data sets whose interval covers the truth, and the share whose interval has no width or no end."""
    rng = np.random.default_rng(0)
    found = [KINDS[kind](rng) for _ in range(sets)]
    covers = [interval.low <= truth <= interval.high for interval, truth in found]
    width = np.array([interval.high - interval.low for interval, _ in found])
    return {"kind": kind, "covered": float(np.mean(covers)), "no_width": float(np.mean(~(width > 0)))}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", type=int, default=500, help="data sets of each kind")
    parser.add_argument("--out", help="JSON file for the report")
    options = parser.parse_args()
    results = []
    for kind in KINDS:
        results.append(coverage(kind, options.sets))
        print(f"{100 * results[-1]['covered']:5.1f} of 100: {kind}", flush=True)
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            file.write(json.dumps({"sets": options.sets, "results": results}, indent=1) + "\n")
