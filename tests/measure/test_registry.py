"""Which judge measures the clips of which model."""

from steerlib import measure


def test_only_the_pocket_model_is_judged_by_the_pocket_judges():
    assert measure.judges("pocket") == (None, None)
    assert measure.judges("facebook/musicgen-melody") == ("final0", "laion/clap-htsat-unfused")
    assert measure.judges("pocket", beats="mine.ckpt") == ("mine.ckpt", None)
    assert measure.judges("elsewhere", clap="mine") == ("final0", "mine")
