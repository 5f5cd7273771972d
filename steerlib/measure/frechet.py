"""Fréchet distance of two sets of embeddings.

Method. The Fréchet audio distance [1]_ of paper A, figure 7 and table 1, which do not state the embedding, and
its extrapolation to infinitely many samples [2]_. `steerlib.measure.distance` applies both to tables.

Conventions. Embeddings have the shape (rows, D) or (clips, windows, D); the distance is squared, in the unit of
the embedding squared.

.. [1] K. Kilgour, M. Zuluaga, D. Roblek, M. Sharifi. "Fréchet Audio Distance." Interspeech 2019.
.. [2] M. J. Chong, D. Forsyth. "Effectively unbiased FID and Inception Score and where to find them." CVPR
   2020.
"""

import numpy as np
import numpy.typing as npt

from steerlib.measure.audio import FloatArray

__all__ = ["frechet_distance", "frechet_infinity"]


def frechet_distance(evaluated: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two sets of embeddings [1]_ (paper A, figure 7 and table
    1).

    ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))``, the last term from the eigenvalues of the
    symmetric ``C1^(1/2) C2 C1^(1/2)``: no complex parts, no `sqrtm` of a nearly singular product.

    Parameters
    ----------
    evaluated, reference : array_like, shape (rows, D) or (clips, windows, D)
        Embeddings, for instance from `clap_embeddings`.

    Returns
    -------
    float
        Squared distance, at least 0; in the unit of the embedding squared, so that only distances from the
        same embedding and of equally many rows compare. Finite samples make it too large: see
        `frechet_infinity`.

    Raises
    ------
    ValueError
        If a set has no more rows than dimensions (its covariance would be singular), or the dimensions
        differ.
    """
    x, y = _embeddings(evaluated, reference)
    return _frechet(x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1]))


def frechet_infinity(
    evaluated: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    paired: bool = False,
    sizes: int = 8,
    draws: int = 8,
    seed: int = 0,
) -> float:
    """Fréchet distance extrapolated to infinitely many samples [2]_.

    The bias of the plain distance falls with 1/n. Both sets are cut to the same random fraction, between all
    and a half (or as little as the dimensions allow), and a line through distance against 1/fraction is read
    at 0.

    Parameters
    ----------
    evaluated, reference : array_like, shape (rows, D) or (clips, windows, D)
        With three axes whole clips are drawn, since the windows of one clip are no independent samples.
    paired : bool, default False
        Row (or clip) i of both sets belongs to the same prompt, so both are cut to the same prompts. Cut to
        different ones, smaller sets would differ by their prompts too, and the line would be read off too low.
    sizes : int
        How many fractions.
    draws : int
        Random subsets averaged at each of them.
    seed : int
        Seeds the subsets.

    Returns
    -------
    float
        In the unit of `frechet_distance`. An estimate, so for equal distributions it falls on either side of
        0.

    Raises
    ------
    ValueError
        If a set has under 1.5 times as many rows as dimensions, too few to extrapolate from.

    Notes
    -----
    Subsets are drawn without replacement, because repeats would shrink the covariance, and from both sets, because
    a finite reference biases too: fadtk does neither.
    """
    x, y = _embeddings(evaluated, reference)
    rows, dimensions = min(_rows(x), _rows(y)), x.shape[-1]
    smallest = max(0.5, (dimensions + 1) / rows)
    if smallest > 2 / 3:
        raise ValueError(
            f"extrapolation needs at least 1.5 times as many rows as dimensions ({dimensions}), got {rows}: "
            "add clips, use shorter windows or a smaller embedding"
        )
    if sizes < 2 or draws < 1:
        raise ValueError(f"need at least 2 sizes and 1 draw, got sizes={sizes} and draws={draws}")
    if paired and len(x) != len(y):
        raise ValueError(f"paired sets have one row for each prompt, got {len(x)} and {len(y)}")
    rng = np.random.default_rng(seed)
    inverse = np.linspace(1, 1 / smallest, sizes)
    distances = []
    for fraction in 1 / inverse:
        parts = []
        for _ in range(draws):
            first = rng.permutation(len(x))
            orders = first, first if paired else rng.permutation(len(y))
            parts.append(
                [s[order[: int(np.ceil(fraction * len(s)))]] for s, order in zip((x, y), orders, strict=True)]
            )
        flat = [[s.reshape(-1, dimensions) for s in pair] for pair in parts[: 1 if fraction == 1 else draws]]
        distances.append(np.mean([_frechet(a, b) for a, b in flat]))
    return float(np.polyfit(inverse, distances, 1)[1])


def _frechet(x: FloatArray, y: FloatArray) -> float:
    mean = ((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum()
    cov_x, cov_y = (np.atleast_2d(np.cov(s, rowvar=False)) for s in (x, y))
    values, vectors = np.linalg.eigh(cov_x)
    root = vectors * np.sqrt(np.maximum(values, 0))  # C1 = root @ root.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root.T @ cov_y @ root), 0)).sum()
    return float(max(mean + np.trace(cov_x) + np.trace(cov_y) - 2 * cross, 0.0))


def _rows(embeddings: FloatArray) -> int:
    return embeddings.size // embeddings.shape[-1]


def _embeddings(*sets: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    x, y = (np.asarray(values, dtype=float) for values in sets)
    for name, values in (("evaluated", x), ("reference", y)):
        if values.ndim not in (2, 3) or values.size == 0:
            raise ValueError(
                f"{name} embeddings need shape (rows, D) or (clips, windows, D), got {values.shape}"
            )
        if not np.isfinite(values).all():
            raise ValueError(f"{name} embeddings hold NaN or infinity: look for silent or broken clips")
        if _rows(values) <= values.shape[-1]:
            raise ValueError(
                f"{name} has {_rows(values)} rows for {values.shape[-1]} dimensions; its covariance would be "
                "singular: use more clips, shorter windows or a smaller embedding"
            )
    if x.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"embeddings have {x.shape[-1]} and {y.shape[-1]} dimensions: use one model for both"
        )
    return x, y
