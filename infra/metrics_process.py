"""The process that answers at GATEPOST_METRICS_BIND. infra/side_listeners.py starts it."""

import json
import socket
import threading
import time
from wsgiref.simple_server import WSGIServer

from infra import metrics
from infra.metrics import Gauges, Scraped
from infra.workers import Workers, answer_for

KEPT_SECONDS = 5.0
ANSWER_SECONDS = 5.0  # it asks stores that may be away, one after the other


class Asked:
    """The gauges as a worker last told them, asked anew after KEPT_SECONDS, however many scrape."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._told: Gauges | None = None
        self._until = 0.0

    def read(self) -> Gauges | None:
        """None when no worker answers in time."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._told = self._ask()
                self._until = time.monotonic() + KEPT_SECONDS
            return self._told

    def _ask(self) -> Gauges | None:
        answer = self._workers.ask("/metrics", ANSWER_SECONDS)
        if answer is None or answer[0] != 200:
            return None
        told: Gauges = json.loads(answer[1])
        return told


def _server(listener: socket.socket, workers: Workers, version: str) -> WSGIServer:
    from prometheus_client import multiprocess

    counted = multiprocess.MultiProcessCollector(None)
    return metrics.server_of(listener, Scraped(counted.collect, Asked(workers).read, version=version))


if __name__ == "__main__":
    answer_for(_server)
    metrics.remove_temporary()
