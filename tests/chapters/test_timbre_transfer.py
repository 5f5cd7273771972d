"""Tunes that are played and steered, and what a vector did to them."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from steerlib.chapters import timbre_transfer as chapter
from steerlib.engine.generation import Run, generate
from steerlib.steering import Steering, SteeringVector
from steerlib.study import Study
from steerlib.sweeps import transfer


@pytest.fixture
def study(tiny, tmp_path):
    return Study("timbre_transfer", tiny, [], seconds=0.5, store=tmp_path)


def test_tunes_are_played_unsteered_and_steered_with_their_chroma(study, monkeypatch, rng):
    scores = lambda audio, labels, *, sample_rate, model: np.full((len(audio), len(labels)), 0.5)  # noqa: E731
    monkeypatch.setattr(transfer, "clap_scores", scores)
    audio, prompts = rng.normal(0, 0.2, (2, 8000)).astype(np.float32), ("a folk song", "slow jazz")
    tunes = chapter.Tunes(audio, 16000, prompts)
    vectors = {("a", "v"): SteeringVector(torch.from_numpy(rng.normal(0, 1, (3, 32)).astype(np.float32)), {})}
    play = {"vectors": vectors, "instruments": ["flute", "violin"]}
    table = chapter.play_tunes(study, tunes, steered=[(("a", "v"), 1.0)], **play)
    assert table["multiplier"].tolist() == [0, 0, 1, 1]
    assert table["tune"].tolist() == [0, 1, 0, 1]
    assert table["vector"].tolist() == [None, None, ("a", "v"), ("a", "v")]
    assert table["chroma"].between(-1, 1).all()
    assert (table[["flute", "violin"]] == 0.5).all(axis=None)
    extractor = study.model.processor.feature_extractor
    chroma = extractor(audio, sampling_rate=16000, return_tensors="pt").input_features
    steering = Steering(vectors["a", "v"], 1.0, preserve_norm=True)
    expected = generate(
        study.model, 2 * prompts, melody=chroma.repeat(2, 1, 1), steering=[None, None, steering, steering],
        seconds=0.5, run=Run(progress=False),
    )  # fmt: skip
    made = np.stack([soundfile.read(study.store / name)[0] for name in table["clip"]])
    np.testing.assert_allclose(made, expected.audio, atol=2e-4)  # 16 bit
    monkeypatch.setattr(extractor, "sampling_rate", 8000)  # another rate than that of the tunes
    assert len(chapter.play_tunes(study, tunes, steered=[], **play)) == 2


def test_every_tune_needs_a_prompt_that_names_no_instrument():
    with pytest.raises(ValueError, match="1 prompts for 2 tunes"):
        chapter.Tunes(np.zeros((2, 100), np.float32), 16000, ("a song",))
    with pytest.raises(ValueError, match="must not name an instrument"):
        chapter.compose_tunes(1, 0, "A {} song with a flute", 0.5, seed=0)


def test_a_vector_is_judged_by_its_own_instrument_against_the_same_tunes_unsteered():
    key = ("notes", "flute")
    table = pd.DataFrame(
        {
            "tune": [0, 1, 0, 1],
            "vector": [None, None, key, key],
            "multiplier": [0.0, 0.0, 0.1, 0.1],
            "flute": [0.1, 0.3, 0.4, 0.6],
            "violin": [0.9, 0.7, 0.6, 0.4],
            "chroma": [0.5, 0.5, 0.5, 0.1],
        }
    )
    effects = chapter.effects(table).set_index("kind")
    assert effects["name"].unique().tolist() == ["flute"]
    assert effects["effect"].to_dict() == pytest.approx({"notes: instrument": 0.3, "notes: tune": -0.2})
    assert effects["baseline"].to_dict() == pytest.approx({"notes: instrument": 0.2, "notes: tune": 0.5})
