"""Write a model's weights as scripts that a page can load, from a file and over http alike.

    python book/live/weights.py data/pocket FOLDER

A page that was opened from a file may not fetch another file, but may load it as a script. So weights are base64 in
scripts, in pieces of a few megabytes: the page can show how far loading is, and no long text stays in memory. A piece
is the comment of a function, whose text the page reads: of a literal the browser would keep a second copy.

Two kinds. ``fp16`` holds the stored numbers exactly; with them the page writes the tokens that the library writes.
``int8`` is half as large: matrices in 8 bits with one scale a row, all else as it was. Needs numpy and safetensors, and
nothing of the library.
"""

import argparse
import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

KINDS = ("fp16", "int8")
PIECE = 3 * 2**20  # bytes of a script, before base64; a multiple of 3
FORMAT = 1
# The page writes music and does not read any: it has no use for the codec's encoder.
UNUSED = ("audio_encoder.encoder.", "audio_encoder.down.", "audio_encoder.latent_encoder.")


def write(model: Path, out: Path, kinds: tuple[str, ...] = KINDS) -> None:
    """Write ``model-KIND.js``, which says what the model is, and ``model-KIND-00.js`` and on, its weights."""
    tensors = {
        name: tensor
        for name, tensor in load_file(model / "model.safetensors").items()
        if not name.startswith(UNUSED)
    }
    out.mkdir(parents=True, exist_ok=True)
    for kind in kinds:
        table, content = pack(tensors, kind)
        pieces = [content[at : at + PIECE] for at in range(0, len(content), PIECE)]
        header = describe(model) | {
            "kind": kind,
            "bytes": len(content),
            "pieces": len(pieces),
            "tensors": table,
        }
        (out / f"model-{kind}.js").write_text(
            f"SteerLive.receiveHeader({json.dumps(header)});\n", encoding="utf-8"
        )
        for number, piece in enumerate(pieces):
            text = f"SteerLive.receivePiece(function(){{/*{base64.b64encode(piece).decode()}*/}});\n"
            (out / f"model-{kind}-{number:02d}.js").write_text(text, encoding="ascii")


def describe(model: Path) -> dict[str, Any]:
    """What a page must know of a model besides its weights."""
    tokenizer = read(model / "tokenizer.json")
    settings = read(model / "tokenizer_config.json")
    vocabulary = model / "vocabulary.txt"
    return {
        "format": FORMAT,
        "file": hashlib.sha256((model / "model.safetensors").read_bytes()).hexdigest()[:16],
        "config": read(model / "config.json"),
        "generation": read(model / "generation_config.json"),
        "tokenizer": {key: tokenizer[key] for key in ("normalizer", "post_processor", "padding", "model")},
        "textLength": min(int(settings["model_max_length"]), 64),  # as MusicModel.text_length
        "vocabulary": vocabulary.read_text(encoding="utf-8").split() if vocabulary.is_file() else [],
    }


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def pack(tensors: dict[str, npt.NDArray[Any]], kind: str) -> tuple[dict[str, Any], bytes]:
    """Where each tensor lies, and all of them as bytes; each begins at a multiple of 4."""
    table: dict[str, Any] = {}
    content = bytearray()

    def put(array: npt.NDArray[Any]) -> int:
        at = len(content)
        content.extend(array.tobytes())
        content.extend(bytes(-len(content) % 4))
        return at

    for name, tensor in tensors.items():
        entry: dict[str, Any] = {"shape": list(tensor.shape)}
        if kind == "int8" and tensor.ndim > 1 and not name.endswith("relative_attention_bias.weight"):
            rows = tensor.astype(np.float32)
            scales = np.maximum(np.abs(rows).max(axis=-1, keepdims=True) / 127, np.finfo(np.float32).tiny)
            entry |= {"type": "I8", "at": put(np.round(rows / scales).astype(np.int8)), "scales": put(scales)}
        else:
            halves = tensor.astype("<f2")
            if not np.array_equal(halves.astype(tensor.dtype), tensor):
                raise ValueError(
                    f"{name} is {tensor.dtype}, and half precision does not hold its numbers exactly"
                )
            entry |= {"type": "F16", "at": put(halves)}
        table[name] = entry
    return table, bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("out", type=Path, help="folder for the scripts")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    args = parser.parse_args()
    write(args.model, args.out, tuple(args.kinds))


if __name__ == "__main__":
    main()
