"""The bottom line of the scorecard speaks in plain words."""

import re
from types import SimpleNamespace

from steerlib.chapters import scorecard as chapter
from steerlib.evidence import scorecard
from steerlib.evidence.claims import claims


def test_plain_words_of_a_claim_fit_into_a_sentence():
    for row in claims().itertuples():
        assert not row.short.endswith("."), row.claim
        assert len(row.short) < 100 or row.short == row.text.rstrip("."), row.claim


def with_verdicts(verdicts):
    table = scorecard.read([], models=["pocket"])
    return table.assign(verdict=[verdicts.get(row.claim, row.verdict) for row in table.itertuples()])


def test_the_bottom_line_says_in_words_what_is_supported_and_what_is_not():
    verdicts = {"A8": "supported", "T3": "supported", "B2": "not supported"}
    found, _ = chapter.findings(with_verdicts(verdicts), "pocket", with_verdicts({}))
    text = " ".join(found)
    assert "In this run, 3 of 25 claims were measured" in re.sub(r"of \d+ claims", "of 25 claims", text)
    assert "papers' sample sizes" not in text
    short = claims().set_index("claim")["short"]
    assert f"**Supported**: {short['A8']} (A8) and {short['T3']} (T3)." in text
    assert f"**Not supported**: {short['B2']} (B2)." in text
    assert all(short[name] not in text for name in short.index if name not in verdicts)


def test_the_verdicts_with_the_papers_sample_sizes_come_first_and_are_named():
    found, _ = chapter.findings(
        with_verdicts({"A8": "not shown"}), "pocket", with_verdicts({"A8": "supported"})
    )
    assert found[0].startswith("With the papers' sample sizes, 1 of ")
    assert "**Supported**" in found[1] and "(A8)" in found[1]
    assert found[2].startswith("In this run, 1 of ") and "1 not shown" in found[2]


def test_with_no_verdict_there_is_nothing_to_name():
    found, _ = chapter.findings(with_verdicts({}), "pocket", with_verdicts({}))
    assert len(found) == 1 and "0 of " in found[0]


def test_verdicts_stand_beside_those_with_the_papers_sample_sizes(capsys):
    beside = chapter.larger_samples(
        with_verdicts({"A8": "not shown"}), with_verdicts({"A8": "supported"}), "pocket"
    )
    assert capsys.readouterr().out == "claims with another verdict in this run: A8\n"
    assert beside.loc["A8", ["with the papers' sizes", "in this run"]].tolist() == ["supported", "not shown"]


def test_what_new_records_changed_is_told_with_the_reason(tmp_path):
    assert chapter.changes(tmp_path, "pocket").empty
    lines = ["claim,model,before,now,why", "A2,pocket,supported,not shown,a control", "C1,pocket,,supported,a control"]
    (tmp_path / scorecard.CHANGES).write_text("\n".join([*lines, "A2,other,supported,not shown,a control"]))
    table = chapter.changes(tmp_path, "pocket")
    assert table.loc["A2"].tolist() == ["supported", "not shown", "a control"]
    assert table.loc["C1", "before"] == "no record"


def test_a_claim_of_which_a_part_could_not_be_tested_is_named_with_that_part():
    table = with_verdicts({"C6": "supported"}).astype({"found": object})
    row = table.index[table["claim"] == "C6"][0]
    table.at[row, "found"] = SimpleNamespace(outcomes={"valence": "not testable", "arousal": "holds"}, parts={})
    found, _ = chapter.findings(table, "pocket", with_verdicts({}))
    assert "(C6; valence not testable)" in found[0]
