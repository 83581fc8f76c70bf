"""Every template in every state: complete, within the policy and the weight, safe with any name that people choose."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask
from jinja2 import nodes
from markupsafe import Markup

import config
from app import create_app
from tests import gallery
from tests.browser import site

ROOT = Path(__file__).resolve().parent.parent.parent
GATE_LIMIT, APP_LIMIT, CSS_LIMIT, JS_LIMIT, ICONS_LIMIT, HTML_LIMIT = 14_000, 30_000, 9_000, 4_000, 3_000, 10_000
FORM_POST = "oauth/form_post.html"  # the page of `response_mode=form_post` leaves by a form
HOSTILE = {
    "two hundred letters": "W" * 200,
    "right-to-left override": "safe\u202eelif.exe\u2066\u200f",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "emoji": "👩‍💻🏳️‍🌈 Ada",
    "control characters": "Ada\x00\x1b[31m\x07 Lovelace",
    "quotes": "\" onmouseover='alert(1)' style=\"x",
    "empty": "",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Flask:
    """The application without stores: templates ask none."""
    folder = tmp_path_factory.mktemp("templates")
    return create_app(config.load(environ=site.environment(str(folder), 8000), instance_path=folder))


def rendered(app: Flask, name: str | None = None) -> dict[str, tuple[gallery.Page, str]]:
    with gallery.rendering(app):
        return {page.name: (page, gallery.render(page)) for page in gallery.pages(name)}


class Reader(HTMLParser):
    """Collects what a page is made of."""

    VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})
    SELF_CLOSED = frozenset({"path", "circle", "rect", "use"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.faults: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data: str) -> None:
        self.text += data


def weight(*parts: bytes) -> int:
    return sum(len(gzip.compress(part, 9)) for part in parts)


def test_every_template_is_rendered_with_strict_undefined(app: Flask) -> None:
    used = {page.template for page, _ in rendered(app).values()}
    folder = ROOT / "templates"
    pages = {str(path.relative_to(folder)) for path in folder.rglob("*.html") if not path.name.startswith("_")}
    assert pages - used == {"layouts/gate.html", "layouts/app.html", "_macros/ui.html"}
    assert app.jinja_env.undefined.__name__ == "StrictUndefined"


def test_every_page_is_well_formed_with_one_heading_and_unique_ids(app: Flask) -> None:
    for name, (_, text) in rendered(app).items():
        page = Reader(text)
        assert not page.faults, (name, page.faults)
        assert not page.open, (name, page.open)
        assert [tag for tag, _ in page.tags].count("h1") == 1, name
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), (name, ids)
        for tag, attributes in page.tags:
            for reference in [*(attributes.get("aria-describedby") or "").split(), attributes.get("aria-labelledby")]:
                assert not reference or reference in ids, (name, reference)
            if tag == "label":
                assert attributes["for"] in ids, name


def test_no_page_needs_a_weaker_policy(app: Flask) -> None:
    """No style or event attribute, no inline style or script, nothing from another origin; gate pages have no script at all, but for
    the one that posts itself."""
    for name, (page, text) in rendered(app).items():
        scripts = re.findall(r"<script[^>]*>.*?</script>", text, re.DOTALL)
        its_own = "gatepost" if page.is_app else "form_post" if page.template == FORM_POST else None
        assert len(scripts) == (1 if its_own else 0), name
        tag = rf'<script src="/static/{its_own}\.[0-9a-f]{{12}}\.js" defer></script>'
        assert all(re.fullmatch(tag, script) for script in scripts), name
        for tag, attributes in Reader(text).tags:
            assert tag not in ("style", "img", "iframe"), name
            assert not [key for key in attributes if key == "style" or key.startswith("on")], (name, tag)
            if tag in ("link", "use"):
                assert (attributes["href"] or "").startswith(("/static/", "#")), name


def test_gate_pages_are_two_requests_and_app_pages_four(app: Flask) -> None:
    """Besides their icon, which the browser asks for once."""
    for name, (page, text) in rendered(app).items():
        files = {file for file in re.findall(r'(?:href|src)="(/static/[^"#]+)', text) if not file.startswith("/static/favicon.")}
        assert len(files) == (3 if page.is_app else 2 if page.template == FORM_POST else 1), (name, files)


def test_every_icon_is_there_and_nothing_else_is_inlined(app: Flask) -> None:
    for name, (page, text) in rendered(app).items():
        wanted = set(re.findall(r'<use href="#([^"]+)"', text))
        carried = set(re.findall(r'<symbol id="([^"]+)"', text))
        assert wanted == carried, name
        assert not (page.is_app and carried), name


def test_every_form_posts_to_this_site_with_a_csrf_token(app: Flask) -> None:
    for name, (page, text) in rendered(app).items():
        for form in re.findall(r"<form.*?</form>", text, re.DOTALL):
            if page.template == FORM_POST:  # to the client, which has no use for a token of ours
                assert "csrf_token" not in form
                continue
            assert re.search(r'action="/[^/]', form), name
            if 'method="get"' in form:  # a filter: it changes nothing
                assert "csrf_token" not in form, name
                continue
            assert 'method="post"' in form, name
            assert form.count('name="csrf_token"') == 1, name


def test_pages_keep_to_their_weight(app: Flask) -> None:
    css = (ROOT / "static" / "gatepost.css").read_bytes()
    icons = (ROOT / "static" / "icons.svg").read_bytes()
    script = (ROOT / "static" / "gatepost.js").read_bytes()
    assert weight(css) < CSS_LIMIT
    assert weight(script) < JS_LIMIT
    assert weight(icons) < ICONS_LIMIT
    for name, (page, text) in rendered(app).items():
        html = text.encode()
        assert weight(html) < HTML_LIMIT, name
        assert (weight(html, css, script, icons) < APP_LIMIT) if page.is_app else (weight(html, css) < GATE_LIMIT), name


def test_neither_button_of_a_decision_has_focus_and_refusing_comes_first(app: Flask) -> None:
    found = rendered(app)
    for name in ("consent", "consent-checked", "confirm-native", "choose-organization"):
        text = found[name][1]
        decisions = re.findall(r'<button class="([^"]*)" name="decision" value="(\w+)">', text)
        assert [value for _, value in decisions] == ["deny", "allow"], name
        assert "autofocus" not in text


def test_an_error_takes_the_focus_and_says_so_in_the_title(app: Flask) -> None:
    found = rendered(app)
    for name in ("sign-in-email_not_verified", "profile-wrong", "check-mail-wrong"):
        text = found[name][1]
        assert text.count("autofocus") == 1, name
        assert "<title>Error: " in text, name


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_name_stays_text(app: Flask, hostile: str) -> None:
    ordinary = rendered(app)
    for name, (_, text) in rendered(app, hostile).items():
        page = Reader(text)
        assert not page.faults, name
        assert not page.open, name
        assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Reader(ordinary[name][1]).tags} | {"bdi"}, name
        assert not [key for _, attributes in page.tags for key in attributes if key == "style" or key.startswith("on")], name
        visible = re.sub(r'value="[^"]*"|<textarea.*?</textarea>', "", text, flags=re.DOTALL)  # what the reader typed
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u200e\u200f\x00-\x08\x0b-\x1f]", visible), name
        heading = re.search(r"<h1>(.*?)</h1>", text, re.DOTALL)
        assert heading and "W" * 61 not in heading[1], name


def test_what_stands_in_double_braces_is_escaped_wherever_it_comes_from(app: Flask) -> None:
    """By the environment's own code, which takes the place of Jinja's."""

    class Named:
        def __str__(self) -> str:
            return "<named>"

    class Marked:
        def __html__(self) -> str:
            return "<b>marked</b>"

    source = """{% macro box(text) %}<p title="{{ text }}">{{ caller(text) }}</p>{% endmacro %}
    {%- for value in values %}{% call(inner) box(value) %}{{ inner }}|{{ value|plain if value is string }}{% endcall %}{% endfor %}"""
    values = ["<a href='x' title=\"y\">&", Named(), Marked(), Markup("<i>"), 7, None]
    with app.test_request_context():
        template = app.jinja_env.from_string(source)
        rows = [template.render(values=[value]) for value in values]
    evil = "&lt;a href=&#x27;x&#x27; title=&quot;y&quot;&gt;&amp;"
    assert rows[0] == f'<p title="{evil}">{evil}|{evil}</p>'
    shown = ["&lt;named&gt;", "<b>marked</b>", "<i>", "7", "None"]
    assert [row[: len(f'<p title="{text}">')] for row, text in zip(rows[1:], shown, strict=True)] == [
        f'<p title="{text}">' for text in shown
    ]


def test_nothing_that_templates_call_asks_for_jinjas_context(app: Flask) -> None:
    used = {name for names in _calls_of(app).values() for name in names} & set(app.jinja_env.globals)
    assert {"_", "ngettext", "asset", "csrf_token"} <= used
    assert not [name for name in used if hasattr(app.jinja_env.globals[name], "jinja_pass_arg")]


def _calls_of(app: Flask) -> dict[str, set[str]]:
    """The names that each template calls."""
    parsed = {path: app.jinja_env.parse(path.read_text()) for path in (ROOT / "templates").rglob("*.html")}
    return {
        str(path): {call.node.name for call in tree.find_all(nodes.Call) if isinstance(call.node, nodes.Name)}
        for path, tree in parsed.items()
    }
