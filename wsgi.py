"""The WSGI application, for gunicorn and for the `flask` command."""

import click

import commands
from app import create_app
from config import SettingError

commands.refuse_foreign()  # before settings are read: they may be wrong
try:
    app = create_app()
except SettingError as error:
    raise click.ClickException(str(error)) from None  # one line and exit code 1, instead of a traceback
