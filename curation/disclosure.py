"""A note inside every synthetic picture that it is one, for whoever meets it without its corpus.

Two PNG chunks after the header: a plain sentence (``Description``), and XMP with IPTC's digital
source type `trainedAlgorithmicMedia`, which picture viewers and search engines read. The
compressed pixels are not touched, so ids, which are hashes of pixels, stay.
"""

import struct
import zlib

SENTENCE = (
    "Synthetic face, AI-generated: drawn by a generative adversarial network. "
    "Not a photograph of a person."
)
SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" '
    'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" '
    f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"/></rdf:RDF></x:xmpmeta>'
)
_HEADER = 8 + 25  # signature and IHDR, which comes first (PNG specification, 5.6)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


_NOTE = _chunk(b"tEXt", b"Description\0" + SENTENCE.encode("latin-1")) + _chunk(
    # keyword, not compressed, no language, no translated keyword (PNG specification, 11.3.3.4)
    b"iTXt",
    b"XML:com.adobe.xmp\0\0\0\0\0" + _XMP.encode("utf-8"),
)


def disclosed(png: bytes) -> bytes:
    """Return a PNG with the note in it; one that has it already is returned as it is.

    Raises:
        ValueError: If the bytes are no PNG.
    """
    if not png.startswith(b"\x89PNG\r\n\x1a\n") or png[12:16] != b"IHDR":
        raise ValueError(f"{len(png)} bytes that begin with {png[:8]!r} are no PNG")
    return png if is_disclosed(png) else png[:_HEADER] + _NOTE + png[_HEADER:]


def is_disclosed(png: bytes) -> bool:
    """Return whether a PNG carries the note."""
    return png.startswith(_NOTE, _HEADER)
