"""Activation steering of music models: the helper module of an open, reproducible companion to two papers.

    model = load_model("pocket")
    vector = diff_mean(extract_activations(model, load_attribute("tempo")))
    with vector.apply(model, multiplier=0.1, source_layer=5):
        clips = generate(model, ["a folk song"])
    tempo(clips), spectral_centroid(clips)

The house, from the ground up. A module imports from its own wing and from the lines above it, and from no other:

    files       where data is; files written whole
    evidence    intervals, choices and verdicts
    music       the music that we compose and render, and the pocket model's codec
    measure     numbers from sound
    prompts     attributes and lists of prompts
    model       a model, and what everybody asks of it
    steering    a vector, and how it acts on a model
    engine      many clips in one batch
    activations what a model makes of prompts or of audio
    directions  vectors from activations
    readout     what can be read from activations: probes, clusters, structure
    sweeps      settings x prompts x seeds, stored
    control     a number that is wanted, and the λ that reaches it
    page        what a reader sees and hears
    study       one chapter's model, attributes, prompts, judges and store
    yardsticks  what an effect is held against: pushes that mean nothing, words, and what it costs
    chapters    figures, tables and checks that one chapter has
    pocket      the workshop that trained the pocket model
    cli         the command line
"""

from steerlib.activations import extract_activations
from steerlib.directions import diff_mean
from steerlib.engine.generation import Run, generate
from steerlib.engine.sampling import Sampling
from steerlib.measure import spectral_centroid, tempo
from steerlib.model import load_model
from steerlib.prompts import load_attribute, load_prompts
from steerlib.steering import Steering, SteeringVector
from steerlib.study import Study
from steerlib.sweeps.grid import Grid, sweep

__all__ = [
    "Grid",
    "Run",
    "Sampling",
    "Steering",
    "SteeringVector",
    "Study",
    "diff_mean",
    "extract_activations",
    "generate",
    "load_attribute",
    "load_model",
    "load_prompts",
    "spectral_centroid",
    "sweep",
    "tempo",
]
