"""Reports as Markdown."""

from collections.abc import Sequence

from swinir.evaluation.report import Report
from swinir.evaluation.tables import (
    TextTable,
    group_reports,
    list_notes,
    list_padding_costs,
    tabulate_means,
    tabulate_rivals,
)
from swinir.provenance import Provenance


def write_markdown(reports: Sequence[Report], provenance: Provenance) -> str:
    """Write tables of means, the published figures beside them, notes and where the figures come from."""
    parts = ["# Evaluation"]
    for group in group_reports(reports):
        means, rivals = tabulate_means(group), tabulate_rivals(group)
        parts += [f"## {means.title}", group[0].protocol.details, _write_table(means)]
        if rivals is not None:
            parts += [f"### {rivals.title}", _write_table(rivals)]
    if costs := list_padding_costs(reports):
        parts += ["## Padding and tiles", _write_list(costs)]
    if notes := list_notes(reports):
        parts += ["## Notes", _write_list(notes)]
    facts = [f"{name}: {value}" for name, value in provenance.to_dict().items() if value]
    for model in dict.fromkeys(report.model for report in reports):
        facts.append(
            f"{model.name}: {model.precision} on {model.device}, {model.backend}"
            + (", ensemble of eight" if model.ensemble else "")
            + ("" if model.weights_sha256 is None else f", weights' SHA-256 {model.weights_sha256}")
        )
    parts += ["## Where the figures come from", _write_list(facts)]
    return "\n\n".join(parts) + "\n"


def _write_table(table: TextTable) -> str:
    rule = ["---"] * table.num_names + ["---:"] * (len(table.headings) - table.num_names)
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        for cells in (table.headings, rule, *table.rows)
    )


def _write_list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
