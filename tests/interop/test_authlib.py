"""PyPI Authlib's Flask client, as the README uses it, but without a word about algorithms."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from authlib.integrations.flask_client import OAuth
from flask import Flask, jsonify
from joserfc.jws import extract_compact

from tests.interop.gatepost import Gatepost, Person

CALLBACK = "http://127.0.0.1/callback"


def web_app(gatepost: Gatepost, **settings: Any) -> Flask:
    app = Flask("web-app")
    app.secret_key = "a-secret-of-this-test"
    client = OAuth(app).register(
        "gatepost",
        server_metadata_url=f"{gatepost.url}/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email offline_access", "code_challenge_method": "S256"},
        **settings,
    )

    @app.get("/login")
    def login() -> Any:
        return client.authorize_redirect(CALLBACK)

    @app.get("/callback")
    def callback() -> Any:
        tokens = client.authorize_access_token()
        return jsonify(tokens=tokens, claims=tokens["userinfo"], info=client.userinfo(token=tokens))

    return app


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_people_sign_in(gatepost: Gatepost, person: Person, algorithm: str) -> None:
    registered = gatepost.register(type="confidential", redirect_uris=[CALLBACK], id_token_alg=algorithm)
    app = web_app(gatepost, client_id=registered.client_id, client_secret=registered.raw_secret).test_client()
    answer = person.browser.get(app.get("/login").headers["Location"], allow_redirects=False, timeout=30)
    told = app.get("/callback?" + urlsplit(answer.headers["Location"]).query).json
    assert told["claims"]["sub"] == told["info"]["sub"] == str(person.user.id)
    assert told["claims"]["email"] == person.user.email
    assert extract_compact(told["tokens"]["id_token"].encode()).protected["alg"] == algorithm
