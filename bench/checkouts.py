"""Two trees of Gatepost's code: this one, and one to measure beside it."""

import re
import sys
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from bench.processes import Failed
from bench.stores import DATABASE

ROOT = Path(__file__).parent.parent
_REVISION = re.compile(r"""^revision(?:: str)? = ['"]([^'"]+)['"]""", re.MULTILINE)


@dataclass(frozen=True)
class Checkout:
    """A tree of code with the interpreter that runs it, and the databases of the private stores that are its own."""

    root: Path
    python: str
    database: str = DATABASE
    redis_number: int = 0


HERE = Checkout(ROOT, sys.executable)


def beside(folder: Path, root: Path = ROOT) -> Checkout:
    """The other checkout. It runs with its own .venv/, or with our interpreter where it has none and needs the same packages.

    Raises Failed when `folder` holds no Gatepost, needs a .venv/ that is not there, or has no migration in common with this one.
    """
    folder = folder.absolute()
    if not (folder / "wsgi.py").exists() or not (folder / "migrations").is_dir():
        raise Failed(f"{folder} is no checkout of Gatepost")
    python = folder / ".venv" / "bin" / "python"
    if not python.exists():
        if (folder / "requirements.txt").read_bytes() != (root / "requirements.txt").read_bytes():
            raise Failed(f"{folder} needs other packages than this checkout: run `./run install` there")
        python = Path(sys.executable)
    last_common_revision(root, folder)
    return Checkout(folder, str(python), f"{DATABASE}_beside", 1)


def last_common_revision(ours: Path, theirs: Path) -> str:
    """The newest migration that both checkouts have, with every one before it.

    Raises Failed when the first ones differ already: then no data can come to both.
    """
    pairs = zip(_migrations(ours), _migrations(theirs), strict=False)
    common = [text for (text, _) in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    found = _REVISION.search(common[-1]) if common else None
    if not found:
        raise Failed(f"{ours} and {theirs} have no migration in common")
    return found[1]


def _migrations(root: Path) -> list[str]:
    """The text of each, in order: their names begin with a number."""
    return [file.read_text() for file in sorted((root / "migrations" / "versions").glob("[0-9]*.py"))]
