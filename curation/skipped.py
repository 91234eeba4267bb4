"""What a stage left out: every picture named, with its reason, and counted."""

import csv
import logging
from collections import Counter
from pathlib import Path

log = logging.getLogger(__name__)

FILE = "skipped.csv"


class Skipped:
    """Pictures left out by one stage, in the order in which they were met."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def add(self, source: str, reason: str, detail: str = "") -> None:
        """Note one picture.

        Args:
            source: Its path within the database, or its id.
            reason: One of a few texts, so that reasons can be counted.
            detail: What is particular to this picture.
        """
        self.rows.append((source, reason, detail))

    def counts(self) -> dict[str, int]:
        """Return the number of pictures for each reason, the most frequent first."""
        return dict(Counter(reason for _, reason, _ in self.rows).most_common())

    def write(self, out: Path) -> None:
        """Write ``skipped.csv`` (source, reason, detail) into a folder, and log the counts."""
        with (out / FILE).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("source", "reason", "detail"))
            writer.writerows(self.rows)
        for reason, count in self.counts().items():
            log.warning("skipped %d pictures: %s (see %s)", count, reason, FILE)
