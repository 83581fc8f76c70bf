"""The application factory: settings, extensions, doors. Nothing else."""

from pathlib import Path
from typing import Any

from flask import Flask, Request
from jinja2 import StrictUndefined

import blueprints
import commands
import config
from blueprints import assets, cors, csrf, error_handlers, guards, headers, rate_limits, request_log, session_cookie
from blueprints.html import forms, languages, words
from blueprints.html.templates import Templates
from extensions import db, engine_options, login_manager, migrate, redis
from infra import embedded_redis, logging_setup
from infra.bounded_forms import BoundedFormParser
from infra.client_address import ClientAddress
from infra.lazy_rules import LazyRule
from infra.web_worker.exchange import MAX_BODY_BYTES

ROOT = Path(__file__).parent


class GatepostRequest(Request):
    """A request whose forms have an end."""

    form_data_parser_class = BoundedFormParser


class Gatepost(Flask):
    """The application. None of its views or hooks is a coroutine, so none is asked for it on every request."""

    jinja_environment = Templates
    request_class = GatepostRequest
    url_rule_class = LazyRule

    def ensure_sync(self, func: Any) -> Any:
        return func


def create_app(settings: config.Settings | None = None) -> Flask:
    """Build the application. Raises config.SettingError, naming the setting, before anything is opened."""
    settings = settings or config.load(instance_path=ROOT / "instance")
    logging_setup.configure(settings)
    app = Gatepost("gatepost", root_path=str(ROOT), instance_path=settings.instance_path, static_folder=None, template_folder="templates")
    app.extensions["gatepost.settings"] = settings
    app.config.update(
        SECRET_KEY=settings.secret_keys[0],
        MAX_CONTENT_LENGTH=MAX_BODY_BYTES,
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=engine_options(settings.database_url),
    )
    app.url_map.merge_slashes = False  # else an address with "//" is answered with a redirect to the Host header
    app.jinja_options = {"undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    app.jinja_env.globals.update(asset=assets.asset, csrf_token=csrf.new_token, form_id=forms.new_form_id)
    app.jinja_env.globals.update(settings=settings, gatepost_version=config.VERSION)
    words.register(app)
    languages.init_app(app)
    app.wsgi_app = ClientAddress(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]

    db.init_app(app)
    migrate.init_app(app, db, directory=str(ROOT / "migrations"), render_as_batch=True, compare_type=True)
    redis.init_app(app, embedded_redis.resolve_url(settings))
    guards.init_app(app, login_manager)
    session_cookie.init_app(app, settings)

    request_log.init_app(app, settings)
    rate_limits.init_app(app, settings)
    headers.init_app(app, settings)
    cors.init_app(app, settings)
    error_handlers.init_app(app)
    blueprints.register(app)
    commands.register(app)
    return app
