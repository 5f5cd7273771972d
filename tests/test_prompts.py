"""Prompt sets: what is read, and what is refused."""

import pytest
import yaml

from steerlib import prompts
from steerlib.prompts import Attribute, load_attribute, load_prompts, prompts_hash, say

TEMPO = {
    "attribute": "tempo", "positive": "fast", "negative": "slow", "metric": "bpm", "unit": "BPM",
    "pairs": [["a fast song", "a slow song"], ["fast jazz", "slow jazz"]],
}  # fmt: skip


def write(folder, name, content):
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_an_attribute_keeps_its_pairs_in_order_with_the_first_pole_positive(tmp_path):
    attribute = load_attribute(write(tmp_path, "tempo", TEMPO))
    assert (attribute.name, attribute.positive, attribute.negative) == ("tempo", "fast", "slow")
    assert attribute.positive_prompts == ("a fast song", "fast jazz")
    assert attribute.negative_prompts == ("a slow song", "slow jazz")


def test_names_are_found_in_the_project_and_unknown_names_list_what_there_is(tmp_path, monkeypatch):
    monkeypatch.setattr(prompts, "PROMPTS", tmp_path)
    write(tmp_path, "tempo", TEMPO)
    write(tmp_path, "neutral", {"name": "neutral", "description": "d", "prompts": ["a song", "jazz"]})
    assert load_attribute("tempo").metric == "bpm"
    assert load_prompts("neutral") == ("a song", "jazz")
    with pytest.raises(ValueError, match="unknown attribute 'tempi': expected one of tempo, or"):
        load_attribute("tempi")
    with pytest.raises(ValueError, match="unknown prompt list 'tempi': expected one of neutral, or"):
        load_prompts("tempi")


@pytest.mark.parametrize("path", sorted(prompts.PROMPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_prompt_set_of_the_project_loads(path):
    is_attribute = "pairs" in yaml.safe_load(path.read_text(encoding="utf-8"))
    assert (load_attribute if is_attribute else load_prompts)(path.stem)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pairs": []}, "must be a list"),
        ({"pairs": [["a fast song"]]}, "pair 1 must be two prompts"),
        ({"pairs": [["a song", "a song"]]}, "same prompt at both poles"),
        ({"pairs": [["a fast song", " "]]}, "the slow prompts .* number 1 must be a text"),
        ({"pairs": [["fast", "slow"], ["fast", "slower"]]}, "more than once"),
        ({"positive": True}, "'positive' must be a word, got True"),
        ({"colour": "red"}, "exactly the keys"),
    ],
)
def test_a_bad_attribute_file_is_named_with_what_is_wrong(tmp_path, change, message):
    path = write(tmp_path, "bad", TEMPO | change)
    with pytest.raises(ValueError, match=message) as caught:
        load_attribute(path)
    assert str(path) in str(caught.value)


def test_files_that_are_missing_or_are_not_yaml_are_refused(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        load_prompts(tmp_path / "none.yaml")
    (tmp_path / "broken.yaml").write_text("prompts: [a, b", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid YAML"):
        load_prompts(tmp_path / "broken.yaml")


def test_an_attribute_made_by_hand_must_be_matched():
    with pytest.raises(ValueError, match="1 fast and 2 slow prompts"):
        Attribute("tempo", "fast", "slow", "bpm", "BPM", ("a",), ("b", "c"))


def test_what_a_pair_shares_is_the_prompt_without_the_attribute():
    both = Attribute(
        "tempo", "fast", "slow", "bpm", "BPM",
        ("A fast folk song at a brisk pace", "Rapid swing", "go"),
        ("A slow folk song at an easy pace", "Slow swing", "stay"),
    )  # fmt: skip
    assert both.shared_prompts == ("A folk song at pace", "swing", "")


def test_the_hash_depends_on_every_prompt_and_on_their_order():
    hashes = {prompts_hash(p) for p in (["a", "b"], ["b", "a"], ["a"], ["ab"], ["a", "b", ""])}
    assert len(hashes) == 5
    assert prompts_hash(("a", "b")) == prompts_hash(["a", "b"])


def test_the_words_of_both_poles_stand_before_the_music():
    assert say("A folk dance with a flute", ["fast", "dark"]) == "A fast, dark folk dance with a flute"
    assert say("A score in Rome", ["energetic"]) == "An energetic score in Rome"
    assert say("Electronic music from Rome", ["slow"]) == "Slow electronic music from Rome"
    assert say("A rap number", []) == "A rap number"
