"""redis-py's client with a short way for single commands.

redis-py spends more CPU on a command than on sending it: argument filters, metrics, a retry object, a look at the socket
before use. Here a command takes the connection that was used last, sends, and reads. A connection that fails in any way is
closed, so none is handed on with half an answer in it; one that had gone stale is replaced and the command sent once more.
So is one whose server has become a replica: after a failover the address belongs to another server, but old connections do not.
Pipelines, scripts, locks and pub/sub go redis-py's own way.
"""

import os
from collections import deque
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError, ReadOnlyError, ResponseError


def leave_replica(pool: ConnectionPool) -> None:
    """Close the idle connections of a pool after a ReadOnlyError: the next ones go to the server that has the address now."""
    pool.disconnect(inuse_connections=False)


class _Pipeline(Pipeline):
    def __init__(self, client: "QuickRedis", transaction: bool, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)
        self._client = client

    def execute(self, raise_on_error: bool = True) -> list[Any]:
        try:
            return super().execute(raise_on_error)
        except ReadOnlyError:
            self._client.leave_replica()  # this pipeline's own connection is in the pool again
            raise


class QuickRedis(Redis):
    """As redis.Redis. Time-outs are those of its connection pool, which makes the connections."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._idle: deque[AbstractConnection] = deque()
        self._pid = os.getpid()

    def execute_command(self, *args: Any, **options: Any) -> Any:
        if self._pid != os.getpid():  # after a fork the sockets are the parent's
            self._idle, self._pid = deque(), os.getpid()
        options.pop("keys", None)
        try:
            connection = self._idle.pop()
        except IndexError:
            response = self._run(self._open(), args)
        else:
            try:
                response = self._run(connection, args)
            except ConnectionError:
                self._close_idle()
                response = self._run(self._open(), args)
            except ReadOnlyError:
                self.leave_replica()
                response = self._run(self._open(), args)
        callback = self.response_callbacks.get(args[0])
        return callback(response, **options) if callback else response

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Pipeline(self, transaction, shard_hint)

    def leave_replica(self) -> None:
        self._close_idle()
        leave_replica(self.connection_pool)

    def close(self) -> None:
        self._close_idle()
        super().close()

    def _open(self) -> AbstractConnection:
        pool = self.connection_pool
        connection = pool.connection_class(**pool.connection_kwargs)  # make_connection counts what it makes, never what has ended
        connection.connect()
        return connection

    def _run(self, connection: AbstractConnection, args: tuple[Any, ...]) -> Any:
        try:
            connection.send_packed_command(connection.pack_command(*args), check_health=False)
            response = connection.read_response()
        except ReadOnlyError:
            connection.disconnect()
            raise
        except ResponseError:
            self._idle.append(connection)
            raise
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return response

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().disconnect()
