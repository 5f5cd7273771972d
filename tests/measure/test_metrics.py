"""Metrics against signals and distributions whose truth is known."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from beat_this.inference import Audio2Beats
from beat_this.model.beat_tracker import BeatThis
from beat_this.preprocessing import LogMelSpect
from scipy.linalg import sqrtm
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor, PreTrainedTokenizerFast

from steerlib.measure import metrics

RATE = 16000


def tone(frequency, *, seconds=2.0, rate=RATE, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def clicks(times, *, seconds, rate=RATE):
    """Noise bursts of 30 ms with a fast decay at the given times."""
    audio = np.zeros(int(seconds * rate))
    burst = np.random.default_rng(0).normal(size=int(0.03 * rate)) * np.exp(
        -np.linspace(0, 6, int(0.03 * rate))
    )
    for time in times:
        start = int(time * rate)
        audio[start : start + len(burst)] += 0.3 * burst[: len(audio) - start]
    return audio


# --- tempo from beats ---


@pytest.mark.parametrize("bpm", [52.3, 90.0, 133.7, 176.5, 199.1])
def test_tempo_is_exact_on_a_grid_of_50_frames_where_the_median_interval_is_not(bpm):
    times = np.round((0.17 + np.arange(0, 8, 60 / bpm)) * 50) / 50
    assert metrics.tempo_from_beats(times) == pytest.approx(bpm, rel=0.006)


def test_the_median_interval_would_misread_this_tempo():
    times = np.round(np.arange(0, 8, 60 / 172) * 50) / 50  # intervals of 17 and 18 frames
    assert abs(60 / np.median(np.diff(times)) - 172) > 4
    assert metrics.tempo_from_beats(times) == pytest.approx(172, rel=0.006)


@pytest.mark.parametrize("missing", [[3], [0], [7, 8], [2, 5, 11]])
def test_missed_beats_do_not_move_the_tempo(rng, missing):
    times = np.delete(np.arange(14) * 60 / 110 + rng.normal(scale=0.01, size=14), missing)
    assert metrics.tempo_from_beats(times) == pytest.approx(110, rel=0.015)


@pytest.mark.parametrize("offset", [-0.3, 0.1, 0.24, 0.26, 0.9, 2.24])
def test_a_doubled_beat_does_not_move_the_tempo(rng, offset):
    times = np.arange(12) * 0.5 + rng.normal(scale=0.005, size=12)
    assert metrics.tempo_from_beats(np.sort([*times, 2.0 + offset])) == pytest.approx(120, rel=0.015)


def test_a_long_gap_on_a_coarse_grid_is_counted_right():
    times = np.round(np.arange(0, 12, 60 / 172) * 50) / 50
    assert metrics.tempo_from_beats(times[(times < 4) | (times > 8)]) == pytest.approx(172, rel=0.006)


def test_beats_without_any_pulse_still_give_a_finite_number():
    assert np.isfinite(
        metrics.tempo_from_beats([0.0, 0.3, 1.3, 1.6, 2.6])
    )  # the median lies between the intervals


def test_fewer_than_four_beats_have_no_tempo():
    assert np.isnan(metrics.tempo_from_beats([0.0, 0.5, 1.0]))
    assert np.isnan(metrics.tempo_from_beats([]))


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
        metrics.tempo_from_beats(times)


# --- the beat tracker ---


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
    found = metrics.beats(audio, sample_rate=RATE, checkpoint=beat_checkpoint, batch_size=2)
    assert min(map(len, expected)) > 3
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_tempo_is_the_tempo_of_the_beats(beat_checkpoint):
    audio = np.stack([clicks(np.arange(0.1, 4, 0.5), seconds=4), np.zeros(4 * RATE)])
    clips = SimpleNamespace(audio=audio, sample_rate=RATE)
    expected = [metrics.tempo_from_beats(times) for times in metrics.beats(clips, checkpoint=beat_checkpoint)]
    assert np.isfinite(expected[0])
    np.testing.assert_array_equal(metrics.tempo(clips, checkpoint=beat_checkpoint), expected)


def test_a_missing_checkpoint_says_how_to_make_or_get_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"steerlib.pocket beats.*final0"):
        metrics.tempo(np.zeros((1, RATE)), sample_rate=RATE, checkpoint=tmp_path / "none.ckpt")


# --- centroid and onsets ---


@pytest.mark.parametrize("rate", [16000, 22050, 32000])
@pytest.mark.parametrize("frequency", [440, 1000, 3000])
def test_the_centroid_of_a_tone_is_its_frequency_at_any_rate(frequency, rate):
    audio = tone(frequency, rate=rate)[None]
    assert metrics.spectral_centroid(audio, sample_rate=rate)[0] == pytest.approx(frequency, rel=0.03)


def test_the_centroid_weighs_frames_by_energy():
    audio = np.concatenate([tone(500, amplitude=0.5), tone(5000, amplitude=0.05)])[None]
    expected = (500 * 0.5**2 + 5000 * 0.05**2) / (0.5**2 + 0.05**2)
    assert metrics.spectral_centroid(audio, sample_rate=RATE)[0] == pytest.approx(expected, rel=0.05)


def test_the_centroid_of_equal_tones_lies_between_them():
    audio = (tone(1000) + tone(3000))[None]
    assert metrics.spectral_centroid(audio, sample_rate=RATE)[0] == pytest.approx(2000, rel=0.03)


def test_silence_has_no_centroid_and_no_onsets():
    audio = np.stack([np.zeros(2 * RATE), tone(440)])
    centroid = metrics.spectral_centroid(audio, sample_rate=RATE)
    assert np.isnan(centroid[0]) and np.isfinite(centroid[1])
    assert metrics.onset_rate(audio, sample_rate=RATE)[0] == 0


@pytest.mark.parametrize("rate_of_clicks", [2, 4, 7])
def test_the_onset_rate_counts_noise_bursts(rate_of_clicks):
    audio = clicks(np.arange(0.1, 7.95, 1 / rate_of_clicks), seconds=8)[None]
    assert metrics.onset_rate(audio, sample_rate=RATE)[0] == pytest.approx(rate_of_clicks, abs=0.26)


def test_each_clip_has_its_own_value(rng):
    audio = np.stack([tone(500), tone(2000), 0.1 * rng.normal(size=2 * RATE)])
    for metric in (metrics.spectral_centroid, metrics.onset_rate):
        together = metric(audio, sample_rate=RATE)
        alone = [metric(clip[None], sample_rate=RATE)[0] for clip in audio]
        np.testing.assert_allclose(together, alone)


# --- likeness ---


def test_a_clip_is_like_itself():
    audio = (clicks([0.2, 0.7, 1.1, 1.6], seconds=2) + tone(440, amplitude=0.1))[None]
    assert metrics.chroma_correlation(audio, audio, sample_rate=RATE)[0] == pytest.approx(1)
    assert metrics.onset_envelope_correlation(audio, audio, sample_rate=RATE)[0] == pytest.approx(1)
    assert metrics.log_spectral_distance(audio, audio, sample_rate=RATE)[0] == 0


def test_log_spectral_distance_of_a_scaled_clip_is_the_gain_in_decibels(rng):
    noise = 0.1 * rng.normal(size=(1, 2 * RATE))
    assert metrics.log_spectral_distance(noise, noise / 2, sample_rate=RATE)[0] == pytest.approx(
        6.02, abs=0.05
    )


def test_log_spectral_distance_is_at_most_the_floor(rng):
    noise = 0.1 * rng.normal(size=(1, 2 * RATE))
    distance = metrics.log_spectral_distance(noise, np.zeros_like(noise), sample_rate=RATE)[0]
    assert 40 < distance <= 60


def test_chroma_tells_the_same_chord_in_another_octave_from_another_chord():
    chord = tone(261.63) + tone(329.63) + tone(392.00)
    octave = tone(523.25) + tone(659.26) + tone(783.99)
    other = tone(277.18) + tone(369.99) + tone(466.16)
    same, different = metrics.chroma_correlation(
        np.stack([chord, chord]), np.stack([octave, other]), sample_rate=RATE
    )
    assert same > 0.8 and different < 0.2


def test_the_onset_envelope_follows_rhythm_not_pitch():
    rhythm = [0.2, 0.5, 1.1, 1.6]
    envelope = np.sqrt(np.abs(clicks(rhythm, seconds=2)))
    high, low = envelope * tone(3000), envelope * tone(1500)
    shifted = np.roll(low, RATE // 6)
    same, late = metrics.onset_envelope_correlation(
        np.stack([high, high]), np.stack([low, shifted]), sample_rate=RATE
    )
    assert same > 0.7 and late < 0.3


def test_a_silent_reference_has_no_likeness():
    silent, loud = np.zeros((1, RATE)), tone(440, seconds=1)[None]
    for metric in (
        metrics.chroma_correlation,
        metrics.onset_envelope_correlation,
        metrics.log_spectral_distance,
    ):
        assert np.isnan(metric(silent, loud, sample_rate=RATE)[0])


def test_clips_of_other_lengths_cannot_be_compared():
    with pytest.raises(ValueError, match="compared in pairs"):
        metrics.log_spectral_distance(tone(440)[None], tone(440, seconds=1)[None], sample_rate=RATE)


# --- levels of bands ---


def test_the_level_of_a_band_is_that_of_the_tones_in_it():
    time = np.arange(2 * RATE) / RATE
    audio = (np.sin(2 * np.pi * 500 * time) + 0.1 * np.sin(2 * np.pi * 3000 * time))[None]
    low, high = (
        metrics.band_level(audio, sample_rate=RATE, **band) for band in ({"high": 2000}, {"low": 2000})
    )
    assert low[0] == pytest.approx(-3.01, abs=0.01)
    assert high[0] == pytest.approx(-23.01, abs=0.01)
    assert metrics.band_level(0.5 * audio, sample_rate=RATE, low=2000)[0] == pytest.approx(-29.03, abs=0.01)


def test_bands_add_up_to_the_whole_and_silence_has_no_level(rng):
    audio = 0.1 * rng.normal(size=(2, RATE))
    audio[1] = 0
    parts = [metrics.band_level(audio, sample_rate=RATE, low=a, high=a + 4000) for a in (0, 4000)]
    whole = 10 * np.log10((audio[0] ** 2).mean())
    assert 10 * np.log10(sum(10 ** (part[0] / 10) for part in parts)) == pytest.approx(whole, abs=0.01)
    assert np.isnan(parts[0][1])


def test_a_band_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="within 0 to 8000 Hz"):
        metrics.band_level(np.ones((1, RATE)), sample_rate=RATE, low=9000)


# --- mode ---


def chord(*pitches):
    return sum(tone(440 * 2 ** ((pitch - 69) / 12), amplitude=0.1) for pitch in pitches)


@pytest.mark.parametrize("tonic", [55, 60, 66])
def test_major_cadences_lie_above_minor_ones_in_any_key(tonic):
    third = {"major": 4, "minor": 3}
    cadences = [
        np.concatenate(
            [chord(*(tonic + root + step for step in (-12, 0, third[mode], 7))) for root in (0, 5, 0)]
        )
        for mode in ("major", "minor")
    ]
    major, minor = metrics.mode(np.stack(cadences).astype(np.float32), sample_rate=RATE)
    assert major > 0 > minor


def test_silence_has_no_mode():
    assert np.isnan(metrics.mode(np.zeros((1, RATE)), sample_rate=RATE)).all()


# --- Fréchet distance ---


def test_frechet_distance_agrees_with_the_matrix_square_root(rng):
    x = rng.normal(size=(40, 5)) @ rng.normal(size=(5, 5))
    y = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5)) + 1
    a, b = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert metrics.frechet_distance(x, y) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_gaussian_clouds_is_the_closed_form(rng):
    scales = np.array([0.5, 1.0, 2.0])
    x = rng.normal(size=(20000, 3))
    y = rng.normal(size=(20000, 3)) * scales + 1
    assert metrics.frechet_distance(x, y) == pytest.approx(3 + ((1 - scales) ** 2).sum(), rel=0.03)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_with_collinear_dimensions(rng):
    x = rng.normal(size=(50, 4))
    x = np.hstack([x, x @ rng.normal(size=(4, 4))])  # rank 4 in 8 dimensions
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-5)


def test_extrapolation_removes_the_bias_of_small_samples(rng):
    dimensions, truth = 16, 4.0
    plain, infinite = [], []
    for repeat in range(10):
        x, y = rng.normal(size=(2, 120, dimensions))
        y[:, 0] += 2
        plain.append(metrics.frechet_distance(x, y))
        infinite.append(metrics.frechet_infinity(x, y, seed=repeat))
    assert np.mean(plain) > truth + 1
    assert abs(np.mean(infinite) - truth) < 0.3


def test_windows_of_a_clip_are_drawn_together(rng):
    # Eight equal windows a clip: 480 rows, but only 60 independent ones, and the bias is that of 60.
    x, y = (np.repeat(rng.normal(size=(60, 1, 6)), 8, axis=1) for _ in range(2))
    by_clip = metrics.frechet_infinity(x, y)
    by_window = metrics.frechet_infinity(x.reshape(-1, 6), y.reshape(-1, 6))
    assert abs(by_clip) < 0.5 * by_window


def test_fewer_rows_than_dimensions_are_refused(rng):
    with pytest.raises(ValueError, match="8 rows for 8 dimensions"):
        metrics.frechet_distance(rng.normal(size=(8, 8)), rng.normal(size=(50, 8)))
    with pytest.raises(ValueError, match="1.5 times"):
        metrics.frechet_infinity(rng.normal(size=(10, 8)), rng.normal(size=(50, 8)))
    with pytest.raises(ValueError, match="one model for both"):
        metrics.frechet_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 5)))


# --- CLAP ---


@pytest.fixture(scope="module")
def clap_folder(tmp_path_factory):
    """A random ClapModel of the public architecture, in small."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clap")
    words = ["<s>", "<pad>", "</s>", "<unk>", "This", "is", "a", "sound", "of", ".", "rock", "folk", "jazz"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>", model_max_length=30
    )
    text = {"vocab_size": len(words), "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 16, "max_position_embeddings": 40, "pad_token_id": 1}
    audio = {"spec_size": 64, "num_mel_bins": 16, "window_size": 4, "patch_embeds_hidden_size": 8}
    audio |= {"depths": [1, 1], "num_attention_heads": [1, 2], "hidden_size": 16, "num_hidden_layers": 2}
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=8))
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=16, sampling_rate=24000, max_length_s=3, truncation="rand_trunc", padding="repeatpad"
    )
    ClapProcessor(extractor, tokenizer).save_pretrained(folder)
    return folder


