"""The catalogues hold what the sources say, whole in every language; no page has words that stand outside of them."""

import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.frontend import CommandLineInterface
from babel.messages.pofile import read_po
from flask import Flask
from jinja2 import nodes

import config
from app import create_app
from blueprints.html.languages import LANGUAGES
from services.users import users
from tests import gallery
from tests.browser import site
from tests.live_server import ROOT

OTHERS = [language for language in LANGUAGES if language != "en"]
PLACEHOLDER = re.compile(r"%\((\w+)\)[sd]")
MARKUP = re.compile(r"</?\w+")
# Names, units of machines and signs; words for people stand in the catalogue.
NO_WORDS = {"Gatepost", "– Gatepost", "– – Gatepost", "btn-bare risk"}
SPOKEN = re.compile(r"[A-Z][a-z’]+\b(?![-_/])|[a-z’]{2,} [a-z]{2,}")
ATTRIBUTES = ("aria-label", "title", "alt", "placeholder", "data-copied")


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application without stores: templates ask none."""
    folder = tmp_path_factory.mktemp("translations")
    return create_app(config.load(environ=site.environment(str(folder), 8000), instance_path=folder))


@cache
def _catalogue(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parent.parent.name if path.suffix == ".po" else None)


def _of(language: str) -> Catalog:
    return _catalogue(ROOT / "translations" / language / "LC_MESSAGES" / "messages.po")


def _messages(catalogue: Catalog) -> dict[str | tuple[str, ...], Message]:
    return {message.id if isinstance(message.id, str) else tuple(message.id): message for message in catalogue if message.id}


def _texts(message: Message) -> list[tuple[str, str]]:
    """(source, translation) of every form: the last source form stands for all but the first."""
    if isinstance(message.id, str):
        return [(message.id, str(message.string))]
    return [(message.id[min(index, 1)], text) for index, text in enumerate(message.string)]


def test_every_language_that_a_person_may_choose_has_its_catalogue() -> None:
    kept = {path.parent.parent.name for path in (ROOT / "translations").glob("*/LC_MESSAGES/messages.po")}
    assert kept == set(users.LANGUAGES) - {"en"} == set(OTHERS)


def test_the_catalogues_hold_what_the_sources_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`./run translate` was run after the last change of words."""
    monkeypatch.chdir(ROOT)
    fresh = tmp_path / "messages.pot"
    extract = ["--quiet", "extract", "-F", "pyproject.toml", "-k", "lazy_gettext", "-k", "_l", "--ignore-dirs", ".*", "-o", str(fresh), "."]
    CommandLineInterface().run(["pybabel", *extract])
    sources = set(_messages(_catalogue(fresh)))
    for catalogue in (_catalogue(ROOT / "translations" / "messages.pot"), *map(_of, OTHERS)):
        kept = set(_messages(catalogue))
        assert sorted(map(str, sources - kept)) == [], "run ./run translate"
        assert sorted(map(str, kept - sources)) == [], "run ./run translate"


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_is_translated_with_the_same_values_and_the_same_markup(language: str) -> None:
    catalogue = _of(language)
    for message in _messages(catalogue).values():
        assert not message.fuzzy, message.id
        forms = _texts(message)
        assert len(forms) == (1 if isinstance(message.id, str) else catalogue.num_plurals), message.id
        for source, text in forms:
            assert text.strip(), message.id
            assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(source)), message.id
            assert sorted(MARKUP.findall(text)) == sorted(MARKUP.findall(source)), message.id
            assert "%" not in PLACEHOLDER.sub("", text).replace("%%", ""), message.id
            assert '"' not in re.sub(r"<[^>]*>", "", text), message.id
            assert text[0].isspace() == source[0].isspace() and text[-1].isspace() == source[-1].isspace(), message.id


# --- words outside of the catalogue -----------------------------------------------------------------------------------


class Spoken(HTMLParser):
    """Texts and spoken attributes of a template, each place of a value marked by a NUL."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attrs if name in ATTRIBUTES]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


def _consts(node: nodes.Node) -> Iterator[str]:
    """Every text of the expressions that no `_()` or `ngettext()` translates; what is only compared is not shown."""
    for child in node.iter_child_nodes():
        if isinstance(child, nodes.Call) and isinstance(child.node, nodes.Name) and child.node.name in ("_", "ngettext"):
            for argument in [*child.args[1 if child.node.name == "_" else 2 :], *child.kwargs]:
                yield from _consts(nodes.Output([argument]))
        elif isinstance(child, nodes.Const) and isinstance(child.value, str):
            yield child.value
        elif isinstance(child, nodes.Keyword) and child.key == "class":
            continue
        elif not isinstance(child, nodes.Compare | nodes.FromImport | nodes.Import | nodes.Extends | nodes.Include):
            yield from _consts(child)


def test_no_template_has_words_of_its_own(app: Flask) -> None:
    folder, found = ROOT / "templates", []
    for path in sorted(folder.rglob("*.html")):
        name = str(path.relative_to(folder))
        tree = app.jinja_env.parse(path.read_text(), name)
        text = "".join(
            part.data if isinstance(part, nodes.TemplateData) else "\0" for output in tree.find_all(nodes.Output) for part in output.nodes
        )
        texts = [" ".join(part.replace("\0", " ").split()) for part in Spoken(text).found]
        found += [(name, part) for part in [*texts, *_consts(tree)] if part.strip() not in NO_WORDS and SPOKEN.search(part)]
    assert found == []


# --- pages in every language ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", OTHERS)
def test_every_page_speaks_every_language(app: Flask, language: str) -> None:
    with gallery.rendering(app):
        english = {page.name: gallery.render(page) for page in gallery.pages()}
    with app.test_request_context(headers={"Accept-Language": f"{language}, en;q=0.5"}):
        for page in gallery.pages():
            text = gallery.render(page)
            assert f'<html lang="{language}" dir="ltr"' in text, page.name
            assert text != english[page.name].replace('lang="en"', f'lang="{language}"'), page.name
