"""Review of a corpus by a person."""
