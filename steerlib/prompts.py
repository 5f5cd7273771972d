"""Prompt sets: matched pairs that define an attribute, and lists to steer or to evaluate on.

An attribute in the sense of paper A (sections 3.1 and 4.1) is two sets of prompts that differ in one
musical property, such as fast and slow. Here the sets are written as *matched pairs*: the two prompts of
a pair say the same thing but for that property, so that the difference of means is not carried by genre
or instruments. The first-named pole is the positive one: a positive multiplier steers toward it.

The sets live in ``data/prompts/*.yaml``, one set a file. An attribute file reads::

    attribute: tempo
    positive: fast
    negative: slow
    metric: bpm
    unit: BPM
    pairs:
      - [a fast folk song, a slow folk song]

and a list of prompts::

    name: neutral
    description: prompts that name neither pole of any attribute
    prompts:
      - a folk song
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from steerlib.files import DATA, check_name, read_yaml, short

__all__ = ["Attribute", "load_attribute", "load_prompts", "prompts_hash", "say"]

PROMPTS = DATA / "prompts"

_ATTRIBUTE_KEYS = ("attribute", "positive", "negative", "metric", "unit", "pairs")
_LIST_KEYS = ("name", "description", "prompts")


@dataclass(frozen=True)
class Attribute:
    """A musical attribute with two poles and the matched prompts that define them.

    Attributes
    ----------
    name : str
        Such as "tempo".
    positive, negative : str
        Names of the poles, such as "fast" and "slow". Positive multipliers steer toward `positive`.
    metric, unit : str
        The measure that should move, as a column of the sweep tables ("bpm", "centroid"), and its unit.
    positive_prompts, negative_prompts : tuple of str
        Matched: entry i of one differs from entry i of the other in this attribute only.

    Raises
    ------
    ValueError
        If there are no pairs, the two sets differ in length, or a prompt is empty or stands in both sets.
    """

    name: str
    positive: str
    negative: str
    metric: str
    unit: str
    positive_prompts: tuple[str, ...]
    negative_prompts: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.positive_prompts) != len(self.negative_prompts):
            raise ValueError(
                f"attribute {self.name!r} has {len(self.positive_prompts)} {self.positive} and "
                f"{len(self.negative_prompts)} {self.negative} prompts: give matched pairs"
            )
        for pole, prompts in ((self.positive, self.positive_prompts), (self.negative, self.negative_prompts)):
            _check_prompts(prompts, f"the {pole} prompts of attribute {self.name!r}")
        both = set(self.positive_prompts) & set(self.negative_prompts)
        if both:
            raise ValueError(f"attribute {self.name!r} has the same prompt at both poles: {min(both)!r}")

    def first(self, pairs: int) -> "Attribute":
        """The attribute with its first `pairs` pairs only; all of them if it has fewer.

        Raises
        ------
        ValueError
            If `pairs` is not at least 1.
        """
        if pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {pairs}")
        return replace(
            self,
            positive_prompts=self.positive_prompts[:pairs],
            negative_prompts=self.negative_prompts[:pairs],
        )

    @property
    def shared_prompts(self) -> tuple[str, ...]:
        """What the two prompts of each pair have in common, word by word: the same music, the attribute unsaid."""
        return tuple(map(_shared, self.positive_prompts, self.negative_prompts))


def _shared(one: str, other: str) -> str:
    """The words of both, in their order.

    >>> _shared("Quick reggae in a garden", "Patient reggae in a garden")
    'reggae in a garden'
    """
    words = one.split()
    matcher = SequenceMatcher(None, words, other.split(), autojunk=False)
    return " ".join(" ".join(words[m.a : m.a + m.size]) for m in matcher.get_matching_blocks() if m.size)


def load_attribute(name_or_path: str | Path) -> Attribute:
    """Load the prompt pairs of an attribute.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a set that comes with the project ("tempo", "timbre"), or the path of a YAML file.

    Raises
    ------
    ValueError
        If there is no such set (the message lists those there are), or the file is not an attribute file.

    Examples
    --------
    >>> load_attribute("tempo").positive                                        # doctest: +SKIP
    'fast'
    """
    path = _find(name_or_path, "attribute", key="pairs")
    content = _read(path, _ATTRIBUTE_KEYS)
    pairs = content["pairs"]
    if not isinstance(pairs, list) or not pairs:
        raise ValueError(
            f"{path}: 'pairs' must be a list of [{content['positive']}, {content['negative']}] prompts"
        )
    for number, pair in enumerate(pairs, start=1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(
                f"{path}: pair {number} must be two prompts [{content['positive']}, {content['negative']}], "
                f"got {short(pair)}"
            )
    for key in _ATTRIBUTE_KEYS[:-1]:
        if not isinstance(content[key], str) or not content[key].strip():
            raise ValueError(
                f"{path}: {key!r} must be a word, got {short(content[key])} (quote words such as 'on')"
            )
    try:
        return Attribute(
            name=check_name(content["attribute"], "the attribute"),
            positive=content["positive"],
            negative=content["negative"],
            metric=content["metric"],
            unit=content["unit"],
            positive_prompts=tuple(pair[0] for pair in pairs),
            negative_prompts=tuple(pair[1] for pair in pairs),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def load_prompts(name_or_path: str | Path) -> tuple[str, ...]:
    """Load a list of prompts.

    Parameters
    ----------
    name_or_path : str or Path
        The name of a list that comes with the project ("neutral", "held_out"), or the path of a YAML file.

    Raises
    ------
    ValueError
        If there is no such list (the message lists those there are), or the file is not a prompt list.
    """
    path = _find(name_or_path, "prompt list", key="prompts")
    prompts = _read(path, _LIST_KEYS)["prompts"]
    if not isinstance(prompts, list):
        raise ValueError(f"{path}: 'prompts' must be a list, got {type(prompts).__name__}")
    _check_prompts(prompts, f"the prompts of {path}")
    return tuple(prompts)


def say(prompt: str, words: Sequence[str]) -> str:
    """A prompt with words for its poles. Chapters: *Mixtures*, *Methods*.

    Examples
    --------
    >>> say("A folk dance with a flute", ["fast", "dark"]), say("An organ part", ["slow"])
    ('A fast, dark folk dance with a flute', 'A slow organ part')
    >>> say("Techno from a garage", ["bright"]), say("A rap song", [])
    ('Bright techno from a garage', 'A rap song')
    """
    if not words:
        return prompt
    first, _, rest = prompt.partition(" ")
    if first.lower() not in ("a", "an"):
        said = f"{', '.join(words)} {prompt[0].lower()}{prompt[1:]}"
        return said[0].upper() + said[1:]
    return f"A{'n' if words[0][0] in 'aeiou' else ''} {', '.join(words)} {rest}"


def prompts_hash(prompts: Sequence[str]) -> str:
    """SHA-256 (hexadecimal) of prompts in order, as in the metadata of vectors."""
    return hashlib.sha256(json.dumps(list(prompts), ensure_ascii=False).encode()).hexdigest()


def _find(name_or_path: str | Path, what: str, *, key: str) -> Path:
    """The YAML file meant by a name or a path."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ValueError(f"no {what} at {path}: the file does not exist")
        return path
    named = PROMPTS / f"{name_or_path}.yaml"
    if not named.is_file():
        known = [p.stem for p in sorted(PROMPTS.glob("*.yaml")) if key in (read_yaml(p) or {})]
        raise ValueError(
            f"unknown {what} {str(name_or_path)!r}: expected one of {', '.join(known) or '(none)'}, "
            "or the path of a .yaml file"
        )
    return named


def _read(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    """A YAML mapping with exactly these keys."""
    content = read_yaml(path)
    if not isinstance(content, dict) or set(content) != set(keys):
        found = ", ".join(map(short, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} must have exactly the keys {', '.join(keys)}; it has: {found}")
    return content


def _check_prompts(prompts: Sequence[object], where: str) -> None:
    if not prompts:
        raise ValueError(f"{where}: there are none; give at least one")
    for number, prompt in enumerate(prompts, start=1):
        if not isinstance(prompt, str) or not prompt.strip():
            raise ValueError(
                f"{where}: number {number} must be a text that is not empty, got {short(prompt)}"
            )
    repeated = [prompt for prompt, count in Counter(prompts).items() if count > 1]
    if repeated:
        raise ValueError(f"{where}: {min(map(str, repeated))!r} stands there more than once")
