"""Pages of reports and comparisons, in a browser at the width of a desktop and of a telephone."""

from pathlib import Path

import numpy as np
import pytest

from browser.conftest import DESKTOP, TELEPHONE
from swinir import imaging
from swinir.cli.main import main
from swinir.evaluation import PROTOCOLS, Observation, Sample
from swinir.evaluation.known_sets import CopyCheck
from swinir.evaluation.measures import measure
from swinir.evaluation.page import CropCollector, ReportView, write_page
from swinir.provenance import read_provenance
from unit.test_evaluate import SUPER_RESOLUTION, make_figures, make_report

NAME = "<img src=x onerror=alert(1)>"


def draw(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    layers = [np.sin(0.3 * rows * (seed + 1) + 0.2 * columns * channel) for channel in range(3)]
    return (127 + 120 * np.stack(layers, axis=2)).astype(np.uint8)


@pytest.fixture(scope="module")
def report_page(tmp_path_factory) -> Path:
    """A report of three pictures; the name of one tries to be a script."""
    collector = CropCollector(SUPER_RESOLUTION, 2, "tiny")
    images = []
    for seed, name in enumerate(("b10", "b9", NAME)):
        hq = draw(seed)
        lq = imaging.resize_bicubic(hq, 1 / 2)
        restored = imaging.resize_bicubic(lq, 2) // 2 + hq // 2
        figures = make_figures(name, **measure(restored, hq, border_px=2))
        collector(Observation(sample=Sample(name=name, lq=lq, hq=hq), restored=restored, figures=figures))
        images.append(figures)
    report = make_report(*images, data="Set5", copy=CopyCheck(known="Set5", notes=("one is missing",)))
    page = tmp_path_factory.mktemp("page") / "report.html"
    page.write_text(write_page([ReportView(report=report, crops=collector.crops)], read_provenance()))
    return page


@pytest.fixture(scope="module")
def comparison_page(tmp_path_factory) -> Path:
    """Three pictures, one of half the size."""
    folder = tmp_path_factory.mktemp("comparison")
    for name, pixels in (("a", draw(0)), ("b", draw(1)), ("small", draw(0, 32, 48))):
        imaging.write(imaging.Image(pixels=pixels), folder / f"{name}.png")
    words = [str(folder / f"{name}.png") for name in ("a", "b", "small")]
    assert main(["compare", *words, "-o", str(folder / "page.html")]) == 0
    return folder / "page.html"


def transforms(page) -> list[str]:
    return page.locator("image-compare .layer img").evaluate_all(
        "images => images.map(i => i.style.transform)"
    )


def clip(page) -> str:
    return page.locator("image-compare .right").first.evaluate("layer => layer.style.clipPath")


@pytest.mark.parametrize("size", [DESKTOP, TELEPHONE])
def test_pages_fit_the_window(report_page, comparison_page, size, visitor):
    for path in (report_page, comparison_page):
        page = visitor.open(path, size)
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        box = page.locator("image-compare .stage").first.bounding_box()
        assert box["width"] > 0.25 * size[0]
        assert box["height"] > 100


def test_a_report_shows_figures_notes_and_rivals(report_page, visitor):
    page = visitor.open(report_page)
    text = page.locator("main").inner_text()
    for wanted in (
        "tiny on Set5",
        "one is missing",
        "SwinIR (DIV2K)",
        "38.14 / 0.9611",
        "PSNR Y over bicubic",
        NAME,
    ):
        assert wanted in text
    assert page.locator("svg .bar").count() >= 1
    labels = page.locator("image-compare").first.locator("select").first.locator("option").all_inner_texts()
    assert labels == ["bicubic", "tiny", "original", "error"]


def test_headings_sort_the_pictures(report_page, visitor):
    page = visitor.open(report_page)

    def column(index: int) -> list[str]:
        return page.locator(f"table.sortable tbody tr td:nth-child({index})").all_inner_texts()

    heading = page.locator("table.sortable button", has_text="PSNR Y")
    heading.click()
    assert column(3) == sorted(column(3), key=float, reverse=True)
    heading.click()
    assert column(3) == sorted(column(3), key=float)
    page.locator("table.sortable button", has_text="picture").click(click_count=2)
    # Numbers within names count as numbers.
    assert column(1)[-2:] == ["b9", "b10"]


def test_the_divider_follows_the_pointer_and_the_keyboard(comparison_page, visitor):
    page = visitor.open(comparison_page)
    assert clip(page) == "inset(0px 0px 0px 50%)"
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    page.mouse.up()
    assert clip(page) == "inset(0px 0px 0px 25%)"
    page.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    assert clip(page) == "inset(0px 0px 0px 27%)"


def test_all_pictures_are_zoomed_and_moved_together(comparison_page, visitor):
    page = visitor.open(comparison_page)
    page.get_by_role("button", name="side by side").click()
    assert page.locator(".stage").count() == 3
    box = page.locator(".stage").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -800)
    page.wait_for_function("document.querySelector('image-compare').view.zoom > 3")
    first = transforms(page)
    assert len(set(first)) == 1
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 30, box["y"] + box["height"] / 2)
    page.mouse.up()
    moved = transforms(page)
    assert len(set(moved)) == 1
    assert moved != first
    page.locator(".stage").first.dblclick()
    assert "scale(1)" in transforms(page)[0]


