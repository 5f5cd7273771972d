"""The chapter *How many prompts*: which sizes are compared, and which direction made which clip."""

from types import SimpleNamespace

import pandas as pd

from steerlib.chapters import prompt_count


def test_the_nearest_number_of_prompts_is_never_that_of_all():
    assert prompt_count.nearest([100, 2, 25, 10], 10) == 10
    assert prompt_count.nearest([2, 6], 10) == 2
    assert prompt_count.nearest([6], 10) == 6


def test_every_direction_steers_as_its_attribute_does_and_its_clips_say_which_it_was():
    class Study(SimpleNamespace):
        def sweep(self, multipliers, layers, *, vectors):
            self.asked = {name: (multipliers[name], layers[name], vectors[name]) for name in vectors}
            return SimpleNamespace(table=pd.DataFrame({"attribute": list(vectors)}))

    poles = {"my/own.yaml": (-0.1, 0.1), "tempo": (-0.2, 0.2)}
    study = Study(poles=lambda: poles, layers={"my/own.yaml": 3, "tempo": 5})
    drawn = {"my/own.yaml": {(2, 0): "a", (2, 1): "b"}, "tempo": {(6, 0): "c"}}
    table = prompt_count.sweep(study, drawn).table
    assert list(study.asked.values()) == [((-0.1, 0.1), 3, "a"), ((-0.1, 0.1), 3, "b"), ((-0.2, 0.2), 5, "c")]
    assert table.values.tolist() == [["my/own.yaml", 2, 0], ["my/own.yaml", 2, 1], ["tempo", 6, 0]]
