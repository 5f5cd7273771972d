"""The grid of the chapter *Explorer* (``notebooks/explorer.ipynb``)."""

from collections.abc import Mapping

from IPython.display import HTML

from steerlib.page import players
from steerlib.page.bottom_line import listed
from steerlib.page.explorer import Explorer
from steerlib.page.remake import remake
from steerlib.page.style import number
from steerlib.study import Trial

__all__ = ["findings", "grid", "press"]

_UNITS = {"bpm": "BPM", "centroid": "Hz"}


def press(explorer: Explorer, multipliers: Mapping[str, float]) -> HTML:
    """Set λ of some attributes, press the explorer's button, and show what it made."""
    for name, value in multipliers.items():
        explorer.multipliers[name].value = value
    explorer.button.click()
    clips = explorer.clips
    if clips is None:
        raise RuntimeError("the explorer made no clip: its message says why")
    mixture = " and ".join(f"{value:+g} {name}" for name, value in multipliers.items())
    sounds = dict(zip(["not steered", mixture], clips.audio, strict=False))
    return players.players(sounds, clips.sample_rate, label=explorer.prompt.value, spectrogram=True)


def grid(trial: Trial) -> HTML:
    """Every clip of a sweep in a grid of attributes and λ, a prompt at a time."""
    study, rows = trial.study, trial.table.sort_values("multiplier")
    keys = list(zip(rows["attribute"], rows["multiplier"], rows["prompt"], strict=True))
    return players.ab_grid(
        dict(zip(keys, study.sounds(rows), strict=True)),
        study.model.sample_rate,
        label="Two attributes, several λ, several prompts",
        poles={name: (each.positive, each.negative) for name, each in study.attributes.items()},
        readouts={"BPM": rows["bpm"].tolist(), "Hz": rows["centroid"].tolist()},
        remake=remake(study, rows, keys),
        shown={name: _UNITS[each.metric] for name, each in study.attributes.items() if each.metric in _UNITS},
    )


def findings(trial: Trial) -> tuple[list[str], str]:
    """What the grid of this run holds, and what speaks against it, for the chapter's bottom line."""
    found, wrong, moved = [], 0, 0
    for pole in trial.poles():
        wide = pole.rows.pivot_table(index="prompt_id", columns="multiplier", values=pole.metric)
        largest = max(wide.columns, key=abs)
        change = (pole.sign * (wide[largest] - wide[0.0])).dropna()
        wrong, moved = wrong + int((change < 0).sum()), moved + len(change)
        found.append(f"toward {pole.name} by {number(abs(change).median())} {pole.unit}")
    where = f"The strongest push of the grid moves the median prompt {listed(found)}."
    against = (
        f"Each cell is one clip, and {wrong} of these {moved} moved the wrong way: a grid is for the ears, "
        "not for a conclusion."
    )
    return [where], against
