"""docs/tasks/: a page for each task, with pictures that can be drawn and the words that stand on the pages.

That every link leads somewhere is asked of all docs, in test_docs.py.
"""

import re
from pathlib import Path

import pytest
from babel.messages.pofile import read_po
from flask import Flask
from wtforms import HiddenField

from blueprints.pages.admin.clients import ChangeForm, ClientForm
from tests import gallery
from tests.live_server import ROOT

FOLDER = ROOT / "docs" / "tasks"
TASKS = sorted(set(FOLDER.glob("*.md")) - {FOLDER / "README.md"})
SHOWN = re.compile(r"^!\[[^]]+\]\((.+?)\)$", re.M)
PICTURES = re.compile(r"^\./run shots \.run/shots ((?:.*\\\n)*.*)$", re.M)
# what stands in the place of a name
EXAMPLES = "(?:Northwind|GitHub|northwind-bot|Lena Brandt|maya@northwind.dev)"


def _pictures(path: Path) -> list[str]:
    return [name for names in PICTURES.findall(path.read_text()) for name in names.replace("\\\n", " ").split()]


def test_the_index_has_every_task_once() -> None:
    linked = re.findall(r"^\| \[[^]]+\]\(([\w-]+\.md)\)", (FOLDER / "README.md").read_text(), re.M)
    assert sorted(linked) == [path.name for path in TASKS]


@pytest.mark.parametrize("path", TASKS, ids=lambda path: path.stem)
def test_a_task_fits_on_a_page_and_shows_a_picture_of_the_gallery(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 40
    (shown,) = SHOWN.findall(text)
    assert shown in {f"pictures/{name}.webp" for name in _pictures(path)}
    assert (FOLDER / shown).read_bytes()[8:12] == b"WEBP"


def test_the_pictures_are_small_and_each_is_shown() -> None:
    sizes = {path.name: path.stat().st_size for path in (FOLDER / "pictures").iterdir()}
    assert {name for name, size in sizes.items() if size > 32_000} == set()
    texts = [path.read_text() for path in (ROOT / "README.md", *TASKS)]
    assert set(sizes) == {name for text in texts for name in re.findall(r"pictures/([\w-]+\.webp)", text)}


def test_every_picture_is_one_of_the_gallery(app: Flask) -> None:
    with gallery.rendering(app):
        known = {page.name for page in gallery.pages(None)}
    assert {(path.name, name) for path in TASKS for name in _pictures(path) if name not in known} == set()


def _words_of_pages() -> re.Pattern[str]:
    with (ROOT / "translations" / "de" / "LC_MESSAGES" / "messages.po").open("rb") as file:
        ids = [text for message in read_po(file) if message.id for text in ([message.id] if isinstance(message.id, str) else message.id)]
    return re.compile("|".join(re.sub(r"%\\\(\w+\\\)[sd]", EXAMPLES, re.escape(text)) for text in ids))


@pytest.mark.parametrize(("section", "form"), [("Add one", ClientForm), ("Change it", ChangeForm)])
def test_the_page_about_clients_names_every_field(app: Flask, section: str, form: type[ClientForm]) -> None:
    text = (FOLDER / "oauth-client.md").read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    with app.test_request_context():
        labels = {str(field.label.text) for field in form() if not isinstance(field, HiddenField)}
    assert len(labels) >= 6
    assert labels - set(re.findall(r"\*([^*]+)\*", " ".join(text.split()))) == set()


def test_words_in_italics_stand_on_the_pages() -> None:
    words = _words_of_pages()
    said = {
        (path.name, " ".join(text.split())) for path in FOLDER.glob("*.md") for text in re.findall(r"(?<!\*)\*([^*]+)\*", path.read_text())
    }
    assert len(said) > 100
    assert sorted((name, text) for name, text in said if not words.fullmatch(text)) == []
