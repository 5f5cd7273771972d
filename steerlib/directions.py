"""Directions that separate two poles of an attribute, one per layer.

DiffMean: paper A section 3.1, equation 1, and paper B section IV-C1.
"""

from steerlib.activations import Activations
from steerlib.prompts import prompts_hash
from steerlib.steering import SteeringVector

__all__ = ["diff_mean"]


def diff_mean(activations: Activations) -> SteeringVector:
    """Difference of the poles' means at every layer: positive minus negative (paper A equation 1).

    Chapter: *DiffMean directions*.

    Parameters
    ----------
    activations : Activations
        With labels, as `extract_activations` returns them for an `Attribute`.

    Returns
    -------
    SteeringVector
        In the unit of the activations. Its metadata names model, prompts, method, poles and versions.

    Raises
    ------
    ValueError
        If there are no labels, or a pole has no prompts.

    Examples
    --------
    >>> pairs = load_attribute("tempo")                                         # doctest: +SKIP
    >>> vector = diff_mean(extract_activations(model, processor, pairs))        # doctest: +SKIP
    """
    labels = activations.labels
    if labels is None:
        raise ValueError(
            "diff_mean needs two labelled poles: extract the activations of an Attribute, not of a list"
        )
    if labels.all() or not labels.any():
        raise ValueError(
            f"diff_mean needs prompts of both poles, but all {len(labels)} labels are {bool(labels[0])}"
        )
    values = activations.values.double()
    directions = values[labels].mean(0) - values[~labels].mean(0)
    attribute = activations.attribute
    poles = (
        {}
        if attribute is None
        else {
            "attribute": attribute.name,
            "positive": attribute.positive,
            "negative": attribute.negative,
        }
    )
    metadata = {
        **activations.metadata,
        **poles,
        "method": "DiffMean",
        "prompts_sha256": prompts_hash(activations.prompts),
        "n_positive": int(labels.sum()),
        "n_negative": int((~labels).sum()),
    }
    return SteeringVector(directions, metadata)
