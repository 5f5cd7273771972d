"""Text that others wrote, in a vector's card, a table and a terminal; and a study of a negative number of prompts."""

import pandas as pd
import pytest

from steerlib.prompts import load_prompts
from steerlib.steering import SteeringVector
from steerlib.study import Study
from steerlib.sweeps.export import save_table, vector_card

HOSTILE = [
    '") ; import os; os.system("ls") #',
    "a\n```\n# Title\n",
    "<script>alert(1)</script>",
    "[click](javascript:alert(1))",
    "| a | b |\n|---|---|",
    "\x1b]0;owned\x07",
    "![x](http://example.org/x.png)",
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("key", ["model", "attribute", "positive", "note"])
def test_a_card_shows_what_others_wrote_as_text(key, text):
    plain = vector_card(SteeringVector([[1.0, 2.0]], {key: "plain"}), "v.safetensors")
    card = vector_card(SteeringVector([[1.0, 2.0]], {key: text}), "v.safetensors")
    assert card.count("\n") == plain.count("\n") and "\x1b" not in card
    fenced = card.split("```")
    assert len(fenced) == 3
    prose = fenced[0] + fenced[2]
    assert "<script" not in prose and "](" not in prose.replace("\\](", "")
    program = compile(fenced[1].removeprefix("python"), "card", "exec")
    assert [name for name in program.co_names if name not in ("steerlib", "sl")][:1] == ["load_model"]
    assert "system" not in program.co_names


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_csv_file_has_no_formulas(tmp_path, text):
    table = pd.DataFrame({"prompt": [text, "a folk song"], "bpm": [-1.5, 2.0]})
    save_table(table, tmp_path / "t.csv")
    written = text.replace("\r", " ")
    assert list(pd.read_csv(tmp_path / "t.csv")["prompt"]) == [f"'{written}", "a folk song"]
    assert list(pd.read_csv(tmp_path / "t.csv")["bpm"]) == [-1.5, 2.0]
    save_table(table, tmp_path / "t.parquet")
    assert pd.read_parquet(tmp_path / "t.parquet").equals(table)


@pytest.mark.parametrize("count", [-49, 0, 1.5, True, None, "2"])
def test_a_study_of_no_whole_number_of_prompts_is_refused(tiny, count):
    with pytest.raises(ValueError, match="prompts must be a list and how many of it, at least 1"):
        Study("chapter", tiny, [], prompts=("neutral", count))


def test_a_study_takes_the_first_prompts(tiny, tmp_path):
    assert Study("chapter", tiny, [], prompts=("neutral", 2)).prompts == load_prompts("neutral")[:2]
