"""The grammar of the captions that the pocket model learns to read.

Every attribute of a clip (see `steerlib.music.corpus.Truth`) has a list of synonyms per pole, is often left
out, and is said in one of several sentence forms; scenes and fillers carry no information at all. Prompts in
the manner of paper A, appendices A.3 and A.4, therefore use words that the model has read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np

#: Adjectives by attribute and pole. An attribute in its middle range is never mentioned.
ADJECTIVES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "tempo": {
        "fast": (
            "fast", "quick", "rapid", "brisk", "up-tempo", "lively", "racing", "swift", "speedy", "hurried",
            "frantic", "galloping", "fast-paced", "rushing", "breakneck", "exhilarating",
        ),
        "slow": (
            "slow", "unhurried", "leisurely", "slow-paced", "restful", "lingering", "drawn-out", "sluggish",
            "dragging", "patient", "crawling", "down-tempo", "languid", "plodding", "ambling", "slow-moving",
        ),
    },
    "timbre": {
        "bright": (
            "bright", "brilliant", "sparkling", "crisp", "shimmering", "glittering", "vibrant", "radiant",
            "airy", "sharp", "gleaming", "crystalline", "glassy", "clear", "shiny", "treble-rich",
        ),
        "dark": (
            "dark", "muted", "muffled", "subdued", "deep", "somber", "mellow", "dull", "murky", "shadowy",
            "veiled", "dim", "smoky", "bass-heavy", "warm", "hazy",
        ),
    },
    "loudness": {
        "loud": ("loud", "booming", "thunderous", "blaring", "roaring", "deafening", "full-volume"),
        "soft": ("soft", "quiet", "hushed", "faint", "whispering", "low-volume", "barely audible"),
    },
    "energy": {
        "energetic": ("energetic", "busy", "intense", "vigorous", "powerful", "dense", "punchy", "wild"),
        "calm": ("calm", "gentle", "soothing", "relaxed", "peaceful", "sparse", "serene", "tranquil"),
    },
    "mode": {
        "major": ("happy", "cheerful", "joyful", "sunny", "uplifting", "merry", "playful"),
        "minor": ("sad", "melancholic", "mournful", "sorrowful", "gloomy", "wistful", "plaintive"),
    },
}  # fmt: skip

STYLES: Mapping[str, tuple[str, ...]] = {
    "rock": ("rock", "hard rock", "guitar rock"),
    "pop": ("pop", "chart pop", "synth pop"),
    "folk": ("folk", "acoustic folk", "country folk"),
    "hip-hop": ("hip-hop", "rap", "boom-bap"),
    "jazz": ("jazz", "swing", "bebop"),
    "classical": ("classical", "orchestral", "chamber"),
    "electronic": ("electronic", "techno", "electronic dance"),
    "reggae": ("reggae", "dub", "roots reggae"),
}

LEADS: Mapping[str, tuple[str, ...]] = {
    "flute": ("flute",),
    "violin": ("violin", "fiddle"),
    "xylophone": ("xylophone", "marimba"),
    "piano": ("piano", "grand piano"),
    "guitar": ("guitar", "acoustic guitar"),
    "trumpet": ("trumpet", "horn"),
    "saxophone": ("saxophone", "sax"),
    "clarinet": ("clarinet", "reed"),
    "organ": ("organ", "church organ"),
    "synth": ("synthesizer", "synth"),
}

KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")

_NOUNS = (
    "song", "track", "tune", "piece", "theme", "number", "instrumental", "composition", "groove", "jam",
    "recording", "performance", "anthem", "interlude", "overture", "riff", "suite", "loop", "arrangement", "score",
    "fantasy", "dance",
)  # fmt: skip
_PARTS = ("melody", "line", "lead", "solo", "tune", "part", "theme", "hook")
_FEELS = ("feel", "vibe", "mood", "character", "atmosphere", "sound")
_SCENES = (
    "for a summer evening", "in a small club", "for a road trip", "from an old film", "for a video game",
    "played in a cafe", "for a documentary", "recorded at home", "on a rainy day", "at a festival",
    "for a dinner with friends", "on the radio", "by the sea", "in a concert hall", "for a short film",
    "under the stars", "on a city street", "in a garden", "after midnight", "for a wedding",
    "in a cathedral-like setting", "from a live session", "for a morning walk", "at the market",
    "with friends around a campfire", "on a train", "in the mountains", "for a travel diary", "in an empty room",
    "for a theatre play", "with a small band", "with a full band", "in the style of a demo tape", "on an old stage",
    "for a podcast", "in a village square", "from another decade", "by a street musician", "for a museum",
)  # fmt: skip
_TEMPO_NOUNS = ("tempo", "pace", "pulse", "beat")
_TIMBRE_NOUNS = ("tone", "timbre", "sound", "texture", "colour")

#: Probability that a caption mentions an attribute that it could mention.
MENTION = {
    "tempo": 0.65, "timbre": 0.6, "loudness": 0.25, "energy": 0.3, "mode": 0.35, "style": 0.8, "lead": 0.7, "key": 0.12,
}  # fmt: skip


def words(text: str) -> list[str]:
    """Lower-case words of a prompt, hyphens and apostrophes kept inside them.

    Parameters
    ----------
    text : str
        A prompt or caption.

    Returns
    -------
    list of str
        For example ``["an", "up-tempo", "r", "b", "track"]`` for "An up-tempo R&B track".
    """
    return re.findall(r"[a-z]+(?:[-'][a-z]+)*", text.lower())


def normalise(text: str) -> str:
    """The form in which the text encoder sees a prompt: its `words`, joined by spaces."""
    return " ".join(words(text))


def known_words() -> list[str]:
    """Every word that a caption can contain, sorted."""
    sources = [w for poles in ADJECTIVES.values() for group in poles.values() for w in group]
    sources += [w for group in (*STYLES.values(), *LEADS.values()) for w in group]
    sources += [*KEYS, *_NOUNS, *_PARTS, *_FEELS, *_SCENES, *_TEMPO_NOUNS, *_TIMBRE_NOUNS]
    sources += ["a an the and with in of at featuring played by on music major minor"]
    return sorted({w for source in sources for w in words(source)})


def caption(poles: Mapping[str, str | None], rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """Write one caption of a clip.

    Parameters
    ----------
    poles : mapping
        Attribute to pole, None where the clip is in the middle range: ``tempo``, ``timbre``, ``loudness``,
        ``energy``, ``mode``, and the names ``style``, ``lead``, ``key`` (as in `KEYS`).
    rng : numpy.random.Generator
        Chooses what is said and how.

    Returns
    -------
    text : str
        The caption.
    mentioned : dict
        The attributes that the text speaks of, with the pole.
    """
    said = {k: v for k, v in poles.items() if v is not None and rng.random() < MENTION[k]}
    pick = lambda options: options[rng.integers(len(options))]  # noqa: E731 - a local shorthand
    adjective = {k: pick(ADJECTIVES[k][v]) for k, v in said.items() if k in ADJECTIVES}
    style = pick(STYLES[said["style"]]) if "style" in said else ""
    lead = pick(LEADS[said["lead"]]) if "lead" in said else ""

    # Each adjective goes before the noun, or, for some, into a phrase of its own after it.
    front, tail = [], []
    for name, word in adjective.items():
        place = rng.random()
        if place < 0.55:
            front.append(word)
        elif name == "tempo" and place < 0.85:
            tail.append(f"{pick(('with', 'at', 'in'))} {_article(word)} {pick(_TEMPO_NOUNS)}")
        elif name == "timbre" and place < 0.85:
            tail.append(f"with {_article(word)} {pick(_TIMBRE_NOUNS)}")
        else:
            tail.append(f"with {_article(word)} {pick(_FEELS)}")
    rng.shuffle(front)
    rng.shuffle(tail)
    noun = pick(_NOUNS) if rng.random() < 0.85 or not style else "music"
    form = rng.integers(4)
    if lead and form == 0:  # "bright slow flute melody ..., rock"
        head = f"{_list(front)} {lead} {pick(_PARTS)}"
        if style:
            tail.insert(0, f"{pick(('in', 'of', 'on'))} {_article(style)} {pick(_NOUNS)}")
    elif lead:
        head = f"{_list(front)} {style} {noun}"
        how = pick(("with", "featuring", "played by", "with"))
        tail.insert(0, f"{how} {_article(lead)}" + (f" {pick(_PARTS)}" if how == "with" else ""))
    else:
        head = f"{_list(front)} {style} {noun}"
    if "key" in said:
        tail.append(f"in {said['key']} {poles['mode']}")
    if rng.random() < 0.35:
        tail.append(pick(_SCENES))
    head = " ".join(head.split())
    start = rng.random()  # "music" takes no article
    head = head if noun == "music" or start > 0.84 else f"the {head}" if start < 0.08 else _article(head)
    text = " ".join([*head.split(), *tail])
    return text[0].upper() + text[1:], said


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _list(adjectives: list[str]) -> str:
    return " and ".join(adjectives) if len(adjectives) == 2 else ", ".join(adjectives)
