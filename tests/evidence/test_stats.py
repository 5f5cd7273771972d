"""Intervals that cover the truth as often as they claim, and summaries that pair the right clips."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from steerlib.evidence.stats import (
    Interval,
    auc,
    check_columns,
    control_range,
    holm,
    jackknife_interval,
    mean_interval,
    median_interval,
    paired_interval,
    share_interval,
    shifts,
    sign_flip_interval,
    summarise,
)


def sweep_table(effects, *, prompts=12, seeds=(0,), rng=None):
    """Rows of a sweep of known effects: value = the prompt's own level + effect + noise."""
    rng = rng or np.random.default_rng(0)
    level = rng.normal(scale=50, size=prompts) + 500
    rows = [
        {"attribute": "tempo", "source_layer": 3, "multiplier": m, "prompt_id": p, "seed": s}
        | {"bpm": level[p] + effect + rng.normal(scale=2)}
        for m, effect in effects.items()
        for p in range(prompts)
        for s in seeds
    ]
    table = pd.DataFrame(rows).astype({"source_layer": "Int64"})
    table.loc[table.multiplier == 0, ["attribute", "source_layer"]] = pd.NA
    return table


def test_the_estimate_is_the_mean_difference_and_lies_within_the_interval(rng):
    baseline = rng.normal(120, 20, size=40)
    values = baseline + rng.normal(10, 5, size=40)
    found = paired_interval(values, baseline)
    assert found.estimate == pytest.approx((values - baseline).mean())
    assert found.low < found.estimate < found.high
    assert (found.n, found.dropped) == (40, 0)


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        (np.random.default_rng(1).normal(3, 2, size=40), None),
        (np.random.default_rng(2).exponential(size=40), np.arange(40) // 4),
        (np.where(np.arange(12) % 3 == 0, np.nan, np.arange(12.0)), None),
        (np.arange(12) % 4 == 0, np.arange(12) // 2),
        (np.ones(8), None),
        ([5.0], None),
        ([np.nan, np.nan], None),
    ],
)
def test_the_interval_of_a_mean_is_that_of_pairs_with_zero_to_the_last_digit(values, clusters):
    values = np.asarray(values, dtype=float)
    for options in ({}, {"level": 0.8}):
        mean = mean_interval(values, clusters=clusters, **options)
        paired = paired_interval(values, 0 * values, clusters=clusters, **options)
        np.testing.assert_array_equal(
            [mean.estimate, mean.low, mean.high, mean.n, mean.dropped],
            [paired.estimate, paired.low, paired.high, paired.n, paired.dropped],
        )


def test_columns_that_a_table_lacks_are_named():
    table = pd.DataFrame({"bpm": [1.0]})
    check_columns(table, ["bpm"])
    with pytest.raises(ValueError, match=r"the summary lacks \['seed', 'by'\]; it has \['bpm'\]"):
        check_columns(table, ["seed", "bpm", "by", "seed"], what="the summary")


