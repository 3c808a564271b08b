"""What a file says of its colours and of its words beside the picture: kept, converted, or said."""

import io
import struct

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
import pyvips

from swinir.imaging import Image, Metadata, encode, read
from swinir.imaging.cicp import Cicp, to_srgb
from swinir.imaging.facts import HdrLight
from swinir.imaging.icc import profile_of_cicp, profile_of_gamma
from swinir.imaging.png import insert_chunks
from swinir.imaging.text import Text

PQ, HLG, P3 = Cicp(9, 16), Cicp(9, 18), Cicp(12, 13)


def ramp(height: int = 24, width: int = 32, dtype: type = np.uint16) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    unit = np.stack([x / (width - 1), y / (height - 1), (x + y) / (width + height - 2)], axis=2)
    return np.round(unit * np.iinfo(dtype).max).astype(dtype)


def with_chunks(image: Image, *chunks: tuple[bytes, bytes]) -> bytes:
    file = io.BytesIO()
    insert_chunks(io.BytesIO(encode(image, "png")[0]), file, chunks)
    return file.getvalue()


def chunk_kinds(data: bytes) -> list[bytes]:
    place, kinds = 8, []
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        kinds.append(data[place + 4 : place + 8])
        place += 12 + size
    return kinds


@pytest.mark.parametrize("cicp", [PQ, HLG, P3])
@pytest.mark.parametrize("suffix", ["png", "avif"])
def test_code_points_survive_where_the_format_has_them(cicp, suffix):
    data, notes = encode(Image(pixels=ramp(), bits=10, cicp=cicp), suffix)
    again = read(data)
    assert (again.cicp, notes) == (cicp, ())
    assert np.abs(again.pixels.astype(int) - ramp()).mean() < 400


def test_code_points_do_not_change_how_avif_is_decoded():
    pixels = ramp(dtype=np.uint8)
    plain, stated = (read(encode(Image(pixels=pixels, cicp=cicp), "avif")[0]) for cicp in (None, P3))
    np.testing.assert_array_equal(plain.pixels, stated.pixels)


@pytest.mark.parametrize("suffix", ["png", "avif"])
def test_levels_of_light_survive(suffix):
    light = HdrLight(bytes(range(24)), struct.pack(">II", 1000 * 10_000, 400 * 10_000))
    image = Image(pixels=ramp(), cicp=PQ, bits=10, metadata=Metadata(light=light))
    assert read(encode(image, suffix)[0]).metadata.light == light


@pytest.mark.parametrize("suffix", ["jpg", "tif", "webp"])
def test_wide_gamut_becomes_a_profile_where_there_are_no_code_points(suffix):
    data, notes = encode(Image(pixels=ramp(dtype=np.uint8), cicp=P3), suffix)
    assert any("Display P3" in note for note in notes)
    assert read(data).profile == profile_of_cicp(P3)


def test_hdr_is_tone_mapped_where_it_cannot_be_stated():
    data, notes = encode(Image(pixels=ramp(), cicp=PQ), "jpg")
    assert notes[0] == "JPEG cannot state BT.2020 PQ: the picture was tone-mapped to sRGB."
    assert read(data).cicp is None


def test_tone_mapping_keeps_grey_and_order_and_puts_white_below_the_top():
    signal = np.linspace(0, 1, 256)[None, :, None].repeat(3, axis=2)
    for cicp, white_at in ((PQ, 0.5806), (HLG, 0.75)):
        shown = to_srgb(signal, cicp, 1.0)
        assert np.ptp(shown, axis=2).max() < 1e-3
        assert (np.diff(shown[0, :, 0]) >= -1e-9).all()
        white = np.interp(white_at, signal[0, :, 0], shown[0, :, 0])
        assert 0.8 < white < 0.95
        assert shown[0, -1, 0] > 0.99


def test_a_profile_of_code_points_is_what_little_cms_calls_srgb():
    profile = profile_of_cicp(Cicp(1, 13))
    assert profile is not None
    opened = PIL.ImageCms.ImageCmsProfile(io.BytesIO(profile))
    picture = PIL.Image.fromarray(ramp(dtype=np.uint8))
    shown = PIL.ImageCms.profileToProfile(picture, opened, PIL.ImageCms.createProfile("sRGB"))
    assert np.abs(np.asarray(shown).astype(int) - np.asarray(picture)).max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
def test_gamma_of_a_png_becomes_a_profile(channels):
    image = Image(pixels=ramp(dtype=np.uint8)[:, :, :channels])
    again = read(with_chunks(image, (b"gAMA", struct.pack(">I", 100_000))))
    assert again.profile == profile_of_gamma(1.0, None, is_gray=channels == 1)
    assert again.notes == ("The colours that gAMA and cHRM state are written as a profile.",)
    assert encode(again, "jpg")[1] == ()


