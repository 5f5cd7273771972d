import json
import re
from pathlib import Path

import pytest

from steerlib.evidence import claims as declared
from steerlib.evidence import frozen, scorecard
from steerlib.evidence.claims import Limit, claims, primary
from steerlib.evidence.scorecard import NOT_RUN, SUPERSEDED, Check, Measured, read, record
from steerlib.evidence.stats import Interval

ABOVE = Interval(30.0, 22.0, 39.0, 24, df=23)
BELOW = Interval(-30.0, -39.0, -22.0, 24, df=23)
ACROSS = Interval(3.0, -2.0, 9.0, 24, 1)
UNKNOWN = Interval(float("nan"), float("nan"), float("nan"), 0, 24)
QUIET = Interval(0.0, -0.1, 0.1, 10)
LOUD = Interval(0.0, -50.0, 50.0, 1)


def both(interval, control=QUIET):
    return {part: Measured(interval, control=control) for part in ("tempo", "timbre")}


def write(folder, measured=None, claim="A1", model="pocket", **options):
    measured = both(ABOVE) if measured is None else measured
    return record(claim, measured, model=model, folder=folder, notebook="held_out", **options)


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
        (ABOVE, {"within": (20, 40)}, "holds"),
        (ABOVE, {"within": (25, 40)}, "open"),
        (ABOVE, {"within": (-10, 10)}, "fails"),
        (UNKNOWN, {"within": (-10, 10)}, "open"),
    ],
)
def test_a_check_holds_or_fails_only_with_its_whole_interval(interval, limit, outcome):
    assert Check("tempo", interval, **limit).outcome == outcome


def test_a_p_value_is_at_one_side_of_a_half_of_five_percent_where_the_interval_touches_its_limit():
    assert Limit(above=22.0).p(ABOVE) == pytest.approx(0.025)
    assert Limit(below=39.0).p(ABOVE) == pytest.approx(0.025)
    assert Limit(within=(22.0, 1000.0)).p(ABOVE) == pytest.approx(0.025)  # the larger of the two
    assert Limit(above=22.0).p(BELOW) > 0.5


@pytest.mark.parametrize(
    "limits", [{}, {"above": 0, "below": 0}, {"above": float("nan")}, {"within": (1.0, 0.0)}]
)
def test_a_check_has_exactly_one_finite_limit(limits):
    with pytest.raises(ValueError, match="'tempo'"):
        Check("tempo", ABOVE, **limits)


def test_a_check_wants_an_interval_and_words():
    with pytest.raises(TypeError, match=r"stats\.Interval"):
        Check("tempo", 30.0, above=0)
    with pytest.raises(TypeError, match=r"the control is a stats\.Interval"):
        Measured(ABOVE, control=0.3)
    with pytest.raises(ValueError, match="words"):
        Check(" ", ABOVE, above=0)


@pytest.mark.parametrize(
    ("tempo", "timbre", "verdict"),
    [
        (ABOVE, ABOVE, "supported"),
        (ABOVE, ACROSS, "not shown"),
        (ABOVE, BELOW, "not supported"),
        (BELOW, ACROSS, "not supported"),
        (ACROSS, UNKNOWN, "not shown"),
    ],
)
def test_a_claim_is_supported_only_if_its_check_holds_of_every_part(tmp_path, tempo, timbre, verdict):
    parts = {"tempo": Measured(tempo, control=QUIET), "timbre": Measured(timbre, control=QUIET)}
    made = write(tmp_path, parts)
    assert made.verdict == verdict
    assert f"Verdict on pocket: {verdict}" in str(made)
    assert read(tmp_path).set_index("claim").verdict["A1"] == verdict


def test_a_declared_part_that_was_not_measured_leaves_the_claim_open(tmp_path):
    made = write(tmp_path, {"tempo": Measured(ABOVE, control=QUIET)})
    assert made.verdict == "not shown" and "not measured" in made._repr_html_()


@pytest.mark.parametrize(
    ("control", "verdict"), [(QUIET, "supported"), (LOUD, "not shown"), (UNKNOWN, "not shown")]
)
def test_what_the_control_reaches_as_well_shows_nothing(tmp_path, control, verdict):
    assert write(tmp_path, both(ABOVE, control)).verdict == verdict


def test_descriptive_figures_have_no_part_in_the_verdict_and_their_p_values_are_holms(tmp_path):
    also = [Check("one", BELOW, above=0), Check("two", ABOVE, above=22), Check("three", ABOVE, above=22)]
    made = write(tmp_path, also=also)
    assert made.verdict == "supported"
    assert made.also_p == [pytest.approx(1), pytest.approx(0.075), pytest.approx(0.075)]
    assert "· two: 30.0 [22.0, 39.0] (n = 24), against > 22 p = 0.0750 (Holm)" in str(made)


