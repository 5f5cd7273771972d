"""Figures and tables of the chapter *Meet the model and hear it* (``notebooks/meet_the_model.ipynb``)."""

from functools import partial

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns  # type: ignore[import-untyped]
import torch
from IPython.display import HTML

from steerlib.engine.clips import Clips
from steerlib.engine.generation import generate
from steerlib.evidence import stats
from steerlib.measure import tempo
from steerlib.model import MusicModel
from steerlib.page import explorables, figures, players, style
from steerlib.page.bottom_line import measured, told
from steerlib.page.style import number
from steerlib.prompts import Attribute
from steerlib.study import Study
from steerlib.sweeps.grid import METRICS

__all__ = ["anatomy", "boxes", "clips_of_poles", "codebooks", "findings", "poles_apart", "sizes", "tokens"]


def sizes(model: MusicModel) -> pd.DataFrame:
    """The parts of the model, in numbers."""
    parts = {
        "decoder blocks (layers)": model.depth,
        "width of the residual stream": model.width,
        "codebooks × entries": f"{model.codebooks} x {model.config.decoder.vocab_size}",
        "code frames per second": model.frame_rate,
        "sample rate (Hz)": model.sample_rate,
        "parameters (million)": round(sum(each.numel() for each in model.network.parameters()) / 1e6, 1),
    }
    return pd.Series(parts, name=model.name).to_frame()


def anatomy(model: MusicModel, clips: Clips, frames: int = 12) -> HTML:
    """The parts of this model, to press on, and the delay pattern of the first clip's first frames."""
    network, decoder = model.network, model.config.decoder
    size = {
        name: f"{sum(each.numel() for each in part.parameters()) / 1e6:.1f} million parameters"
        for name, part in (
            ("text", network.text_encoder),
            ("decoder", network.decoder),
            ("codec", network.audio_encoder),
        )
    }
    parts = {
        "Prompt": (
            "a sentence",
            f"What you ask for, such as “{clips.prompts[0]}”. Each word becomes one or a few numbers.",
        ),
        "Text encoder": (
            size["text"],
            "Turns the words into vectors: one for each piece of a word, and a last one (EOS) that has read all of "
            "them. The directions in this book are read at that last position.",
        ),
        "Prefix": (
            f"{model.prefix_length} positions",
            "The vectors of the melody (none is given here) and of the words come before all music. Every later "
            "position can look back at them at every step, so the prompt acts on the whole clip.",
        ),
        "Decoder": (
            f"{model.depth} blocks, {size['decoder']}",
            f"At each position, a block reads the {model.width} numbers of the residual stream with "
            f"{decoder.num_attention_heads} attention heads and a small network, and adds its result to them. Steering "
            "adds λΔ to the stream after each block.",
        ),
        "Codes": (
            f"{model.codebooks} codebooks of {decoder.vocab_size}",
            f"The decoder does not write sound. {model.frame_rate:g} times a second it chooses one code from each of "
            f"{model.codebooks} codebooks. Each codebook refines the ones before it. The codes of a frame are chosen "
            "one step apart, in the delay pattern below, so each choice can take the coarser ones into account.",
        ),
        "Codec": (f"{model.sample_rate} Hz, {size['codec']}", "Turns the codes back into sound."),
    }
    return explorables.anatomy(parts, clips.tokens[0, :, :frames], decoder.vocab_size)


def codebooks(model: MusicModel, clips: Clips) -> HTML:
    """The first clip from its first codebook alone, from its first two, four, and so on, up to all."""
    counts = [2**power for power in range(model.codebooks.bit_length()) if 2**power < model.codebooks]
    codes = torch.as_tensor(clips.tokens[:1]).long()[None]
    heard = {}
    for count in [*counts, model.codebooks]:
        with torch.inference_mode():
            audio = model.network.audio_encoder.decode(
                codes[:, :, :count].to(model.device), [None]
            ).audio_values
        name = {1: "the first codebook alone", model.codebooks: f"all {model.codebooks} codebooks"}
        heard[name.get(count, f"the first {count} codebooks")] = audio[0, 0].float().cpu().numpy()
    return players.players(heard, model.sample_rate, label=clips.prompts[0])