@pytest.mark.parametrize("gama", [45_455, 0, 1, 2**32 - 1])
def test_gamma_of_srgb_or_of_nothing_is_no_profile(gama):
    image = Image(pixels=ramp(dtype=np.uint8))
    assert read(with_chunks(image, (b"gAMA", struct.pack(">I", gama)))).profile is None


def test_primaries_of_a_png_become_a_profile():
    points = (31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000)
    again = read(with_chunks(Image(pixels=ramp(dtype=np.uint8)), (b"cHRM", struct.pack(">8I", *points))))
    assert again.profile is not None
    transformed = pyvips.Image.new_from_array(np.full((1, 1, 3), (0, 255, 0), np.uint8)).copy(
        interpretation="srgb"
    )
    transformed.set_type(pyvips.GValue.blob_type, "icc-profile-data", again.profile)
    red, green, blue = transformed.icc_transform("srgb", embedded=True, depth=16).numpy()[0, 0]
    # Green of P3 lies outside sRGB: red and blue would be negative.
    assert (red, blue) == (0, 0)
    assert green > 60_000


@pytest.mark.parametrize("bits", [10, 12])
def test_bits_of_avif_come_back(bits):
    pixels = ramp() >> (16 - bits) << (16 - bits)
    image = Image(pixels=pixels | pixels >> bits, bits=bits)
    data, notes = encode(image, "avif", quality=100)
    again = read(data)
    assert (again.bits, notes) == (bits, ())
    assert np.abs(again.pixels.astype(int) - image.pixels).max() <= 3 * 2 ** (16 - bits)


TEXTS = (Text("parameters", "a cat\nSteps: 20"), Text("Titel", "Kätzchen"), Text("Autor", "猫"))


def test_words_of_a_png_survive_in_png():
    image = Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(texts=TEXTS))
    data, notes = encode(image, "png")
    assert [(text.keyword, text.text) for text in read(data).metadata.texts] == [
        (text.keyword, text.text) for text in TEXTS
    ]
    assert notes == ()
    # By another reader too.
    assert PIL.Image.open(io.BytesIO(data)).text["Autor"] == "猫"


def test_words_of_a_png_become_comments_of_a_jpeg():
    image = Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(texts=TEXTS[:1]))
    data, notes = encode(image, "jpg")
    assert PIL.Image.open(io.BytesIO(data)).info["comment"] == b"parameters: a cat\nSteps: 20"
    assert [text.text for text in read(data).metadata.texts] == ["parameters: a cat\nSteps: 20"]
    assert notes == ()


def test_words_that_a_format_cannot_hold_are_named():
    image = Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(texts=TEXTS))
    for suffix, name in (("webp", "WebP"), ("tif", "TIFF"), ("avif", "AVIF")):
        lost = f"{name} cannot hold texts (parameters, Titel, Autor), which were left out."
        assert encode(image, suffix)[1] == (lost,)


def test_xmp_of_a_png_is_text_that_others_find():
    xmp = '<x:xmpmeta xmlns:x="adobe:ns:meta/">Größe</x:xmpmeta>'.encode()
    data, _ = encode(Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(xmp=xmp)), "png")
    assert [kind for kind in chunk_kinds(data) if kind in (b"zTXt", b"tEXt", b"iTXt")] == [b"iTXt"]
    assert PIL.Image.open(io.BytesIO(data)).info["xmp"] == xmp
    assert read(data).metadata.xmp == xmp


def test_xmp_too_long_for_a_segment_comes_back_from_jpeg_whole():
    words = b"".join(b"<rdf:li>%d</rdf:li>" % number for number in range(9000))
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="">' + words + b"</rdf:Description></rdf:RDF></x:xmpmeta>"
    )
    assert len(xmp) > 2 * 65_533
    data, notes = encode(Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(xmp=xmp)), "jpg")
    again = read(data).metadata.xmp
    assert notes == ()
    assert again is not None
    assert words in again
    assert b"HasExtendedXMP" not in again


def test_size_in_xmp_is_that_of_the_new_picture():
    xmp = (
        b'<d exif:PixelXDimension="4" tiff:ImageLength="3"><exif:PixelYDimension>3</exif:PixelYDimension></d>'
    )
    again = read(encode(Image(pixels=ramp(dtype=np.uint8), metadata=Metadata(xmp=xmp)), "png")[0])
    assert again.metadata.xmp == xmp.replace(b"4", b"32").replace(b"3<", b"24<").replace(b'"3"', b'"24"')


def test_lab_of_tiff_files_is_that_of_profiles() -> None:
    colors = np.array([[[200, 200, 200], [120, 80, 60], [90, 60, 150], [60, 120, 90]]], np.uint8).repeat(4, 0)
    lab = PIL.ImageCms.profileToProfile(
        PIL.Image.fromarray(colors),
        PIL.ImageCms.createProfile("sRGB"),
        PIL.ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    assert lab is not None
    file = io.BytesIO()
    lab.save(file, "TIFF")
    pixels = read(file.getvalue()).pixels
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels, colors, atol=3)
