"""Reports as tables and Markdown, beside what the literature reports."""

from dataclasses import replace

import pytest

from swinir.evaluation import PROTOCOLS, Padding
from swinir.evaluation.known_sets import CopyCheck
from swinir.evaluation.markdown import write_markdown
from swinir.evaluation.published import find_published, published_methods
from swinir.evaluation.tables import (
    group_reports,
    list_padding_costs,
    tabulate_means,
    tabulate_rivals,
    write_count,
)
from swinir.provenance import read_provenance
from unit.test_evaluate import figures_of, make_report

SET5 = CopyCheck(known="Set5", is_verified=True)


def report_of(psnr_db: float, data: str = "Set5", **changes):
    known = CopyCheck(known=data, is_verified=True)
    return make_report(figures_of("a", psnr_db), data=data, **{"copy": known, **changes})


def test_a_row_is_a_model_on_a_test_set():
    table = tabulate_means([report_of(38.15), report_of(33.9, "Set14")])
    assert table.headings[:4] == ("model", "data", "pictures", "PSNR Y")
    assert [row[:4] for row in table.rows] == [
        ("tiny", "Set5", "1", "38.15"),
        ("tiny", "Set14", "1", "33.90"),
    ]


def test_two_sets_of_one_name_are_two_rows():
    assert len(tabulate_means([report_of(30.0), report_of(31.0)]).rows) == 2


def test_published_methods_stand_above_ours_in_columns_of_test_sets():
    table = tabulate_rivals([report_of(38.15), report_of(33.9, "Set14")])
    assert table.headings[1:3] == ("Set5", "Set14")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["SwinIR (DIV2K)"] == ("38.14 / 0.9611", "33.86 / 0.9206", "878 K", "196 G")
    assert rows["tiny (measured here)"][:2] == ("38.15 / 0.3815", "33.90 / 0.3390")
    assert table.rows[-1][0] == "tiny (measured here)"


def test_without_published_figures_there_is_no_such_table():
    assert tabulate_rivals([report_of(30.0, "Holidays")]) is None


def test_reports_of_one_table_share_protocol_and_level():
    noise = [report_of(30.0, level=level, protocol=PROTOCOLS["color-denoising"]) for level in (15, 25)]
    assert [len(group) for group in group_reports([*noise, report_of(30.0), report_of(31.0)])] == [1, 1, 2]


def test_what_the_engine_costs_is_the_difference_of_both_ways():
    as_users_do = replace(PROTOCOLS["lightweight-sr"], padding=Padding.ENGINE)
    lines = list_padding_costs([report_of(38.15), report_of(38.14, protocol=as_users_do)])
    assert lines == ["tiny on Set5: -0.010 dB as the engine restores, against published padding"]


def test_markdown_has_tables_notes_and_provenance():
    note = "Set5 lacks 1 of its 5 pictures"
    report = report_of(38.15, copy=CopyCheck(known="Set5", is_verified=False, notes=(note,)))
    text = write_markdown([report], read_provenance())
    assert "| tiny | Set5 | 1 | 38.15 |" in text
    assert "| SwinIR (DIV2K) | 38.14 / 0.9611 | 878 K |" in text
    assert f"- {note}" in text
    assert "- torch: " in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (None, "-"),
        (12, "12"),
        (897_000, "897 K"),
        (11_900_000, "11.9 M"),
        (49.6e9, "49.6 G"),
        (999_600, "1 M"),
    ],
)
def test_counts_have_three_digits(number, text):
    assert write_count(number) == text


def test_published_figures_belong_to_protocols_and_are_plausible():
    assert len(published_methods()) > 100
    for row in published_methods():
        quoted = PROTOCOLS[row.protocol].quoted
        for figures in row.figures.values():
            assert 1 <= len(figures) <= len(quoted)
            assert 20 < figures[0] < 45
            assert all(0.7 < value < 1 for value in figures[1:2])


@pytest.mark.parametrize(
    ("protocol", "level", "data", "figures"),
    [
        ("classical-sr", 4, "Urban100", [27.07, 0.8164]),
        ("gray-denoising", 25, "BSD68", [29.50]),
        ("color-denoising", 50, "CBSD68", [28.56]),
        ("gray-jpeg", 10, "classic5", [30.27, 0.8249, 29.95]),
    ],
)
def test_figures_of_swinir_are_the_papers(protocol, level, data, figures):
    row = next(row for row in find_published(protocol, level) if row.method == "SwinIR")
    assert list(row.figures[data]) == figures


def test_multiply_adds_are_in_proportion_to_the_output():
    row = next(row for row in find_published("classical-sr", 4) if row.method == "RCAN")
    assert row.count_multiply_adds(512, 1024) == row.multiply_adds // 2