def tokens(clips: Clips) -> None:
    """The codes of the first clip, a row for each codebook."""
    _, ax = plt.subplots(figsize=(7, 2.2))
    ax.imshow(clips.tokens[0], aspect="auto", interpolation="nearest", cmap="cividis")
    count = len(clips.tokens[0])
    ax.set_yticks(range(count), labels=[str(1 + row) for row in range(count)])
    ax.set(xlabel="frame", ylabel="codebook")
    figures.message(f"The model writes {count} codes for each frame of “{clips.prompts[0]}”")
    plt.show()


def clips_of_poles(study: Study) -> pd.DataFrame:
    """Generate a clip from each prompt of each attribute, and measure it by the attribute's own measure."""
    measures = METRICS | {"bpm": partial(tempo, checkpoint=study.beats)}
    parts = []
    for name, attribute in study.attributes.items():
        sides = {
            attribute.positive: attribute.positive_prompts,
            attribute.negative: attribute.negative_prompts,
        }
        for pole, prompts in sides.items():
            clips = generate(
                study.model, prompts, seconds=study.seconds, seed=study.seed, sampling=study.sampling
            )
            values = measures[attribute.metric](clips)
            parts.append(pd.DataFrame({"attribute": name, "pole": pole, "value": values}))
    return pd.concat(parts, ignore_index=True)


def boxes(study: Study, followed: pd.DataFrame) -> None:
    """The measured clips of both poles, a panel for each attribute."""
    axes = figures.panels(1, len(study.attributes), size=(3.6, 3.2))
    for ax, (name, attribute) in zip(axes, study.attributes.items(), strict=True):
        measured = followed[followed["attribute"] == name].dropna()
        poles = [pole for pole in (attribute.positive, attribute.negative) if pole in set(measured["pole"])]
        if poles:
            palette = [style.PALETTE.get(pole, "#666666") for pole in poles]
            sns.boxplot(
                measured, x="pole", y="value", hue="pole", order=poles, hue_order=poles, width=0.5,
                palette=palette, ax=ax,
            )  # fmt: skip
        ax.set(ylabel=style.METRIC_LABELS[attribute.metric], xlabel="prompts")
    follows = {
        name: _follows(each, followed[followed["attribute"] == name])
        for name, each in study.attributes.items()
    }
    no = "no difference between opposite prompts is shown for {}"
    figures.message(told(follows, "The music follows the words for {}", no))
    plt.show()


def _follows(attribute: Attribute, rows: pd.DataFrame) -> bool:
    """Whether clips of the positive pole are shown to measure higher."""
    poles = (attribute.positive, attribute.negative)
    high, low = (rows.loc[rows["pole"] == pole, "value"].dropna() for pole in poles)
    return bool(len(high) and len(low) and stats.auc(high, low).low > 0.5)


def poles_apart(study: Study, followed: pd.DataFrame) -> pd.DataFrame:
    """Median and number of clips of each pole, and the AUC between the poles where both have measured clips."""
    by_pole = followed.groupby(["attribute", "pole"])["value"]
    table = by_pole.agg(median="median", measured="count", clips="size").round(1)
    for name, attribute in study.attributes.items():
        sides = [by_pole.get_group((name, pole)) for pole in (attribute.positive, attribute.negative)]
        if all(side.notna().any() for side in sides):
            table.loc[name, "AUC"] = str(stats.auc(*sides))
    return table


def findings(study: Study, followed: pd.DataFrame) -> tuple[list[str], str]:
    """What this run found, and what speaks against it, for the chapter's bottom line."""
    found, unheard = [], 0
    for name, attribute in study.attributes.items():
        rows = followed[followed["attribute"] == name]
        unheard += int(rows["value"].isna().sum())
        sides = [rows.loc[rows["pole"] == pole, "value"] for pole in (attribute.positive, attribute.negative)]
        if not all(side.notna().any() for side in sides):
            found.append(
                f"We cannot tell whether the model follows {name}: no clip of one pole could be measured."
            )
            continue
        high, low = (number(side.median()) for side in sides)
        found.append(
            f"The median clip has {high} {attribute.unit} if the prompt says {attribute.positive} and {low} if it says "
            f"{attribute.negative}; the AUC is {measured(stats.auc(*sides), sign=False)}."
        )
    missing = f"{unheard} of {len(followed)} clips could not be measured. " if unheard else ""
    against = (
        f"{missing}Each attribute has only one judge here, and a word can bring other things along: “fast” may also "
        "mean more notes."
    )
    return found, against
