"""The tree of Gatepost's code that is measured."""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Checkout:
    """A tree of code with the interpreter that runs it."""

    root: Path
    python: str


HERE = Checkout(ROOT, sys.executable)
