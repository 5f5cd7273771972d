"""Files that other tools read: vectors with a model card, tables as Parquet and CSV.

A vector is one safetensors file with one tensor, ``directions`` (layers, hidden); its card is Markdown beside it.
A table is tidy: one row per clip, units in the names of `steerlib.sweep`.
"""

import html
import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from steerlib.files import one_line, write_whole
from steerlib.steering import SteeringVector

__all__ = ["read_table", "save_table", "save_vector", "vector_card"]

_KNOWN = ("attribute", "positive", "negative", "method", "model", "revision", "weights", "position", "site")


def save_vector(vector: SteeringVector, path: str | Path) -> Path:
    """Write a vector (safetensors) and its card, the same name with ``.md``.

    Returns
    -------
    Path
        The path of the card.

    Raises
    ------
    ValueError
        If the name does not end in ``.safetensors``.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"a vector is a safetensors file: name it {path.with_suffix('.safetensors').name}")
    vector.save(path)
    card = path.with_suffix(".md")
    write_whole(card, vector_card(vector, path.name).encode())
    return card


def vector_card(vector: SteeringVector, file: str) -> str:
    """The model card of a vector, Markdown: what it is, where it comes from, how to use it, and its limits.

    Parameters
    ----------
    vector : SteeringVector
    file : str
        Name of the file that holds it.
    """
    given = dict(vector.metadata)  # anybody may have written it
    about = {_plain(key): _plain(value) for key, value in given.items()}
    layers, hidden = vector.directions.shape
    positive, negative = about.get("positive", "positive"), about.get("negative", "negative")
    table = [f"| {key} | {about[key]} |" for key in _KNOWN if key in about]
    table += [f"| {key} | {value} |" for key, value in sorted(about.items()) if key not in _KNOWN]
    norms = ", ".join(f"{norm:.3g}" for norm in vector.norms.tolist())
    load, file = json.dumps(one_line(str(given.get("model", "pocket")))).replace("`", ""), one_line(file)
    lines = [
        f"# Steering vector: {about.get('attribute', 'unnamed')} ({positive} > {negative})",
        "",
        f"`{file}` holds one tensor, `directions`, float32 of shape ({layers}, {hidden}): row k is the direction of",
        "layer k, the residual stream at the output of decoder block k (0-based), in the unit of the activations.",
        f"A positive multiplier goes toward *{positive}*, a negative one toward *{negative}*.",
        "",
        "| | |",
        "|---|---|",
        *table,
        f"| norms by layer | {norms} |",
        "",
        "## Use",
        "",
        "```python",
        "import steerlib as sl",
        "",
        f"model = sl.load_model({load})",
        f'vector = sl.SteeringVector.load("{file}", model=model)',
        f"with vector.apply(model, multiplier=0.1, source_layer={layers // 2}):",
        '    clips = sl.generate(model, ["a folk song"])',
        "```",
        "",
        "The multiplier and the layer above only show the form: scan both (`steerlib sweep --help`).",
        "",
        "## Limits",
        "",
        "- It fits the weights named above and no others; `load(..., model=model)` warns if they differ.",
        "- It was taken from prompts: whatever else differs between the two sets of prompts is in it as well.",
        "- Large multipliers leave the range of activations that the model knows, and the sound breaks down.",
        "",
    ]
    return "\n".join(lines)


def save_table(table: pd.DataFrame, path: str | Path, *, about: Mapping[str, Any] | None = None) -> None:
    """Write a table as Parquet or CSV, by the suffix of its name, whole or not at all.

    A text in a CSV file that a spreadsheet would take for a formula gets an apostrophe before it.

    Parameters
    ----------
    table : DataFrame
    path : str or Path
        Ends in ``.parquet`` or ``.csv``. The folder is made.
    about : mapping, optional
        Kept in the Parquet file (pandas: ``table.attrs``). CSV has no place for it.

    Raises
    ------
    ValueError
        If the name ends in something else.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"a table is written as .parquet or .csv, and {path.name} is neither")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        write_whole(path, partial(table.map(_no_formula).to_csv, index=False))
    else:
        named = table.copy(deep=False)
        named.attrs = dict(about or {})
        write_whole(path, partial(named.to_parquet, index=False))


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table that `save_table` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no Parquet or CSV file.
    """
    path = Path(path)
    if path.suffix not in (".parquet", ".csv"):
        raise ValueError(f"a table is read from .parquet or .csv, and {path.name} is neither")
    if not path.is_file():
        raise FileNotFoundError(f"there is no table {path}")
    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a table ({one_line(str(error))})") from error


def _plain(value: Any) -> str:
    """A value as text that Markdown, HTML and a terminal take for nothing but text."""
    text = one_line(value if isinstance(value, str) else json.dumps(value))
    return html.escape(re.sub(r"([\\`*_\[\]|])", r"\\\1", text), quote=False)


def _no_formula(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    value = value.replace("\r", " ")  # which pandas writes as it is, and reads as the end of a row
    return f"'{value}" if value.lstrip().startswith(("=", "+", "-", "@")) else value
