"""The prompt sets in ``data/prompts/*.yaml``: what an experiment takes for granted about them."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from steerlib.music.captions import _SCENES, ADJECTIVES, LEADS, STYLES, known_words, words
from steerlib.prompts import Attribute, load_attribute, load_prompts

PAIRS = {"tempo": 100, "timbre": 100, "loudness": 50, "mode": 50, "energy": 50, "valence": 50, "arousal": 50}
#: Words by attribute and pole; those of emotion are words of other attributes in captions (`BORROWED`).
WORDS = {
    **ADJECTIVES,
    "valence": {"happy": ADJECTIVES["mode"]["major"], "sad": ADJECTIVES["mode"]["minor"]},
    "arousal": {
        "energetic": (
            "energetic", "intense", "vigorous", "powerful", "wild", "lively", "frantic", "exhilarating",
            "thunderous",
        ),
        "calm": (
            "calm", "gentle", "relaxed", "peaceful", "serene", "restful", "languid", "unhurried", "hushed",
        ),
    },
}  # fmt: skip
BORROWED = {"valence": {"mode": 7}, "arousal": {"energy": 5, "tempo": 3, "loudness": 1}}
"""Of how many words of other attributes each pole of an emotion is made."""
LISTS = ("neutral", "held_out")
#: Words in captions that name a pole, though they are not adjectives: "in C minor".
MODES = {"major": "major", "minor": "minor"}
#: Words of the vocabulary that the grammar of captions never uses, so that pocket has not learned them.
UNTRAINED = {"that", "is", "has", "key"}

every_attribute = pytest.mark.parametrize("name", PAIRS)
every_list = pytest.mark.parametrize("name", LISTS)
every_set = pytest.mark.parametrize("name", (*PAIRS, *LISTS))


def all_prompts(name: str) -> tuple[str, ...]:
    if name in LISTS:
        return load_prompts(name)
    attribute = load_attribute(name)
    return attribute.positive_prompts + attribute.negative_prompts


def pole_prompts(attribute: Attribute) -> dict[str, tuple[str, ...]]:
    return {attribute.positive: attribute.positive_prompts, attribute.negative: attribute.negative_prompts}


def one_of(phrases: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the phrases as whole words, a hyphen being part of a word; the longest comes first."""
    options = "|".join(re.escape(p) for p in sorted(phrases, key=len, reverse=True))
    return re.compile(rf"(?<![\w-])(?:{options})(?![\w-])", re.IGNORECASE)


def attribute_words(name: str) -> re.Pattern[str]:
    return one_of([*(w for pole in WORDS[name].values() for w in pole), *(MODES if name == "mode" else ())])


def without(name: str, prompt: str) -> list[str]:
    """The words of a prompt but for those of an attribute and the articles."""
    return [w for w in words(attribute_words(name).sub(" ", prompt)) if w not in ("a", "an")]


def named(groups: Mapping[str, tuple[str, ...]], prompt: str) -> set[str]:
    group_of = {phrase: group for group, phrases in groups.items() for phrase in phrases}
    return {group_of[p.lower()] for p in one_of(group_of).findall(prompt)}


def styles_and_leads(prompt: str) -> tuple[set[str], set[str]]:
    """Styles are taken out before leads are looked for: "guitar rock" and "synth pop" name no instrument."""
    bare = one_of(p for phrases in STYLES.values() for p in phrases).sub(" ", prompt)
    return named(STYLES, prompt), named(LEADS, bare)


def bases(name: str) -> tuple[str, ...]:
    """One prompt of each pair: style, lead and scene are the same in both."""
    return load_prompts(name) if name in LISTS else load_attribute(name).positive_prompts


@every_attribute
def test_an_attribute_set_has_its_number_of_pairs_and_names_poles_that_captions_know(name):
    attribute = load_attribute(name)
    assert attribute.name == name
    assert len(attribute.positive_prompts) == len(attribute.negative_prompts) == PAIRS[name]
    assert [attribute.positive, attribute.negative] == list(WORDS[name])


@every_list
def test_an_evaluation_list_has_fifty_prompts(name):
    assert len(load_prompts(name)) == 50


def test_no_prompt_stands_twice_within_or_across_all_sets():
    counts = Counter(" ".join(words(prompt)) for name in (*PAIRS, *LISTS) for prompt in all_prompts(name))
    assert [prompt for prompt, count in counts.items() if count > 1] == []