def test_a_point_under_the_wheel_stays_where_it_is(comparison_page, visitor):
    page = visitor.open(comparison_page)
    box = page.locator(".stage").bounding_box()
    at = (box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"])
    where = """([x, y]) => {
        const box = document.querySelector('image-compare').shadowRoot.querySelector('img').getBoundingClientRect();
        return [(x - box.left) / box.width, (y - box.top) / box.height];
    }"""
    before = page.evaluate(where, list(at))
    page.mouse.move(*at)
    page.mouse.wheel(0, -500)
    page.wait_for_function("document.querySelector('image-compare').view.zoom > 2")
    assert page.evaluate(where, list(at)) == pytest.approx(before, abs=1e-3)


def test_the_difference_of_equal_pictures_is_black(comparison_page, visitor):
    page = visitor.open(comparison_page)
    page.locator("select").nth(1).select_option(label="a.png (96×64)")
    page.get_by_role("button", name="difference").click()
    shot = page.locator(".stage").screenshot()
    pixels = imaging.read(shot).pixels
    middle = pixels[
        pixels.shape[0] // 3 : -pixels.shape[0] // 3, pixels.shape[1] // 3 : -pixels.shape[1] // 3
    ]
    assert middle.max() == 0


def test_pictures_of_another_size_are_shown_as_large(comparison_page, visitor):
    page = visitor.open(comparison_page)
    page.get_by_role("button", name="side by side").click()
    boxes = [image.bounding_box() for image in page.locator(".stage img").all()]
    assert {(round(box["width"]), round(box["height"])) for box in boxes} == {
        (round(boxes[0]["width"]), round(boxes[0]["height"]))
    }


def test_two_fingers_zoom_on_a_telephone(comparison_page, visitor):
    page = visitor.open(comparison_page, TELEPHONE)
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *offsets: float) -> None:
        points = [{"x": x + offset, "y": y, "id": index} for index, offset in enumerate(offsets)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", -30, 30)
    for spread in (50, 70, 90):
        touch("touchMove", -spread, spread)
    touch("touchEnd")
    page.wait_for_function("document.querySelector('image-compare').view.zoom > 2")


def test_without_originals_there_is_neither_error_nor_gain(tmp_path, visitor):
    protocol = PROTOCOLS["real-world"]
    collector = CropCollector(protocol, 2, "tiny")
    lq = draw(0, 40, 40)
    figures = make_figures("a", niqe=5.5)
    sample = Sample(name="a", lq=lq, hq=None)
    collector(Observation(sample=sample, restored=imaging.resize_bicubic(lq, 2), figures=figures))
    report = make_report(figures, protocol=protocol)
    (tmp_path / "page.html").write_text(
        write_page([ReportView(report=report, crops=collector.crops)], read_provenance())
    )
    page = visitor.open(tmp_path / "page.html")
    assert "NIQE" in page.locator("main").inner_text()
    assert page.locator("svg").count() == 0
    assert page.locator("select").first.locator("option").all_inner_texts() == ["bicubic", "tiny"]