def test_the_interval_is_students_of_the_clusters_means(rng):
    difference = rng.normal(10, 5, size=40)
    found = paired_interval(difference, np.zeros(40))
    low, high = scipy_stats.t.interval(0.95, 39, difference.mean(), scipy_stats.sem(difference))
    assert (found.low, found.high, found.df) == (pytest.approx(low), pytest.approx(high), 39)
    means = difference.reshape(10, 4).mean(axis=1)
    clustered = mean_interval(difference, clusters=np.arange(40) // 4)
    low, high = scipy_stats.t.interval(0.95, 9, means.mean(), scipy_stats.sem(means))
    assert (clustered.low, clustered.high) == (pytest.approx(low), pytest.approx(high))


def test_pairing_narrows_the_interval_when_prompts_differ(rng):
    baseline = rng.normal(120, 30, size=50)
    values = baseline + rng.normal(10, 3, size=50)
    paired = paired_interval(values, baseline)
    shuffled = paired_interval(values, rng.permutation(baseline))
    assert paired.high - paired.low < 0.2 * (shuffled.high - shuffled.low)


@pytest.mark.parametrize("relative", [False, True])
def test_intervals_cover_the_truth_about_as_often_as_they_claim(rng, relative):
    covered = 0
    for _ in range(200):
        baseline = rng.gamma(20, 5, size=30)  # mean 100
        values = baseline * 1.2 + rng.normal(scale=10, size=30)
        found = paired_interval(values, baseline, relative=relative)
        covered += found.low <= (0.2 if relative else 20) <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_relative_effect_is_that_of_paper_a():
    assert paired_interval([176.02], [134.54], relative=True).estimate == pytest.approx(0.308, abs=5e-4)


def test_pairs_with_a_nan_are_dropped_and_counted():
    found = paired_interval([1.0, np.nan, 3.0, 4.0], [0.0, 1.0, np.nan, 1.0])
    assert (found.estimate, found.n, found.dropped) == (2.0, 2, 2)


def test_without_any_whole_pair_there_is_no_estimate():
    found = paired_interval([np.nan, 1.0], [1.0, np.nan])
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert (found.n, found.dropped) == (0, 2)


def test_a_single_pair_has_no_interval():
    found = paired_interval([2.0], [1.0])
    assert found.estimate == 1 and np.isnan(found.low) and np.isnan(found.high)


def test_equal_effects_have_an_interval_of_no_width():
    found = paired_interval([2.0, 3.0, 4.0], [1.0, 2.0, 3.0])
    assert (found.low, found.high) == (1, 1)


def test_repeating_each_prompt_does_not_feign_more_evidence(rng):
    effect = rng.normal(10, 5, size=20)
    once = paired_interval(effect, np.zeros(20))
    repeated, prompts = np.repeat(effect, 5), np.repeat(np.arange(20), 5)
    naive = paired_interval(repeated, np.zeros(100))
    clustered = paired_interval(repeated, np.zeros(100), clusters=prompts)
    assert clustered.high - clustered.low == pytest.approx(once.high - once.low, rel=0.01)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)
    assert clustered.n == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [1.0], "baseline": [1.0, 2.0]}, "align them by prompt"),
        ({"values": [[1.0]], "baseline": [1.0]}, "flat list"),
        ({"values": [1.0], "baseline": [1.0], "level": 95}, "between 0 and 1"),
        ({"values": [1.0], "baseline": [1.0], "clusters": [1, 2]}, "one name for each"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        paired_interval(**arguments)


def test_an_interval_reads_as_a_sentence():
    assert str(Interval(41.5, 35.25, 47.9, 48, 2)) == "41.5 [35.25, 47.9] (n = 48, 2 not measurable)"


# --- AUC ---


def test_auc_agrees_with_mann_whitney_even_with_ties(rng):
    positive, negative = rng.integers(0, 8, size=30), rng.integers(0, 6, size=40)
    expected = scipy_stats.mannwhitneyu(positive, negative).statistic / (30 * 40)
    assert auc(positive, negative).estimate == pytest.approx(expected)


def test_auc_covers_the_truth_about_as_often_as_it_claims(rng):
    truth = scipy_stats.norm.cdf(1 / np.sqrt(2))
    found = [auc(rng.normal(1, size=40), rng.normal(size=40)) for _ in range(200)]
    assert 0.88 <= np.mean([f.low <= truth <= f.high for f in found]) <= 0.99


def test_auc_counts_what_it_drops():
    found = auc([2.0, np.nan, 3.0], [1.0])
    assert (found.estimate, found.n, found.dropped) == (1, 3, 1)
    with pytest.raises(ValueError, match="needs both sets"):
        auc([np.nan], [1.0])


@pytest.mark.parametrize("sets", [([3.0, 4, 5], [0.0, 1, 2]), ([0.0], [1.0]), ([1.0, 2.0], [1.0, 2.0])])
def test_auc_has_an_interval_inside_0_and_1_that_is_never_without_width(sets):
    found = auc(*sets)
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    assert found.high - found.low > 0.1


def test_auc_of_the_same_prompts_on_both_sides_knows_that_they_are_not_independent(rng):
    level = rng.normal(scale=3, size=40)
    sides = (level + 0.8 + rng.normal(size=40), level + rng.normal(size=40))
    alone, paired = auc(*sides), auc(*sides, clusters=(np.arange(40), np.arange(40)))
    assert paired.estimate == alone.estimate
    assert paired.high - paired.low <= 1.01 * (alone.high - alone.low)


# --- permutation, controls, many checks ---


def test_the_sign_flip_interval_belongs_to_the_permutation_test(rng):
    values = rng.normal(1, 1, size=10)
    found = sign_flip_interval(values)
    for limit in (found.low - 1e-9, found.high + 1e-9):
        signs = ((np.arange(2**10)[:, None] >> np.arange(10)) & 1) * 2 - 1
        flipped = (signs * np.abs(values - limit)).mean(axis=1)
        chance = np.mean(np.abs(flipped) >= np.abs((values - limit).mean()) - 1e-12)
        assert chance == pytest.approx(0.05, abs=0.005)


def test_five_values_are_too_few_for_a_sign_flip_interval_and_six_are_not():
    assert np.isinf(sign_flip_interval(np.arange(1.0, 6)).low)
    assert sign_flip_interval(np.arange(1.0, 7)).low > 0


def test_one_of_twenty_controls_lies_outside_the_range_of_the_others(rng):
    for draws in (1, 3, 10):
        effects = rng.normal(scale=4, size=(2000, draws + 1))
        outside = [row[0] > control_range(row[1:]).high for row in effects]
        assert np.mean(outside) == pytest.approx(0.025, abs=0.012)
    assert np.isnan(control_range([]).high) and np.isnan(control_range([1.0], symmetric=False).high)
    assert control_range([0.4, 0.5, 0.6], symmetric=False).estimate == pytest.approx(0.5)


def test_holm_multiplies_the_smallest_by_the_number_of_all_and_never_falls():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, np.nan]), [0.03, 0.06, 0.06, np.nan])
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])


