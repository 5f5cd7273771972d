"""The bottom line of the scorecard speaks in plain words."""

import re

from steerlib.chapters import scorecard as chapter
from steerlib.evidence import scorecard
from steerlib.evidence.claims import claims


def test_plain_words_of_a_claim_fit_into_a_sentence():
    for row in claims().itertuples():
        assert not row.short.endswith("."), row.claim
        assert len(row.short) < 100 or row.short == row.text.rstrip("."), row.claim


def test_the_bottom_line_says_in_words_what_is_supported_and_what_is_not():
    table = scorecard.read([], models=["pocket"])
    verdicts = {"A8": "supported", "T3": "supported", "B2": "not supported"}
    table["verdict"] = table["claim"].map(verdicts).fillna(table["verdict"])
    found, _ = chapter.findings(table, "pocket")
    text = " ".join(found)
    assert "Of 25 claims, 3 were measured here" in re.sub(r"Of \d+ claims", "Of 25 claims", text)
    short = claims().set_index("claim")["short"]
    assert f"**Supported**: {short['A8']} (A8) and {short['T3']} (T3)." in text
    assert f"**Not supported**: {short['B2']} (B2)." in text
    assert all(short[name] not in text for name in short.index if name not in verdicts)


def test_with_no_verdict_there_is_nothing_to_name():
    found, _ = chapter.findings(scorecard.read([], models=["pocket"]), "pocket")
    assert len(found) == 1 and "0 were measured here" in found[0]
