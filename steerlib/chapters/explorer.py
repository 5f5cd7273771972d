"""Grid, pad and blind test of the chapter *Explorer* (``notebooks/explorer.ipynb``)."""

from collections.abc import Mapping, Sequence

from IPython.display import HTML

from steerlib.page import explorables, players
from steerlib.page.bottom_line import listed
from steerlib.page.explorer import Explorer
from steerlib.page.remake import remake
from steerlib.page.style import number, signed
from steerlib.study import Study, Trial
from steerlib.sweeps.grid import Grid

__all__ = ["blind", "findings", "grid", "pad", "press"]

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


def pad(study: Study, layer: int, multipliers: Sequence[float], *, prompts: int) -> HTML:
    """Every mixture of the first two attributes, for the first prompts: made, measured, and shown as a square."""
    (first, one), (second, two) = list(study.attributes.items())[:2]
    mixtures = {
        (a, b): study.vectors[first] * a + study.vectors[second] * b for a in multipliers for b in multipliers
    }
    names = {f"{a:g} {first}, {b:g} {second}": (a, b) for a, b in mixtures if a or b}
    grid = Grid({name: mixtures[each] for name, each in names.items()}, [1.0], [layer])
    table = study.compare(grid, prompts=prompts, metrics=("bpm", "centroid")).table
    places = [names[row.attribute] if row.multiplier else (0.0, 0.0) for row in table.itertuples()]
    keys = [(*place, prompt) for place, prompt in zip(places, table["prompt"], strict=True)]
    values = zip(table["bpm"], table["centroid"], strict=True)
    measured = {
        key: (f"{number(round(bpm, 0))} BPM", f"{number(round(hz, 0))} Hz")
        for key, (bpm, hz) in zip(keys, values, strict=True)
    }
    return explorables.pad(
        dict(zip(keys, study.sounds(table), strict=True)),
        study.model.sample_rate,
        attributes=((first, one.positive, one.negative), (second, two.positive, two.negative)),
        readouts=(
            {key: each[0] for key, each in measured.items()},
            {key: each[1] for key, each in measured.items()},
        ),
    )


def blind(trial: Trial) -> HTML:
    """Pairs for a blind test: of each prompt and attribute the largest λ, toward one pole and the other by turns."""
    study, pairs = trial.study, []
    for count, (name, prompt) in enumerate(
        (name, prompt) for prompt in study.prompts for name in study.attributes
    ):
        rows = trial.parts[name][trial.parts[name]["prompt"] == prompt]
        value = max(rows["multiplier"]) if count % 2 else min(rows["multiplier"])
        two = [rows[rows["multiplier"] == each].iloc[[0]] for each in (value, 0.0)]
        steered, plain = (study.sounds(each)[0] for each in two)
        pairs.append((f"{name}, λ = {signed(value, '+g')}", steered, plain))
    return explorables.blind(pairs, study.model.sample_rate)


def findings(trial: Trial) -> tuple[list[str], str]:
    """What the grid of this run holds, and what speaks against it, for the chapter's bottom line."""
    found, wrong, moved = [], 0, 0
    for pole in trial.poles():
        wide = pole.rows.pivot_table(index="prompt_id", columns="multiplier", values=pole.metric)
        largest = max(wide.columns, key=abs)
        change = (pole.sign * (wide[largest] - wide[0.0])).dropna()
        wrong, moved = wrong + int((change < 0).sum()), moved + len(change)
        median = number(change.median()).replace("-", "\N{MINUS SIGN}")
        found.append(f"{median} {pole.unit} toward {pole.name}")
    where = f"At the largest λ of the grid, the median prompt moves {listed(found)}."
    against = (
        f"Each cell is one clip, and {wrong} of these {moved} moved the wrong way. Use the grid to listen, not to draw "
        "conclusions."
    )
    return [where], against
