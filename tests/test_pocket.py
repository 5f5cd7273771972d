"""The pocket model's corpus, codec and training: identities, on tiny sizes."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoModel, T5Config, T5EncoderModel

from steerlib import measure
from steerlib.music import captions, corpus
from steerlib.music.codec import SpectralCodec, SpectralCodecConfig
from steerlib.pocket import evaluate, judges, lm, training
from steerlib.pocket.training import fit

TINY = SpectralCodecConfig(
    num_quantizers=3, codebook_size=16, codebook_dim=8, encoder_size=8, latent_size=8, decoder_size=8, depth=2
)


@pytest.fixture(scope="module")
def codec() -> SpectralCodec:
    torch.manual_seed(0)
    made = SpectralCodec(TINY)
    nn.init.normal_(made.codebooks)
    return made.eval().requires_grad_(False)


# -- corpus


def test_a_seed_determines_truth_and_audio():
    (truth, audio), (again, same) = corpus.make(5), corpus.make(5)
    assert truth == again and np.array_equal(audio, same)
    assert corpus.make(6)[0] != truth


def test_beats_are_as_far_apart_as_the_tempo_says():
    truth, _ = corpus.compose(7)
    assert np.allclose(np.diff(truth.beats), 60 / truth.bpm, atol=2e-5)
    assert set(truth.downbeats) <= set(truth.beats) and truth.downbeats[0] == 0


def test_the_rendered_level_is_the_stated_one_and_never_clips():
    for seed in range(4):
        truth, audio = corpus.make(seed)
        assert np.abs(audio).max() <= 0.99 + 1e-6
        level = 20 * np.log10(np.sqrt(np.mean(audio**2)))
        assert level <= truth.level + 0.01
        if np.abs(audio).max() < 0.98:
            assert level == pytest.approx(truth.level, abs=0.01)


def test_a_lower_cutoff_sounds_darker_with_the_same_notes():
    truth, parts = corpus.compose(3)

    def centroid(cutoff: float) -> float:
        power = np.abs(np.fft.rfft(corpus.render(replace(truth, cutoff=cutoff), parts))) ** 2
        return float((power * np.arange(len(power))).sum() / power.sum())

    assert centroid(600) < centroid(2000) < centroid(8000)


def test_attributes_are_drawn_independently_of_style():
    truths = [corpus.compose(seed)[0] for seed in range(400)]
    for style in captions.STYLES:
        chosen = [np.log(t.bpm) for t in truths if t.style == style]
        others = [np.log(t.bpm) for t in truths if t.style != style]
        error = np.hypot(np.std(chosen) / len(chosen) ** 0.5, np.std(others) / len(others) ** 0.5)
        assert abs(np.mean(chosen) - np.mean(others)) < 4 * error


def test_a_caption_speaks_of_what_it_mentions_with_a_word_of_that_pole():
    for seed in range(200):
        truth, _ = corpus.compose(seed)
        said = " ".join(captions.words(truth.caption))
        assert set(captions.words(truth.caption)) <= set(captions.known_words())
        for name, poles in captions.ADJECTIVES.items():
            for pole, words in poles.items():
                named = any(f" {' '.join(captions.words(w))} " in f" {said} " for w in words)
                if truth.mentioned.get(name) == pole:
                    assert named, (truth.caption, name, pole)


# -- tokenizer


def test_every_caption_word_is_one_token_and_other_words_are_spelled():
    tokenizer = lm.make_processor().tokenizer
    ids = tokenizer(captions.known_words(), add_special_tokens=False).input_ids
    assert all(len(row) == 1 for row in ids)
    assert len({row[0] for row in ids}) == len(ids)
    spelled = tokenizer("zyx", add_special_tokens=False).input_ids
    assert len(spelled) == 4 and tokenizer.unk_token_id not in spelled


def test_a_prompt_ends_with_eos_and_ignores_case_and_punctuation():
    tokenizer = lm.make_processor().tokenizer
    plain, shouted = tokenizer("a fast rock song").input_ids, tokenizer("A FAST, rock song!").input_ids
    assert plain == shouted and plain[-1] == tokenizer.eos_token_id


# -- codec


def test_the_inverse_of_the_spectrogram_gives_the_audio_back(codec, rng):
    audio = torch.tensor(rng.normal(size=(2, 6400)), dtype=torch.float32) * 0.1
    back = codec.istft(codec.stft(audio))
    assert torch.allclose(back[:, 600:-600], audio[:, 600:-600], atol=1e-5)


def test_a_full_scale_sine_has_magnitude_one(codec):
    audio = torch.sin(2 * np.pi * 1000 * torch.arange(16_000) / 16_000)[None]
    assert codec.stft(audio).abs()[0, 25].max().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("frequency", [220.0, 447.3, 1234.5])
def test_a_sustained_tone_keeps_its_frequency_through_the_vocoder(codec, frequency):
    audio = 0.3 * torch.sin(2 * np.pi * frequency * torch.arange(32_000) / 16_000)[None]
    copy = codec.vocode(codec.decibels(audio))[0, 4000:28_000].numpy()
    spectrum = np.abs(np.fft.rfft(copy * np.hanning(len(copy))))
    found = spectrum.argmax() * 16_000 / len(copy)
    assert found == pytest.approx(frequency, abs=1.0)
    assert 20 * np.log10(np.sqrt(np.mean(copy**2)) / (0.3 / 2**0.5)) == pytest.approx(0, abs=1.0)


def test_codes_have_encodecs_shapes_and_decoding_ignores_the_batch(codec, rng):
    audio = torch.tensor(rng.normal(size=(3, 1, 3200)), dtype=torch.float32) * 0.1
    codes = codec.encode(audio).audio_codes
    assert codes.shape == (1, 3, 3, 5) and codes.max() < 16
    together = codec.decode(codes, None).audio_values
    alone = codec.decode(codes[:, 1:2], None).audio_values
    assert together.shape == (3, 1, 3200)
    assert torch.allclose(together[1:2], alone, atol=1e-4)


def test_quantising_a_sum_of_entries_finds_them(codec):
    codes = torch.tensor([[[3, 1], [5, 2], [7, 0]]])
    far = SpectralCodec(TINY).eval()
    far.codebooks.data = codec.codebooks.data * torch.tensor([100.0, 10.0, 1.0])[:, None, None]
    assert torch.equal(far.quantize(far.lookup(codes)), codes)


def test_stereo_audio_is_refused_with_the_shape_that_is_wanted(codec):
    with pytest.raises(ValueError, match=r"mono audio of shape \(batch, 1, samples\)"):
        codec.encode(torch.zeros(1, 2, 3200))


def test_a_saved_codec_loads_through_auto_model_and_decodes_the_same(codec, tmp_path):
    codec.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    codes = torch.randint(16, (1, 1, 3, 5), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(loaded.decode(codes, None).audio_values, codec.decode(codes, None).audio_values)


def test_rebuilding_phases_in_one_pass_is_what_torch_does_step_by_step(codec):
    codes = torch.randint(16, (1, 2, 3, 5), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        compiled = codec.decode(codes, None).audio_values
    codec.requires_grad_(True)
    assert torch.allclose(codec.decode(codes, None).audio_values, compiled, atol=1e-5)


def test_phases_of_a_steady_tone_advance_at_its_frequency(codec):
    hop, window = codec.config.stft_hop, codec.config.n_fft
    tone = 40.3 * codec.config.sampling_rate / window  # Hz, between two bins
    time = torch.arange(40 * hop) / codec.config.sampling_rate
    magnitude = codec.stft(torch.sin(2 * torch.pi * tone * time)[None]).abs()
    cycles = codec.phases(magnitude)[0, 10:30, 40] / (2 * torch.pi)
    error = cycles.diff() - 40.3 * hop / window
    assert (error - error.round()).abs().max() < 0.05  # of a turn
    neighbours = (codec.phases(magnitude)[0, 10:30, 41] / (2 * torch.pi) - cycles) % 1
    assert torch.allclose(
        neighbours, torch.full_like(neighbours, 0.5), atol=1e-3
    )  # locked, in opposite phase


# -- language model


@pytest.fixture(scope="module")
def model(codec):
    torch.manual_seed(0)
    text = T5EncoderModel(T5Config(vocab_size=400, d_model=192, d_kv=48, d_ff=32, num_layers=1, num_heads=4))
    return lm.build(text, codec, layers=2, size=32).eval()


def test_the_delay_pattern_is_that_of_transformers(model):
    codes = torch.randint(16, (2, 3, 6), generator=torch.Generator().manual_seed(0))
    inputs, labels = lm.delay(codes, 16)
    start = torch.full((6, 1), 16)
    theirs, _ = model.decoder.build_delay_pattern_mask(
        torch.cat([start, codes.view(6, 6)], 1), 16, max_length=9
    )
    assert torch.equal(inputs.view(6, -1)[:, : theirs.shape[1]], theirs)
    for k in range(3):
        assert torch.equal(labels[:, k, k : k + 6], codes[:, k])
    assert (labels == -100).sum() == 2 * 3 * 2


def test_the_training_forward_is_that_of_transformers(model):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(16, (2, 3, 6), generator=generator)
    inputs, _ = lm.delay(codes, 16)
    ids = torch.randint(3, 300, (2, lm.TEXT), generator=generator)
    mask = torch.ones_like(ids)
    mask[0, 5:] = 0
    chroma = torch.randint(12, (2, lm.CHROMA), generator=generator)
    with torch.no_grad():
        ours = lm._hidden(model, lm.prefixes(model, ids, mask.bool(), chroma), inputs)
        theirs = model(
            input_ids=ids,
            attention_mask=mask,
            input_features=torch.nn.functional.one_hot(chroma, 12).float(),
            decoder_input_ids=inputs.reshape(6, -1),
        ).logits
    logits = torch.stack([head(ours) for head in model.decoder.lm_heads], 1).reshape(6, inputs.shape[-1], -1)
    assert torch.allclose(logits, theirs[:, -inputs.shape[-1] :], atol=1e-4)


def test_frames_that_see_the_last_token_only_get_the_other_words_through_it(model, codec):
    text = model.text_encoder
    shallow = lm.build(text, codec, layers=1, size=32).eval()
    deep = lm.build(text, codec, layers=2, size=32).eval()
    generator = torch.Generator().manual_seed(0)
    inputs, labels = lm.delay(torch.randint(16, (1, 3, 6), generator=generator), 16)
    one = torch.randn(1, lm.CHROMA + lm.TEXT, 32, generator=generator)
    other = one.clone()
    other[:, lm.CHROMA] = torch.randn(32, generator=generator)  # another first word
    unseen = torch.zeros(1, lm.CHROMA + lm.TEXT, dtype=torch.bool)
    unseen[:, lm.CHROMA :] = True
    unseen[:, lm.CHROMA + 4] = False
    with torch.no_grad():
        losses = {
            (name, hide): [lm._losses(net, prefix, inputs, labels, unseen & hide) for prefix in (one, other)]
            for name, net in (("shallow", shallow), ("deep", deep))
            for hide in (True, False)
        }
    assert torch.equal(*losses["shallow", True])  # one block cannot gather and read
    assert not torch.equal(*losses["deep", True])
    assert not torch.equal(*losses["shallow", False])


def test_every_replica_has_a_folder_of_its_own(tmp_path):
    folders = {replica.folder(tmp_path) for replica in lm.REPLICAS.values()}
    assert len(folders) == len(lm.REPLICAS)
    with pytest.raises(FileNotFoundError, match="lm --replica seed2"):
        lm.load(tmp_path, lm.REPLICAS["seed2"])


def test_the_text_encoder_learns_words_from_their_neighbours(tmp_path):
    lm.train_text(tmp_path, steps=60, clips=400, batch=16)
    words = [json.loads(line) for line in (tmp_path / "text" / "log.jsonl").read_text().splitlines()]
    assert words[-1]["loss"] < words[0]["loss"] - 1
    again = T5EncoderModel.from_pretrained(tmp_path / "text")
    assert not hasattr(again, "head") and again.config.num_layers == 2


@pytest.mark.parametrize(("pays", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_matrices_are_made_orthogonal_in_bfloat16_only_where_that_pays(monkeypatch, pays, dtype):
    monkeypatch.setattr(training, "bfloat16_pays", lambda: pays)
    gradient = torch.ones(3)
    with training._Wide():
        narrow = gradient.bfloat16()
    assert narrow.dtype == dtype and narrow is not gradient


def test_a_training_resumed_after_a_kill_equals_one_run_through(tmp_path):
    def run(folder, until):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 1))

        def step(number):
            if number == until:
                raise KeyboardInterrupt
            x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
            return (network(x) - x.sum(1, keepdim=True)).pow(2).mean(), {}

        matrices = [network[0].weight]
        return fit(
            network, step, folder, steps=12, learning_rate=0.1, hidden=matrices, warmup=2, save_seconds=0
        )

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", 7)
    parts = run(tmp_path / "parts", None)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


def test_a_model_adopts_another_of_its_codec_as_it_is_and_refuses_one_of_another_shape(
    model, codec, tmp_path
):
    model.save_pretrained(tmp_path)
    torch.manual_seed(1)
    fresh = lm.build(model.text_encoder, codec, layers=2, size=32)
    lm.adopt(fresh, tmp_path, tmp_path)
    assert all(
        torch.equal(a, b) for a, b in zip(fresh.decoder.parameters(), model.decoder.parameters(), strict=True)
    )
    deeper = lm.build(model.text_encoder, codec, layers=3, size=32)
    with pytest.raises(ValueError, match="another shape.*layers.2"):
        lm.adopt(deeper, tmp_path, tmp_path)


# -- judges


def test_an_untrained_clap_goes_through_the_zero_shot_pipeline(tmp_path, rng):
    clap, processor = judges.make_clap()
    clap.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    audio = rng.normal(0, 0.1, (2, 4 * corpus.SAMPLE_RATE))
    scores = measure.clap_scores(audio, ["rock", "jazz"], sample_rate=corpus.SAMPLE_RATE, model=tmp_path)
    assert scores.shape == (2, 2) and np.allclose(scores.sum(1), 1)
    windows = measure.clap_embeddings(audio, sample_rate=corpus.SAMPLE_RATE, model=tmp_path, window=2.0)
    assert windows.shape == (2, 2, 64)


def test_the_shipped_clap_names_the_style_of_clips_it_never_heard():
    made = list(corpus.stream(range(corpus.HELD_OUT + 5000, corpus.HELD_OUT + 5012), workers=0))
    styles = list(captions.STYLES)
    audio = np.stack([audio for _, audio in made])
    scores = measure.clap_scores(audio, styles, sample_rate=corpus.SAMPLE_RATE)
    right = [styles[row.argmax()] == truth.style for row, (truth, _) in zip(scores, made, strict=True)]
    assert np.mean(right) >= 0.6  # chance is 1/8


# -- evaluation


def test_a_figure_without_a_threshold_is_neither_reached_nor_missed():
    reported = evaluate.Figure("model", "share", 0.5, 0.4, 0.6, 10, None)
    assert reported.row()["wanted"] == reported.row()["reached"] == ""
    assert "reached" not in evaluate.show([reported])
    assert replace(reported, wanted=0.7).row()["reached"] == "no"


def test_a_figure_is_reached_by_its_whole_interval_and_open_where_only_a_part_meets_the_threshold():
    figure = evaluate.Figure("model", "share", 0.5, 0.4, 0.6, 10, 0.3)
    assert [replace(figure, wanted=w).reached for w in (0.3, 0.5, 0.7)] == ["yes", "open", "no"]
    assert [replace(figure, wanted=w, higher=False).reached for w in (0.3, 0.5, 0.7)] == ["no", "open", "yes"]


def test_a_separation_of_nothing_is_not_a_number_and_not_reached():
    figure = evaluate._auc("model", "AUC", np.array([np.nan]), np.array([1.0]), 0.9)
    assert np.isnan(figure.value) and figure.n == 1 and figure.reached == "no"


@pytest.mark.parametrize("pays", [True, False])
def test_products_are_rounded_to_bfloat16_only_where_that_is_faster(monkeypatch, pays):
    monkeypatch.setattr(training, "bfloat16_pays", lambda: pays)
    with training.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if pays else torch.float32)
