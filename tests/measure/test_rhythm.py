"""Tempo of beats whose tempo is known, and a tracker against the package it comes from."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from beat_this.inference import Audio2Beats
from beat_this.model.beat_tracker import BeatThis
from beat_this.preprocessing import LogMelSpect
from signals import RATE, clicks, tone

from steerlib import measure
from steerlib.measure import rhythm
from steerlib.measure.known import learned
from steerlib.music.datasets import pocket_clips


@pytest.mark.parametrize("bpm", [52.3, 90.0, 133.7, 176.5, 199.1])
def test_tempo_is_exact_on_a_grid_of_50_frames_where_the_median_interval_is_not(bpm):
    times = np.round((0.17 + np.arange(0, 8, 60 / bpm)) * 50) / 50
    assert measure.tempo_from_beats(times) == pytest.approx(bpm, rel=0.006)


def test_the_median_interval_would_misread_this_tempo():
    times = np.round(np.arange(0, 8, 60 / 172) * 50) / 50  # intervals of 17 and 18 frames
    assert abs(60 / np.median(np.diff(times)) - 172) > 4
    assert measure.tempo_from_beats(times) == pytest.approx(172, rel=0.006)


@pytest.mark.parametrize("missing", [[3], [0], [7, 8], [2, 5, 11]])
def test_missed_beats_do_not_move_the_tempo(rng, missing):
    times = np.delete(np.arange(14) * 60 / 110 + rng.normal(scale=0.01, size=14), missing)
    assert measure.tempo_from_beats(times) == pytest.approx(110, rel=0.015)


@pytest.mark.parametrize("offset", [-0.3, 0.1, 0.24, 0.26, 0.9, 2.24])
def test_a_doubled_beat_does_not_move_the_tempo(rng, offset):
    times = np.arange(12) * 0.5 + rng.normal(scale=0.005, size=12)
    assert measure.tempo_from_beats(np.sort([*times, 2.0 + offset])) == pytest.approx(120, rel=0.015)


def test_a_long_gap_on_a_coarse_grid_is_counted_right():
    times = np.round(np.arange(0, 12, 60 / 172) * 50) / 50
    assert measure.tempo_from_beats(times[(times < 4) | (times > 8)]) == pytest.approx(172, rel=0.006)


def test_beats_without_any_pulse_still_give_a_finite_number():
    assert np.isfinite(
        measure.tempo_from_beats([0.0, 0.3, 1.3, 1.6, 2.6])
    )  # the median lies between the intervals


def test_fewer_than_four_beats_have_no_tempo():
    assert np.isnan(measure.tempo_from_beats([0.0, 0.5, 1.0]))
    assert np.isnan(measure.tempo_from_beats([]))


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([0, 11025, 22050, 33075], "are these times in seconds"),
        ([0.0, 1.0, 0.5, 1.5], "sort them first"),
        ([0.0, 0.5, np.nan, 1.5], "finite"),
        ([[0.0, 0.5, 1.0, 1.5]], "flat list"),
    ],
)
def test_beat_times_that_cannot_be_right_are_refused(times, message):
    with pytest.raises(ValueError, match=message):
        measure.tempo_from_beats(times)


@pytest.fixture(scope="module")
def beat_checkpoint(tmp_path_factory):
    """A random tracker, its threshold within the range of its output: it hears arbitrary beats, but many."""
    torch.manual_seed(0)
    small = {"transformer_dim": 16, "n_layers": 1, "head_dim": 8, "stem_dim": 8}
    model = BeatThis(**small).eval()
    mel = LogMelSpect()(
        torch.tensor(clicks(np.arange(0, 6, 0.5), seconds=6, rate=22050), dtype=torch.float32)
    )
    with torch.no_grad():
        model.task_heads.beat_downbeat_lin.bias[0] -= model(mel[None])["beat"].median()
    path = tmp_path_factory.mktemp("beats") / "tiny.ckpt"
    state = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": small}, path)
    return path


@pytest.mark.parametrize("seconds", [2, 32])  # 32 s is longer than one chunk of the tracker
def test_a_batch_has_the_beats_that_the_package_finds_clip_by_clip(rng, beat_checkpoint, seconds):
    onsets = [np.cumsum(rng.uniform(0.2, 0.8, size=5 * seconds)) for _ in range(3)]
    audio = np.stack([clicks(t[t < seconds], seconds=seconds) for t in onsets])
    audio = (audio + rng.normal(scale=0.01, size=audio.shape)).astype(np.float32)  # no ties between peaks
    one_by_one = Audio2Beats(str(beat_checkpoint))
    expected = [one_by_one(clip, RATE)[0] for clip in audio]
    found = measure.beats(audio, sample_rate=RATE, checkpoint=beat_checkpoint, batch_size=2)
    assert min(map(len, expected)) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tempo_is_the_tempo_of_the_beats(beat_checkpoint):
    audio = np.stack([clicks(np.arange(0.1, 4, 0.5), seconds=4), np.zeros(4 * RATE)])
    clips = SimpleNamespace(audio=audio, sample_rate=RATE)
    expected = [measure.tempo_from_beats(times) for times in measure.beats(clips, checkpoint=beat_checkpoint)]
    assert np.isfinite(expected[0])
    np.testing.assert_array_equal(measure.tempo(clips, checkpoint=beat_checkpoint), expected)


def test_a_missing_checkpoint_says_how_to_make_or_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"steerlib.pocket beats.*final0"):
        measure.tempo(np.zeros((1, RATE)), sample_rate=RATE, checkpoint=tmp_path / "none.ckpt")


def test_a_public_beat_tracker_that_cannot_be_had_says_what_to_download_and_where_to_put_it(
    monkeypatch, tmp_path
):
    def fail(url, path):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    with pytest.raises(
        FileNotFoundError, match=r"beat_this-final0\.ckpt.*no network.*final0\.ckpt elsewhere and put"
    ):
        measure.beats(tone(500)[None], sample_rate=RATE, checkpoint="final0")


def test_a_beat_tracker_is_read_without_unpickling(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(ValueError, match=r"trap\.ckpt is no BeatThis checkpoint, .* \(UnpicklingError\)"):
        measure.beats(tone(500)[None], sample_rate=RATE, checkpoint=tmp_path / "trap.ckpt")
    assert not (tmp_path / "ran").exists()


def test_confidence_is_high_for_a_regular_pulse_and_zero_without_one():
    probability = np.full(400, 0.02)
    times = np.arange(0, 8, 0.5)
    probability[(times * 50).astype(int)] = 0.9
    assert rhythm.confidence(probability, times, 120.0) == pytest.approx(0.9)
    probability[(times[::2] * 50).astype(int)] = 0.02
    assert rhythm.confidence(probability, times, 120.0) == pytest.approx(0.46, abs=0.05)
    assert rhythm.confidence(probability, times[:2], float("nan")) == 0


def test_the_sure_tempo_is_the_tempo_where_the_tracker_is_sure_and_nothing_elsewhere(rng):
    composed = pocket_clips(1, classes=["rock", "folk"], progress=False)
    noise = rng.normal(scale=0.1, size=composed.audio.shape)
    audio = np.concatenate([composed.audio, noise]).astype(np.float32)
    bpm, sure = rhythm.tempo_and_confidence(audio, sample_rate=RATE)
    np.testing.assert_array_equal(bpm, measure.tempo(audio, sample_rate=RATE))
    found = rhythm.sure_tempo(audio, sample_rate=RATE)
    np.testing.assert_array_equal(found, np.where(sure >= learned()["sure"], bpm, np.nan))
    assert np.isfinite(found[:2]).all() and np.isnan(found[2:]).all()