@every_attribute
def test_the_prompts_of_a_pair_differ_only_in_words_of_the_attribute(name):
    attribute = load_attribute(name)
    for positive, negative in zip(attribute.positive_prompts, attribute.negative_prompts, strict=True):
        assert without(name, positive) == without(name, negative)


@every_attribute
def test_no_two_pairs_are_the_same_music(name):
    music = [tuple(without(name, prompt)) for prompt in load_attribute(name).positive_prompts]
    assert len(set(music)) == len(music)


@every_attribute
def test_each_prompt_has_words_of_its_own_pole_and_none_of_the_other(name):
    for pole, prompts in pole_prompts(load_attribute(name)).items():
        own = one_of([*WORDS[name][pole], *(w for w, p in MODES.items() if p == pole)])
        for prompt in prompts:
            assert own.search(prompt), prompt
            assert not attribute_words(name).search(own.sub(" ", prompt)), prompt


@every_attribute
def test_all_synonyms_of_a_pole_come_up_about_equally_often(name):
    for pole, prompts in pole_prompts(load_attribute(name)).items():
        pattern = one_of(WORDS[name][pole])
        counts = Counter(word.lower() for prompt in prompts for word in pattern.findall(prompt))
        assert set(counts) == set(WORDS[name][pole])
        assert min(counts.values()) >= 5 and max(counts.values()) <= 9, counts


@pytest.mark.parametrize("name", BORROWED)
def test_the_words_of_an_emotion_are_words_that_captions_have_for_other_attributes_pole_by_pole(name):
    for side, words_of in enumerate(WORDS[name].values()):
        poles = {other: list(ADJECTIVES[other].values())[side] for other in BORROWED[name]}
        assert {other: len(set(words_of) & set(pole)) for other, pole in poles.items()} == BORROWED[name]
        assert set(words_of) <= {word for pole in poles.values() for word in pole}


@every_attribute
def test_words_of_other_attributes_are_rare_in_an_attribute_set(name):
    others = [attribute_words(other) for other in ADJECTIVES if other not in (name, *BORROWED.get(name, ()))]
    mixed = [prompt for prompt in bases(name) if any(pattern.search(prompt) for pattern in others)]
    assert len(mixed) <= 0.2 * PAIRS[name], mixed


@every_list
def test_no_word_of_any_attribute_leaks_into_an_evaluation_list(name):
    patterns = [attribute_words(attribute) for attribute in ADJECTIVES]
    assert [p for p in load_prompts(name) if any(pattern.search(p) for pattern in patterns)] == []


@every_set
def test_every_word_is_one_that_pocket_has_read(name):
    known = set(known_words()) - UNTRAINED
    unknown = {word for prompt in all_prompts(name) for word in words(prompt)} - known
    assert unknown == set()


@every_set
def test_a_prompt_is_one_short_phrase_with_the_right_articles(name):
    for prompt in all_prompts(name):
        assert len(prompt.split()) <= 20, prompt
        assert prompt == " ".join(prompt.split()) and prompt[0].isupper() and prompt[-1].isalpha(), prompt
        # "in A major" and "in A flat minor" name keys.
        plain = re.sub(r"\bin A (?:flat )?(?=major|minor)", "in ", prompt)
        for article, following in re.findall(r"\b(an?) (\w)", plain.lower()):
            assert (article == "an") == (following in "aeiou"), prompt


@every_set
def test_styles_are_named_often_one_at_a_time_and_evenly(name):
    prompts = bases(name)
    found = [styles_and_leads(prompt)[0] for prompt in prompts]
    assert max(map(len, found)) == 1
    counts = Counter(style for styles in found for style in styles)
    assert 0.8 <= counts.total() / len(prompts) <= 0.9
    assert set(counts) == set(STYLES)
    for style, count in counts.items():
        assert 0.08 <= count / counts.total() <= 0.14, (style, count)


@every_set
def test_lead_instruments_are_named_in_over_half_of_the_prompts_and_evenly(name):
    prompts = bases(name)
    found = [styles_and_leads(prompt)[1] for prompt in prompts]
    assert max(map(len, found)) == 1
    counts = Counter(lead for leads in found for lead in leads)
    assert 0.55 <= counts.total() / len(prompts) <= 0.7
    assert set(counts) == set(LEADS)
    for lead, count in counts.items():
        assert 0.06 <= count / counts.total() <= 0.14, (lead, count)


@every_set
def test_about_a_third_of_the_prompts_set_a_scene(name):
    prompts = bases(name)
    scenes = one_of(_SCENES)
    assert 0.25 <= sum(bool(scenes.search(prompt)) for prompt in prompts) / len(prompts) <= 0.4
