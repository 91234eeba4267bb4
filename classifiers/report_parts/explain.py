"""The section about what a recogniser sees: optimal inputs, mean faces, attribution maps."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from classifiers.explain.attribution import (
    QUADRATURE,
    centres,
    enlarge,
    grad_cam,
    integrated_gradients,
    last_spatial,
    randomised,
    rank_correlation,
    smoothed,
)
from classifiers.explain.faces import Faces, read_faces
from classifiers.explain.optimal import (
    LEARNED,
    LEAST,
    STARTS,
    STEPS,
    luminance,
    optimal_faces,
    optimal_inputs,
)
from classifiers.explain.painting import paint_heat, paint_signed
from classifiers.networks import Recogniser
from classifiers.predict import Predictor
from classifiers.report_parts.pictures import Picture, data_uri
from curation.licences import Licence

logger = logging.getLogger(__name__)

MAPPED = 12  # faces of one emotion and database whose maps are averaged
EXAMPLES, MISSES = 4, 2  # faces of one emotion that are shown with their maps
CHECKED = 48  # faces on which maps of other weights are compared
CHANGED = "from an average face"
WIDTH = 88  # px on the page
_DRAWN = 176  # px, for dense screens


@dataclass(frozen=True)
class _Maps:
    """Attribution maps of some faces, by their place in `Faces`."""

    place: Mapping[int, int]
    cam: np.ndarray | None  # (n, H, W), each brought to a maximum of 1
    gradients: np.ndarray  # (n, H, W), smoothed

    @property
    def layers(self) -> list[tuple[str, np.ndarray, Callable[..., np.ndarray]]]:
        """Name, maps and painter of each kind that there is."""
        cam = [] if self.cam is None else [("Grad-CAM", self.cam, paint_heat)]
        return [*cam, ("integrated gradients", self.gradients, paint_signed)]


def explain_section(
    recogniser_folder: Path | None,
    corpus: Path,
    predictions: pd.DataFrame | None,
    emotions: Sequence[str],
    *,
    member: int = 0,
    starts: int = STARTS,
    steps: int = STEPS,
    seed: int = 0,
    terms: Mapping[str, Licence] | None = None,
    show_restricted: bool = False,
    device: str = "auto",
) -> dict[str, Any] | None:
    """Return what ``explain.html.jinja`` shows.

    Args:
        recogniser_folder: With a ``recogniser.json``; None, or a folder without, for no section.
        corpus: The faces that it is explained on (`classifiers.explain.read_faces`).
        predictions: ``id`` and ``predicted`` of one training; None for the folder's own, else the
            recogniser reads the faces now.
        emotions: Which emotions, in which order.
        member: Which network of an ensemble.
        starts: Optimal inputs an emotion, each from other noise.
        steps: Of each optimal input; 0 leaves them out.
        seed: Of starts, movements and drawn faces.
        terms: Database → its licence; None for the records that come with Affectory.
        show_restricted: Show faces of databases that may not be passed on too.
        device: ``auto``, ``cpu``, ``cuda``, …

    Raises:
        ValueError: If the ensemble has no such member, or the corpus no face for it.
    """
    if recogniser_folder is None or not (recogniser_folder / "recogniser.json").is_file():
        return None
    whole = Predictor.load(recogniser_folder, device=device)
    count = len(whole.networks)
    if not 0 <= member < count:
        raise ValueError(f"{recogniser_folder} holds {count} networks; there is no number {member}")
    judge = Predictor(
        whole.networks[member : member + 1],
        emotions=whole.emotions,
        size=whole.size,
        hash=whole.hash,
        calibration=whole.calibration,
        device=device,
    )
    shown = [emotion for emotion in emotions if emotion in judge.emotions]
    faces = read_faces(
        recogniser_folder,
        judge,
        corpus,
        predictions,
        member=member,
        seed=seed,
        terms=terms,
        show_restricted=show_restricted,
    )
    logger.info("explain: %s on %d faces", judge.name, len(faces.table))
    drawn = _draw(faces, shown, seed)
    others = {"fresh": randomised(judge.networks[0], seed=seed)}
    if count > 1:
        others["other"] = whole.networks[(member + 1) % count]
    maps, checks, missing = None, None, None
    try:
        if rows := sorted({row for part in drawn for row in part}):
            maps, checks = _explain(judge, faces, rows, others)
        else:
            missing = "it read none of these faces as labelled"
    except ImportError as error:
        missing = str(error)
        logger.warning("explain: no attribution maps: %s", missing)
    return {
        "network": judge.name,
        "member": f"network {member + 1} of {count}" if count > 1 else "",
        "choice": faces.choice,
        "count": f"{len(faces.table):,}",
        "accuracy": f"{100 * faces.hit.mean():.1f} %",
        "emotions": shown,
        "width": WIDTH,
        "seed": seed,
        "optimal": _optimal(judge, faces, shown, starts, steps, seed, device) if steps else None,
        "groups": _groups(faces, maps, drawn[0], shown),
        "examples": _examples(faces, maps, drawn, shown) if maps else [],
        "checks": checks,
        "scales": _scales() if maps else None,
        "missing": missing,
        "restricted": sorted(set(faces.table.loc[~faces.table["free"], "database"])),
    }


def _draw(faces: Faces, emotions: Sequence[str], seed: int) -> tuple[list[int], list[int]]:
    """Return hits at random, some of each emotion and database, and the surest misses."""
    table, hits, misses = faces.table, [], []
    for number, emotion in enumerate(emotions):
        mine = (table["emotion"] == emotion).to_numpy(bool)
        for database in sorted(set(table["database"])):
            found = np.flatnonzero(mine & faces.hit & (table["database"] == database))
            order = np.random.default_rng([seed, number, len(found)]).permutation(len(found))
            hits += found[order[:MAPPED]].tolist()
        wrong = np.flatnonzero(mine & ~faces.hit & table["shown"])
        surest = np.argsort(-table["confidence"].to_numpy()[wrong], kind="stable")[:MISSES]
        misses += wrong[surest].tolist()
    return hits, misses


def _explain(
    judge: Predictor, faces: Faces, rows: list[int], others: Mapping[str, Recogniser]
) -> tuple[_Maps, dict[str, Any]]:
    """Map the chosen faces for what they were read as, and check the maps."""
    images, network = faces.images[rows], judge.networks[0]
    codes = np.array([judge.emotions.index(name) for name in faces.table["predicted"].iloc[rows]])
    try:
        unit, flat = last_spatial(network, images), None
    except ValueError as error:
        unit, flat = None, str(error)

    def cam_of(network: Recogniser, chosen: np.ndarray) -> np.ndarray | None:
        if unit is None:
            return None
        return grad_cam(network, images[chosen], codes[chosen], unit=unit, device=judge.device)

    cam = cam_of(network, np.arange(len(rows)))
    gradients = integrated_gradients(network, images, codes, device=judge.device)
    spots = smoothed(gradients.maps)
    drawn = np.random.default_rng(len(rows)).permutation(len(rows))[:CHECKED]
    agreement = {}
    for name, other in others.items():
        again = integrated_gradients(other, images[drawn], codes[drawn], device=judge.device)
        agreement[name] = {
            "cam": None if cam is None else _agreement(cam[drawn], cam_of(other, drawn)),
            "gradients": _agreement(spots[drawn], smoothed(again.maps)),
        }
    share = np.abs(gradients.error) / np.maximum(np.abs(gradients.gain), 1e-6)
    checks = {
        "n": len(rows),
        "grid": None if cam is None else f"{cam.shape[1]} × {cam.shape[2]}",
        "flat": flat,
        "steps": QUADRATURE,
        "error": f"{100 * np.median(share):.2g} %",
        "worst": f"{np.abs(gradients.error).max():.2g}",
        "gain": f"{np.median(gradients.gain):.1f}",
        "compared": len(drawn),
        "agreement": agreement,
    }
    if cam is not None and unit is not None:
        cam /= np.maximum(cam.max((1, 2), keepdims=True), 1e-12)
        places = centres(network, unit, gradients.maps.shape[1:])
        cam = enlarge(cam, judge.size, places)
    place = {row: index for index, row in enumerate(rows)}
    return _Maps(place, cam, enlarge(spots, judge.size)), checks


def _agreement(first: np.ndarray, second: np.ndarray | None) -> str:
    assert second is not None
    found = rank_correlation(first, second)
    known = found[np.isfinite(found)]
    return f"{known.mean():.2f}".replace("-", "\N{MINUS SIGN}") if len(known) else "unknown"


def _optimal(
    judge: Predictor,
    faces: Faces,
    emotions: Sequence[str],
    starts: int,
    steps: int,
    seed: int,
    device: str,
) -> dict[str, Any]:
    """Draw optimal inputs: faces, free pictures, changes of an average face; how each is read."""
    network, codes = judge.networks[0], [judge.emotions.index(name) for name in emotions]
    given: dict[str, Any] = {"steps": steps, "seed": seed, "device": device}
    found: list[tuple[str, str, np.ndarray]] = []  # label, in words, (classes, 3, H, W)
    shown = faces.table["shown"].to_numpy(bool)
    learned = int(shown.sum())
    if learned >= LEAST:
        made = optimal_faces(network, faces.images[shown], **given)
        found.append(("among faces", "clearest face", made[:, 0]))
    start, words = _average_face(faces)
    if start is not None and network.normalise.grey:
        start = np.broadcast_to(luminance(start), start.shape)
    average = moved = None
    before = np.zeros(0)
    if start is not None:
        still = start.round().astype(np.uint8)
        average, before = _picture(still, words), judge.probabilities(still[None])[0]
        changed = optimal_inputs(network, judge.size, face=start, starts=1, **given)
        moved = f"{np.sqrt(np.mean((changed - start) ** 2)):.0f}"
        found.append((CHANGED, "average face changed", changed[:, 0]))
    free = optimal_inputs(network, judge.size, starts=starts, **given)
    found += [(f"from noise, {k + 1}", "optimal input", free[:, k]) for k in range(starts)]
    rows = []
    for label, what, images in found:
        values = judge.probabilities(images[codes])[np.arange(len(codes)), codes]
        was = [f"{before[code]:.2f} → " if label == CHANGED else "" for code in codes]
        line: list[Picture | None] = [
            _picture(images[code], f"{what} for {emotion}", f"{old}{value:.2f}")
            for code, emotion, old, value in zip(codes, emotions, was, values, strict=True)
        ]
        rows.append((label, [*line, average] if label == CHANGED else line))
    return {
        "rows": rows,
        "learned": f"{min(learned, LEARNED):,}" if learned >= LEAST else None,
        "average": average,
        "words": words,
        "steps": steps,
        "moved": moved,
    }


def _average_face(faces: Faces) -> tuple[np.ndarray | None, str]:
    table = faces.table
    neutral = table["shown"] & (table["emotion"] == "neutral")
    chosen = (neutral if neutral.any() else table["shown"]).to_numpy(bool)
    if not chosen.any():
        return None, ""
    kind = "neutral faces" if neutral.any() else "faces"
    return faces.images[chosen].mean(0), f"the mean of {int(chosen.sum()):,} {kind}"


def _groups(
    faces: Faces, maps: _Maps | None, mapped: Sequence[int], emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return for each database mean faces and mean maps of each emotion."""
    groups = []
    for database, part in faces.table.groupby("database"):
        rows: dict[str, list[Picture | None]] = {}
        allowed = bool(part["shown"].all())
        for emotion in emotions:
            mine = (part["emotion"] == emotion).to_numpy(bool)
            hit = faces.hit[part.index]
            hits, misses = part.index[mine & hit].to_numpy(), part.index[mine & ~hit].to_numpy()
            if allowed:
                rows.setdefault("read right", []).append(_mean_face(faces, hits, emotion))
                rows.setdefault("read wrong", []).append(
                    _mean_face(faces, misses, emotion, most=True)
                )
            if maps is None:
                continue
            chosen = [row for row in mapped if row in set(hits)]
            places = [maps.place[row] for row in chosen]
            face = faces.images[chosen].mean(0) if allowed and chosen else None
            told = f"n = {len(chosen)}"
            for name, stack, paint in maps.layers:
                picture = None
                if chosen and (allowed or paint is paint_heat):
                    drawn = paint(face, stack[places].mean(0))
                    picture = _picture(drawn, f"mean {name}, {emotion}, {database}", told)
                rows.setdefault(f"{name}, mean", []).append(picture)
        kept = {name: line for name, line in rows.items() if any(line)}
        accuracy = f"{100 * faces.hit[part.index].mean():.1f} %"
        groups.append(
            {"database": database, "n": f"{len(part):,}", "accuracy": accuracy,
             "allowed": allowed, "rows": kept}
        )  # fmt: skip
    return groups


