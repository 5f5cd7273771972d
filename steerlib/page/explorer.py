"""The explorer: widgets that steer and generate in a live notebook, and play, draw and measure what comes out.

One prompt, a multiplier λ for each of several attributes (a mixture adds their directions up), the layer that
the directions come from, the seed and the guidance scale. Each press of the button makes the steered clip, and,
unless it is known already, the clip of the same prompt and random numbers without steering.

Needs a kernel. The pages of the book have none, and show `steerlib.page.players.ab_grid` instead.
"""

import html
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from steerlib.engine.clips import Clips
from steerlib.engine.generation import Run, generate
from steerlib.engine.sampling import Sampling
from steerlib.measure import spectral_centroid, tempo
from steerlib.model import MusicModel, check_shape
from steerlib.page import players as listen
from steerlib.steering import Steering, SteeringVector

__all__ = ["Explorer"]

_LARGEST_SEED = 2**31 - 1
_EACH_ITS_OWN = "each block its own"

_Settings = tuple[str, tuple[float, ...], int | None, int, float]


class Explorer:
    """Widgets around `generate`; the last expression of a cell shows them.

    Parameters
    ----------
    model : MusicModel
    vectors : mapping of str to SteeringVector
        The attributes that can be steered, by name.
    layer : int, optional
        Source layer to begin with (One-to-All); None is All-to-All.
    largest : float, default 0.2
        λ of each attribute goes from minus this to this.
    prompt : str
        To begin with.
    seconds : float, default 8
        Length of the clips.
    measures : mapping of str to callable, optional
        Unit and function of `Clips` with one value a clip; by default BPM and centroid.

    Attributes
    ----------
    prompt, multipliers, layer, seed, guidance, button
        The widgets; `multipliers` maps each attribute to its slider.
    message, result : ipywidgets.HTML
        What is wrong or unusual, in words; the players, spectrograms and measures of the last clip.
    clips : Clips or None
        What was made last: the clip without steering, and the steered one if any λ is not 0.

    Raises
    ------
    ValueError
        If there is no vector, one does not fit the model, `layer` is none of its blocks, or `largest` is not
        positive.
    """

    def __init__(
        self,
        model: MusicModel,
        vectors: Mapping[str, SteeringVector],
        *,
        layer: int | None = None,
        largest: float = 0.2,
        prompt: str = "a folk song with an acoustic guitar",
        seconds: float = 8.0,
        measures: Mapping[str, Callable[[Clips], Any]] | None = None,
    ) -> None:
        blocks = model.depth
        if not vectors:
            raise ValueError("the explorer needs at least one steering vector: {'tempo': diff_mean(...)}")
        for name, vector in vectors.items():
            check_shape(model, vector.directions, f"the vector {name!r}")
        if layer is not None and not 0 <= layer < blocks:
            raise ValueError(f"layer is {layer}, but the model has the layers 0 to {blocks - 1}; None is all")
        if not (largest > 0 and math.isfinite(largest)):
            raise ValueError(f"largest is {largest}, but sliders need a positive number, such as 0.2")
        self._model, self._vectors = model, dict(vectors)
        self._seconds = seconds
        self._measures = dict(measures or {"BPM": tempo, "Hz (spectral centroid)": spectral_centroid})
        self._made: _Settings | None = None
        self.clips: Clips | None = None

        wide, style = widgets.Layout(width="min(100%, 36rem)"), {"description_width": "9rem"}
        self.prompt = widgets.Text(prompt, description="prompt", layout=wide, style=style)
        self.multipliers = {
            name: widgets.FloatSlider(
                0.0,
                min=-largest,
                max=largest,
                step=largest / 20,
                description=f"λ {name}",
                readout_format=".3f",
                continuous_update=False,
                layout=wide,
                style=style,
            )
            for name in vectors
        }
        self.layer = widgets.Dropdown(
            options=[(_EACH_ITS_OWN, None), *((str(block), block) for block in range(blocks))],
            value=layer,
            description="direction of layer",
            layout=wide,
            style=style,
        )
        self.seed = widgets.BoundedIntText(
            0, min=0, max=_LARGEST_SEED, description="seed", layout=wide, style=style
        )
        self.guidance = widgets.FloatSlider(
            3.0, min=1.0, max=10.0, step=0.5, description="guidance (CFG)", layout=wide, style=style
        )
        self.button = widgets.Button(description="Generate and play", button_style="primary", icon="play")
        self.message, self.result = widgets.HTML(), widgets.HTML()
        self.button.on_click(self._clicked)
        self.widget = widgets.VBox(
            [
                self.prompt,
                *self.multipliers.values(),
                self.layer,
                self.seed,
                self.guidance,
                self.button,
                self.message,
                self.result,
            ]
        )

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    def _clicked(self, _: widgets.Button) -> None:
        settings = self._settings()
        if not settings[0]:
            self._say("The prompt is empty: describe some music, such as “a folk song”.")
        elif settings == self._made:
            # The second half of a double click, too, arrives here, after the first has been served.
            self._say("Nothing has changed: the same settings make the same clip.")
        else:
            self.button.disabled = True
            self._say("Generating …")
            try:
                self._generate(settings)
            except (ValueError, RuntimeError, OSError) as error:
                self._say(f"That did not work: {error}")
            finally:
                self.button.disabled = False

    def _settings(self) -> _Settings:
        return (
            self.prompt.value.strip(),
            tuple(slider.value for slider in self.multipliers.values()),
            self.layer.value,
            self.seed.value,
            self.guidance.value,
        )

    def _generate(self, settings: _Settings) -> None:
        prompt, multipliers, layer, seed, guidance = settings
        steering = tuple(
            Steering(vector, multiplier, source_layer=layer)
            for vector, multiplier in zip(self._vectors.values(), multipliers, strict=True)
            if multiplier
        )
        wanted = [None, steering] if steering else [None]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", message="these words of the prompts")
            clips = generate(
                self._model,
                [prompt] * len(wanted),
                seconds=self._seconds,
                seed=seed,
                steering=wanted,
                sampling=Sampling(guidance),
                run=Run(progress=False),
            )
        measured = {unit: measure(clips) for unit, measure in self._measures.items()}
        named = " + ".join(
            f"{value:+.3g} {name}" for name, value in zip(self._vectors, multipliers, strict=True) if value
        )
        labels = ["λ = 0: not steered", f"steered: {named}"][: len(clips)]
        players = listen.players(
            dict(zip(labels, clips.audio, strict=True)),
            clips.sample_rate,
            label=prompt,
            spectrogram=True,
            embed=True,
        )
        self.result.value = players.data + _table(labels, measured)
        self.clips, self._made = clips, settings
        self._say(" ".join(f"Note: {warning.message}." for warning in caught))

    def _say(self, text: str) -> None:
        self.message.value = f'<p role="status">{html.escape(text)}</p>' if text else ""


def _table(labels: list[str], measured: Mapping[str, Any]) -> str:
    def number(value: float) -> str:
        return f"{value:.0f}" if np.isfinite(value) else "not measurable"

    head = "".join(f"<th>{html.escape(label)}</th>" for label in ["", *labels])
    rows = "".join(
        f"<tr><th>{html.escape(unit)}</th>{''.join(f'<td>{number(value)}</td>' for value in values)}</tr>"
        for unit, values in measured.items()
    )
    return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
