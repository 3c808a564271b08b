"""Small pictures as files in memory."""

import io

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from swinir import imaging

HOST = "http://127.0.0.1"


def picture(width: int = 24, height: int = 16, *, seed: int = 0, suffix: str = "png") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return imaging.encode(imaging.Image(pixels=pixels), suffix)[0]


def picture_with_markup() -> bytes:
    """Return a picture whose text, EXIF and XMP are scripts."""
    markup = "<script>document.title=1</script><img src=x onerror=document.title=1>"
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", markup)
    texts.add_itxt("XML:com.adobe.xmp", f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{markup}</x:xmpmeta>")
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = markup
    file = io.BytesIO()
    Image.new("RGB", (24, 16), "green").save(file, "PNG", pnginfo=texts, exif=exif)
    return file.getvalue()
