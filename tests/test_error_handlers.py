"""What a door let through and the database cannot hold is the caller's mistake, in the shape of the door."""

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import Integer, bindparam, cast, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from extensions import db
from infra.hot_statements import HotStatement
from models import User

_FIND = HotStatement(select(User.id).where(User.name == bindparam("name")))
QUESTIONS = {
    "a query": lambda value: db.session.scalar(select(User.id).where(User.name == value)),
    "a hot statement": lambda value: _FIND.one(db.engine, name=value),
    "a JSON document": lambda value: db.session.scalar(select(literal({"note": value}, JSONB))),
    "a number": lambda value: db.session.scalar(select(cast(literal(value), Integer))),
}


@pytest.fixture
def client(make_app) -> FlaskClient:
    """A client of an application with a door that checks nothing."""
    app: Flask = make_app(rate_limits="off")

    @app.post("/api/v1/unchecked")
    @app.post("/unchecked")
    def unchecked():
        QUESTIONS[request.json["question"]](request.json["value"])
        return {}

    return app.test_client()


@pytest.mark.parametrize(
    ("question", "value"),
    [("a query", "a\0b"), ("a hot statement", "\0"), ("a JSON document", "a\0b"), ("a number", "99999999999"), ("a number", "x")],
)
def test_what_the_database_cannot_hold_is_a_400(client, question, value):
    body = {"question": question, "value": value}
    answer = client.post("/api/v1/unchecked", json=body)
    assert (answer.status_code, answer.json["error"]) == (400, "invalid_request"), answer.text
    assert set(answer.json) == {"error", "error_description", "request_id"}
    page = client.post("/unchecked", json=body)
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert client.get("/readyz").status_code == 200
    assert client.post("/api/v1/unchecked", json={"question": question, "value": "1"}).status_code == 200
