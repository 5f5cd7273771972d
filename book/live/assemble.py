"""Put the engine's parts, and those of the pages, together into scripts.

``steerlive.js`` is the engine with its kernel, for this book and for whoever embeds it; ``play.js`` is the page *Play*,
``another_seed.js`` what the sliders and grids of the other pages need to make their clips again.
Order matters: each part uses what those before it have added to ``SteerLive``.
"""

import base64
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENGINE = (
    "parts", "bytes", "random", "tokenizer", "memory", "text", "steering", "decoder", "sampling", "fourier", "vocoder",
    "codec", "generate", "listening", "measure", "vectors", "worker", "interface",
)  # fmt: skip
PLAY = (
    "page", "words", "attributes", "curve", "form", "pictures", "players", "sharing", "result", "performance", "blind",
    "play",
)  # fmt: skip
ANOTHER_SEED = ("page", "pictures", "sharing", "another_seed")


def engine() -> str:
    """The text of ``steerlive.js``."""
    parts = [read("engine", name) for name in ENGINE]
    kernel = base64.b64encode((HERE / "kernel.wasm").read_bytes()).decode()
    parts.insert(1, f'SteerLive.part(function (live) {{ live.kernel = "{kernel}"; }});\n')
    return "\n".join(parts)


def page(names: tuple[str, ...]) -> str:
    """The text of a page's script, of these parts."""
    return "\n".join(read("play", name) for name in names)


def read(folder: str, name: str) -> str:
    return (HERE / folder / f"{name}.js").read_text(encoding="utf-8")


def write(out: Path) -> None:
    """Write the scripts and the page's style into a folder."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "steerlive.js").write_text(engine(), encoding="utf-8")
    (out / "play.js").write_text(page(PLAY), encoding="utf-8")
    (out / "another_seed.js").write_text(page(ANOTHER_SEED), encoding="utf-8")
    (out / "play.css").write_text((HERE / "play" / "play.css").read_text(encoding="utf-8"), encoding="utf-8")
