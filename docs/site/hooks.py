"""Let the pages of the site link to files of the repository that lie outside of docs/, as they do on a host of code.

Those files are copied to repository/ of the site: Markdown becomes a page, anything else lies there as it is.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).parents[2]
COPIES = "repository"
# The page of a folder that is linked to.
LISTING = "folder.md"
_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what pages link to, and what those pages link to in turn."""
    waiting = [page.src_uri for page in files.documentation_pages()] + _copies_in_nav(config)
    seen: set[str] = set()
    while waiting:
        uri = waiting.pop()
        path = REPOSITORY / _in_repository(uri)
        if uri in seen or not path.exists():
            continue
        seen.add(uri)
        if path.is_dir():
            names = sorted(each.name for each in path.iterdir() if each.is_file())
            listing = "".join(f"- [{name}]({name})\n" for name in names)
            files.append(File.generated(config, f"{uri}/{LISTING}", content=f"# {path.name}\n\n{listing}"))
            waiting += [f"{uri}/{name}" for name in names]
            continue
        if uri.startswith(f"{COPIES}/"):
            files.append(File.generated(config, uri, abs_src_path=str(path)))
        if uri.endswith(".md"):
            waiting += [_in_site(target) for target in _targets(uri, path.read_text(encoding="utf-8"))]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links at where their files are in the site."""
    own = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        target = _in_site(_join(page.file.src_uri, link[1]))
        if target.startswith(f"{COPIES}/") and (REPOSITORY / _in_repository(target)).is_dir():
            target = f"{target}/{LISTING}"
        return posixpath.relpath(target, own or ".")

    return _LINK.sub(moved, markdown)


def _copies_in_nav(config: MkDocsConfig) -> list[str]:
    return re.findall(rf"{COPIES}/[\w./-]+\.md", str(config.nav))


def _targets(uri: str, markdown: str) -> list[str]:
    return [_join(uri, link) for link in _LINK.findall(markdown)]


def _join(uri: str, link: str) -> str:
    """Return the path in the repository of what a page links to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(_in_repository(uri)), link))


def _in_repository(uri: str) -> str:
    copied = uri.removeprefix(f"{COPIES}/")
    return copied if copied != uri else f"docs/{uri}"


def _in_site(path: str) -> str:
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{COPIES}/{path}"
