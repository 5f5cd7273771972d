import numpy as np
import pytest

from steerlib.page.style import PALETTE, number, pole_colour, signed


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.12345, "0.123"), (99.94, "99.9"), (1234.5, "1234"), (np.nan, "–")]
)
def test_a_number_has_three_digits_and_no_decimals_from_100_on(value, text):
    assert number(value) == text


def test_a_negative_number_has_a_minus_sign_and_not_a_hyphen():
    assert (signed(-0.1), signed(0.1), signed(0.1, "+g"), signed(-1e-5)) == ("−0.1", "0.1", "+0.1", "−1e−05")


def test_poles_without_a_colour_of_their_own_have_the_general_ones():
    assert pole_colour("slow", False) == PALETTE["slow"]
    assert pole_colour("loud", True) == PALETTE["positive"] != pole_colour("soft", False)
