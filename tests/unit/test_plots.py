"""Drawings of runs, quality and speed: what is in them, and that they are the same every time."""

import json
from pathlib import Path

import pytest

from swinir.cli.main import main
from swinir.errors import DataError
from swinir.evaluation import make_document
from swinir.evaluation.known_sets import CopyCheck
from swinir.evaluation.plots import (
    Cost,
    draw_curves,
    draw_quality,
    draw_speed,
    read_benchmarks,
    read_reports,
    read_run,
)
from swinir.provenance import read_provenance
from unit.test_bench_comparison import make_comparison, measured_row
from unit.test_evaluate import figures_of, make_report


def write_run(folder: Path, num_steps: int = 5) -> Path:
    folder.mkdir()
    entries = [{"step": step, "loss": 1 / (step + 1), "learning_rate": 2e-4} for step in range(num_steps)]
    entries += [{"step": 2, "psnr_db/Set5": 30.0, "psnr_db/Set14": 28.0}]
    lines = [json.dumps(entry) for entry in entries] + ['{"step": 9, "lo']
    (folder / "log.jsonl").write_text("\n".join(lines))
    return folder


def write_report(path: Path, *psnr_db: float) -> Path:
    known = CopyCheck(known="Set5", is_verified=True)
    reports = [make_report(figures_of("a", value), data="Set5", copy=known) for value in psnr_db]
    path.write_text(json.dumps(make_document(reports, read_provenance()), indent=1))
    return path


def write_benchmark(path: Path) -> Path:
    document = make_comparison(measured_row()).to_dict() | {"date": "2026-11-27T00:00:00+00:00"}
    path.write_text(json.dumps({"kind": "end to end"}) + "\n" + json.dumps(document) + "\n")
    return path


def labels(panel) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_a_panel_for_each_kind_of_number_and_a_line_for_each_series(tmp_path):
    figure = draw_curves([read_run(write_run(tmp_path / "first")), read_run(write_run(tmp_path / "second"))])
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["loss", "PSNR, dB", "learning rate"]
    legend = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert legend == ["first Set5", "first Set14", "second Set5", "second Set14"]


def test_a_line_that_was_cut_off_is_passed_over(tmp_path):
    steps, values = read_run(write_run(tmp_path / "run")).series["loss"]
    assert list(steps) == [0, 1, 2, 3, 4]
    assert values[1] == 0.5


def test_of_many_values_the_running_mean_is_drawn(tmp_path):
    figure = draw_curves([read_run(write_run(tmp_path / "run", num_steps=600))], ["loss"])
    raw, mean = figure.axes[0].get_lines()
    assert len(raw.get_xdata()) == 600
    assert 500 < len(mean.get_xdata()) < 600


def test_a_folder_without_a_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"log\.jsonl cannot be read"):
        read_run(tmp_path)


def test_what_no_log_has_is_named(tmp_path):
    with pytest.raises(DataError, match="run have no gradient_norm"):
        draw_curves([read_run(write_run(tmp_path / "run"))], ["gradient_norm"])


def test_published_methods_stand_beside_what_was_measured(tmp_path):
    figure = draw_quality(read_reports(write_report(tmp_path / "a.json", 37.5)), against=Cost.PARAMETERS)
    (panel,) = figure.axes
    assert {"SwinIR", "CARN", "IMDN", "tiny"} <= set(labels(panel))
    published, ours = panel.collections
    assert [878_000, 38.14] in published.get_offsets().tolist()
    assert ours.get_offsets()[0, 1] == 37.5


def test_names_do_not_lie_on_each_other(tmp_path):
    figure = draw_quality(read_reports(write_report(tmp_path / "a.json", 38.1)), against=Cost.PARAMETERS)
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.axes[0].texts]
    assert not any(a.overlaps(b) for index, a in enumerate(boxes) for b in boxes[:index])


def test_published_seconds_are_of_other_hardware_and_not_drawn(tmp_path):
    figure = draw_quality(read_reports(write_report(tmp_path / "a.json", 37.5)), against=Cost.SECONDS)
    assert labels(figure.axes[0]) == ["tiny"]


def test_a_test_set_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nothing of 'Set14': choose from Set5"):
        draw_quality(
            read_reports(write_report(tmp_path / "a.json", 37.5)), against=Cost.PARAMETERS, data="Set14"
        )


def test_a_bar_for_each_method(tmp_path):
    figure = draw_speed(read_benchmarks(write_benchmark(tmp_path / "cpu.jsonl")))
    assert [patch.get_width() for patch in figure.axes[0].patches] == [2.0]
    assert labels(figure.axes[0]) == ["2 s, 2.0 ×"]


@pytest.mark.parametrize("kind", ["run", "report.json", "cpu.jsonl"])
def test_the_command_tells_what_it_is_given_and_writes_the_same_bytes_twice(tmp_path, kind):
    write_run(tmp_path / "run")
    write_report(tmp_path / "report.json", 37.5)
    write_benchmark(tmp_path / "cpu.jsonl")
    for name in ("a.svg", "b.svg"):
        assert main(["plot", str(tmp_path / kind), "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").read_text().lstrip().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "-o", "plot.gif"), "names no format of drawings"),
        (("run", "report.json"), "do not go into one drawing"),
        (("other.json",), "is no report"),
        (("missing.json",), "cannot be read"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run")
    write_report(tmp_path / "report.json", 37.5)
    (tmp_path / "other.json").write_text("[1, 2]")
    assert main(["plot", *words]) in (1, 2)
    assert said in " ".join(capsys.readouterr().err.split())


def test_without_matplotlib_the_command_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("swinir.evaluation.plots.drawing.find_spec", lambda _: None)
    assert main(["plot", str(write_run(tmp_path / "run"))]) == 1
    assert "pip install 'swinir[plot]'" in " ".join(capsys.readouterr().err.split())
