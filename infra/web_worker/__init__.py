"""How a request gets in and its answer out: gunicorn's worker class, over granian's HTTP in Rust.

gunicorn stays the process manager: its configuration, its signals, its time-outs, its log. In each worker granian accepts
connections, and reads and writes HTTP in threads of Rust that hold no Python thread and no lock while they wait. A request is
handed to Python when its head is complete, on one of `threads` threads, and only those ever run the application:

- A head that does not end, or a connection that sends none, is closed after `keepalive` seconds. It costs a file descriptor.
- A body is awaited in Rust too. After BODY_SECONDS the answer is 408. One that is longer than MAX_BODY_BYTES reaches the
  application as its length alone, so that the door can say 413 in its own words. While a worker has more than MAX_AWAITED_BYTES of
  bodies that are not complete, the answer to another such body is 503.
- An answer is handed over whole and its thread is free. A file (`wsgi.file_wrapper`) is read piece by piece as its reader takes
  it. The kernel closes the connection of one that takes nothing for WRITE_SECONDS.

`worker.py` is the process: listeners, limits, stopping. `exchange.py` is one request: its body, its WSGI environ, its answer.

granian's ASGI protocol is used without an event loop and without coroutines: of its three interfaces it is the one that has the
bytes of a header and of a path, and that tells when a piece of an answer was taken. Its names are not a public interface, so its
version is pinned exactly and `tests/security/test_slow_clients.py` and `tests/infra/test_web_worker.py` hold what is relied on.
docs/adr/0018-web-worker.md has what else was tried, with figures.
"""
