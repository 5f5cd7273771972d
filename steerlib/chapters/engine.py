"""Measurements, figures and tables of the chapter *The engine* (``notebooks/engine.ipynb``).

Reports of ``benchmarks/*.py`` are read from ``data/benchmarks``; where one is missing, the page says so.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
from IPython.display import HTML

from steerlib.engine.clips import Clips
from steerlib.files import DATA
from steerlib.model import MusicModel
from steerlib.page import figures
from steerlib.page.bottom_line import bottom_line, listed
from steerlib.page.style import PALETTE, number
from steerlib.steering import Steering, SteeringVector

__all__ = [
    "benchmark",
    "clock",
    "cost_curves",
    "costs",
    "largest_difference",
    "profile_and_extraction",
    "say",
    "scaling_curves",
    "transformers_generate",
]

_REPORTS = DATA / "benchmarks"


class clock:  # noqa: N801 - a context, as `contextlib` names them
    """Measure the ``seconds`` that a ``with`` block takes."""

    seconds = float("nan")

    def __enter__(self) -> "clock":
        self._begin = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._begin


def transformers_generate(
    model: MusicModel, prompts: Sequence[str], seconds: float, **options: Any
) -> npt.NDArray[np.float32]:
    """Clips (prompts, samples) by transformers' own ``generate``, at guidance 3."""
    new = model.frames(seconds) + model.codebooks - 1
    audio = model.network.generate(**model.encode(prompts), max_new_tokens=new, guidance_scale=3.0, **options)
    return audio[:, 0].float().cpu().numpy()


