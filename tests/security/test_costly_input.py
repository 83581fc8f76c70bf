"""What anybody may send is bounded before it is looked at, and read in one pass."""

import pytest

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
