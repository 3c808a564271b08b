"""URLs of files elsewhere as paths, so that plans are made of one kind of name.

The path s3:/bucket/a.png stands for s3://bucket/a.png.
"""

import os
import re
from pathlib import Path

_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL)
_SCHEME = re.compile(r"([a-z][a-z0-9+.-]+):(@?)")
# Stands behind the scheme where no host follows, as in hdfs:///scans: a path would lose that.
_NO_HOST = "@"


def path_of(name: str | os.PathLike[str]) -> Path:
    """Return the path that stands for a name, which may be a URL."""
    found = _URL.fullmatch(os.fspath(name))
    if found is None:
        return Path(name)
    scheme, rest = found.groups()
    if scheme in {"file", "local"}:
        return Path(rest)
    return Path(f"{scheme}:{_NO_HOST if rest.startswith('/') else ''}", rest.lstrip("/"))


def url_of(path: Path) -> str | None:
    """Return the URL that a path stands for; None where it is one of this machine."""
    found = _SCHEME.fullmatch(path.parts[0]) if path.parts else None
    if found is None:
        return None
    return f"{found[1]}://{'/' if found[2] else ''}{'/'.join(path.parts[1:])}"


def name_of(path: Path) -> str:
    """Return a path or the URL that it stands for."""
    return url_of(path) or str(path)
