"""What the chapter on probes says of accuracies."""

import pandas as pd

from steerlib.chapters import probes as chapter


def test_each_site_and_loss_has_one_best_layer_whatever_the_control_reaches(capsys):
    table = pd.DataFrame(
        [
            {"layer": layer, "loss": loss, "labels": labels, "accuracy": accuracy, "low": 0.0, "high": 1.0,
             "chance": 0.5, "n": 10}
            for loss in ("mse", "bce")
            for labels, accuracies in (("true", (0.6, 0.8)), ("shuffled", (0.9, 0.5)))
            for layer, accuracy in enumerate(accuracies)
        ]
    )  # fmt: skip
    accuracy = {"residual": table, "attention": table.assign(accuracy=1 - table["accuracy"])}
    best = chapter.best_layers(accuracy)
    assert best["layer"].to_dict() == {
        ("attention", "bce"): 0, ("attention", "mse"): 0, ("residual", "bce"): 1, ("residual", "mse"): 1,
    }  # fmt: skip
    chapter.means(accuracy)
    assert "MSE 0.500, BCE 0.500, chance 0.500" in capsys.readouterr().out
