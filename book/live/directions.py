"""Write the directions that a page steers by as a script that it can load.

    python book/live/directions.py FOLDER [--results results]

DiffMean directions of the attributes in ``data/prompts`` are those of the book, taken from the same pairs of prompts
by the same functions. Those of genres and instruments are made here, in the same manner: of prompts of one form, with
every genre and every instrument, the mean of those that name one genre minus the mean of those that name another.
Nobody has measured the latter in this book: they are for play.

The layer that the book has chosen, and the largest λ within its budget of quality, are read from the results
of its chapters where there are any.
"""

import argparse
import base64
import hashlib
import json
from itertools import product
from pathlib import Path
from typing import Any

import torch

import steerlib as sl
from steerlib.model import POCKET
from steerlib.music.captions import ADJECTIVES, LEADS, STYLES

ATTRIBUTES = ("tempo", "timbre", "loudness", "mode", "energy")
FORM = "a {style} song with a {lead}"
LAYER = 5  # where no chapter has chosen one


def write(out: Path, results: Path, pairs: int | None = None) -> None:
    """Write ``directions.js``, from the first `pairs` pairs of each attribute or from all."""
    model = sl.load_model("pocket")
    layers = chosen(results / "layer_scan" / "best_layers.json")
    safe = chosen(results / "steering_sweep" / "best_multipliers.json")
    vectors: dict[str, Any] = {}

    def add(name: str, kind: str, poles: tuple[str, str], directions: torch.Tensor) -> None:
        vectors[name] = {
            "kind": kind,
            "positive": poles[0],
            "negative": poles[1],
            "layer": layers.get(name),
            "safe": safe.get(name),
            "directions": base64.b64encode(directions.numpy().astype("<f4").tobytes()).decode(),
        }

    for attribute in map(sl.load_attribute, ATTRIBUTES):
        attribute = attribute.first(pairs) if pairs else attribute
        vector = sl.diff_mean(sl.extract_activations(model, attribute, progress=False))
        add(attribute.name, "attribute", (attribute.positive, attribute.negative), vector.directions)
    styles, leads = list(STYLES), [words[0] for words in LEADS.values()]
    grid = list(product(styles, leads))
    prompts = [FORM.format(style=style, lead=lead) for style, lead in grid]
    values = sl.extract_activations(model, prompts, progress=False).values
    for kind, names, place in (("genre", styles, 0), ("instrument", leads, 1)):
        for name in names:
            named = torch.tensor([row[place] == name for row in grid])
            add(name, kind, (name, "less"), values[named].mean(0) - values[~named].mean(0))
    content = {
        "file": hashlib.sha256((POCKET / "model.safetensors").read_bytes()).hexdigest()[:16],
        "model": model.identity,
        "layer": next(iter(layers.values()), LAYER),
        "hidden": model.width,
        "frameRate": model.frame_rate,
        "melodyLength": model.config.chroma_length,
        "vectors": vectors,
        "words": words(),
        "vocabulary": (POCKET / "vocabulary.txt").read_text(encoding="utf-8").split(),
        "prompts": list(sl.load_prompts("neutral")),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "directions.js").write_text(
        f"SteerLive.receiveDirections({json.dumps(content)});\n", encoding="utf-8"
    )


def words() -> dict[str, list[str]]:
    """Words to make prompts of, by what they say."""
    groups = {"genre": list(STYLES), "instrument": [names[0] for names in LEADS.values()]}
    for attribute, poles in ADJECTIVES.items():
        groups |= {f"{attribute}: {pole}": list(adjectives)[:6] for pole, adjectives in poles.items()}
    return groups


def chosen(path: Path) -> dict[str, Any]:
    """What a chapter has chosen for each attribute; nothing if it has not run."""
    return json.loads(path.read_text(encoding="utf-8"))["values"] if path.is_file() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("out", type=Path, help="folder for the script")
    parser.add_argument(
        "--results", type=Path, default=Path("results"), help="where the chapters' choices are"
    )
    args = parser.parse_args()
    write(args.out, args.results)


if __name__ == "__main__":
    main()