def test_what_cannot_be_tested_counts_neither_for_nor_against(tmp_path):
    unlike, alike = Interval(0.5, 0.4, 0.6, 11), Interval(0.98, 0.96, 1.0, 11)
    for conditions, verdict in (
        ((unlike, unlike), "supported"),
        ((unlike, alike), "supported"),  # of the one part that can be tested
        ((alike, alike), "not testable"),
    ):
        parts = {
            part: Measured(ABOVE, control=QUIET, testable=each)
            for part, each in zip(("tempo", "timbre"), conditions, strict=True)
        }
        made = write(tmp_path, parts, "A3")
        assert made.verdict == verdict
    assert (
        "cosine of the directions of neighbouring layers: 0.980 [0.960, 1.00] (n = 11), needs &lt; 0.9"
        in (made._repr_html_())
    )
    assert read(tmp_path).set_index("claim").verdict["A3"] == "not testable"


def test_a_missing_control_or_condition_and_an_unknown_part_are_named_before_anything_is_written(tmp_path):
    new = tmp_path / "new"
    with pytest.raises(ValueError, match=r"A1, tempo: the control is missing \(random directions"):
        write(new, {"tempo": Measured(ABOVE)})
    with pytest.raises(ValueError, match="A3, tempo: whether it can be tested is missing.*cosine"):
        write(new, {"tempo": Measured(ABOVE, control=QUIET)}, "A3")
    with pytest.raises(ValueError, match="in the parts tempo, timbre, not 'mode'"):
        write(new, {"mode": Measured(ABOVE, control=QUIET)})
    with pytest.raises(ValueError, match="nothing measured"):
        write(new, {})
    with pytest.raises(ValueError, match=r"no claim 'A99'.*A1, A2"):
        write(new, claim="A99")
    assert not new.exists()


def test_a_claim_without_a_primary_check_is_refused_and_what_it_lacks_is_named(monkeypatch):
    table = claims()
    full = table["check"][0]
    for check, message in (
        (None, "A1 declares no primary check"),
        ({**full, "control": ""}, "A1 lacks control"),
        ({name: value for name, value in full.items() if name != "since"}, "A1 lacks since"),
        ({**full, "below": 3}, "exactly one of above, below and within; above, below given"),
        ({**full, "abve": 3}, "has abve, which no check has"),
        ({**full, "above": {"tempo": 1}}, "no proper limit.*timbre"),
    ):
        table.at[0, "check"] = check
        monkeypatch.setattr(declared, "claims", lambda: table)
        with pytest.raises(ValueError, match=message):
            primary("A1")


@pytest.mark.parametrize("claim", claims().claim)
def test_every_claim_declares_its_check_its_control_and_the_chapter_that_measures_it(claim):
    check = primary(claim)
    assert check.control and re.fullmatch(r"\d{4}-\d\d-\d\d", check.since)
    assert (Path(__file__).parents[2] / "notebooks" / f"{check.chapter}.ipynb").is_file()


def test_a_verdict_shows_every_figure_and_escapes_words(tmp_path):
    also = [Check("a <b> & c", ACROSS, above=5, unit="BPM")]
    shown = write(tmp_path, also=also, note="x < y")._repr_html_()
    for part in (
        "a &lt;b&gt; &amp; c",
        "3.00 [-2.00, 9.00] BPM (n = 24, 1 not measurable)",
        "✓ holds",
        "x &lt; y",
    ):
        assert part in shown
    assert (
        "30.0 [22.0, 39.0] octaves (n = 24)" in shown
        and "control: 0.000 [-0.100, 0.100] octaves (10 draws)" in shown
    )
    assert "<b>" not in shown


def test_what_was_recorded_is_read_back_exactly_even_where_nothing_could_be_measured(tmp_path):
    also = (Check("tempo", ABOVE, above=0, unit="BPM"), Check("centroid", BELOW, within=(-5.5, 1.0)))
    made = write(tmp_path, also=also, profile="tiny", note="short")
    write(tmp_path, {"": Measured(UNKNOWN, control=QUIET)}, "A7", profile="tiny")
    rows = read(tmp_path).set_index("claim")
    assert rows.found["A1"] == made
    assert (rows.profile["A1"], rows.note["A1"], rows.notebook["A1"]) == ("tiny", "short", "held_out")
    assert "? [?, ?] octaves (n = 0, 24 not measurable)" in str(rows.found["A7"])
    assert "NaN" not in (tmp_path / "A7.pocket.json").read_text(encoding="utf-8")


def test_the_table_has_every_claim_for_every_model_and_says_what_was_not_run(tmp_path):
    write(tmp_path, model="some/model")
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
    write(tmp_path, model="facebook/musicgen-melody")
    write(tmp_path, both(BELOW), model="facebook/musicgen-melody")
    write(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "A1.facebook--musicgen-melody.json",
        "A1.pocket.json",
    ]
    rows = read(tmp_path).query("claim == 'A1'").set_index("model")
    assert rows.verdict.to_dict() == {"facebook/musicgen-melody": "not supported", "pocket": "supported"}


