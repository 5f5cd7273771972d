"""The look of the page: colours, labels of metrics, forms of numbers, and matplotlib's settings.

The high pole has one colour everywhere and the low pole another (two of Okabe and Ito's, which colour-blind readers
can tell apart); text and lines are a grey that reads on white and on black, over a transparent ground, and that the
book turns into the colour of its text. Light to import: players need it too.
"""

import math

__all__ = [
    "HIGH",
    "INK",
    "LOW",
    "METRIC_LABELS",
    "PALETTE",
    "css",
    "number",
    "pole_colour",
    "signed",
    "use_style",
]

HIGH, LOW = "#D55E00", "#0072B2"
"""The accent pair: of every attribute, the pole toward which λ is positive, and the other."""
PALETTE = {
    "fast": HIGH,
    "slow": LOW,
    "bright": HIGH,
    "dark": LOW,
    "baseline": "#666666",
    "positive": HIGH,  # poles of any other attribute
    "negative": LOW,
}
METRIC_LABELS = {
    "bpm": "tempo (BPM)",
    "centroid": "spectral centroid (Hz)",
    "onset_rate": "onset rate (per second)",
    "rms": "level (dB re full scale)",
    "mode": "mode (major minus minor correlation)",
}
INK = "#777777"
"""Grey of text and lines: contrast 4.5 to white, 4.7 to black."""


def pole_colour(pole: str, positive: bool) -> str:
    """Colour of a pole by its name, or the general one of positive or negative poles."""
    return PALETTE.get(pole, PALETTE["positive" if positive else "negative"])


def css(colour: str) -> str:
    """A colour for a page: the accents are lighter there in the dark."""
    names = {HIGH: "high", LOW: "low"}
    return f"var(--sl-{names[colour]},{colour})" if colour in names else colour


def number(value: float) -> str:
    """Three digits, no decimals from 100 on; a dash for NaN.

    Examples
    --------
    >>> number(0.12345), number(1234.5), number(float("nan"))
    ('0.123', '1234', '–')
    """
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def signed(value: float, form: str = "g") -> str:
    """A number in a form of `format`, with a minus sign where Python has a hyphen.

    Examples
    --------
    >>> signed(-0.1), signed(0.1), signed(0.1, "+g")
    ('−0.1', '0.1', '+0.1')
    """
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def use_style() -> None:
    """Set matplotlib to the book's style: SVG, transparent ground, grey ink, no box.

    In a notebook figures become SVG from here on; text stays text, and the same figure gives the same file.
    """
    import matplotlib as mpl
    import pandas as pd
    from IPython import get_ipython
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    mpl.rcParams.update(
        {
            "axes.edgecolor": INK,
            "axes.facecolor": "none",
            "axes.grid": False,
            "axes.labelcolor": INK,
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlecolor": INK,
            "axes.titlesize": "medium",
            "figure.constrained_layout.use": True,
            "figure.dpi": 100,
            "figure.facecolor": "none",
            "figure.figsize": (6.0, 3.6),
            "font.size": 10,
            "legend.frameon": False,
            "legend.labelcolor": INK,
            "lines.linewidth": 1.8,
            "savefig.dpi": 150,
            "savefig.facecolor": "none",
            "svg.fonttype": "none",
            "svg.hashsalt": "steerlib",
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
        }
    )
    pd.set_option("display.max_colwidth", None)  # an interval is never cut off
    if get_ipython() is not None:
        set_matplotlib_formats("svg")
