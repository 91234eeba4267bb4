"""Puppets, the embedded database: faces drawn by code from facial action units.

Layout: none on disk; every picture is drawn when it is asked for. Three styles
imitate the look of databases that may not be redistributed:

- `studio`: colour, even light, grey T-shirt (as KDEF);
- `lab`: grey, varied light, walls and skin tones (as CK+);
- `ten`: grey, low contrast, women (as JAFFE).

Labels: the seven emotion names themselves; prototypes and their variants are in
`curation/puppets/expression.py`.

Subjects: numbered from 1 in each style. The populations of different styles, and of
different seeds, share nobody. Subject `puppets_studio/S001` has that name under every
seed, so do not join corpora of different seeds.

Expected counts: subjects x sessions x emotions; by default 70 x 2 x 7 = 980 of each
style, 140 of each emotion.

Licence: drawn by code and free (MIT, as this project). No person is depicted.

Reference for the action units: Ekman, Friesen & Hager, Facial Action Coding System,
2002.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from curation.corpus import EMOTIONS
from curation.puppets import check, render


@dataclass(frozen=True)
class Puppets:
    """The embedded database, ordered by subject, session and emotion; who reads a row draws it.

    Attributes:
        style: "studio", "lab" or "ten".
        subjects: Number of people, at least 1.
        sessions: Sittings of each person, at least 1.
        size: Height and width in pixels, at least 32.
        difficulty: 0 (posed, full intensity) to 1 (weak, incomplete, mixed).
        seed: Another seed gives other people and other shots.
        emotions: Which emotions to draw.
        database: Its name; None for "puppets_" and the style.

    Raises:
        ValueError: If an argument is outside what is said above.
    """

    style: str = "studio"
    subjects: int = 70
    sessions: int = 2
    size: int = 128
    difficulty: float = 0.6
    seed: int = 0
    emotions: Sequence[str] = EMOTIONS
    database: str | None = None

    def __post_init__(self) -> None:
        check(
            style=self.style,
            emotions=self.emotions,
            size=self.size,
            difficulty=self.difficulty,
            subjects=self.subjects,
            sessions=self.sessions,
        )

    @property
    def expected(self) -> Mapping[str, int]:
        """Emotion → pictures."""
        return dict.fromkeys(self.emotions, self.subjects * self.sessions)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one row a picture; ``image`` is a function that draws (H, W, 3) uint8 RGB."""
        database = self.database or f"puppets_{self.style}"
        for subject in range(1, self.subjects + 1):
            name = f"{database}/S{subject:03d}"
            for session in range(1, self.sessions + 1):
                for emotion in self.emotions:
                    yield {
                        "image": partial(
                            render,
                            self.style,
                            subject,
                            session,
                            emotion,
                            size=self.size,
                            difficulty=self.difficulty,
                            seed=self.seed,
                        ),
                        "emotion": emotion,
                        "database": database,
                        "subject": name,
                        "session": str(session),
                        "pose": "straight",
                        "source": f"{name}/{session}/{emotion}",
                    }
