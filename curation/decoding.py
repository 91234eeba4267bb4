"""Picture files and what they decode to: one way for all that reads pictures."""

import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

MAX_PIXELS = 100_000_000
# no more: for others Pillow starts programs (EPS), or raises what nobody expects (AVIF, DDS)
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM")


class UnreadableImageError(Exception):
    """A file that is not a picture we can use; the text is the reason to report."""


def read_image(picture: Path | bytes) -> np.ndarray:
    """Read a picture of one of `FORMATS`: turned by its EXIF flag, 8 bits, RGB.

    Args:
        picture: A file, or its content.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        UnreadableImageError: If the file is absent, empty, damaged, no picture or absurdly large.
    """
    try:
        if (len(picture) if isinstance(picture, bytes) else picture.stat().st_size) == 0:
            raise UnreadableImageError("empty file")
        with warnings.catch_warnings():
            # Pillow warns of large pictures before we have looked at their size
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # a damaged flag is as good as none
            warnings.filterwarnings("ignore", "Corrupt EXIF data")
            source = BytesIO(picture) if isinstance(picture, bytes) else picture
            with Image.open(source, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise UnreadableImageError("more than 100 million pixels")
                return _as_rgb(ImageOps.exif_transpose(opened))
    except Image.DecompressionBombError as error:
        raise UnreadableImageError("more than 100 million pixels") from error
    except FileNotFoundError as error:
        raise UnreadableImageError("file not found") from error
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow's decoders raise
        raise UnreadableImageError("damaged or not a picture") from error


def _as_rgb(picture: Image.Image) -> np.ndarray:
    if picture.mode == "F":  # 0–1, 0–255 or anything else
        raise UnreadableImageError("floating-point pixels of unknown range")
    if picture.mode.startswith("I"):  # 16-bit grey, which Pillow would clip instead of scale
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise UnreadableImageError("integer pixels of unknown range")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        # the colours stored under transparent pixels are anything; nobody was meant to see them
        cut_out = picture.convert("RGBA")
        white = Image.new("RGBA", cut_out.size, "white")
        picture = Image.alpha_composite(white, cut_out)
    return np.array(picture.convert("RGB"))
