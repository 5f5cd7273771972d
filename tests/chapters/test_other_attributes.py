import numpy as np

from steerlib.chapters.other_attributes import _auc


def test_a_judge_that_can_tell_nothing_of_one_side_gives_no_figure_and_no_error():
    found = _auc([np.nan, np.nan], [1.0, np.nan])
    assert np.isnan([found.estimate, found.low, found.high]).all()
    assert (found.n, found.dropped) == (1, 3)
    assert _auc([2.0, np.nan], [1.0, 0.0]).estimate == 1
