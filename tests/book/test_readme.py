"""The README's findings and picture are those of the records that are kept, and its code prints what it says."""

import contextlib
import io
import json
import re
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from book import readme
from steerlib.sweeps.store import Store, row_key

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def results(tmp_path):
    """What a book leaves, as far as the README needs it: three prompts, each 10 BPM faster at λ = 0.1."""
    for chapter, file, value in (
        ("layer_scan", "best_layers.json", 3),
        ("steering_sweep", "best_multipliers.json", 0.1),
    ):
        (tmp_path / chapter).mkdir()
        if chapter == "steering_sweep":
            store = Store(tmp_path / chapter)
        (tmp_path / chapter / file).write_text(f'{{"values": {{"tempo": {value}}}}}')
    rows = [
        (name, layer, multiplier, prompt, 100 + prompt + 100 * multiplier)
        for name, layer in (("tempo", 3), ("tempo", 5), ("random 1", 3), (None, None))
        for multiplier in ([0.0] if name is None else [-0.1, 0.1])
        for prompt in range(3)
    ]
    table = pd.DataFrame(rows, columns=["attribute", "source_layer", "multiplier", "prompt", "bpm"])
    table = pd.concat([table, table[table["multiplier"] == 0].assign(bpm=np.nan)])  # again, and not measured
    table["bpm"] += 1000 * (table["source_layer"] == 5)  # of another layer: not those
    table["key"], table["seed"] = [row_key({"row": row}) for row in range(len(table))], 0
    table["prompt"] = table["prompt"].astype(str)
    store.append(table)
    return tmp_path


def test_the_readme_says_what_the_kept_records_say():
    if not readme.RECORDS.is_dir():
        assert f"{readme.MARKS[0]}\n{readme.MARKS[1]}" in TEXT, "findings without records"
        return
    assert readme.written(TEXT, readme.RECORDS) == TEXT, "say: python -m book.readme"
    svg = (readme.RECORDS / "slider.svg").read_text(encoding="utf-8")
    assert svg == readme.picture(pd.read_csv(readme.RECORDS / "curves.csv"))


def test_curves_are_of_the_chosen_layer_and_have_the_unsteered_clips_in_their_middle(results):
    table = readme.curves(results)
    assert table["multiplier"].tolist() == [-0.1, 0.0, 0.1]
    assert table["mean"].tolist() == pytest.approx([91, 101, 111])
    assert table["low"].tolist() == pytest.approx([91, 101, 111])
    assert set(table["allowed"]) == {0.1} and set(table["n"]) == {3}


def test_the_picture_has_a_number_for_every_stop_of_its_slider(results):
    picture = ElementTree.fromstring(readme.picture(readme.curves(results)))
    words = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert [word for word in words if word.startswith("λ =")] == [
        "λ = −0.1: 91 BPM",
        "λ = 0: 101 BPM",
        "λ = +0.1: 111 BPM",
    ]


def test_the_picture_of_an_attribute_without_an_allowed_size_is_all_grey(results):
    table = readme.curves(results).assign(allowed=np.nan)
    picture = ElementTree.fromstring(readme.picture(table))
    [grey] = [each for each in picture.iter() if each.get("class") == "beyond"]
    assert float(grey.get("width")) == readme.WIDE


def test_a_book_that_has_hardly_begun_is_refused_and_the_kept_records_stay(results, tmp_path):
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "curves.csv").write_text("as it was")
    with pytest.raises(FileNotFoundError, match="fewer than three"):
        readme.keep(results, kept, {"": ""})
    assert (kept / "curves.csv").read_text() == "as it was"


def test_a_book_of_another_profile_is_refused(results, tmp_path):
    (results / "scorecard").mkdir()
    for chapter in readme.CHAPTERS[:3]:
        (results / "scorecard" / f"bottom_line.{chapter}.md").write_text(
            "**Found.** It.\n\n**Against.** This."
        )
    (results / "scorecard" / "A1.pocket.json").write_text('{"profile": "quick"}')
    with pytest.raises(ValueError, match="A1.pocket in .* say make book PROFILE=paper"):
        readme.keep(results, tmp_path / "kept", {"": ""})
    assert not (tmp_path / "kept").exists()


def test_new_records_say_which_verdicts_changed_and_why(results, tmp_path):
    (results / "scorecard").mkdir()
    for chapter in readme.CHAPTERS[:3]:
        (results / "scorecard" / f"bottom_line.{chapter}.md").write_text("**Found.** It.\n\n**Against.** This.")

    def record(folder, claim, verdict):
        content = {"claim": claim, "model": "pocket", "profile": "paper", "verdict": verdict}
        (folder / f"{claim}.pocket.json").write_text(json.dumps(content))

    kept = tmp_path / "kept"
    kept.mkdir()
    for claim in ("A1", "A2", "A3"):
        record(kept, claim, "supported")
    for claim, verdict in {"A1": "supported", "A2": "not shown", "C1": "supported"}.items():
        record(results / "scorecard", claim, verdict)
    why = {"": "controls stand beside every effect", "C1": "a new claim"}
    with pytest.raises(ValueError, match="the verdict on A1 did not change"):
        readme.keep(results, kept, why | {"A1": "none"})
    readme.keep(results, kept, why)
    found = pd.read_csv(kept / "changes.csv", keep_default_na=False)
    assert found[["claim", "before", "now"]].to_numpy().tolist() == [
        ["A2", "supported", "not shown"], ["A3", "supported", ""], ["C1", "", "supported"],
    ]  # fmt: skip
    assert found["why"].to_list() == [why[""], why[""], "a new claim"]


def test_badges_say_what_the_project_file_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [low, high] = re.findall(r"3\.\d+", project["requires-python"])
    last = f"3.{int(high.split('.')[1]) - 1}"
    assert f"![Python {low} to {last}]" in TEXT and f"python-{low}_to_{last}-" in TEXT
    assert f"![licence: {project['license']}]" in TEXT
    assert f"version = {{{project['version']}}}" in TEXT


@pytest.mark.slow
def test_the_code_of_the_readme_prints_what_stands_below_it():
    [code] = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    [output] = re.findall(r"```text\n(.*?)```", TEXT, re.S)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == output
