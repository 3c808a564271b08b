"""README.zh-CN.md says the same as README.md: section by section the same commands, figures, links and names."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
CODE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Section(NamedTuple):
    """A heading and what stands under it."""

    level: int
    heading: str
    body: str


def read_sections(name: str) -> list[Section]:
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    blocks: list[str] = []
    # A comment of a command is no heading.
    hidden = CODE.sub(lambda match: f"\0{blocks.append(match[0]) or len(blocks) - 1}\0", text)
    parts = re.split(r"^(#+) (.*)$", hidden, flags=re.MULTILINE)[1:]

    def shown(body: str) -> str:
        return re.sub("\0(\\d+)\0", lambda match: blocks[int(match[1])], body)

    return [
        Section(len(level), heading, shown(body))
        for level, heading, body in zip(*[iter(parts)] * 3, strict=True)
    ]


def list_facts(body: str) -> dict[str, object]:
    """List what no translation changes."""
    code = [
        re.split(r"\s{2,}|\s+#", line.strip())[0]
        for _, block in CODE.findall(body)
        for line in block.split("\n")
    ]
    prose = CODE.sub("", body)
    rows = [line for line in prose.splitlines() if line.startswith("|")]
    text = "\n".join(line for line in prose.splitlines() if not line.startswith("|"))
    return {
        "lines of code, without comments": code,
        "columns and numbers of table rows": [(row.count("|"), re.findall(r"\d[\d.]*", row)) for row in rows],
        "names in code": sorted(re.findall(r"`([^`\n]+)`", prose)),
        "links and pictures": sorted(
            link for link in re.findall(r"\]\(([^)]+)\)", prose) if not link.startswith("README")
        ),
        "figures in sentences": sorted(re.findall(r"\d+\.\d+", text)),
    }


ENGLISH, CHINESE = read_sections("README.md"), read_sections("README.zh-CN.md")


def test_both_have_the_same_sections() -> None:
    assert [section.level for section in CHINESE] == [section.level for section in ENGLISH]


@pytest.mark.parametrize("index", range(len(ENGLISH)), ids=[section.heading for section in ENGLISH])
def test_a_section_says_the_same_in_both(index: int) -> None:
    assert list_facts(CHINESE[index].body) == list_facts(ENGLISH[index].body)


def test_each_leads_to_the_other() -> None:
    assert "(README.zh-CN.md)" in ENGLISH[0].body
    assert "(README.md)" in CHINESE[0].body


def test_the_second_is_chinese() -> None:
    assert all(re.search(r"[\u4e00-\u9fff]", section.body) for section in CHINESE)
