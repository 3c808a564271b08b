"""Any size, by the same rules as on the command line."""

import pytest
from pictures import picture
from stubs import wait_until

from swinir import imaging
from swinir.engine import TargetSize
from swinir.errors import UsageError
from swinir.options import RestorerOptions
from swinir.server.models import Choice, ModelTable, Operation


@pytest.fixture(scope="module")
def table() -> ModelTable:
    return ModelTable(("lightweight-x2", "lightweight-x3", "denoise"), RestorerOptions())


@pytest.mark.parametrize(
    ("query", "size"),
    [
        ({"scale": 1.5}, (36, 24)),
        ({"scale": 4}, (96, 64)),  # ×2 twice, where there is no model for ×4
        ({"width": 60}, (60, 40)),
        ({"height": 20, "width": 1000}, (30, 20)),
        ({"max_side": 12}, (12, 8)),
        ({"model": "lightweight-x2", "max_side": 40}, (40, 27)),
    ],
)
def test_a_picture_becomes_as_large_as_is_asked_for(client, query, size):
    response = client.post("/v1/restore", params=query, content=picture(24, 16))
    assert response.status_code == 200, response.text
    restored = imaging.read(response.content)
    assert (restored.width, restored.height) == size


def test_a_job_names_its_size_and_so_does_its_result(client):
    query = {"scale": 1.5, "name": "boat.png"}
    status = client.post("/v1/jobs", params=query, content=picture()).json()
    assert (status["model"], status["size"]) == ("upscale", "x1.5")
    url = f"/v1/jobs/{status['id']}"
    wait_until(lambda: client.get(url).json()["state"] == "done", 60)
    assert "boat_x1.5.png" in client.get(f"{url}/result").headers["content-disposition"]


@pytest.mark.parametrize(
    "query",
    [
        {"width": 100, "scale": 2},
        {"operation": "denoise", "width": 100},
        {"model": "denoise", "scale": 1.5},
        {"scale": 65},
        {"width": 0},
        {"max_side": "NaN"},
        {"width": 1_000_000},
    ],
)
def test_a_size_that_cannot_be_made_is_refused_in_one_sentence(client, query):
    response = client.post("/v1/jobs", params=query, content=picture())
    assert response.status_code == 422, response.text


def test_a_whole_scale_of_a_model_is_that_model_alone(table):
    assert table.choose(None, Operation.UPSCALE, 3) == Choice("lightweight-x3")
    assert table.choose("denoise", Operation.UPSCALE, 1) == Choice("denoise")


def test_the_largest_picture_on_the_way_counts_against_the_limit(table):
    choice = table.choose(None, Operation.UPSCALE, 4.5)
    assert choice == Choice("upscale", TargetSize(scale=4.5))
    assert table.output_size(choice, 10, 20) == (60, 120)  # ×2, then ×3, then reduced


def test_what_nothing_here_enlarges_is_said(table):
    only_denoise = ModelTable(("denoise",), RestorerOptions())
    with pytest.raises(UsageError, match="no model that enlarges"):
        only_denoise.choose(None, Operation.UPSCALE, TargetSize(width=100))
