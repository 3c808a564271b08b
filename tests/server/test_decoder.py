"""Images are read in a process that may fail in any way."""

import os
import signal
import threading
import time
from multiprocessing import Pipe

import pytest
from pictures import picture
from stubs import wait_until

from swinir.errors import ImageReadError, ImageTooLargeError, MissingPackageError
from swinir.server import decoder as decoder_module
from swinir.server.decoder import DecodeLimits, Decoder

LIMITS = DecodeLimits(max_pixels=10_000, seconds=20.0, address_space_bytes=4 * 2**30)


@pytest.fixture(scope="module")
def decoder():
    decoder = Decoder(LIMITS)
    yield decoder
    decoder.close()


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.png"
    path.write_bytes(picture())
    return path


def test_a_picture_arrives_whole(decoder, good):
    assert decoder.read(good).pixels.shape == (16, 24, 3)


def test_an_error_says_nothing_about_paths_here(decoder, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(picture()[:60])
    with pytest.raises(ImageReadError) as caught:
        decoder.read(bad)
    assert str(tmp_path) not in str(caught.value)


def test_a_picture_of_too_many_pixels_is_refused(decoder, tmp_path):
    large = tmp_path / "large.png"
    large.write_bytes(picture(200, 100))
    with pytest.raises(ImageTooLargeError):
        decoder.read(large)


def test_a_decoder_that_crashes_fails_one_picture_and_is_replaced(decoder, good):
    decoder.read(good)
    before = decoder.process_id
    os.kill(before, signal.SIGSTOP)
    threading.Timer(0.3, os.kill, (before, signal.SIGKILL)).start()
    with pytest.raises(ImageReadError, match="failed"):
        decoder.read(good)
    began = time.monotonic()
    assert decoder.read(good).width == 24
    assert time.monotonic() - began < 20
    assert decoder.process_id != before


def test_a_decoder_that_died_meanwhile_is_replaced_without_an_error(decoder, good):
    decoder.read(good)
    os.kill(decoder.process_id, signal.SIGSEGV)
    wait_until(lambda: decoder._process.poll() is not None)
    assert decoder.read(good).width == 24


def test_a_decoder_that_hangs_is_ended_in_time(good):
    decoder = Decoder(DecodeLimits(max_pixels=10_000, seconds=20.0, address_space_bytes=4 * 2**30))
    decoder.read(good)
    impatient = DecodeLimits(max_pixels=10_000, seconds=0.5, address_space_bytes=4 * 2**30)
    decoder._limits = impatient
    os.kill(decoder.process_id, signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(ImageReadError, match=r"longer than 0\.5 s"):
        decoder.read(good)
    assert time.monotonic() - began < 10
    decoder.close()
    assert decoder_module.STOP_S > 0


def test_a_format_without_its_package_is_refused_and_the_decoder_lives(monkeypatch, tmp_path):
    def refuse(path, **_):
        raise MissingPackageError(f'{path} is a HEIC file, which takes a package: pip install "swinir[heif]"')

    monkeypatch.setattr(decoder_module.imaging, "read", refuse)
    monkeypatch.setattr(decoder_module, "_limit_memory", lambda _: None)
    monkeypatch.setattr(decoder_module, "_limit_time", lambda _: None)
    ours, theirs = Pipe()
    limits = DecodeLimits(max_pixels=100, seconds=5, address_space_bytes=2**30)
    thread = threading.Thread(target=decoder_module.serve_files, args=(theirs, limits))
    thread.start()
    assert ours.recv() is None
    for _ in range(2):
        ours.send((tmp_path / "a.heic", False))
        result = ours.recv()
        assert isinstance(result, ImageReadError)
        assert str(result) == "the image is a HEIC file, which this service has no reader for"
    ours.close()
    thread.join()
