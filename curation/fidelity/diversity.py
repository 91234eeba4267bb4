"""How many different things a set shows, by itself: Vendi score and Inception score."""

import numpy as np

from curation.fidelity.checks import checked


def vendi_score(features: np.ndarray) -> float:
    """Return how many really different rows a set holds.

    Friedman & Dieng 2023, definition 3.1 (arXiv:2210.02410): the exponential of the entropy of the
    eigenvalues of K / n, with K the cosine similarities of the rows. It grows with n: compare
    only values of equal counts.

    Args:
        features: (n, d) float.

    Returns:
        Between 1, for rows of one direction, and n, for rows at right angles to each other.

    Raises:
        ValueError: If there is no row, a row is 0 throughout, or a value is not finite.
    """
    rows = checked(features, "the set", least=1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(
            f"{np.count_nonzero(lengths == 0)} rows are 0 throughout and have no direction"
        )
    return vendi_of_directions(rows / lengths)


def vendi_of_directions(rows: np.ndarray) -> float:
    """Return the Vendi score of rows of length 1, (n, d) float64."""
    # the Gram matrix of the columns has the same eigenvalues, but for zeros
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    shares = np.linalg.eigvalsh(gram / len(rows))
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def inception_score(probabilities: np.ndarray) -> float:
    """Return how sure a classifier is of each picture, and of how many classes over all.

    Salimans et al. 2016, section 4 (arXiv:1606.03498), with any classifier: the exponential of the
    mean divergence between a picture's probabilities and their mean over the set. Over pictures of
    one class it is near 1 whatever they look like.

    Args:
        probabilities: (n, C), each row ≥ 0 with sum 1.

    Returns:
        Between 1, for the same answer everywhere, and C, for sure answers equally often.

    Raises:
        ValueError: If there is no row, or a row is no distribution.
    """
    rows = checked(probabilities, "the set", least=1)
    if (rows < 0).any() or not np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        raise ValueError("probabilities must be ≥ 0 and sum to 1 in every row")
    mean = rows.mean(axis=0)
    # 0 log 0 is 0; where the mean is 0, all rows are
    ratio = np.divide(rows, mean, out=np.ones_like(rows), where=rows > 0)
    return float(np.exp((rows * np.log(ratio)).sum(axis=1).mean()))
