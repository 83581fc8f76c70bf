"""Asking `/readyz` in tests of what it says of a store that answers."""

import time
from typing import Any

from flask.testing import FlaskClient

PATIENCE_SECONDS = 20


def ask(client: FlaskClient) -> Any:
    """The response of `/readyz`. On a busy machine a store may take longer than its time and be called away: asked again then."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        response = client.get("/readyz")
        if "away" not in response.json["stores"].values() or time.monotonic() > deadline:
            return response
