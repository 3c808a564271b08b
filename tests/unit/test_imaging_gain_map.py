"""HDR gain maps: kept with the picture, turned and enlarged as it is, or left out with every claim of them."""

import io

import numpy as np
import pytest
import pyvips

from swinir.errors import ImageReadError
from swinir.imaging import Image, Metadata, encode, read
from swinir.imaging.jpeg import APP1, EXIF_PREFIX, XMP_PREFIX, insert_segments, packed_segment

CLAIM = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    b'<rdf:Description rdf:about="" xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" hdrgm:Version="1.0" other="stays">'
    b'<Container:Directory><rdf:Seq><rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" '
    b'Item:Mime="image/jpeg" Item:Length="793"/></rdf:li></rdf:Seq></Container:Directory></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.fixture(scope="module")
def hdr_jpeg() -> bytes:
    """A picture of 160×128 that is brighter to the right, with its gain map, by libultrahdr."""
    across = np.tile(np.linspace(0, 4, 160, dtype=np.float32), (128, 1))
    light = np.repeat(across[:, :, None], 3, axis=2)
    return pyvips.Image.new_from_array(light).copy(interpretation="scrgb").uhdrsave_buffer(Q=90)


def gain_map_of(data: bytes) -> np.ndarray:
    """The map as libultrahdr finds it."""
    found = pyvips.Image.uhdrload_buffer(data).get("gainmap-data")
    return pyvips.Image.jpegload_buffer(found).numpy()


def twice(image: Image) -> Image:
    return image.with_pixels(image.pixels.repeat(2, 0).repeat(2, 1), None)


def test_a_gain_map_is_kept_and_enlarged_with_its_picture(hdr_jpeg):
    data, notes = encode(twice(read(hdr_jpeg)), "jpg")
    before, after = gain_map_of(hdr_jpeg), gain_map_of(data)
    assert notes == ()
    assert after.shape == (2 * before.shape[0], 2 * before.shape[1])
    assert np.abs(after[::2, ::2].astype(int) - before).mean() < 3


def test_a_picture_without_a_size_before_its_gain_map_is_damaged(hdr_jpeg):
    # The number of the segment that says the size: of one that says nothing.
    place = hdr_jpeg.index(b"\xff\xc0")
    with pytest.raises(ImageReadError, match="damaged"):
        read(hdr_jpeg[:place] + b"\xff\xef" + hdr_jpeg[place + 2 :])


def test_a_gain_map_turns_with_its_picture(hdr_jpeg):
    turned = io.BytesIO()
    exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    insert_segments(io.BytesIO(hdr_jpeg), turned, [packed_segment(APP1, EXIF_PREFIX + exif)])
    before, after = gain_map_of(hdr_jpeg), gain_map_of(encode(read(turned.getvalue()), "jpg")[0])
    assert np.abs(after.astype(int) - np.rot90(before, -1)).mean() < 3


def test_length_of_the_map_in_xmp_is_that_of_the_new_one(hdr_jpeg):
    claimed = io.BytesIO()
    insert_segments(io.BytesIO(hdr_jpeg), claimed, [packed_segment(APP1, XMP_PREFIX + CLAIM)])
    data, _ = encode(read(claimed.getvalue()), "jpg")
    xmp = read(data).metadata.xmp
    assert xmp is not None
    assert b'Item:Length="%d"' % (len(data) - data.rfind(b"\xff\xd8\xff")) in xmp


@pytest.mark.parametrize(("suffix", "name"), [("png", "PNG"), ("avif", "AVIF"), ("tif", "TIFF")])
def test_where_it_cannot_be_kept_no_claim_stays_and_it_is_said(hdr_jpeg, suffix, name):
    claimed = io.BytesIO()
    insert_segments(io.BytesIO(hdr_jpeg), claimed, [packed_segment(APP1, XMP_PREFIX + CLAIM)])
    data, notes = encode(read(claimed.getvalue()), suffix)
    assert notes == (f"{name} cannot hold an HDR gain map, which was left out.",)
    assert b"hdrgm" not in data
    assert b'other="stays"' in (read(data).metadata.xmp or b"")


def test_a_claim_without_a_map_is_left_out_and_said():
    plain, _ = encode(Image(pixels=np.zeros((8, 8, 3), np.uint8), metadata=Metadata(xmp=CLAIM)), "jpg")
    again = read(plain)
    assert b"hdrgm" not in (again.metadata.xmp or b"")
    claimed = io.BytesIO()
    bare, _ = encode(Image(pixels=np.zeros((8, 8, 3), np.uint8)), "jpg")
    insert_segments(io.BytesIO(bare), claimed, [packed_segment(APP1, XMP_PREFIX + CLAIM)])
    assert read(claimed.getvalue()).notes == (
        "The file promises an HDR gain map and has none that can be read: the promise was left out.",
    )


def test_a_second_picture_that_is_no_map_is_said():
    plain, _ = encode(Image(pixels=np.zeros((8, 8, 3), np.uint8)), "jpg")
    assert read(plain + plain).notes == ("Of 2 pictures in the file the first was read.",)


def test_the_film_of_a_motion_photo_is_said_to_be_left_out():
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a GCamera:MotionPhoto="1"/></x:xmpmeta>'
    plain, _ = encode(Image(pixels=np.zeros((8, 8, 3), np.uint8), metadata=Metadata(xmp=xmp)), "jpg")
    again = read(plain + b"\0\0\0\x18ftypmp42")
    assert again.notes == ("The film of this motion photo was left out.",)
    assert again.metadata.xmp == xmp.replace(b'"1"', b'"0"')
