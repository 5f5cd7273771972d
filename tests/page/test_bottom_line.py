import pytest

from steerlib.evidence.claims import primary
from steerlib.evidence.scorecard import Measured, Verdict
from steerlib.evidence.stats import Interval
from steerlib.page.bottom_line import bottom_line, bottom_lines, listed, measured, moved, of_verdicts

FOUND = ["Tempo rises by +30 BPM [+20, +40]."]
AGAINST = "A random push does the same, if less than <half> of it."


def test_the_box_says_what_was_found_on_which_model_and_what_speaks_against_it(tmp_path):
    box = bottom_line("layer_scan", FOUND, AGAINST, model="pocket", folder=tmp_path / "scores").data
    assert "<strong>Bottom line, on <code>pocket</code>.</strong> Tempo rises" in box
    assert "less than &lt;half&gt; of it." in box
    assert box.count("<p>") == 2


def test_the_words_are_kept_for_the_front_page_in_the_order_asked_for(tmp_path):
    for chapter in ("held_out", "layer_scan"):
        bottom_line(chapter, [f"{chapter} found it."], AGAINST, model="pocket", folder=tmp_path)
    assert list(bottom_lines(tmp_path)) == ["held_out", "layer_scan"]
    kept = bottom_lines(tmp_path, ["layer_scan", "probes", "held_out"])
    assert list(kept) == ["layer_scan", "held_out"]
    assert kept["held_out"].startswith("**Bottom line, on `pocket`.** held_out found it.")
    assert bottom_lines(tmp_path / "nowhere") == {}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([], "0 findings"),
        (["One."] * 4, "4 findings"),
        (["no full stop"], "whole sentence"),
        (["It is nan BPM."], "NaN"),
    ],
)
def test_what_is_no_sentence_is_refused(found, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        bottom_line("layer_scan", found, AGAINST, model="pocket", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_numbers_have_their_interval_a_real_minus_and_a_word_for_what_is_missing():
    assert measured(Interval(-0.0312, -0.05, 0.01, 9)) == "−0.0312 [−0.05, +0.01]"
    assert measured(Interval(0.184, 0.1, 0.2, 24), share=True, sign=False) == "18.4 % [10, 20]"
    assert measured(Interval(1.0, float("nan"), float("nan"), 2), "Hz") == "+1 Hz [–, –]"


def verdict(claim, interval, testable=None):
    check = primary(claim)
    control = Interval(0.0, -0.1, 0.11, 8)
    parts = {
        part: Measured(interval, control=control, testable=testable) for part in check.parts or ("tempo",)
    }
    return Verdict(check, "pocket", parts)


def test_verdicts_become_sentences_with_claim_measure_limit_and_control():
    found, against = of_verdicts([verdict("T3", Interval(0.5, 0.4, 0.6, 24))])
    assert found[0].startswith("“DiffMean does more than any push of its length")
    assert "(T3) is **supported**: the shift is 0.5 octaves [0.4, 0.6] for tempo and 0.5 octaves" in found[0]
    assert found[0].endswith("and the claim needs more than 0 octaves.")
    assert against.startswith("The control (random directions of the same length) reaches 0.11 octaves. ")
    assert "at most 24 prompts" in against


def test_of_many_parts_the_lowest_and_the_highest_are_told():
    rises = {"rock to pop": 0.1, "pop to rock": -0.2, "folk to pop": 0.3, "pop to folk": 0.0}
    parts = {
        pair: Measured(Interval(rise, rise - 0.1, rise + 0.1, 8), control=Interval(0, -0.1, high, 4))
        for (pair, rise), high in zip(rises.items(), (0.1, 0.1, 0.2, 0.1), strict=True)
    }
    [found], against = of_verdicts([Verdict(primary("B2"), "pocket", parts)])
    assert (
        "is lowest for pop to rock (−0.2 of the score [−0.3, −0.1]) and highest for folk to pop (0.3" in found
    )
    assert "rock to pop" not in found
    assert "0.1 of the score for rock to pop, " in against and "0.2 of the score for folk to pop" in against


def test_a_claim_that_cannot_be_tested_says_why():
    found, _ = of_verdicts(
        [verdict("A3", Interval(0.1, 0.0, 0.2, 24), testable=Interval(0.98, 0.97, 0.99, 11))]
    )
    assert (
        "(A3) is **not testable** on this model: the cosine of the directions of neighbouring layers is"
        in found[0]
    )
    assert found[0].endswith(
        "0.98 [0.97, 0.99] for tempo and 0.98 [0.97, 0.99] for timbre, and the test needs less than 0.9."
    )


def test_parts_that_cannot_be_tested_are_named_beside_those_that_decide():
    told, not_told = Interval(0.9, 0.8, 1, 24), Interval(0.5, 0.45, 0.55, 24)
    of = {"loudness": told, "mode": not_told, "energy": told}
    parts = {
        name: Measured(Interval(0.5, 0.4, 0.6, 24), control=Interval(0, -0.1, 0.1, 4), testable=each)
        for name, each in of.items()
    }
    [found], _ = of_verdicts([Verdict(primary("A12"), "pocket", parts)])
    assert "0.5 standard deviations [0.4, 0.6] for loudness and 0.5" in found
    assert found.endswith("It could not be tested for mode.")


def test_a_chapter_of_many_claims_still_has_three_sentences_or_fewer(tmp_path):
    found, against = of_verdicts([verdict("T3", Interval(0.5, 0.4, 0.6, 24))] * 5)
    assert len(found) == 3
    assert "(T3)" in bottom_line("known_truth", found, against, model="pocket", folder=tmp_path).data


def test_words_are_listed_as_a_sentence_does():
    assert listed(["tempo"]) == "tempo"
    assert listed(["tempo", "timbre", "mode"]) == "tempo, timbre and mode"


def test_octaves_are_told_as_the_factor_that_one_hears():
    assert moved(Interval(1.0, 0.0, 2.0, 9), "octaves") == "a factor of 2 [1, 4]"
    assert moved(-1.0, "octaves") == "a factor of 0.5"
    assert moved(Interval(3.0, 1.0, 5.0, 9), "dB") == "+3 dB [+1, +5]"