# --- jackknife ---


def test_the_jackknife_of_a_mean_with_single_blocks_is_students_interval(rng):
    x = rng.normal(size=25)
    found = jackknife_interval(lambda s: float(s.mean()), x, blocks=25)
    low, high = scipy_stats.t.interval(0.95, 24, x.mean(), scipy_stats.sem(x))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_the_jackknife_needs_as_many_samples_as_blocks():
    with pytest.raises(ValueError, match="choose 2 to 5"):
        jackknife_interval(lambda s: float(s.mean()), np.zeros(5), blocks=6)


# --- summary of a sweep ---


def test_a_summary_finds_the_known_effect_of_each_multiplier():
    found = summarise(sweep_table({0: 0, 1: 40, -1: -60}), value="bpm").set_index("multiplier")
    assert list(found.index) == [-1, 1]
    assert found.loc[1, "effect"] == pytest.approx(40, abs=2.5)
    assert found.loc[-1, "effect"] == pytest.approx(-60, abs=2.5)
    assert (found.low < found.effect).all() and (found.effect < found.high).all()
    np.testing.assert_allclose(found["mean"] - found.baseline, found.effect)
    np.testing.assert_allclose(found["mean"] / found.baseline - 1, found.relative)
    assert found.n.tolist() == [12, 12]


def test_pairs_are_found_by_prompt_and_seed_whatever_the_order_of_rows(rng):
    table = sweep_table({0: 0, 1: 40}, seeds=(0, 1, 2))
    shuffled = table.sample(frac=1, random_state=3)
    left, right = (summarise(t, value="bpm") for t in (table, shuffled))
    np.testing.assert_allclose(left[["effect", "mean"]], right[["effect", "mean"]])
    assert left.n.item() == 36


