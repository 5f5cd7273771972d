import base64
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from steerlib.page.players import Curve, ab_grid, lambda_slider, player, players
from steerlib.page.remake import Remake
from steerlib.page.sound import write_mp3
from steerlib.page.style import PALETTE, css

RATE = 16000


@pytest.fixture(autouse=True)
def notebook_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VSCODE_PID", raising=False)
    return tmp_path


def tone(frequency, amplitude=0.3, seconds=1.0):
    time = np.arange(int(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def sources(page):
    return re.findall(r'<audio[^>]* src="([^"]*)"', page.data)


def heard(page):
    return [soundfile.read(source)[0] for source in sources(page)]


def test_a_player_names_a_file_beside_the_notebook_that_sounds_like_the_clip(notebook_folder):
    page = player(tone(440), RATE, label="a tone", equal_loudness=False)
    [source] = sources(page)
    assert re.fullmatch(r"audio/[0-9a-f]{16}\.mp3", source)
    sound, rate = soundfile.read(source)
    assert rate == RATE
    spectrum = np.abs(np.fft.rfft(sound[:RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert 'preload="none"' in page.data


def test_the_same_clip_gives_the_same_file_and_another_clip_another(notebook_folder):
    first = write_mp3(tone(440), RATE)
    before = first.stat().st_mtime_ns
    assert write_mp3(tone(440), RATE) == first
    assert first.stat().st_mtime_ns == before
    assert write_mp3(tone(441), RATE) != first
    assert len(list(Path("audio").iterdir())) == 2


def test_half_a_minute_is_a_quarter_of_a_megabyte():
    path = write_mp3(np.random.default_rng(0).normal(0, 0.1, 30 * RATE), RATE)
    assert path.stat().st_size < 300_000


def test_equal_loudness_brings_a_loud_and_a_soft_clip_to_one_level():
    loud, soft = heard(players({"loud": tone(440, 0.9), "soft": tone(440, 0.01)}, RATE))
    assert np.std(soft) == pytest.approx(np.std(loud), rel=0.05)


def test_equal_loudness_weighs_what_the_ear_weighs():
    low, high = heard(players({"low": tone(60), "high": tone(4000)}, RATE))
    assert np.std(low) > 1.3 * np.std(high)


def test_without_equal_loudness_the_difference_stays_and_nothing_clips():
    loud, soft = heard(players({"loud": tone(440, 2.0), "soft": tone(440, 0.2)}, RATE, equal_loudness=False))
    assert np.std(loud) / np.std(soft) == pytest.approx(10, rel=0.1)
    assert np.abs(loud).max() < 1.0


def test_silence_stays_silent():
    silent, _ = heard(players({"silence": np.zeros(RATE), "tone": tone(440)}, RATE))
    assert np.abs(silent).max() < 1e-3


def test_labels_are_text_and_never_markup():
    page = player(tone(440), RATE, label='<b>"loud"</b>')
    assert "<b>" not in page.data
    assert "&lt;b&gt;&quot;loud&quot;" in page.data


def test_spectrograms_are_small_pictures_with_alternative_text():
    page = player(tone(440), RATE, label="a tone", spectrogram=True)
    [source, alternative] = re.findall(r'<img [^>]*src="([^"]*)" alt="([^"]*)"', page.data)[0]
    assert Path(source).read_bytes()[8:12] == b"WEBP"
    assert Path(source).stat().st_size < 20_000
    assert "a tone" in alternative


def test_embedded_sound_needs_no_file(notebook_folder):
    page = player(tone(440), RATE, label="a tone", spectrogram=True, embed=True)
    assert sources(page)[0].startswith("data:audio/mpeg;base64,")
    assert not Path("audio").exists()


def test_the_slider_has_one_player_for_each_multiplier_in_rising_order_and_starts_at_zero():
    page = lambda_slider(
        {1.0: tone(880), -0.5: tone(220), 0.0: tone(440)},
        RATE,
        label="a folk song",
        readouts={"BPM": [160.2, float("nan"), 121.0]},
        poles=("fast", "slow"),
    )
    assert re.findall(r'data-lambda="([^"]*)" data-values="([^"]*)"', page.data) == [
        ("−0.5", "– BPM"),
        ("0", "121 BPM"),
        ("1", "160 BPM"),
    ]
    assert 'max="2" value="1"' in page.data
    assert "λ = −0.5 (slow), – BPM" in page.data
    assert not re.search(r"\{[A-Z_]+\}", page.data)


def test_two_sliders_of_one_page_have_different_identities_and_the_same_slider_the_same():
    def identity(label):
        page = lambda_slider({0.0: tone(440)}, RATE, label=label)
        return re.search(r'data-slider="([0-9a-f]+)"', page.data)[1]

    assert identity("one") == identity("one") != identity("two")


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros((2, RATE)), RATE, r"shape \(samples,\), got \(2, 16000\)"),
        (np.zeros(0), RATE, "shape"),
        (np.array([0.0, np.nan]), RATE, "1 of 2 samples are not finite"),
        (np.zeros(RATE), 17000, "MP3 has no sample rate of 17000 Hz"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name_before_anything_is_written(audio, rate, message):
    with pytest.raises(ValueError, match=message):
        players({"fine": tone(440), "broken": audio}, rate, label="x")
    assert not Path("audio").exists()


def test_no_clip_a_multiplier_that_is_not_finite_and_a_readout_too_short_are_refused():
    with pytest.raises(ValueError, match="no clip"):
        players({}, RATE)
    with pytest.raises(ValueError, match="finite"):
        lambda_slider({float("inf"): tone(440)}, RATE, label="x")
    with pytest.raises(ValueError, match="'BPM': 1 values for 2 clips"):
        lambda_slider({0.0: tone(440), 1.0: tone(440)}, RATE, label="x", readouts={"BPM": [120]})


def test_a_folder_that_cannot_be_written_to_is_an_error_of_the_system():
    Path("taken").write_text("a file, not a folder")
    with pytest.raises(OSError, match="taken"):
        player(tone(440), RATE, label="x", folder="taken")


def test_the_ends_of_the_slider_have_the_colours_of_the_figures():
    page = lambda_slider({0.0: tone(440)}, RATE, label="x", poles=("bright", "dark"))
    assert f"--sl-positive:{css(PALETTE['bright'])};--sl-negative:{css(PALETTE['dark'])}" in page.data


def test_curves_below_the_slider_stand_in_the_order_of_its_stops_and_leave_out_what_is_not_known():
    curve = Curve("tempo", "BPM", [0.1, -0.1], [140, float("nan")], [130, 90], [150, 110], worse=[0.1])
    page = lambda_slider({-0.1: tone(220), 0.1: tone(880)}, RATE, label="x", curves=[curve])
    [drawn] = json.loads(re.findall(r'"application/json">(.*?)</script>', page.data)[0])
    assert drawn["mean"] == [None, 140] and drawn["low"] == [90, 130] and drawn["worse"] == [1]


def test_a_curve_over_other_multipliers_than_the_slider_is_refused():
    curve = Curve("tempo", "BPM", [0.2], [140], [130], [150])
    with pytest.raises(ValueError, match=r"curve 'tempo' has the λ \[0.2\], the slider \[0.1\]"):
        lambda_slider({0.1: tone(220)}, RATE, label="x", curves=[curve])


def test_every_player_says_how_long_it_is_and_titles_of_several_can_be_hidden():
    page = players({"a": tone(440, seconds=1.0), "b": tone(440, seconds=2.5)}, RATE)
    assert re.findall(r'sl-time">([^<]*)<', page.data) == ["1.0 s", "2.5 s"]
    assert 'class="sl-guess"' in page.data
    assert 'class="sl-guess"' not in player(tone(440), RATE, label="x").data


def cells(prompts=("a folk song", "a <jazz> trio")):
    return {
        (attribute, multiplier, prompt): tone(300 + 100 * multiplier + 50 * len(prompt))
        for attribute in ("tempo", "timbre")
        for multiplier in (1.0, 0.0, -0.5)
        for prompt in prompts
    }


def test_the_grid_has_a_cell_for_each_attribute_and_multiplier_and_a_clip_for_each_of_them_and_each_prompt():
    clips = cells()
    bpm = {key: 100.0 + 10 * index for index, key in enumerate(clips)}
    bpm["timbre", -0.5, "a folk song"] = float("nan")
    page = ab_grid(
        clips,
        RATE,
        label="compare",
        poles={"tempo": ("fast", "slow")},
        readouts={"BPM": list(bpm.values())},
        shown={"tempo": "BPM"},
    )
    assert page.data.count('class="sl-cell"') == 6
    assert re.findall(r"<option [^>]*>([^<]*)<", page.data) == ["a folk song", "a &lt;jazz&gt; trio"]
    assert re.findall(r'<th scope="col">([^<]*)<', page.data) == ["λ", "−0.5", "0", "1"]
    items = re.findall(r'<li data-value="([^"]*)"[^>]*><span>([^<]*)</span>', page.data)
    assert len(items) == 12
    first = f"{bpm['tempo', -0.5, 'a folk song']:.0f} BPM"
    assert items[0] == (first, f"tempo, λ = −0.5 (slow), {first}")
    assert items[3] == ("", "timbre, λ = −0.5, – BPM")
    assert page.data.count('tabindex="0"') == 1
    assert page.data.count('preload="none"') == 12
    assert not re.search(r"\{[A-Z_]+\}", page.data)


def test_widgets_say_what_their_clips_were_made_of_in_the_order_shown():
    direction = np.arange(4, dtype=np.float32)
    clips = {1.0: tone(880), -0.5: tone(220)}
    made_of = {key: ("a <folk> song", "tempo 5", key) for key in clips}
    remake = Remake("ab12", 7, 2.0, 3.0, {"tempo 5": direction}, made_of)
    page = lambda_slider(clips, RATE, label="x", remake=remake)
    content = json.loads(html.unescape(re.search(r'data-remake="([^"]*)"', page.data)[1]))
    assert (content["seed"], content["seconds"], content["guidanceScale"]) == (7, 2.0, 3.0)
    assert [clip["multiplier"] for clip in content["clips"]] == [-0.5, 1.0]
    assert content["clips"][0]["prompt"] == "a <folk> song"
    assert base64.b64decode(content["directions"]["tempo 5"]) == direction.astype("<f4").tobytes()
    assert "data-remake" not in lambda_slider(clips, RATE, label="x").data
    with pytest.raises(ValueError, match="does not say what 2.0 was made of"):
        lambda_slider({**clips, 2.0: tone(440)}, RATE, label="x", remake=remake)


def test_cells_that_share_a_sound_share_a_file():
    page = ab_grid({(name, 0.0, "a song"): tone(440) for name in ("tempo", "timbre")}, RATE, label="x")
    assert len(sources(page)) == 2
    assert len(set(sources(page))) == 1


def test_a_grid_with_a_hole_or_a_wrong_readout_is_refused_before_anything_is_written():
    clips = cells()
    with pytest.raises(ValueError, match="'BPM': 1 values for 12 clips"):
        ab_grid(clips, RATE, label="x", readouts={"BPM": [120.0]})
    with pytest.raises(ValueError, match=r"shown names \['Hz'\]"):
        ab_grid(clips, RATE, label="x", shown={"tempo": "Hz"})
    del clips["timbre", 1.0, "a folk song"]
    with pytest.raises(ValueError, match=r"1 of 12 cells .*'timbre', 1.0, 'a folk song'"):
        ab_grid(clips, RATE, label="x")
    with pytest.raises(ValueError, match="finite"):
        ab_grid({("tempo", float("nan"), "a song"): tone(440)}, RATE, label="x")
    with pytest.raises(ValueError, match="no clip"):
        ab_grid({}, RATE, label="x")
    assert not Path("audio").exists()


def test_the_cells_of_the_grid_have_the_colours_of_the_figures():
    clips = {("timbre", value, "a song"): tone(440) for value in (-1.0, 0.0, 1.0)}
    page = ab_grid(clips, RATE, label="x", poles={"timbre": ("bright", "dark")})
    colours = re.findall(r'--sl-pole:([^"]+)"', page.data)
    assert colours == [css(PALETTE[name]) for name in ("dark", "baseline", "bright")]


@pytest.mark.parametrize(("clips", "columns"), [(2, 3), (3, 3), (4, 2), (5, 3), (7, 4), (9, 3), (10, 4)])
def test_no_player_stands_alone_in_its_row_if_that_can_be(clips, columns):
    shown = players({f"clip {number}": tone(200 + number, seconds=0.1) for number in range(clips)}, RATE)
    assert f"--sl-columns:{columns}" in shown.data
