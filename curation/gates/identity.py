"""Identity: is a generated face somebody whom the generator learned from?"""

import numpy as np

_ROWS = 1024


def identity_distances(
    made: np.ndarray, real: np.ndarray, people: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare face embeddings with those of the training faces.

    Args:
        made: Embeddings of generated faces, (N, d).
        real: Embeddings of training faces, (M, d).
        people: Who is on each training face, (M,); two people at least.

    Returns:
        For each generated face the place of the nearest training face and the distance to it, and
        for each training face the distance to the nearest one of somebody else. Distances are
        Euclidean between vectors of length 1: √(2 − 2 cosine), in [0, 2].

    Raises:
        ValueError: If an embedding is not finite, or one person is all there is.
    """
    if len(np.unique(people)) < 2:
        raise ValueError("identity needs training faces of two people at least (column subject)")
    made, real = _unit(made, "generated"), _unit(real, "real")
    everybody = np.arange(len(made))
    places, distances = _nearest(made, real, np.full(len(everybody), -1), np.zeros(len(real)))
    _, strangers = _nearest(real, real, people, people)
    return places, distances, strangers


def _unit(rows: np.ndarray, name: str) -> np.ndarray:
    rows = np.asarray(rows, np.float32)
    if not np.isfinite(rows).all():
        raise ValueError(f"embeddings of {name} faces are not finite; check gate.embedding")
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def _nearest(
    rows: np.ndarray, others: np.ndarray, people: np.ndarray, others_people: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    places = np.empty(len(rows), np.intp)
    distances = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        alike = rows[part] @ others.T
        alike[people[part, None] == others_people] = -np.inf
        places[part] = alike.argmax(axis=1)
        distances[part] = np.sqrt(np.maximum(2 - 2 * alike.max(axis=1), 0))
    return places, distances