def largest_difference(first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> float:
    """Between two sets of clips, over the length that both have."""
    length = min(first.shape[1], second.shape[1])
    return float(np.abs(first[:, :length] - second[:, :length]).max())


def costs(
    make: Callable[..., Clips],
    texts: Sequence[str],
    vector: SteeringVector,
    layer: int,
    plan: Mapping[str, Sequence[tuple[float, tuple[int, float, int]]]],
) -> pd.DataFrame:
    """Time for a clip at each point of a plan.

    The plan says for each thing that is varied: its values, each with (clips, seconds, different steerings).
    """

    def measure(count: int, length: float, kinds: int) -> float:
        steerings = [Steering(vector, 0.01 * (1 + i % kinds), source_layer=layer) for i in range(count)]
        prompts = [texts[i % len(texts)] for i in range(count)]
        with clock() as watch:
            make(prompts, seed=list(range(count)), steering=steerings, seconds=length)
        return watch.seconds / count

    measure(2, 2.0, 1)  # warm
    rows = [(name, value, measure(*point)) for name, points in plan.items() for value, point in points]
    return pd.DataFrame(rows, columns=["varied", "value", "seconds a clip"])


def cost_curves(table: pd.DataFrame) -> None:
    """Draw the table of `costs`, a panel for each thing that was varied."""
    axes = figures.panels(1, table["varied"].nunique(), size=(3, 2.8), sharey=True)
    for ax, (name, part) in zip(axes, table.groupby("varied", sort=False), strict=True):
        ax.plot(part["value"], part["seconds a clip"], marker="o", color=PALETTE["slow"])
        ax.set(xlabel=name, ylim=(0, None))
    axes[0].set(ylabel="seconds for one clip")
    figures.message(_of_calls(next(iter(table.groupby("varied", sort=False)))[1]))
    plt.show()


def _of_calls(part: pd.DataFrame, value: str = "value", seconds: str = "seconds a clip") -> str:
    """What a clip costs in the largest call, compared with the smallest."""
    first, last = (part.sort_values(value).iloc[end] for end in (0, -1))
    return (
        f"A clip takes {number(first[seconds])} s in a call of {first[value]:g}, "
        f"and {number(last[seconds])} s in a call of {last[value]:g}"
    )


def benchmark() -> pd.DataFrame:
    """The engine beside transformers with hooks, at the size of a sweep (``benchmarks/engine.py``)."""
    report = _report("engine")
    if report is None:
        return pd.DataFrame()
    print(f"{report['arguments']['model']}; {report['machine']}")
    rows = []
    for name, point in report.items():
        if not name.endswith("settings"):
            continue
        results = point["results"]
        took = {who: np.median([run["seconds"] for run in runs]) for who, runs in results.items()}
        peak = {who: max(run["added_bytes"] for run in runs) / 1e9 for who, runs in results.items()}
        half = {"in half precision": round(point["half precision"], 2)} if "half precision" in point else {}
        rows.append(
            {"settings x prompts": f"{name.split()[0]} x {report['arguments']['prompts']}"}
            | {f"{who} (s)": round(took[who], 1) for who in ("engine", "transformers")}
            | {"times as fast": round(point["ratio"], 2), **half}
            | {"peak of both (GB)": f"{peak['engine']:.2f}, {peak['transformers']:.2f}"}
            | {"share of the limit": f"{point['share']:.0%}"}
        )
    return pd.DataFrame(rows)


def profile_and_extraction() -> None:
    """Say where a tile's time goes, and what extraction costs (``benchmarks/extraction.py``)."""
    if engine := _report("engine", silent=True):
        shares = ", ".join(f"{kind} {share:.0%}" for kind, share in engine["profile"].items())
        print(f"one tile's time: {shares}")
        if half := engine.get("half precision"):
            print(
                f"with keys and values in half precision, {half['equal tokens']:.0%} of the tokens and "
                f"{half['equal clips']:.0%} of the clips are the same; negative log-likelihood "
                f"{half['nll, exact']:.3f} exact, {half['nll, half precision']:.3f} in half precision"
            )
    if report := _report("extraction"):
        added = {name: figure["recording MB"] for name, figure in report["figures"].items()}
        print(
            f"extraction, {report['model']}, {report['prompts']} prompts: steerlib needs {added['steerlib']:+.0f} MB "
            f"beyond a forward pass, output_hidden_states=True {added['output_hidden_states']:+.0f} MB; steerlib is "
            f"{report['time ratio']:.2f} times as fast"
        )
        print(f"with its own, smaller batches, it needs 1/{1 / report['peak ratio']:.0f} of the memory")


def scaling_curves() -> None:
    """Time for a clip against the size of what is made (``benchmarks/scaling.py``)."""
    if not (_REPORTS / "scaling.csv").exists():
        print("scaling.py: not run here")
        return
    table = pd.read_csv(_REPORTS / "scaling.csv")
    axes = figures.panels(1, 4, size=(2.2, 2.5), sharey=True)
    for ax, (name, part) in zip(axes, table.groupby("varied", sort=False), strict=False):
        ax.plot(part[name], part["s_per_clip"], marker="o", color=PALETTE["fast"])
        ax.set(xlabel={"rows": "clips"}.get(name, name), xscale="log", yscale="log")
        ax.set_xticks(part[name], labels=[f"{value:g}" for value in part[name]])
        ax.minorticks_off()
    axes[0].set(ylabel="seconds for one clip")
    figures.message(_of_calls(table[table["varied"] == "rows"], "rows", "s_per_clip"))
    plt.show()


def _report(name: str, *, silent: bool = False) -> dict[str, Any] | None:
    path = _REPORTS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    if not silent:
        print(f"{name}.py: not run here")
    return None


def say(
    model: str, scores: str, ratio: float, *, tokens: tuple[Clips, Clips], audio: tuple[Any, Any]
) -> HTML:
    """The chapter's bottom line, from what this page has just run and from the committed benchmark."""
    alone, crowd = tokens
    same = "the same tokens" if np.array_equal(alone.tokens[0], crowd.tokens[0]) else "other tokens"
    apart = largest_difference(*audio)
    differs = f"differs from transformers with hooks by at most {apart:.0e} of full scale"
    found = [
        f"A steered clip has {same} alone and among {len(crowd.tokens)} settings, and "
        f"{differs if apart else 'does not differ from transformers with hooks'}.",
        f"On this page the engine was {ratio:.2g} times as fast as transformers' own generate.",
    ]
    if report := _report("engine", silent=True):
        sizes = {
            name.split()[0]: point["ratio"] for name, point in report.items() if name.endswith("settings")
        }
        told = listed(
            [
                f"{value:.1f} times as fast with {name} setting{'' if name == '1' else 's'}"
                for name, value in sizes.items()
            ]
        )
        found.append(f"In the committed benchmark, at the size of a sweep, it is {told}.")
    against = "A ratio of times depends on the machine, the size of the model and what else is running."
    return bottom_line("engine", found, against, model=model, folder=scores)
