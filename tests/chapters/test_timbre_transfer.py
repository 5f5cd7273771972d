"""Tunes that are played and steered, and what a vector did to them."""

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from steerlib.activations import Activations
from steerlib.chapters import timbre_transfer as chapter
from steerlib.engine.generation import Run, generate
from steerlib.music.datasets import AudioSet
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
    assert table["nll"].notna().all()
    other = chapter.play_tunes(study, tunes, steered=[], seed=1, **play)
    assert set(other["key"]).isdisjoint(table["key"])
    named = chapter.words(study, tunes, table, instruments=["flute", "violin"])
    assert named[named["multiplier"] == 1]["prompt"].tolist() == [
        f"{prompt} with a {name}" for name in ("flute", "violin") for prompt in prompts
    ]
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


CHOSEN = pd.DataFrame({"direction": ["pieces", "notes"], "multiplier": [0.1, 0.2], "within": True})
KINDS = {"pieces": ("flute", "violin"), "notes": ("flute", "violin")}


def clips(outcomes, *, tunes=12, plain=0.4):
    """What `by_vector` makes of tunes: by direction, the share of tunes with the instrument, and of chroma kept."""
    rows = []
    for direction, (rise, kept) in outcomes.items():
        for target in ("flute", "violin"):
            for tune in range(tunes):
                up = 0.3 * (tune < rise * tunes)
                for multiplier, score, chroma in ((0.0, 0.1, plain), (0.1, 0.1 + up, kept * plain)):
                    rows.append({
                        "direction": direction, "target": target, "tune": tune, "multiplier": multiplier,
                        "score": score, "chroma": chroma,
                    })  # fmt: skip
    return pd.DataFrame(rows)


def played_again(*, kept, tunes=12):
    return pd.DataFrame(
        {"tune": range(tunes), "chroma": [0.4 if tune < kept * tunes else 0.1 for tune in range(tunes)]}
    )


def idle(rise=0.05):
    return {
        f"{kind}, {control}": (rise, 1.0)
        for kind in KINDS
        for control in ("random direction", "shuffled labels")
    }


@pytest.mark.parametrize(
    ("rise", "kept", "again", "expected"),
    [
        (1.0, 0.9, 1.0, "supported"),
        (1.0, 0.3, 1.0, "not supported"),  # the instrument comes, the tune goes
        (0.1, 1.0, 1.0, "not supported"),  # the tune stays, and nothing else happens
        (1.0, 0.9, 0.2, "not testable"),  # the model itself does not keep the tune
    ],
)
def test_a_transfer_needs_the_instrument_and_the_tune(study, tmp_path, rise, kept, again, expected):
    study.scores = tmp_path / "scores"
    table = clips(dict.fromkeys(KINDS, (rise, kept)) | idle())
    verdict = chapter.verdict(study, table, played_again(kept=again), CHOSEN)
    assert verdict.verdict == expected
    assert set(verdict.parts) == set(KINDS)


def test_what_random_directions_do_as_well_is_no_transfer(study, tmp_path):
    study.scores = tmp_path / "scores"
    table = clips(dict.fromkeys(KINDS, (1.0, 0.9)) | idle(1.0))
    assert chapter.verdict(study, table, played_again(kept=1.0), CHOSEN).verdict == "not shown"
    shares = chapter.shares(table).set_index("name")
    assert shares["effect"].tolist() == [1] * 6 and shares["kept"].tolist() == [1] * 6


def test_a_tune_that_was_never_followed_cannot_be_kept():
    assert chapter.shares(clips({"pieces": (1.0, 1.0)}, plain=-0.1))["kept"].tolist() == [0]


def test_directions_have_controls_of_their_length_and_the_strength_of_their_kind(rng):
    labels = np.repeat(["flute", "violin", "piano"], 4)
    table = pd.DataFrame({"label": labels})
    sounds = {kind: AudioSet(np.zeros((12, 10), np.float32), 16000, table) for kind in KINDS}
    heard = {
        kind: Activations(
            torch.tensor(rng.normal(size=(12, 3, 32)), dtype=torch.float32), None, tuple("abcdefghijkl")
        )
        for kind in KINDS
    }
    found = chapter.directions(heard, sounds, ["flute", "violin"], method="mse", penalty=10.0, seed=0)
    assert len(found) == 2 * 2 * 3
    for (direction, name), vector in found.items():
        torch.testing.assert_close(vector.norms, found["pieces", "flute"].norms)
        if ", " in direction:
            assert (vector.cosine_similarity(found[direction.split(",")[0], name]).diagonal() < 0.9).all()
    ways = chapter.allowed(CHOSEN, ["flute"])
    assert ways == [(("pieces", "flute"), 0.1), (("notes", "flute"), 0.2)]
    assert set(chapter.controls(ways)) <= {(key, size) for key in found for size in (0.1, 0.2)}
