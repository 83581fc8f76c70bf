"""The Host header decides nothing: every address is made of the public URL, or has no host."""

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder, run_wsgi_app


@pytest.mark.parametrize("path", ["/account//apps", "//evil.example//account", "/login//github", "/oauth//token"])
def test_an_address_with_empty_parts_is_not_repaired_with_the_host_header(app: Flask, path: str) -> None:
    environ = EnvironBuilder(base_url="http://evil.example").get_environ()
    environ["PATH_INFO"] = path
    _, status, headers = run_wsgi_app(app, environ)
    assert status.startswith("404")
    assert "evil.example" not in headers.get("Location", "")
