"""The page, in a real browser."""

import io
import zipfile

import pytest
from pictures import picture, picture_with_markup
from test_process import Running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
HOSTILE_NAME = '"><img src=x onerror=document.title=1><script>document.title=1</script>.png'


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("page"))
    yield running
    assert running.close() == 0


@pytest.fixture
def page(running, browser):
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    faults = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(running.url)
    page.wait_for_selector("#task option", state="attached")
    page.select_option("#task", "upscale-2")
    yield page
    assert page.title() == "swinir"
    assert not faults
    page.close()


def drop(page, *files: tuple[str, bytes]) -> None:
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )


def wait_done(page, number: int) -> None:
    page.locator("#queue li .save:visible").nth(number - 1).wait_for(timeout=120_000)


def test_two_pictures_are_restored_compared_and_downloaded(page):
    drop(page, ("first.png", picture(60, 40)), (HOSTILE_NAME, picture(50, 40, seed=1)))
    wait_done(page, 2)
    page.locator("#queue li .show").first.click()
    page.wait_for_selector("#compare[open]")
    assert page.locator("#after").evaluate("image => image.naturalWidth", timeout=10_000) == 120
    # Both sides are seen: the slider has a picture at its left and at its right edge.
    for side in ("first", "second"):
        box = page.locator(f".side[slot={side}]").bounding_box()
        assert min(box["width"], box["height"]) > 300
    page.click("[data-zoom='4']")
    before, after = (page.locator(name).bounding_box() for name in ("#before", "#after"))
    assert before["width"] == pytest.approx(after["width"], abs=1)
    assert before["x"] == pytest.approx(after["x"], abs=1)
    page.click("#close")
    with page.expect_download() as download:
        page.locator("#queue li .save").first.click()
    assert download.value.suggested_filename.startswith("first_")
    with page.expect_download() as download:
        page.click("#download-all")
    names = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert len(names) == 2
    assert not any(set(name) & set('<>"/') for name in names)


def test_a_job_is_cancelled_and_an_error_is_a_sentence(page):
    drop(page, ("large.png", picture(1000, 1000)), ("broken.png", b"\x89PNG\r\n\x1a\nno picture"))
    page.locator("#queue li.failed .state").wait_for(timeout=60_000)
    assert "cannot be read" in page.locator("#queue li.failed .state").inner_text()
    page.locator("#queue li .cancel").first.click()
    page.locator("#queue li .state", has_text="cancelled").wait_for(timeout=60_000)


def test_a_picture_is_pasted_and_none_of_its_texts_is_run(page):
    paste = """bytes => {
        const data = new DataTransfer();
        data.items.add(new File([new Uint8Array(bytes)], "image.png", { type: "image/png" }));
        document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
    }"""
    page.evaluate(paste, list(picture_with_markup()))
    wait_done(page, 1)
    page.locator("#queue li .show").first.click()
    page.wait_for_selector("#compare[open]")
    assert page.locator("#compare-name").inner_text() == "image.png"


def test_a_damaged_picture_is_restored_where_the_switch_is_on(page):
    cut = picture(60, 40)[:-2000]
    drop(page, ("cut.png", cut))
    page.locator("#queue li.failed .state", has_text="switch above").wait_for(timeout=60_000)
    page.check("#salvage")
    drop(page, ("cut.png", cut))
    wait_done(page, 1)
    assert "missing" in page.locator("#queue li").last.inner_text()


def test_nothing_is_wider_than_a_telephone(page):
    page.set_viewport_size({"width": 360, "height": 700})
    drop(page, ("a name that is very long indeed, and longer still, so that it does not fit.png", picture()))
    wait_done(page, 1)
    assert page.locator("body").evaluate("body => body.scrollWidth <= window.innerWidth")


def test_the_keyboard_reaches_everything(page):
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.locator("body").evaluate("() => document.activeElement.id"))
    assert {"task", "model", "format", "drop"} <= reached


def test_a_picture_is_made_to_fit_a_size(page):
    page.select_option("#task", "size")
    drop(page, ("boat.png", picture(60, 40)))
    assert page.locator("#notice").inner_text().startswith("Write a width")
    page.fill("#width", "90")
    drop(page, ("boat.png", picture(60, 40)))
    wait_done(page, 1)
    page.locator("#queue li .show").first.click()
    page.wait_for_selector("#compare[open]")
    assert page.locator("#after").evaluate("image => image.naturalWidth", timeout=10_000) == 90