def test_clap_scores_keep_the_order_of_the_labels(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(3, 2 * RATE))
    labels = ["rock", "folk", "jazz"]
    scores = metrics.clap_scores(audio, labels, sample_rate=RATE, model=clap_folder)
    backwards = metrics.clap_scores(audio, labels[::-1], sample_rate=RATE, model=clap_folder)
    assert scores.shape == (3, 3)
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores, backwards[:, ::-1], rtol=1e-4)
    assert np.ptp(scores, axis=1).min() > 0


def test_clap_hears_the_beginning_of_a_clip_longer_than_its_window(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(2, 5 * RATE))
    long = metrics.clap_scores(audio, ["rock", "folk"], sample_rate=RATE, model=clap_folder)
    again = metrics.clap_scores(audio, ["rock", "folk"], sample_rate=RATE, model=clap_folder)
    np.testing.assert_array_equal(long, again)


@pytest.mark.parametrize(
    ("labels", "template", "message"),
    [
        (["rock"], "a {}", "two different"),
        (["rock", "rock"], "a {}", "two different"),
        ("rock", "a {}", "two different"),
        (["rock", "folk"], "a sound", "no {}"),
    ],
)
def test_labels_that_leave_no_choice_are_refused(labels, template, message):
    with pytest.raises(ValueError, match=message):
        metrics.clap_scores(np.zeros((1, RATE)), labels, sample_rate=RATE, template=template)


