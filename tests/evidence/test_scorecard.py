import json

import pytest

from steerlib.evidence import scorecard
from steerlib.evidence.scorecard import NOT_RUN, Check, claims, read, record
from steerlib.evidence.stats import Interval

ABOVE = Interval(30.0, 22.0, 39.0, 24)
BELOW = Interval(-30.0, -39.0, -22.0, 24)
ACROSS = Interval(3.0, -2.0, 9.0, 24, 1)
UNKNOWN = Interval(float("nan"), float("nan"), float("nan"), 0, 24)


def write(folder, checks, claim="A1", model="pocket", **options):
    return record(claim, checks, model=model, folder=folder, notebook="held_out", **options)


@pytest.mark.parametrize(
    ("interval", "limit", "outcome"),
    [
        (ABOVE, {"above": 0}, "holds"),
        (BELOW, {"above": 0}, "fails"),
        (ACROSS, {"above": 0}, "open"),
        (UNKNOWN, {"above": 0}, "open"),
        (BELOW, {"below": 0}, "holds"),
        (ABOVE, {"below": 0}, "fails"),
        (ACROSS, {"below": 0}, "open"),
        (ABOVE, {"above": 22.0}, "open"),
    ],
)
def test_a_check_holds_or_fails_only_with_its_whole_interval(interval, limit, outcome):
    assert Check("tempo", interval, **limit).outcome == outcome


@pytest.mark.parametrize("limits", [{}, {"above": 0, "below": 0}, {"above": float("nan")}])
def test_a_check_has_exactly_one_finite_limit(limits):
    with pytest.raises(ValueError, match="'tempo'"):
        Check("tempo", ABOVE, **limits)


def test_a_check_wants_an_interval_and_words():
    with pytest.raises(TypeError, match=r"stats\.Interval"):
        Check("tempo", 30.0, above=0)
    with pytest.raises(ValueError, match="words"):
        Check(" ", ABOVE, above=0)


@pytest.mark.parametrize(
    ("intervals", "verdict"),
    [
        ([ABOVE, ABOVE], "supported"),
        ([ABOVE, ACROSS], "partly"),
        ([ABOVE, BELOW], "partly"),
        ([BELOW, ACROSS], "not supported"),
        ([BELOW], "not supported"),
        ([ACROSS, UNKNOWN], "not shown"),
    ],
)
def test_the_verdict_follows_the_stated_rule(tmp_path, intervals, verdict):
    made = write(tmp_path, [Check(f"part {i}", interval, above=0) for i, interval in enumerate(intervals)])
    assert made.verdict == verdict
    assert f"Verdict on pocket: {verdict}" in str(made)
    table = read(tmp_path)
    assert table.set_index("claim").verdict["A1"] == verdict


def test_a_verdict_shows_every_check_with_its_interval_and_limit_and_escapes_words(tmp_path):
    shown = write(tmp_path, [Check("a <b> & c", ACROSS, above=5, unit="BPM")], note="x < y")._repr_html_()
    for part in (
        "a &lt;b&gt; &amp; c",
        "3.00 [-2.00, 9.00] BPM (n = 24, 1 not measurable)",
        "&gt; 5 BPM",
        "○ open",
    ):
        assert part in shown
    assert "x &lt; y" in shown
    assert "<b>" not in shown


def test_what_was_recorded_is_read_back_exactly_even_where_nothing_could_be_measured(tmp_path):
    checks = (Check("tempo", ABOVE, above=0, unit="BPM"), Check("centroid", BELOW, below=-5.5))
    write(tmp_path, checks, profile="tiny", note="short")
    write(tmp_path, [Check("nothing", UNKNOWN, above=0)], claim="A2")
    rows = read(tmp_path).set_index("claim")
    assert rows.checks["A1"] == checks
    assert (rows.profile["A1"], rows.note["A1"], rows.notebook["A1"]) == ("tiny", "short", "held_out")
    assert rows.checks["A2"][0].measured == "? [?, ?] (n = 0, 24 not measurable)"
    assert "NaN" not in (tmp_path / "A2.pocket.json").read_text(encoding="utf-8")


