"""The music of the second edition: what captions say is what is heard, and the judges may say that they do not know."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from symusic import Note, Score, Synthesizer, Tempo, Track

from steerlib import measure
from steerlib.evidence.stats import auc
from steerlib.pocket import judges
from steerlib.pocket.second import captions, corpus, soundfont
from steerlib.prompts import PROMPTS

RATE = corpus.SAMPLE_RATE


def first(wanted, start=0):
    """The first clip of whose truth something holds."""
    for seed in range(start, start + 4000):
        truth, parts = corpus.compose(seed)
        if wanted(truth):
            return truth, parts
    raise AssertionError("no such clip")


def notes_of(parts, role):
    return next(notes for key, notes in parts.items() if key[2] == role)


# -- soundfont


@pytest.mark.parametrize("lead", captions.LEADS)
def test_every_lead_is_in_tune_as_symusic_reads_it(lead):
    program, low, high = corpus._PROGRAMS[lead]
    pitch = (low + high) // 2
    score, track = Score(480), Track(program=program)
    score.tempos.append(Tempo(0, qpm=120))
    track.notes.append(Note(0, 960, pitch, 80))
    score.tracks.append(track)
    made = Synthesizer(sf_path=str(soundfont.soundfont()), sample_rate=48_000, quality=4).render(
        score, stereo=False
    )
    clip = np.asarray(made[0][:48_000])
    spectrum = np.abs(np.fft.rfft(clip * np.hanning(len(clip)), 8 * len(clip)))
    frequency = np.arange(len(spectrum)) / 8
    spectrum[frequency < 80] = 0
    harmonic = frequency[spectrum.argmax()] / (440 * 2 ** ((pitch - 69) / 12))
    assert abs(12 * np.log2(harmonic / max(round(harmonic), 1))) < 0.3


def test_a_missing_soundfont_is_named_with_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(soundfont, "_FILE", tmp_path / "none.sf3")
    with pytest.raises(FileNotFoundError, match="musescore-general-soundfont-small"):
        soundfont.soundfont()


def test_a_cut_of_the_cut_plays_the_same(tmp_path):
    whole, played = soundfont.soundfont(), {(0, 73): (72, 91)}
    soundfont.cut(whole, tmp_path / "flute.sf3", played)
    assert (tmp_path / "flute.sf3").stat().st_size < whole.stat().st_size / 10
    score, track = Score(480), Track(program=73)
    score.tempos.append(Tempo(0, qpm=120))
    track.notes.append(Note(0, 480, 80, 80))
    score.tracks.append(track)
    both = [
        Synthesizer(sf_path=str(path), sample_rate=48_000, quality=4).render(score, stereo=False)[0]
        for path in (whole, tmp_path / "flute.sf3")
    ]
    assert np.allclose(*both, atol=1e-4)
    with pytest.raises(ValueError, match=r"no presets for .*\(0, 1\)"):
        soundfont.cut(whole, tmp_path / "none.sf3", {(0, 1): (0, 127)})


# -- corpus


def test_a_seed_determines_truth_and_audio():
    (truth, audio), (again, same) = corpus.make(5), corpus.make(5)
    assert truth == again and np.array_equal(audio, same)
    assert corpus.make(6)[0] != truth


def test_beats_are_as_far_apart_as_the_tempo_says_and_change_with_it():
    truth, _ = first(lambda t: t.event is None)
    assert np.allclose(np.diff(truth.beats), 60 / truth.bpm, atol=2e-5)
    assert set(truth.downbeats) <= set(truth.beats) and truth.downbeats[0] == 0
    for event, sign in (("speeds up", -1), ("slows down", 1)):
        changing, _ = first(lambda t, event=event: t.event == event)
        assert (sign * np.diff(changing.beats, 2) > 0).all()


def test_the_lead_is_heard_where_its_notes_are():
    truth, parts = first(lambda t: t.event == "slows down" and t.feel is None and t.style != "classical")
    drums = corpus.render_parts(
        {k: n for k, n in parts.items() if k[2] == "drums"}, truth.tempi(), corpus.SECONDS
    )
    loud = [np.abs(drums[int(b * RATE) : int(b * RATE) + 800]).max() for b in truth.downbeats[1:]]
    assert min(loud) > 0.3 * np.abs(drums).max()


def test_minor_has_its_leading_note_over_the_dominant_and_major_and_minor_differ_to_a_key_profile():
    made = [corpus.make(seed) for seed in range(40)]
    audio = np.stack([audio for _, audio in made])
    is_major = np.array([truth.mode == "major" for truth, _ in made])
    values = measure.mode(audio, sample_rate=RATE)
    assert auc(values[is_major], values[~is_major]).estimate > 0.85
    for truth, _ in made:
        dominants = [quality for _, root, quality in truth.chords if (root - truth.key) % 12 == 7]
        assert set(dominants) <= {"maj"}


@pytest.mark.parametrize(
    ("event", "role"), [("drums enter", "drums"), ("lead enters", "lead"), ("lead alone", "bass")]
)
def test_what_enters_halfway_has_no_notes_before(event, role):
    truth, parts = first(lambda t: t.event == event)
    entry = min(n.beat for n in notes_of(parts, role))
    assert (
        abs(np.interp(entry, range(len(truth.beats)), truth.beats) - corpus.SECONDS / 2) < 4 * 60 / truth.bpm
    )
    if role != "lead":
        assert min(n.beat for n in notes_of(parts, "lead")) == 0


def test_a_clip_that_grows_is_louder_at_its_end_and_one_that_opens_brighter():
    truth, parts = first(lambda t: t.event is None and t.style == "pop")
    halves = np.split(corpus.render(replace(truth, event="grows"), parts), 2)
    assert np.std(halves[1]) > 1.5 * np.std(halves[0])
    opened = np.stack(np.split(corpus.render(replace(truth, event="opens"), parts), 2))
    before, after = measure.spectral_centroid(opened, sample_rate=RATE)
    assert after > 1.1 * before


def test_swing_puts_the_second_eighth_late_and_leaves_the_beats():
    truth, parts = first(lambda t: t.feel == "swung" and t.energy > 0.5)
    places = {round(n.beat % 1, 3) for notes in parts.values() for n in notes}
    assert 0 in places and 0.5 not in places and 0.667 in places


def test_attributes_are_independent_unless_asked_to_be_correlated():
    def ranks(correlation):
        truths = [corpus.compose(seed, correlation=correlation)[0] for seed in range(400)]
        drawn = np.array([[t.bpm, t.cutoff, t.level, t.energy] for t in truths])
        return np.corrcoef(drawn.argsort(0).argsort(0).T)

    free, tied = ranks(0.0), ranks(corpus.CORRELATION)
    assert np.abs(free - np.eye(4)).max() < 4 / 400**0.5
    assert (tied[:3, :3] > 0.55).all() and np.abs(tied[3, :3]).max() < 4 / 400**0.5


def test_the_level_is_the_stated_one_and_never_clips():
    for seed in range(4):
        truth, audio = corpus.make(seed)
        assert np.abs(audio).max() <= 0.99 + 1e-6
        level = 20 * np.log10(np.sqrt(np.mean(audio**2)))
        assert level <= truth.level + 0.01
        if np.abs(audio).max() < 0.98:
            assert level == pytest.approx(truth.level, abs=0.01)


# -- captions


def test_a_caption_speaks_of_what_it_mentions_with_a_word_of_that_pole_and_known_words_only():
    known = set(captions.known_words())
    for seed in range(300):
        truth, _ = corpus.compose(seed)
        spoken = captions.words(truth.caption)
        assert set(spoken) <= known
        for name, poles in captions.ADJECTIVES.items():
            for pole, words in poles.items():
                named = any(f" {captions.normalise(w)} " in f" {' '.join(spoken)} " for w in words)
                if truth.mentioned.get(name) == pole:
                    assert named, (truth.caption, name, pole)


def test_attributes_stand_in_any_place():
    places = [
        captions.words(t.caption).index(word) / len(captions.words(t.caption))
        for t in (corpus.compose(seed)[0] for seed in range(600))
        for word in ("fast", "bright", "happy", "loud")
        if word in captions.words(t.caption)
    ]
    assert min(places) < 0.2 and max(places) > 0.8


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_prompts_of_the_project_use_its_words(path):
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    texts = [text for pair in content.get("pairs", []) for text in pair] + content.get("prompts", [])
    assert {word for text in texts for word in captions.words(text)} <= set(captions.known_words())


# -- judges


def clicks(bpm, seconds=8.0):
    beats = np.arange(0, seconds, 60 / bpm)
    audio = np.zeros(int(seconds * RATE), np.float32)
    for beat in beats:
        at = int(beat * RATE)
        audio[at : at + 400] = np.hanning(400)[: len(audio) - at] * 0.5
    return audio, beats


def test_a_degraded_clip_keeps_its_beats_where_they_are_heard():
    audio, beats = clicks(100)
    for seed in range(12):
        worse, (times,) = judges.degraded(audio, [beats], np.random.default_rng(seed))
        assert worse.shape == audio.shape and np.abs(worse).max() <= 1
        found = np.abs(worse) > 0.9 * np.abs(worse).max()
        at = np.flatnonzero(found)[0] / RATE  # the loudest sample is in a click
        assert np.abs(times - at).min() < 0.06


def test_broken_codes_use_codes_of_the_clips_and_are_not_the_clips():
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(100, (6, 4, 50), generator=generator)
    made = judges.broken_codes(codes, generator)
    assert made.shape == codes.shape and set(made.unique().tolist()) <= set(codes.unique().tolist())
    assert all((made[i] != codes[i]).float().mean() > 0.5 for i in range(6))
