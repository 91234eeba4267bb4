"""Data in, data out: corpora, databases, standardisation, augmentation, gates and publication."""