def test_clap_embeddings_have_one_row_for_each_window(clap_folder, rng):
    audio = 0.1 * rng.normal(size=(2, 4 * RATE))
    embeddings = metrics.clap_embeddings(audio, sample_rate=RATE, model=clap_folder, window=1.0, batch_size=3)
    assert embeddings.shape == (2, 4, 8)
    alone = metrics.clap_embeddings(
        audio[1:, RATE : 2 * RATE], sample_rate=RATE, model=clap_folder, window=1.0
    )
    correlation = np.corrcoef(embeddings[1, 1], alone[0, 0])[0, 1]  # resampling sees other neighbours
    assert correlation > 0.999
    assert np.abs(np.linalg.norm(embeddings, axis=-1) - 1).max() > 0.01  # not normalised


def test_an_impossible_window_is_refused(clap_folder):
    with pytest.raises(ValueError, match="within the clip"):
        metrics.clap_embeddings(np.zeros((1, RATE)), sample_rate=RATE, model=clap_folder, window=2.0)
    with pytest.raises(ValueError, match="at most 3 s"):
        metrics.clap_embeddings(np.zeros((1, 8 * RATE)), sample_rate=RATE, model=clap_folder, window=4.0)


# --- bad audio ---


@pytest.mark.parametrize(
    ("audio", "rate", "error", "message"),
    [
        (np.zeros((1, RATE)), None, TypeError, "pass sample_rate"),
        (np.zeros((1, RATE)), 16000.5, TypeError, "whole number of Hz"),
        (np.zeros((1, RATE)), "16000", TypeError, "whole number of Hz"),
        (np.zeros((1, RATE)), 16, ValueError, "is this in kHz"),
        (np.zeros(RATE), RATE, ValueError, r"clip\[None\]"),
        (np.zeros((0, RATE)), RATE, ValueError, "no audio"),
        (np.zeros((1, 0)), RATE, ValueError, "no audio"),
        (np.zeros((RATE, 2)), RATE, ValueError, r"is the array \(samples, clips\)"),
        (np.zeros((1, RATE), dtype=np.int16), RATE, TypeError, "divide 16-bit samples by 32768"),
        (np.full((2, RATE), np.nan), RATE, ValueError, r"clips \[0, 1\] hold NaN"),
    ],
)
def test_audio_that_cannot_be_right_is_refused_with_a_hint(audio, rate, error, message):
    with pytest.raises(error, match=message):
        metrics.spectral_centroid(audio, sample_rate=rate)


