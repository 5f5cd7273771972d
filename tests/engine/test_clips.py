"""Clips: picked, walked through and saved."""

import numpy as np
import pytest
import soundfile

from steerlib.engine.clips import Clips

PROMPTS = ("a fast rock song", "slow jazz", "dark piano")


@pytest.fixture
def clips(rng):
    audio = rng.normal(0, 0.4, (3, 6400)).astype(np.float32)
    tokens = rng.integers(0, 16, (3, 2, 10)).astype(np.int16)
    return Clips(audio, 16000, tokens, PROMPTS, (0, 1, 2))


def test_clips_can_be_picked_walked_through_and_saved(clips, tmp_path):
    assert len(clips) == 3 and [clip.prompts[0] for clip in clips] == list(PROMPTS)
    assert isinstance(clips[-1], Clips) and clips[-1].prompts == (PROMPTS[2],)
    assert np.array_equal(clips[[2, 0]].audio, clips.audio[[2, 0]])
    assert np.array_equal(clips[1:].tokens, clips.tokens[1:]) and clips[1:].seeds == (1, 2)
    paths = clips.save(tmp_path / "clips")
    audio, rate = soundfile.read(paths[1])
    assert [path.name for path in paths] == ["000.flac", "001.flac", "002.flac"] and rate == 16000
    assert np.allclose(audio, clips.audio[1].clip(-1, 1), atol=2**-15)


def test_clips_say_how_many_and_how_long_they_are(clips):
    assert repr(clips) == "Clips(3 x 0.4 s at 16000 Hz)"