def test_of_two_folders_the_later_one_counts(tmp_path):
    write(tmp_path / "old")
    write(tmp_path / "new", both(BELOW))
    table = read([tmp_path / "old", tmp_path / "new"]).set_index("claim")
    assert table.verdict["A1"] == "not supported"


def test_runs_of_several_profiles_do_not_stand_in_one_table(tmp_path):
    write(tmp_path, profile="quick")
    write(
        tmp_path,
        {"": Measured(ABOVE, control=QUIET)},
        "A7",
        profile="paper",
        model="facebook/musicgen-melody",
    )
    assert len(read(tmp_path)) > 0  # another model may be measured otherwise
    write(tmp_path, {"": Measured(ABOVE, control=QUIET)}, "A7", profile="paper")
    with pytest.raises(
        ValueError, match=r"A1\.pocket\.json is of the profile quick, .*A7\.pocket\.json of paper"
    ):
        read(tmp_path)


def test_a_record_of_other_settings_than_those_of_now_is_superseded_and_says_so(tmp_path, monkeypatch):
    write(tmp_path, note="as it was")
    monkeypatch.setattr(scorecard, "settings", lambda claim, profile: "another")
    row = read(tmp_path).set_index("claim").loc["A1"]
    assert row.verdict == SUPERSEDED
    assert "with another check, other parameters or other prompts" in row.note and "as it was" in row.note


def test_records_by_the_old_rule_are_read_and_marked_superseded():
    table = read(Path(__file__).parents[2] / "tests" / "evidence" / "old_records")
    row = table.set_index("claim").loc["A1"]
    assert (row.verdict, row.found) == (SUPERSEDED, None)
    assert "by the old rule" in row.note and "Run held_out again" in row.note


def test_the_profile_is_that_of_the_book_that_is_being_made(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERLIB_PROFILE", "quick")
    write(tmp_path)
    assert read(tmp_path).profile[0] == "quick"
    monkeypatch.delenv("STEERLIB_PROFILE")
    write(tmp_path)
    assert read(tmp_path).profile[0] == "by hand"


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: json.dumps({**json.loads(text), "format": "other"}),
        lambda text: json.dumps({**json.loads(text), "parts": {"tempo": {"interval": 3}}}),
        lambda text: json.dumps({**json.loads(text), "claim": "Z1"}),
    ],
)
def test_a_damaged_record_is_named(tmp_path, damage):
    write(tmp_path)
    file = tmp_path / "A1.pocket.json"
    file.write_text(damage(file.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ValueError, match=r"A1\.pocket\.json"):
        read(tmp_path)


def test_the_rule_counts_and_not_the_verdict_that_a_file_claims(tmp_path):
    write(tmp_path, both(BELOW))
    file = tmp_path / "A1.pocket.json"
    file.write_text(file.read_text(encoding="utf-8").replace("not supported", "supported"), encoding="utf-8")
    assert read(tmp_path).verdict[0] == "not supported"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write the record"):
        write(tmp_path / "file")


def test_the_words_of_the_rule_name_every_verdict_that_there_is():
    for name in ("supported", "not supported", "not shown", "not testable"):
        assert name in scorecard.RULE


def test_the_cards_show_every_claim_once_with_what_each_model_says_to_it(tmp_path):
    write(tmp_path, note="a & b")
    page = scorecard.cards(read(tmp_path, models=["pocket", "facebook/musicgen-melody"])).data
    names = claims().claim
    assert page.count('class="claim" id="claim-') == len(names)
    assert page.count(f"<strong>{NOT_RUN}</strong>") == 2 * len(names) - 1
    assert "<td>30.0 [22.0, 39.0] octaves (n = 24)" in page
    assert "a &amp; b" in page
    assert "<strong>supported</strong> <small>(held_out" in page


# --- frozen settings ---


def test_the_digest_of_settings_changes_with_check_and_parameters_and_with_nothing_else(monkeypatch):
    before = frozen.settings("A1", "quick")
    assert before == frozen.settings("A1", "quick") != frozen.settings("A1", "paper")
    assert re.fullmatch("[0-9a-f]{12}", before)
    table = claims()
    table.at[0, "check"] = {**table["check"][0], "above": 0.1}
    monkeypatch.setattr(frozen, "claims", lambda: table)
    assert frozen.settings("A1", "quick") != before


def test_freezing_adds_only_what_has_changed_and_the_latest_entry_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(frozen, "_LOG", tmp_path / "frozen.yaml")
    assert set(frozen.freeze("first")) == {"quick", "paper"}
    assert frozen.freeze("nothing new") == {}
    table = claims()
    table.at[0, "check"] = {**table["check"][0], "above": 0.1}
    monkeypatch.setattr(frozen, "claims", lambda: table)
    assert list(frozen.freeze("a fairer limit")["quick"]) == ["A1"]
    date, digest = frozen.frozen()["A1", "quick"]
    assert digest == frozen.settings("A1", "quick") and re.fullmatch(r"\d{4}-\d\d-\d\d", date)
    assert "a fairer limit" in (tmp_path / "frozen.yaml").read_text(encoding="utf-8")
