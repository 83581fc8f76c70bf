"""Addresses are built as werkzeug builds them, from functions that are compiled at the first use."""

import uuid
from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.routing import Rule

from infra.lazy_rules import LazyRule

VALUES = {"uuid": uuid.UUID(int=7), "path": "a/b c.css", "default": "é/ü?"}


def test_every_route_builds_the_addresses_of_werkzeugs_own_rule(app: Flask) -> None:
    rules = list(app.url_map.iter_rules())
    assert len(rules) > 100
    for rule in rules:
        assert type(rule) is LazyRule
        plain = Rule(rule.rule, endpoint=rule.endpoint, defaults=rule.defaults)
        plain.bind(app.url_map, rebind=True)
        values = {name: VALUES[next((kind for kind in VALUES if f"<{kind}:{name}>" in rule.rule), "default")] for name in rule.arguments}
        more = {**values, "rule": "x", "next": "/a?b"}
        for _ in range(2):
            assert rule.build(values, append_unknown=False) == plain.build(values, append_unknown=False)
            assert rule.build(more) == plain.build(more)


def test_building_the_application_compiles_none(make_app: Callable[..., Flask], monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    own = Rule._compile_builder
    monkeypatch.setattr(Rule, "_compile_builder", lambda rule, *words: compiled.append(rule.rule) or own(rule, *words))
    app = make_app(handoff_seconds=601)
    assert compiled == []
    with app.test_request_context("/"):
        assert app.url_for("health.healthz") == "/healthz"
    assert compiled == ["/healthz"]