def test_the_table_has_every_claim_for_every_model_and_says_what_was_not_run(tmp_path):
    write(tmp_path, [Check("tempo", ABOVE, above=0)], model="some/model")
    table = read(tmp_path, models=["pocket", "facebook/musicgen-melody"])
    names = claims().claim.tolist()
    assert table.claim.tolist() == [name for name in names for _ in range(3)]
    assert table.model.unique().tolist() == ["pocket", "facebook/musicgen-melody", "some/model"]
    assert (table.verdict != NOT_RUN).sum() == 1
    assert read(tmp_path / "missing").verdict.unique().tolist() == [NOT_RUN]


def test_the_claims_are_those_of_both_papers_each_with_its_place():
    table = claims().set_index("claim")
    assert {"A1", "A11", "B1", "B5"} <= set(table.index)
    assert {"facchiano2025", "panda2025"} <= set(table.paper)
    assert (table.place.str.len() > 0).all()


def test_models_with_a_slash_get_files_of_their_own_and_a_new_record_replaces_the_old(tmp_path):
    write(tmp_path, [Check("tempo", ABOVE, above=0)], model="facebook/musicgen-melody")
    write(tmp_path, [Check("tempo", BELOW, above=0)], model="facebook/musicgen-melody")
    write(tmp_path, [Check("tempo", ABOVE, above=0)])
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "A1.facebook--musicgen-melody.json",
        "A1.pocket.json",
    ]
    rows = read(tmp_path).query("claim == 'A1'").set_index("model")
    assert rows.verdict.to_dict() == {"facebook/musicgen-melody": "not supported", "pocket": "supported"}


def test_of_two_folders_the_later_one_counts(tmp_path):
    write(tmp_path / "old", [Check("tempo", ABOVE, above=0)])
    write(tmp_path / "new", [Check("tempo", BELOW, above=0)])
    table = read([tmp_path / "old", tmp_path / "new"]).set_index("claim")
    assert table.verdict["A1"] == "not supported"


def test_the_profile_is_that_of_the_book_that_is_being_made(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERLIB_PROFILE", "quick")
    write(tmp_path, [Check("tempo", ABOVE, above=0)])
    assert read(tmp_path).profile[0] == "quick"
    monkeypatch.delenv("STEERLIB_PROFILE")
    write(tmp_path, [Check("tempo", ABOVE, above=0)])
    assert read(tmp_path).profile[0] == "by hand"


def test_an_unknown_claim_and_a_claim_without_checks_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"no claim 'A99'.*A1, A2"):
        write(tmp_path / "new", [Check("tempo", ABOVE, above=0)], claim="A99")
    with pytest.raises(ValueError, match="no check"):
        write(tmp_path / "new", [])
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({**json.loads(text), "format": "other"}),
        lambda text: json.dumps({**json.loads(text), "checks": [{"what": "x"}]}),
        lambda text: json.dumps({**json.loads(text), "claim": "Z1"}),
    ],
)
def test_a_damaged_record_is_named(tmp_path, damage):
    write(tmp_path, [Check("tempo", ABOVE, above=0)])
    file = tmp_path / "A1.pocket.json"
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"A1\.pocket\.json"):
        read(tmp_path)


def test_the_rule_counts_and_not_the_verdict_that_a_file_claims(tmp_path):
    write(tmp_path, [Check("tempo", BELOW, above=0)])
    file = tmp_path / "A1.pocket.json"
    file.write_text(file.read_text(encoding="utf-8").replace("not supported", "supported"), encoding="utf-8")
    assert read(tmp_path).verdict[0] == "not supported"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the record"):
        write(tmp_path / "file", [Check("tempo", ABOVE, above=0)])


def test_the_words_of_the_rule_name_every_verdict_that_there_is():
    for name in ("supported", "not supported", "not shown", "partly"):
        assert name in scorecard.RULE


def test_the_cards_show_every_claim_once_with_what_each_model_says_to_it(tmp_path):
    write(tmp_path, [Check("tempo <fast>", ABOVE, above=0, unit="BPM")], note="a & b")
    page = scorecard.cards(read(tmp_path, models=["pocket", "facebook/musicgen-melody"])).data
    names = claims().claim
    assert page.count('class="claim"') == len(names)
    assert page.count(NOT_RUN) == 2 * len(names) - 1
    assert "✓ tempo &lt;fast&gt;: 30.0 [22.0, 39.0] BPM (n = 24); claimed &gt; 0 BPM: holds" in page
    assert "a &amp; b" in page
    assert "<strong>supported</strong> <small>(held_out" in page
