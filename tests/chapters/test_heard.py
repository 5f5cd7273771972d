"""What a bottom line lets one hear is an example with the median effect, and never the best."""

from types import SimpleNamespace

import pandas as pd
from IPython.display import HTML

from steerlib.chapters import control, genre_fusion, known_truth, probes
from steerlib.study import Study, Trial

PROMPTS = ["first", "second", "third"]


class Heard:
    """A study that keeps what it is asked to play."""

    prompts = PROMPTS
    attributes = {"tempo": SimpleNamespace(metric="bpm", unit="BPM", positive="fast", negative="slow")}

    def players(self, rows, labels, *, label, **options):
        self.rows, self.labels, self.label = rows, list(labels), label
        return HTML("player")


def test_a_trial_plays_the_setting_that_is_asked_for():
    rows = [(prompt, layer, sign, 100 + sign * shift * (1 if layer == 5 else -1))
            for prompt, shift in enumerate((30, 10, 20)) for layer in (2, 5) for sign in (-1, 0, 1)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["prompt_id", "source_layer", "multiplier", "bpm"])
    table.loc[table["multiplier"] == 0, "source_layer"] = None
    trial = Trial(Heard(), table.assign(attribute="tempo"))
    found = trial.typical("tempo", source_layer=5)
    assert found["bpm"].tolist() == [80, 100, 120] and set(found["prompt_id"]) == {2}
    assert trial.typical("tempo", source_layer=2)["bpm"].tolist() == [120, 100, 80]


def test_known_truth_plays_diffmean_and_no_other_direction():
    rows = [(prompt, direction, sign, 100 + sign * shift)
            for direction, shifts in (("DiffMean", (30, 10, 20)), ("random 1", (1, 2, 3)))
            for prompt, shift in enumerate(shifts) for sign in (-1, 0, 1)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["prompt_id", "attribute", "multiplier", "bpm"]).assign(
        setting="tempo"
    )
    found = known_truth.heard(Trial(Heard(), table))
    assert found["bpm"].tolist() == [80, 100, 120] and set(found["attribute"]) == {"tempo"}


def test_a_probe_is_heard_at_its_median_gain():
    rows = [("rock", prompt, way, size, 0.1 + size * gain, f"{prompt}{way if size else ''}")
            for prompt, gain in enumerate((0.8, 0.2, 0.5)) for way in ("BCE", "MSE", "random direction")
            for size in (0, 1)]  # fmt: skip
    study = Heard()
    probes.heard(
        study, pd.DataFrame(rows, columns=["target", "prompt_id", "way", "multiplier", "score", "key"])
    )
    assert study.label == "Hear it: third"
    assert sorted(study.labels) == ["not steered", "toward rock (BCE)", "toward rock (MSE)"]


def test_a_fusion_is_heard_beside_its_unsteered_twin():
    rows = [("a to b", "b", prompt, arm, float(arm == "steered"), 0.1 + gain * (arm == "steered"), PROMPTS[prompt])
            for prompt, gain in enumerate((0.8, 0.2, 0.5)) for arm in ("not steered", "steered")]  # fmt: skip
    names = ["pair", "target", "prompt_id", "arm", "multiplier", "target score", "prompt"]
    study = Heard()
    genre_fusion.heard(study, pd.DataFrame(rows, columns=names))
    assert (study.label, study.labels) == ("Hear it: third", ["not steered", "toward b"])


def test_control_is_heard_where_the_open_loop_misses_by_the_median():
    rows = [("tempo", prompt, 128.0, way, 100.0 + prompt, error)
            for prompt, error in enumerate((0.4, 0.1, 0.2)) for way in ("open loop", "words", "random 1")]  # fmt: skip
    names = ["attribute", "prompt_id", "target", "way", "value", "error"]
    study = Heard()
    control.heard(study, pd.DataFrame(rows, columns=names))
    assert study.label == "Hear it: third, 128 BPM asked for"
    assert study.labels == ["open loop: 102 BPM", "words: 102 BPM"]


def test_a_bottom_line_takes_a_player_as_it_is(tmp_path):
    study = SimpleNamespace(chapter="probes", model=SimpleNamespace(name="pocket"), scores=tmp_path)
    box = Study.bottom_line(study, ["It works."], "Little.", hear=HTML("<audio></audio>"))
    assert '<div class="bottom-line-sound"><audio></audio></div>' in box.data
