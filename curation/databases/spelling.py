"""One spelling for the names that databases give to emotions and splits."""

from curation.corpus import SPLITS

SYNONYMS = {
    "anger": "angry",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprised": "surprise",
    "contemptuous": "contempt",
}
SPLIT_SYNONYMS = {
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "testing": "test",
}


def emotion_of(name: str) -> str:
    """Return our name of an emotion; a class that we do not know keeps its own, in lower case."""
    word = name.strip().lower()
    return SYNONYMS.get(word, word)


def split_of(name: str) -> str | None:
    """Return ``train``, ``validation`` or ``test``, or None for any other word."""
    word = name.strip().lower()
    word = SPLIT_SYNONYMS.get(word, word)
    return word if word in SPLITS else None
