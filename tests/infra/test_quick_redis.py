"""The short way for single commands, on connections that end."""

import redis as redis_py

from infra.quick_redis import QuickRedis


def test_connections_that_ended_are_replaced_however_many_there_were(valkey_url: str) -> None:
    with QuickRedis.from_url(valkey_url, max_connections=2) as client, redis_py.Redis.from_url(valkey_url) as other:
        for _ in range(5):
            assert other.client_kill_filter(_id=str(client.client_id())) == 1
            assert client.ping()


def test_it_may_be_used_again_after_it_was_closed(valkey_url: str) -> None:
    client = QuickRedis.from_url(valkey_url, max_connections=2)
    for _ in range(5):
        assert client.ping()
        client.close()
