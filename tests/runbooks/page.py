"""A page of docs/ as something to do: its commands are run and its files written as they stand there."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.live_server import ROOT, clean_environment
from tests.stores import die_with_us

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```", re.M | re.S)
_FILE = re.compile(r"`([^`]+)`:\s*\Z")


@dataclass(frozen=True)
class Block:
    """A fenced block. `file`: the name at the end of the paragraph before it, as in "The settings, in `/etc/gatepost.env`:"."""

    kind: str
    text: str
    file: str | None


class Page:
    """The blocks of a page by the headings that they stand under. What nobody has taken is in `left`."""

    def __init__(self, name: str) -> None:
        self._sections: dict[str, list[Block]] = {}
        for section in re.split(r"^#+ ", (ROOT / "docs" / name).read_text(), flags=re.M):
            title, _, text = section.partition("\n")
            self._sections[title] = [_block(text, found) for found in _BLOCK.finditer(text)]

    @property
    def left(self) -> list[str]:
        return [block.text for blocks in self._sections.values() for block in blocks]

    def take(self, title: str) -> list[Block]:
        """The blocks of a section, in their order."""
        return self._sections.pop(title)


def _block(text: str, found: re.Match[str]) -> Block:
    indent, kind, content = found.groups()
    before = _FILE.search(text[: found.start()])
    return Block(kind, re.sub(rf"^{indent}", "", content, flags=re.M), before[1] if before else None)


@dataclass
class Place:
    """A folder in which somebody follows a page. words: what stands on the page for what only this place has: a password, a port,
    a file elsewhere."""

    folder: Path
    words: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def follow(self, blocks: list[Block]) -> str:
        """Write the files and run the commands, each block in a shell of its own; what they print on standard output."""
        printed = ""
        for block in blocks:
            if block.kind == "sh":
                printed += self.run(block.text)
            else:
                assert block.file, f"a file without a name:\n{block.text}"
                path = self.folder / self._said(block.file)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(self._said(block.text))
        return printed

    def run(self, commands: str) -> str:
        """The standard output of commands that must not fail."""
        done = subprocess.run(
            ["/bin/sh", "-euc", self._said(commands)],
            cwd=self.folder,
            env=clean_environment(self.environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, blocks: list[Block]) -> subprocess.Popen[bytes]:
        """Commands that end with a server, which runs on; its log is `server.log`."""
        (block,) = blocks
        commands, _, server = self._said(block.text).rstrip().rpartition("\n")
        with (self.folder / "server.log").open("ab") as log:
            return subprocess.Popen(
                ["/bin/sh", "-euc", f"{commands}\nexec {server}"],
                cwd=self.folder,
                env=clean_environment(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_us(),
            )

    def _said(self, text: str) -> str:
        for word, instead in self.words.items():
            text = text.replace(word, instead)
        return text
