"""The grammar of the captions that the pocket model learns to read.

Every attribute of a clip (see `steerlib.pocket.second.corpus.Truth`) has a list of synonyms per pole, is often left
out, and is said in one of several places: before the noun, in a phrase after it, as a clause in front, or in a
sentence of its own. What a section does is said too ("the drums come in halfway"). Scenes carry no information.
Prompts in the manner of paper A, appendices A.3 and A.4, therefore use words that the model has read.
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
            "frantic", "galloping", "fast-paced", "rushing", "breakneck", "exhilarating", "fleet", "headlong",
        ),
        "slow": (
            "slow", "unhurried", "leisurely", "slow-paced", "restful", "lingering", "drawn-out", "sluggish",
            "dragging", "patient", "crawling", "down-tempo", "languid", "plodding", "ambling", "slow-moving",
            "measured", "stately",
        ),
    },
    "timbre": {
        "bright": (
            "bright", "brilliant", "sparkling", "crisp", "shimmering", "glittering", "vibrant", "radiant",
            "airy", "sharp", "gleaming", "crystalline", "glassy", "clear", "shiny", "treble-rich", "silvery",
        ),
        "dark": (
            "dark", "muted", "muffled", "subdued", "deep", "somber", "mellow", "dull", "murky", "shadowy",
            "veiled", "dim", "smoky", "bass-heavy", "warm", "hazy", "velvety",
        ),
    },
    "loudness": {
        "loud": ("loud", "booming", "thunderous", "blaring", "roaring", "deafening", "full-volume", "fortissimo"),
        "soft": ("soft", "quiet", "hushed", "faint", "whispering", "low-volume", "barely audible", "pianissimo"),
    },
    "energy": {
        "energetic": ("energetic", "busy", "intense", "vigorous", "powerful", "dense", "punchy", "wild", "driving"),
        "calm": ("calm", "gentle", "soothing", "relaxed", "peaceful", "sparse", "serene", "tranquil", "still"),
    },
    "mode": {
        "major": ("happy", "cheerful", "joyful", "sunny", "uplifting", "merry", "playful", "major-key"),
        "minor": ("sad", "melancholic", "mournful", "sorrowful", "gloomy", "wistful", "plaintive", "minor-key"),
    },
    "feel": {
        "swung": ("swung", "shuffling", "loping"),
        "half-time": ("half-time", "laid-back"),
    },
}  # fmt: skip

STYLES: Mapping[str, tuple[str, ...]] = {
    "rock": ("rock", "hard rock", "guitar rock", "indie rock"),
    "pop": ("pop", "chart pop", "synth pop"),
    "folk": ("folk", "acoustic folk", "country folk"),
    "hip-hop": ("hip-hop", "rap", "boom-bap"),
    "jazz": ("jazz", "swing", "bebop"),
    "classical": ("classical", "orchestral", "chamber", "symphonic"),
    "electronic": ("electronic", "techno", "electronic dance", "house"),
    "reggae": ("reggae", "dub", "roots reggae"),
}

LEADS: Mapping[str, tuple[str, ...]] = {
    "flute": ("flute", "wooden flute"),
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

#: What happens within a clip, and how it is said; {lead} is the lead's name, or "tune" where it is not named.
EVENTS: Mapping[str, tuple[str, ...]] = {
    "drums enter": (
        "the drums come in halfway", "the drums enter later", "the beat drops in after a while",
        "it begins without drums",
    ),
    "drums stop": (
        "the drums stop halfway", "the drums drop out", "the beat falls away later", "it ends without drums",
    ),
    "lead enters": ("the {lead} comes in halfway", "the {lead} enters later", "it opens with the band alone"),
    "lead alone": (
        "the {lead} opens alone", "it opens with the {lead} alone", "the band joins the {lead} halfway",
    ),
    "grows": ("growing louder", "it builds to a loud end", "a slow crescendo", "it swells toward the end"),
    "fades": ("fading away", "it dies away", "growing softer", "it fades toward the end"),
    "opens": ("growing brighter", "it opens up toward the end", "the tone opens as it goes"),
    "closes": ("growing darker", "it closes down toward the end", "the tone darkens as it goes"),
    "speeds up": ("speeding up", "it gathers speed", "it gets faster and faster", "accelerating to the end"),
    "slows down": ("slowing down", "it loses speed", "it gets slower and slower", "it slows toward the end"),
}  # fmt: skip

_NOUNS = (
    "song", "track", "tune", "piece", "theme", "number", "instrumental", "composition", "groove", "jam",
    "recording", "performance", "anthem", "interlude", "overture", "riff", "suite", "loop", "arrangement", "score",
    "fantasy", "dance", "ballad", "sketch", "study", "cue",
)  # fmt: skip
_PARTS = ("melody", "line", "lead", "solo", "tune", "part", "theme", "hook", "riff")
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
    "for a long journey", "at the end of the day", "from a forgotten album", "for a children's hour",
    "over the credits",
)  # fmt: skip
_NOUN_OF = {
    "tempo": ("tempo", "pace", "pulse", "beat"),
    "timbre": ("tone", "timbre", "sound", "texture", "colour"),
    "feel": ("feel", "groove", "rhythm", "beat"),
    "energy": ("feel", "mood", "performance", "style"),
    "loudness": ("sound", "level", "performance"),
    "mode": _FEELS,
}
_SUBJECTS = {
    "tempo": ("the tempo", "the pace", "the beat"),
    "timbre": ("the tone", "the sound", "the texture"),
    "loudness": ("the volume", "the music", "the playing"),
    "energy": ("the mood", "the playing", "the music"),
    "mode": ("the mood", "the harmony", "the melody"),
    "feel": ("the rhythm", "the groove", "the beat"),
}

#: Probability that a caption mentions an attribute that it could mention.
MENTION = {
    "tempo": 0.6, "timbre": 0.55, "loudness": 0.4, "energy": 0.4, "mode": 0.5, "feel": 0.6, "style": 0.8, "lead": 0.72,
    "key": 0.12, "event": 0.7,
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
    sources += [w for group in (*STYLES.values(), *LEADS.values(), *EVENTS.values()) for w in group]
    sources += [w for group in (*_NOUN_OF.values(), *_SUBJECTS.values()) for w in group]
    sources += [*KEYS, *_NOUNS, *_PARTS, *_FEELS, *_SCENES]
    sources += ["a an the and with in of at featuring played by on music is major minor where while key"]
    return sorted({w for source in sources for w in words(source)} - {"lead}"})


def caption(poles: Mapping[str, str | None], rng: np.random.Generator) -> tuple[str, dict[str, str]]:
    """Write one caption of a clip.

    Parameters
    ----------
    poles : mapping
        Attribute to pole, None where the clip is in the middle range: ``tempo``, ``timbre``, ``loudness``,
        ``energy``, ``mode``, ``feel``, and the names ``style``, ``lead``, ``key`` (as in `KEYS`) and ``event``.
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

    def pick(options):
        return options[rng.integers(len(options))]

    style = pick(STYLES[said["style"]]) if "style" in said else ""
    lead = pick(LEADS[said["lead"]]) if "lead" in said else ""

    # An adjective stands before the noun, before the lead, in a phrase after it, or in a sentence of its own.
    front, of_lead, tail, sentences = [], [], [], []
    for name in [n for n in said if n in ADJECTIVES]:
        options = ADJECTIVES[name][said[name]]
        word, place = pick(options), rng.random()
        if rng.random() < 0.12:  # said twice
            word = f"{word} and {pick([w for w in options if w != word])}"
        if place < 0.45:
            front.append(word)
        elif place < 0.53 and lead:
            of_lead.append(word)
        elif place < 0.85:
            how = ("with", "at", "in") if name == "tempo" else ("with",)
            tail.append(f"{pick(how)} {_article(word)} {pick((*_NOUN_OF[name], pick(_FEELS)))}")
        else:
            sentences.append(f"{pick(_SUBJECTS[name])} is {word}")
    if "event" in said:
        event = pick(EVENTS[said["event"]]).format(lead=lead or "tune")
        is_clause = event.startswith(("the ", "it "))
        if is_clause and rng.random() < 0.6:
            sentences.append(event)
        else:
            tail.append(f"{'where ' if is_clause else ''}{event}")
    rng.shuffle(front)
    rng.shuffle(tail)
    noun = pick(_NOUNS) if rng.random() < 0.85 or not style else "music"
    form = rng.integers(5)
    named = " ".join([*of_lead, lead]) if lead else ""
    if lead and form == 0:  # "bright slow flute melody in a rock song"
        head = f"{_list(front)} {named} {pick(_PARTS)}"
        if style:
            tail.insert(0, f"{pick(('in', 'of', 'on'))} {_article(style)} {pick(_NOUNS)}")
    else:
        head = f"{_list(front)} {style} {noun}"
        if lead:
            how = pick(("with", "featuring", "played by", "with"))
            tail.insert(0, f"{how} {_article(named)}" + (f" {pick(_PARTS)}" if how == "with" else ""))
    if "key" in said:
        tail.append(f"in {'the key of ' if rng.random() < 0.3 else ''}{said['key']} {poles['mode']}")
    if rng.random() < 0.35:
        tail.append(pick(_SCENES))
    head = " ".join(head.split())
    start = rng.random()  # "music" takes no article
    head = head if noun == "music" or start > 0.84 else f"the {head}" if start < 0.08 else _article(head)
    if form == 1 and tail and rng.random() < 0.5:  # a phrase in front: "With a bright tone, a rock song ..."
        head = f"{tail.pop()}, {head}"
    text = " ".join([head, *tail])
    text = text[0].upper() + text[1:]
    if sentences:
        rng.shuffle(sentences)
        joined = " and ".join(sentences[:2])
        if rng.random() < 0.25:
            text = f"{joined[0].upper()}{joined[1:]} in {text[0].lower()}{text[1:]}"
        else:
            text = f"{text}. {joined[0].upper()}{joined[1:]}"
        said_more = sentences[2:]
        text += "".join(f". {s[0].upper()}{s[1:]}" for s in said_more)
    return text, said


def _article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def _list(adjectives: list[str]) -> str:
    return " and ".join(adjectives) if len(adjectives) == 2 else ", ".join(adjectives)
