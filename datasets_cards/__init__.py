"""Templates of dataset cards and the licence record of each database."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def markdown(folder: Path) -> Environment:
    """Return the environment of a folder's Markdown templates: nothing escaped or undefined."""
    return Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
