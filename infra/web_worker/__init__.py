"""gunicorn's worker class: HTTP is read and written by granian, in Rust; Python threads only run the application.

gunicorn stays the process manager: its configuration, its signals, its time-outs, its log. In each worker granian accepts
connections, and reads and writes HTTP in threads of Rust that hold no Python thread and no lock while they wait. A request is
handed to Python when its head is complete, and runs when its body is too, on at most `threads` threads:

- A connection that is idle, or whose head is incomplete, is closed after `keepalive` seconds. It costs a file descriptor.
- A body is awaited in Rust too. After BODY_SECONDS the response is 408. For a body longer than MAX_BODY_BYTES the application gets
  only the length, so that each door responds with 413 in its own format. Once the incomplete bodies of a worker exceed
  MAX_AWAITED_BYTES, a body that would add to them gets 503.
- A response is handed over whole, which frees its thread. A file (`wsgi.file_wrapper`) is read piece by piece as the client accepts
  it. The kernel closes the connection of a client that accepts nothing for WRITE_SECONDS.

Requests that are complete wait for a thread in a line for each client, and the lines are served in turn (`waiting.py`).

`worker.py` is the process: listeners, limits, stopping. `exchange.py` is one request: its body, its WSGI environ, its answer.

granian's ASGI protocol is used without an event loop and without coroutines: of its three interfaces it is the one that has the
bytes of a header and of a path, and that tells when a piece of an answer was taken. Its names are not a public interface, so its
version is pinned exactly and `tests/security/test_slow_clients.py` and `tests/infra/test_web_worker.py` hold what is relied on.
docs/adr/0018-web-worker.md has what else was tried, with figures.
"""
