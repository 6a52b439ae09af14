"""How good generated images are: distance, precision and recall in the features of a classifier, and its classes."""

import keras
import numpy as np
from sklearn.neighbors import NearestNeighbors

from keras_resnets import UsageError

NEIGHBOURS = 3  # Kynkäänniemi et al. 2019, section 3.1


def head_of(model: keras.Model) -> keras.layers.Dense:
    """The dense layer that turns a classifier's features into classes.

    Raises:
        UsageError: If the last layer with weights is no dense one.
    """
    last = next((layer for layer in reversed(model.layers) if layer.weights), None)
    if not isinstance(last, keras.layers.Dense):
        raise UsageError(
            f"{model.name} ends in no dense layer, whose input would be its features; choose another network"
        )
    return last


def frechet_distance(real: np.ndarray, fake: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two normal distributions fitted to features: the FID.

    Args:
        real: Features of real images, shape (n, features).
        fake: Those of generated ones, shape (m, features).

    Returns:
        A number from 0, which is exact only for as many images: it falls with their number. Compare equal counts.

    References: Heusel et al. 2017, arXiv:1706.08500, eq. 6.
    """
    means = [features.mean(0) for features in (real, fake)]
    first, second = (np.atleast_2d(np.cov(features.astype(np.float64), rowvar=False)) for features in (real, fake))
    values, vectors = np.linalg.eigh(first)
    root = vectors * np.sqrt(np.clip(values, 0, None)) @ vectors.T
    # The eigenvalues of C1 C2 are those of the symmetric C1^(1/2) C2 C1^(1/2).
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ second @ root), 0, None)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * shared)


def precision_and_recall(real: np.ndarray, fake: np.ndarray) -> tuple[float, float]:
    """Share of generated images among the real ones, and of real images among the generated ones.

    An image lies among others if, in feature space, it is no farther from one of them than that one's third neighbour.

    Args:
        real: Features of real images, shape (n, features), more than 3.
        fake: Those of generated ones, shape (m, features), more than 3.

    Returns:
        Precision and recall, from 0 to 1.

    References: Kynkäänniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2.
    """
    return _share_among(fake, real), _share_among(real, fake)


def _share_among(images: np.ndarray, others: np.ndarray) -> float:
    reach = NearestNeighbors(n_neighbors=NEIGHBOURS + 1).fit(others).kneighbors(others)[0][:, -1]
    inside = np.zeros(len(images), bool)
    for start in range(0, len(images), 500):  # in pieces: all distances at once would take gigabytes
        piece = images[start : start + 500].astype(np.float64)
        squares = (piece**2).sum(1)[:, None] + (others.astype(np.float64) ** 2).sum(1) - 2 * piece @ others.T
        inside[start : start + 500] = (squares <= reach**2 + 1e-9).any(1)
    return float(inside.mean())


def summarize(values: list[float]) -> dict[str, float]:
    """Mean and sample standard deviation (0 of one value)."""
    return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}