def _mean_face(
    faces: Faces, rows: np.ndarray, emotion: str, *, most: bool = False
) -> Picture | None:
    """Return a mean face with its n and, of mistakes, as what `most` of them were read."""
    if not len(rows):
        return None
    image = faces.images[rows].mean(0).round().astype(np.uint8)
    words = f"n = {len(rows):,}"
    if most:
        read = faces.table["predicted"].iloc[rows].value_counts().sort_index()
        words += f"; {read.idxmax()} {int(read.max()):,}"
    return _picture(image, f"mean face, {emotion}", words)


def _examples(
    faces: Faces, maps: _Maps, drawn: tuple[list[int], list[int]], emotions: Sequence[str]
) -> list[dict[str, Any]]:
    """Return a few faces of each emotion with their maps, hits at random and the surest misses."""
    table = faces.table
    strips = []
    for emotion in emotions:
        figures = []
        for rows, most in zip(drawn, (EXAMPLES, MISSES), strict=True):
            mine = [row for row in rows if table["emotion"][row] == emotion and table["shown"][row]]
            # one of each database in turn
            rank = table.loc[mine].groupby("database").cumcount()
            for row in rank.sort_values(kind="stable").index[:most]:
                line, place = table.loc[row], maps.place[int(row)]
                image = faces.images[row].astype(np.float32)
                figures.append(
                    {
                        "face": _picture(faces.images[row], f"{emotion}, {line['database']}"),
                        "maps": [
                            _picture(paint(image, stack[place]), f"{name} for {line['predicted']}")
                            for name, stack, paint in maps.layers
                        ],
                        "words": f"{line['predicted']} {line['confidence']:.2f}",
                        "hit": bool(faces.hit[row]),
                        "database": line["database"],
                    }
                )
        strips.append({"emotion": emotion, "figures": figures})
    return strips


def _scales() -> dict[str, Picture]:
    """Return the colours of both kinds of maps from their least to their greatest value."""
    ramp = np.tile(np.linspace(0, 1, _DRAWN, dtype=np.float32), (12, 1))
    middle = np.full((3, *ramp.shape), 128.0)
    return {
        "heat": _picture(paint_heat(middle, ramp), "colours from 0 to the largest value"),
        "signed": _picture(paint_signed(middle, 2 * ramp - 1), "colours from against to for"),
    }


def _picture(image: np.ndarray, alt: str, caption: str = "") -> Picture:
    """Inline (3, H, W) uint8 RGB."""
    height, width = image.shape[1:]
    picture = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])
    if width != _DRAWN:
        way = cv2.INTER_AREA if width > _DRAWN else cv2.INTER_CUBIC
        picture = cv2.resize(picture, (_DRAWN, round(_DRAWN * height / width)), interpolation=way)
    done, buffer = cv2.imencode(".webp", picture, [cv2.IMWRITE_WEBP_QUALITY, 82])
    if not done:
        raise ValueError(f"OpenCV could not encode a picture of shape {image.shape} as WebP")
    return Picture(data_uri(buffer.tobytes(), "webp"), alt, WIDTH, caption)
