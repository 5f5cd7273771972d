"""A row of the pocket model's card, as ``data/pocket/evaluation.json`` keeps it.

Apart from `evaluate`, so that the chapter that shows the card does not depend on the workshop.
"""

from dataclasses import dataclass

__all__ = ["Figure"]


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes
    ----------
    part, name : str
        What is judged and by which measure.
    value, low, high : float
        Estimate and 95 % interval.
    n : int
        Clips (or clip pairs) behind it.
    wanted : float or None
        The threshold the project set itself; None for what is reported only.
    higher : bool
        Whether larger is better.
    """

    part: str
    name: str
    value: float
    low: float
    high: float
    n: int
    wanted: float | None
    higher: bool = True

    @property
    def reached(self) -> str:
        """ "yes" if the whole interval meets the threshold, "no" if none of it does, else "open"; "" without one."""
        if self.wanted is None:
            return ""
        meets = [
            (end >= self.wanted) if self.higher else (end <= self.wanted) for end in (self.low, self.high)
        ]
        return "yes" if all(meets) else "open" if any(meets) else "no"

    def row(self) -> dict[str, object]:
        """The figure as a row of the model card."""
        return {
            "part": self.part,
            "measure": self.name,
            "value": f"{self.value:.3g}",
            "95 % interval": f"{self.low:.3g} to {self.high:.3g}" if self.low < self.high else "",
            "n": self.n,
            "wanted": "" if self.wanted is None else f"{'≥' if self.higher else '≤'} {self.wanted:g}",
            "reached": self.reached,
        }
