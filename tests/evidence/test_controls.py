"""No primary check is passed by a push that means nothing; each is passed by one that means what it says.

Sweeps are simulated: prompts with their own level and their own answer to a push, noise, a drift, and directions that
do something to the measure by chance. They go through the functions that the chapters call.
"""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from steerlib import yardsticks
from steerlib.chapters import held_out, prompt_count, where_and_when
from steerlib.evidence import stats
from steerlib.evidence.claims import primary
from steerlib.evidence.scorecard import Measured
from steerlib.prompts import load_attribute
from steerlib.study import Trial

DRAWS = 20
PROMPTS = 12
RANDOMS = 3
"""As many random directions as the smallest profile of the book has beside an effect."""
BY_CHANCE = 0.2
"""Octaves: standard deviation over directions of what a push that means nothing does. Large against the noise of a
mean over prompts, so that an interval over prompts alone would find an effect in most of them."""
MEANT = 2.0
"""Octaves that a direction shifts which means what it says."""
STUDY = SimpleNamespace(attributes={"tempo": load_attribute("tempo")}, store="nowhere")


def sweep(rng, effect, name="tempo"):
    """A trial of one direction that shifts by so many octaves; every prompt answers in its own way."""
    own, answer = rng.normal(7, 0.3, size=PROMPTS), rng.normal(1, 0.3, size=PROMPTS)
    drift, parts = rng.normal(0, 0.2), []  # what a push does whichever way it points
    for m in (-1, 0, 1):
        bpm = 2 ** (own + m * effect * answer + abs(m) * drift + rng.normal(0, 0.1, size=PROMPTS))
        parts.append(pd.DataFrame({"bpm": bpm, "multiplier": m, "prompt_id": range(PROMPTS)}))
    table = pd.concat(parts, ignore_index=True)
    return Trial(STUDY, table.assign(attribute=name, setting="tempo", seed=0))


def controls(rng):
    tables = [sweep(rng, rng.normal(0, BY_CHANCE), f"random {k + 1}").table for k in range(RANDOMS)]
    return Trial(STUDY, pd.concat(tables, ignore_index=True))


def shift(rng, effect, whole=0.0):
    beside = yardsticks.beside(sweep(rng, effect), along := controls(rng))
    assert len(beside) == 1 + along.table["attribute"].nunique()
    own = beside[beside["kind"] == "own"].iloc[0]
    return Measured(
        stats.effect_of(own.rename({"shift": "effect"})), control=yardsticks.of_random(beside, "tempo")
    )


def paper_figures(rng, effect, whole=0.0):
    return held_out.in_paper_figures(sweep(rng, effect), controls(rng), "tempo")


def chance(rng):
    return rng.normal(0, BY_CHANCE)


def prompts_of(rng, effect):
    return effect * rng.normal(1, 0.3, size=PROMPTS) + rng.normal(0, 0.1, size=PROMPTS)


def ways(rng, effect, other, *, relative=False):
    found = {
        ("tempo", way): pd.Series(prompts_of(rng, size))
        for way, size in (("One-to-All", effect), ("one", other))
    }
    random = {key: pd.Series([prompts_of(rng, chance(rng)).mean() for _ in range(RANDOMS)]) for key in found}
    return where_and_when.more(found, random, ["tempo"], "one", relative=relative)


def share(rng, effect, whole):
    few, every = prompts_of(rng, effect), prompts_of(rng, whole)
    found = prompt_count.plus_one(stats.paired_interval(few, every, relative=True))
    shuffled = np.array([prompts_of(rng, chance(rng)).mean() for _ in range(RANDOMS)]) / every.mean()
    return Measured(found, control=stats.control_range(shuffled))


JUDGES = {
    # claim: the judge, and what a direction that means what it says does, alone or in the two settings compared
    "A1": (shift, (MEANT, 0)),
    "A2": (paper_figures, (1.0, 0)),
    "A6": (share, (MEANT, MEANT * 0.8)),
    "A7": (ways, (MEANT, 0)),
    "A8": (ways, (MEANT, 0)),
    "A9": (lambda rng, one, two: ways(rng, one, two, relative=True), (MEANT, 0)),
    "T2": (shift, (MEANT, 0)),
    "T3": (shift, (MEANT, 0)),
}


def holds(claim, measured):
    """Whether the primary check of a claim holds of tempo, testable or not."""
    check = primary(claim)
    limit, interval = check.limit(check.parts[0] if check.parts else ""), measured.interval
    return limit.outcome(interval) == "holds" and not limit.reached_by(measured.control, interval.estimate)


@pytest.mark.parametrize("claim", JUDGES)
def test_at_most_one_random_direction_in_twenty_passes(claim):
    judge, rng = JUDGES[claim][0], np.random.default_rng(1)
    draws = DRAWS if judge in (shift, paper_figures) else 10 * DRAWS  # which need no table, and are quick
    passed = sum(holds(claim, judge(rng, chance(rng), chance(rng))) for _ in range(draws))
    assert passed <= draws / 20


@pytest.mark.parametrize("claim", JUDGES)
def test_a_direction_that_means_what_it_says_passes(claim):
    judge, meant = JUDGES[claim]
    rng = np.random.default_rng(0)
    assert sum(holds(claim, judge(rng, *meant)) for _ in range(10)) >= 7


def test_without_the_control_many_random_directions_would_pass():
    rng = np.random.default_rng(0)
    found = [shift(rng, rng.normal(0, BY_CHANCE)).interval for _ in range(DRAWS)]
    assert sum(interval.low > 0 for interval in found) >= 5  # half of them have the intended sign
