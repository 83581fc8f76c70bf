"""What holds a secret does not show it."""

import dataclasses
import importlib
import pkgutil
import re

import config
import connectors
import models
import providers
import services
from extensions import db
from tests.conftest import ENCRYPTION_KEY, SECRET_KEY

SECRET_COLUMN = re.compile(r"(secret|token|ciphertext|password|private|raw).*|.*_hash$")
SECRET_FIELD = re.compile(r"^(raw|raw_.*|.*_raw|client_secret|secret|password|private_key|access_token|refresh_token|id_token)$")


def test_no_secret_looking_column_shows_in_a_repr() -> None:
    wrong = []
    for mapper in db.Model.registry.mappers:
        columns = [column.key for column in mapper.column_attrs if SECRET_COLUMN.fullmatch(column.key)]
        row = mapper.class_(**dict.fromkeys(columns, "gp-a-secret-value"))
        if "gp-a-secret-value" in repr(row) or "gp-a-secret-value" in str(row):
            wrong.append(mapper.class_.__name__)
    assert models.__all__
    assert wrong == []


def test_the_settings_do_not_show_their_secrets() -> None:
    environ = {
        "GATEPOST_ENV": "development",
        "GATEPOST_SECRET_KEYS": SECRET_KEY,
        "GATEPOST_ENCRYPTION_KEYS": ENCRYPTION_KEY,
        "GATEPOST_DATABASE_URL": "postgresql+psycopg://gatepost:hunter2@127.0.0.1/gatepost",
        "GATEPOST_REDIS_URL": "redis://:hunter2@127.0.0.1",
        "GATEPOST_MAIL_URL": "smtp://me:hunter2@127.0.0.1:25",
        "GATEPOST_GITHUB__CLIENT_ID": "id",
        "GATEPOST_GITHUB__CLIENT_SECRET": "hunter2",
        "GATEPOST_CONNECTOR__SLACK__CLIENT_ID": "id",
        "GATEPOST_CONNECTOR__SLACK__CLIENT_SECRET": "hunter2",
    }
    shown = repr(config.load(environ=environ, instance_path="/nowhere"))
    assert "hunter2" not in shown
    assert SECRET_KEY not in shown
    assert repr(config.load(environ=environ, instance_path="/nowhere").encryption_keys[0].key) not in shown


def test_no_dataclass_of_a_service_or_an_upstream_shows_a_raw_secret() -> None:
    wrong = []
    packages = (services, providers, connectors)
    for info in (info for package in packages for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")):
        module = importlib.import_module(info.name)
        for name, kind in vars(module).items():
            if dataclasses.is_dataclass(kind) and isinstance(kind, type) and kind.__module__ == info.name and "__repr__" in vars(kind):
                generated = kind.__dataclass_params__.repr  # type: ignore[attr-defined]
                wrong += [
                    f"{info.name}.{name}.{f.name}" for f in dataclasses.fields(kind) if generated and f.repr and SECRET_FIELD.match(f.name)
                ]
    assert wrong == []