def test_seeds_of_one_prompt_are_resampled_together():
    rng = np.random.default_rng(0)
    table = sweep_table({0: 0, 1: 40}, prompts=10, seeds=tuple(range(8)))
    moved = dict(enumerate(rng.normal(scale=30, size=10)))  # each prompt has its own effect
    steered = table.multiplier == 1
    table.loc[steered, "bpm"] += table[steered].prompt_id.map(moved)
    clustered = summarise(table, value="bpm").iloc[0]
    naive = summarise(table.assign(row=range(len(table))), value="bpm", cluster="row").iloc[0]
    assert clustered.high - clustered.low > 1.8 * (naive.high - naive.low)


def test_clips_without_a_tempo_are_dropped_in_pairs_and_counted():
    table = sweep_table({0: 0, 1: 40})
    table.loc[(table.multiplier == 1) & (table.prompt_id == 4), "bpm"] = np.nan
    table.loc[(table.multiplier == 0) & (table.prompt_id == 5), "bpm"] = np.nan
    found = summarise(table, value="bpm").iloc[0]
    assert (found.n, found.dropped) == (10, 2)
    assert found.effect == pytest.approx(40, abs=2.5)


def test_all_to_all_rows_are_a_group_of_their_own():
    table = sweep_table({0: 0, 1: 40})
    everywhere = table[table.multiplier == 1].assign(source_layer=pd.NA).astype({"source_layer": "Int64"})
    found = summarise(pd.concat([table, everywhere]), value="bpm")
    assert found.source_layer.isna().tolist() == [False, True]
    assert found.source_layer.dtype == "Int64"


def test_a_baseline_shared_by_many_cells_counts_once():
    table = sweep_table({0: 0, 1: 40})
    repeated = pd.concat([table, table[table.multiplier == 0].assign(attribute="timbre")])
    pd.testing.assert_frame_equal(summarise(table, value="bpm"), summarise(repeated, value="bpm"))


def test_a_table_without_its_baseline_is_refused():
    table = sweep_table({0: 0, 1: 40})
    with pytest.raises(ValueError, match="1 of 12 steered clips have no clip"):
        summarise(table[~((table.multiplier == 0) & (table.prompt_id == 4))], value="bpm")
    with pytest.raises(ValueError, match="0 of 0 steered"):
        summarise(table[table.multiplier == 0], value="bpm")


def test_two_different_baselines_are_refused():
    table = sweep_table({0: 0, 1: 40})
    other = table[table.multiplier == 0].assign(bpm=lambda t: t.bpm + 1)
    with pytest.raises(ValueError, match="two different baselines"):
        summarise(pd.concat([table, other]), value="bpm")


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match=r"lacks \['centroid'\]"):
        summarise(sweep_table({0: 0, 1: 40}), value="centroid")


# --- shifts of paired poles ---


def test_a_shift_is_half_of_the_way_between_the_poles_and_damage_cancels_out(rng):
    table = sweep_table({-0.1: -30 - 7, 0: 0, 0.1: 30 - 7}, prompts=200, rng=rng)  # 7 BPM lost either way
    found = shifts(table, value="bpm", by=["attribute"])
    assert list(found.columns) == ["attribute", "prompt_id", "seed", "metric", "shift"]
    assert len(found) == 200 and found["shift"].mean() == pytest.approx(30, abs=1)


def test_settings_keep_the_order_of_prompts_so_that_they_can_be_paired(rng):
    near, far = (
        sweep_table({-1: -e, 0: 0, 1: e}, rng=rng).assign(way=w) for w, e in (("near", 5), ("far", 50))
    )
    both = pd.concat([far, near]).sample(frac=1, random_state=0)
    found = shifts(both, value="bpm", by=["way"])
    parts = [part for _, part in found.groupby("way", sort=False)]
    assert parts[0]["prompt_id"].tolist() == parts[1]["prompt_id"].tolist() == list(range(12))


