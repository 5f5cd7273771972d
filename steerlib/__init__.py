"""Activation steering of music models: the helper module of an open, reproducible companion to two papers.

The flow, and the modules in their order (each imports only from those before it)::

    prompts -> activations -> directions -> steering -> generation -> metrics -> statistics -> figures -> book

    model, processor = load_model("pocket")
    vector = diff_mean(extract_activations(model, processor, load_attribute("tempo")))
    with vector.apply(model, multiplier=0.1, source_layer=5):
        clips = generate(model, processor, ["a folk song"])
    tempo(clips), spectral_centroid(clips)

The wings: `engine` (many clips, one batch), `sweeps` (settings x prompts x seeds, stored), `measure` (numbers
from sound), `readout` (what can be read from activations), `evidence` (intervals, choices, verdicts), `page` (what
a reader sees and hears), `music` (the music that we compose), `pocket` (the workshop that trained the pocket model).
"""

from steerlib.activations import Activations, extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.generation import Clips, generate
from steerlib.measure import onset_rate, spectral_centroid, tempo
from steerlib.model import load_model
from steerlib.prompts import load_attribute, load_prompts
from steerlib.steering import Steering, SteeringVector
from steerlib.sweeps.grid import sweep

__all__ = [
    "Activations",
    "Clips",
    "Steering",
    "SteeringVector",
    "diff_mean",
    "extract_activations",
    "generate",
    "load_attribute",
    "load_model",
    "load_prompts",
    "onset_rate",
    "spectral_centroid",
    "sweep",
    "tempo",
]
