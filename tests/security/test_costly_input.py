"""What anybody may send is bounded before it is looked at, and read in one pass."""

import codecs
import io
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import create_environ, run_wsgi_app

from infra.bounded_forms import BoundedFormParser
from services.tokens import resources
from tests.oauth.conftest import program as program
from tests.oauth.conftest import register as register
from tests.oauth.flow import Program, answer_of, assert_refused

LONG = "HTTPS://API.Example.com/" + "x" * 2048
# the pattern that once read these tried every end of the host with every end of the rest
COSTLY = ["a://" + "x" * 128_000 + "/\x7f", "a://" + "x" * 2000 + "/\x7f", "a://" + "x" * 60_000 + "/" + "y" * 60_000 + "\n"]


def test_an_identifier_longer_than_any_that_is_registered_is_not_taken_apart() -> None:
    assert resources.key_of(LONG) == LONG
    assert resources.key_of(LONG[:2048]) == "https://api.example.com/" + LONG[24:2048]


@pytest.mark.parametrize("identifier", ["https://a b@API.example.com/", "https://ü@API.example.com/", "HTTPS://a\x7f/", "HTTPS://a/\n"])
def test_one_that_is_not_visible_ascii_is_its_own_key(identifier: str) -> None:
    assert resources.key_of(identifier) == identifier


@pytest.mark.parametrize(
    ("identifier", "key"),
    [
        ("HTTPS://user:Pass@EXAMPLE.com:0443?Q", "https://user:Pass@example.com/?Q"),
        ("http://[::1]:8080/a", "http://[::1]:8080/a"),
        ("http://[::1]", "http://[::1]/"),
        ("http://a:1:80/", "http://a:1/"),
        ("http://a::/", "http://a:/"),
        ("http://a:x1/", "http://a:x1/"),
        ("http://a:00/", "http://a:0/"),
        ("URN:Example:8:80", "urn:Example:8:80"),
        ("a:", "a:"),
        ("://a", "://a"),
        ("1a://A", "1a://A"),
        ("A", "A"),
        ("", ""),
    ],
)
def test_the_key_of_others(identifier: str, key: str) -> None:
    assert resources.key_of(identifier) == key


@pytest.mark.parametrize("resource", [*COSTLY, LONG], ids=range(4))
def test_such_a_resource_is_refused_by_the_token_endpoint(program: Program, resource: str) -> None:
    assert_refused(program.exchange("x", resource=resource), "invalid_grant")
    assert_refused(program.exchange("x", resource=[resource, "urn:x"]), "invalid_target")
    assert_refused(program.refresh("gpr_x", resource=resource), "invalid_grant")


def test_such_a_resource_is_refused_where_people_are_sent(program: Program) -> None:
    for resource in ("a://" + "x" * 5000 + "/\x7f", LONG):
        assert answer_of(program.authorize(program.http, resource=resource))["error"] == "invalid_target"


# --- forms and queries of unreadable bytes, and of parts ---------------------------------------------------------------------

FORM = "application/x-www-form-urlencoded"
UNREADABLE = {
    "one value": b"state=" + b"%FF" * 99_990,
    "many fields": b"&".join([b"a=" + b"%FF" * 19] * 4990),
    "many names": b"&".join([b"%FF" * 19 + b"=a"] * 4990),
}
PARTS = {
    "words in a header": b'--x\r\nContent-Disposition: form-data; name="a"; ' + b"b=c; x" * 100_000 + b"\r\n\r\n1\r\n--x--\r\n",
    "lines of headers": b'--x\r\nContent-Disposition: form-data; name="a"\r\n' + b"b: c\r\n" * 80_000 + b"\r\n1\r\n--x--\r\n",
    "many": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 900 + b"--x--\r\n",
}


@pytest.fixture
def repairs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How often an unreadable run of bytes was written out again, which takes a call in Python each time."""
    name, counted = "werkzeug.url_quote", []
    usual = codecs.lookup_error(name)
    codecs.register_error(name, lambda error: (counted.append(error.start), usual(error))[1])
    yield counted
    codecs.register_error(name, usual)


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("path", ["/oauth/logout", "/logout", "/login/continue"])
def test_an_unreadable_form_is_no_form(client: FlaskClient, repairs: list[int], path: str, body: bytes) -> None:
    assert client.post(path, data=body, content_type=FORM).status_code in (303, 400)
    assert repairs == []


@pytest.mark.parametrize("path", ["/login", "/oauth/authorize", "/oauth/logout", "/api/v1/whoami", "/healthz"])
def test_an_address_of_unreadable_bytes_is_refused(app: Flask, repairs: list[int], path: str) -> None:
    for query in ("a=" + "%FF" * 5000, "&".join(["%FF" * 20] * 199)):
        environ = create_environ(path, base_url="http://127.0.0.1:8000") | {"QUERY_STRING": query}
        _, status, _ = run_wsgi_app(app, environ)
        assert status == "400 BAD REQUEST"
    assert repairs == []


def test_a_few_unreadable_bytes_in_an_address_are_nobodys_fault(client: FlaskClient) -> None:
    """Providers that are not asked to speak UTF-8 explain their refusals in other encodings."""
    refused = client.get("/login?error=access_denied&error_description=" + "acc%E8s%20refus%E9" * 10)
    assert refused.status_code == 200
    assert client.get("/login?next=" + "%C3%A9" * 2000).status_code == 200


def _parsed(body: bytes, mimetype: str, **options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    _, form, files = BoundedFormParser().parse(io.BytesIO(body), mimetype, len(body), options)
    return form.to_dict(flat=False), files.to_dict(flat=False)


@pytest.mark.parametrize("body", PARTS.values(), ids=PARTS)
def test_no_form_of_parts_is_taken_apart(body: bytes) -> None:
    """Nothing takes files."""
    assert _parsed(body, "multipart/form-data", boundary="x") == ({}, {})


def test_other_forms_are_read_as_they_were() -> None:
    assert _parsed("a=1&a=%C3%A9+x&b=&c&=d&é=%2B%zz".encode(), FORM) == (
        {"a": ["1", "é x"], "b": [""], "c": [""], "": ["d"], "é": ["+%zz"]},
        {},
    )
    assert _parsed(b"a=1&b=\xff", FORM) == ({}, {})
    assert _parsed(b"", FORM) == ({}, {})