def test_a_pole_that_cannot_be_measured_gives_no_shift(rng):
    table = sweep_table({-1: -5, 0: 0, 1: 5}, rng=rng)
    table.loc[(table.multiplier == 1) & (table.prompt_id == 3), "bpm"] = np.nan
    found = shifts(table, value="bpm", by=["attribute"]).set_index("prompt_id")["shift"]
    assert found.isna().sum() == 1 and np.isnan(found[3])


@pytest.mark.parametrize(
    ("effects", "by", "message"),
    [
        ({0: 0, 1: 5}, ["attribute"], "on one side of multiplier 0 only"),
        ({-1: -5, 0: 0, 1: 5, 2: 9}, ["attribute"], "several clips with a positive multiplier"),
        ({-1: -5, 0: 0, 1: 5}, ["subset"], r"lacks \['subset'\]"),
    ],
)
def test_settings_without_one_clip_at_either_pole_are_refused(rng, effects, by, message):
    with pytest.raises(ValueError, match=message):
        shifts(sweep_table(effects, rng=rng), value="bpm", by=by)


def test_a_summary_has_octaves_and_the_shares_of_prompts_that_move_either_way():
    rows = [
        (name, 1, value, prompt, 0, tempo, 0.3 * abs(value))
        for name in ("tempo",)
        for prompt, (slow, plain, fast) in enumerate([(50, 100, 200), (120, 100, 200), (50, 100, 80)])
        for value, tempo in ((-1.0, slow), (0.0, plain), (1.0, fast))
    ]
    names = ["attribute", "source_layer", "multiplier", "prompt_id", "seed", "bpm", "kappa"]
    table = pd.DataFrame(rows, columns=names)
    found = summarise(table, value="bpm").set_index("multiplier")
    assert found.loc[1.0, "octaves"] == pytest.approx((2 + np.log2(0.8)) / 3)
    assert found.loc[1.0, ["right", "wrong"]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found.loc[-1.0, ["right", "wrong"]].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert found["kappa"].tolist() == pytest.approx([0.3, 0.3])
    levels = summarise(table.rename(columns={"bpm": "rms"}), value="rms")
    assert levels["octaves"].isna().all() and levels["effect"].notna().all()
    shift = shifts(table, value="bpm", by=["attribute"], octaves=True)["shift"]
    assert shift.tolist() == pytest.approx([1, np.log2(200 / 120) / 2, np.log2(80 / 50) / 2])


def test_a_share_without_spread_has_an_interval_and_none_leaves_zero_to_one(rng):
    never, always = share_interval([False] * 8), share_interval([True] * 8)
    assert (never.estimate, never.low) == (0, 0) and never.high == pytest.approx(0.3694, abs=1e-3)
    assert (always.estimate, always.high) == (1, 1) and always.low == pytest.approx(1 - 0.3694, abs=1e-3)
    clusters = np.repeat(np.arange(4), 6)
    wide = share_interval([False] * 24, clusters=clusters)
    assert wide.high > never.high and wide.n == 24
    mixed = share_interval(rng.random(24) < 0.9, clusters=clusters)
    assert 0 <= mixed.low < mixed.estimate < mixed.high <= 1
    assert share_interval([True]).low < 0.1


def test_the_interval_of_a_median_is_exact_and_asks_nothing_of_the_distribution(rng):
    assert str(median_interval([1, 2, 3, 4, 5, 9])) == "3.5 [1, 9] (n = 6)"
    assert median_interval([1, 2, 3, 4, 5]).high == np.inf
    few = median_interval([3, np.nan])
    assert (few.estimate, few.n, few.dropped) == (3, 1, 1)
    assert np.isnan(median_interval([np.nan]).estimate)
    found = [median_interval(np.exp(2 * each)) for each in rng.normal(size=(2000, 25))]
    covered = np.mean([each.low <= 1 <= each.high for each in found])
    assert 0.95 <= covered <= 0.975