def test_a_rate_that_contradicts_the_clips_is_refused():
    clips = SimpleNamespace(audio=np.zeros((1, RATE)), sample_rate=RATE)
    with pytest.raises(ValueError, match="leave it out"):
        metrics.onset_rate(clips, sample_rate=22050)


# --- judges that are not there ------------------------------------------------------------------------------


def test_a_public_clap_that_cannot_be_had_says_what_to_download_and_where_to_put_it(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        FileNotFoundError, match="hf download nobody/clap .*https://huggingface.co/nobody/clap.*path"
    ):
        metrics.clap_scores(tone(500)[None], ["rock", "folk"], sample_rate=RATE, model="nobody/clap")


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
        metrics.beats(tone(500)[None], sample_rate=RATE, checkpoint="final0")


def test_a_beat_tracker_is_read_without_unpickling(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": Trap()}, tmp_path / "trap.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="[Ww]eights"):
        metrics.beats(tone(500)[None], sample_rate=RATE, checkpoint=tmp_path / "trap.ckpt")
    assert not (tmp_path / "ran").exists()


def test_only_the_pocket_model_is_judged_by_the_pocket_judges():
    assert metrics.judges("pocket") == (None, None)
    assert metrics.judges("facebook/musicgen-melody") == ("final0", "laion/clap-htsat-unfused")
    assert metrics.judges("pocket", beats="mine.ckpt") == ("mine.ckpt", None)
    assert metrics.judges("elsewhere", clap="mine") == ("final0", "mine")
