"""Sounds, figures and tables of the chapter *How the pocket model was made* (``notebooks/pocket_model.ipynb``)."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from IPython.display import HTML, display
from matplotlib.ticker import MaxNLocator

from steerlib.engine.generation import generate
from steerlib.model import POCKET, MusicModel
from steerlib.music import corpus
from steerlib.page import figures
from steerlib.page.bottom_line import bottom_line
from steerlib.page.players import players
from steerlib.page.style import number

__all__ = ["Piece", "listen", "minutes", "say", "training_curves", "training_logs", "truths"]

Piece = tuple[corpus.Truth, npt.NDArray[np.float32]]
"""What is known about a piece, and its sound."""

_CURVES = [  # log, column, title
    ("codec", "lsd", "codec: distance (dB)"),
    ("text", "held-out accuracy", "text encoder: accuracy"),
    ("lm", "held-out", "decoder: loss (nats)"),
    ("lm", "text gain", "text gain (nats)"),
    ("lm", "text gain, blanked", "text gain, blanked (nats)"),
    ("lm", "melody gain", "melody gain (nats)"),
    ("beats", "loss", "judge of tempo: loss"),
    ("clap", "lead", "judge of instrument: right"),
]


def truths(pieces: Sequence[Piece]) -> pd.DataFrame:
    """What is known about each piece."""
    table = pd.DataFrame([truth for truth, _ in pieces]).set_index("seed")
    return table[["bpm", "cutoff", "level", "style", "lead", "mode", "caption"]].round(1)


def listen(model: MusicModel, pieces: Sequence[Piece], *, seed: int) -> None:
    """Each piece as rendered, after the codec, and as the model writes it from the caption."""
    if model.sample_rate != corpus.SAMPLE_RATE:
        raise ValueError(f"this chapter is about the pocket model; {model.name} has {model.sample_rate} Hz")
    written = generate(model, [truth.caption for truth, _ in pieces], seed=seed)
    for (truth, audio), clip in zip(pieces, written.audio, strict=True):
        with torch.no_grad():
            heard = torch.tensor(audio)[None, None].to(model.device)
            copy = model.network.audio_encoder(heard).audio_values[0, 0].cpu().numpy()
        sounds = {"as rendered": audio, "after the codec": copy[: len(audio)], "written by the model": clip}
        display(players(sounds, corpus.SAMPLE_RATE, label=truth.caption, spectrogram=True))


def training_logs() -> dict[str, pd.DataFrame]:
    """What each training of the shipped model wrote down, by its stage."""
    return {path.stem: pd.read_json(path, lines=True) for path in sorted(POCKET.glob("training/*.jsonl"))}


def training_curves(logs: dict[str, pd.DataFrame]) -> None:
    """How the five trainings went."""
    for ax, (stage, column, title) in zip(figures.panels(4, 2, size=(4.4, 2.4)), _CURVES, strict=True):
        curve = logs[stage].reindex(columns=["step", column]).dropna()
        ax.plot(curve["step"], curve[column], color="#0072B2")
        ax.set(xlabel="step")
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.set_title(title, fontsize=9)
    gain = logs["lm"]["text gain"].dropna().iloc[-1]
    figures.message(
        f"The decoder uses its prompt: with another clip’s caption it loses {number(gain)} nats"
        if gain > 0
        else "The decoder ignores its prompt: another clip’s caption costs it nothing",
    )
    plt.show()


def minutes(logs: dict[str, pd.DataFrame]) -> None:
    """Say how long each training took."""
    shown = ", ".join(f"{stage} {log['seconds'].iloc[-1] / 60:.0f}" for stage, log in logs.items())
    print(f"minutes of training in these logs, on two cores: {shown}")


def say(model: str, card: Sequence[Any], scores: str) -> HTML:
    """The chapter's bottom line, from the figures of the model card (`steerlib.pocket.card.Figure`)."""
    figures = {(figure.part, figure.name): figure for figure in card}
    asked = [figure for figure in card if figure.wanted is not None]
    reached = [figure for figure in asked if figure.reached == "yes"]
    style, lead = (figures["model, named in the prompt", f"{what} recognised"] for what in ("style", "lead"))
    tune = figures["model, given a tune", "chroma correlation with it"]
    found = [
        f"The model card sets {len(asked)} thresholds, and the whole 95 % interval reaches {len(reached)} of them.",
        f"When the prompt names a style, the judge hears that style in {100 * style.value:.0f} % of the clips; when it "
        f"names a lead instrument, the judge hears that instrument in {100 * lead.value:.0f} %.",
    ]
    against = (
        "The judges were trained on the same kind of music as the model. When it is given a tune, the chroma "
        f"correlation with that tune is {tune.value:.2f} [{tune.low:.2f}, {tune.high:.2f}]; 1 would be a copy."
    )
    return bottom_line("pocket_model", found, against, model=model, folder=scores)
