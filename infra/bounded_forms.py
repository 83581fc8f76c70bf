"""Limits forms to what is quick to parse. Werkzeug makes an object of each field, writes out again each byte that is no text, and takes
parts apart with expressions: a megabyte took 140 ms or more, before it was known who sent it.
"""

from typing import IO, Any
from urllib.parse import parse_qsl

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

MAX_FIELDS = 5000
MAX_ESCAPES = 100_000  # the largest value on a page, 64 KiB, fits with every byte escaped


class BoundedFormParser(FormDataParser):
    """Raises RequestEntityTooLarge. What is no readable form, and one of parts, since nothing takes files, is an empty form."""

    def parse(self, stream: IO[bytes], mimetype: str, content_length: int | None, options: dict[str, str] | None = None) -> Any:
        if mimetype != "application/x-www-form-urlencoded":
            return stream, self.cls(), self.cls()
        body = stream.read()
        if body.count(b"&") >= MAX_FIELDS or body.count(b"%") > MAX_ESCAPES:
            raise RequestEntityTooLarge()
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
        except ValueError:
            fields = []
        return stream, self.cls(fields), self.cls()
