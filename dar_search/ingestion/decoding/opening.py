"""A picture file's bytes -> Pillow's picture, its header read and nothing decoded: by its kind, never by trying all.

What Pillow leaves out of its picture and `colours` needs is put into `image.info` here: PNG's cICP, AVIF's nclx, and
transparent values scaled as the samples are.
"""

from __future__ import annotations

import importlib.util
import io
import struct
from collections.abc import Callable

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from dar_search.errors import PictureError
from dar_search.ingestion.decoding.signatures import Signature, signature_of, what_else
from dar_search.ingestion.decoding.tiffs import opened_tiff

CONVERT_HINT = "Convert it to JPEG, PNG or WebP."
_UNSPECIFIED = 2
_GREY_STEPS = {"L;2": 85, "L;4": 17}


def kind_of(data: bytes) -> Signature:
    """Raises PictureError not_a_picture, unsupported_format."""
    if not data:
        raise PictureError("empty_file", "The file is empty: it has 0 bytes.", "Copy it again from where it came.")
    signature = signature_of(data)
    if signature is None:
        name, hint = what_else(data)
        message = f"The file is {name}." if name else "The content is not a picture."
        raise PictureError("not_a_picture", message, hint or "Check what the file is.")
    if signature.name == "HEIC" and importlib.util.find_spec("pillow_heif") is None:
        raise PictureError(
            "unsupported_format",
            'HEIC pictures are decoded with the extra "heif", which is not installed.',
            'pip install "dar-search[heif]", or convert it to JPEG.',
        )
    if not signature.supported:
        raise PictureError("unsupported_format", f"{signature.name} pictures are not decoded.", CONVERT_HINT)
    return signature


def opened(data: bytes, kind: Signature) -> ImageFile.ImageFile:
    """Raises whatever Pillow's plugins raise."""
    return _OPENERS[kind.name](data)


def _jpeg(data: bytes) -> ImageFile.ImageFile:
    # Not Image.open: of an MPO (several JPEGs in one file) the first counts, and it is a JPEG like others. Zeros at the
    # end are an unfinished copy's; libjpeg would read them as pixels.
    return JpegImagePlugin.JpegImageFile(io.BytesIO(data.rstrip(b"\0") if data.endswith(bytes(64)) else data))


def _png(data: bytes) -> ImageFile.ImageFile:
    image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    _scale_transparency(image)
    coded = _png_chunk(data, b"cICP")
    if len(coded) == 4 and coded[0] != _UNSPECIFIED:
        image.info["cicp"] = {"color_primaries": coded[0], "transfer_characteristics": coded[1]}
    return image


def _scale_transparency(image: ImageFile.ImageFile) -> None:
    """Pillow scales samples to eight bits, and leaves the value that means transparent as it is in the file."""
    through, packed = image.info.get("transparency"), str(image.tile[0].args if image.tile else "")
    if isinstance(through, int) and packed in _GREY_STEPS:
        image.info["transparency"] = through * _GREY_STEPS[packed]
    elif isinstance(through, tuple) and packed.endswith(";16B"):
        image.info["transparency"] = tuple(value >> 8 for value in through)


def _png_chunk(data: bytes, name: bytes) -> bytes:
    """What a chunk before the pixels holds; empty where there is none."""
    at = 8
    while at + 8 <= len(data):
        length, found = struct.unpack_from(">I4s", data, at)
        if found == name:
            return data[at + 8 : at + 8 + length]
        if found == b"IDAT":
            break
        at += 12 + length
    return b""


def _avif(data: bytes) -> ImageFile.ImageFile:
    image = AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    start = data.find(b"colrnclx", 0, 1 << 16)
    if start > 0 and len(data) >= start + 12:
        _, primaries, transfer = struct.unpack_from(">8sHH", data, start)
        image.info["nclx_profile"] = {"color_primaries": primaries, "transfer_characteristics": transfer}
    return image


def _heic(data: bytes) -> ImageFile.ImageFile:
    import pillow_heif  # an extra, and only for these pictures

    for option in ("THUMBNAILS", "DEPTH_IMAGES", "AUX_IMAGES"):
        setattr(pillow_heif.options, option, False)
    pillow_heif.options.DECODE_THREADS = 1
    image: ImageFile.ImageFile = pillow_heif.HeifImageFile(io.BytesIO(data))  # type: ignore[no-untyped-call]
    return image


_OPENERS: dict[str, Callable[[bytes], ImageFile.ImageFile]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "GIF": lambda data: GifImagePlugin.GifImageFile(io.BytesIO(data)),
    "WebP": lambda data: WebPImagePlugin.WebPImageFile(io.BytesIO(data)),
    "AVIF": _avif,
    "TIFF": opened_tiff,
    "BMP": lambda data: BmpImagePlugin.BmpImageFile(io.BytesIO(data)),
    "HEIC": _heic,
}
