"""Requests that wait until one of the threads that run the application is free."""

from collections import OrderedDict, deque
from typing import Generic, TypeVar

Job = TypeVar("Job")


class Waiting(Generic[Job]):
    """A bounded line of jobs for each client; the lines are served in turn, so nobody waits behind all of somebody else's. Not locked."""

    def __init__(self, in_all: int, of_client: int) -> None:
        self._in_all, self._of_client = in_all, of_client
        self._lines: OrderedDict[str, deque[Job]] = OrderedDict()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, client: str, job: Job) -> bool:
        """Whether there was room."""
        if self._count >= self._in_all or len(self._lines.get(client, ())) >= self._of_client:
            return False
        self._lines.setdefault(client, deque()).append(job)
        self._count += 1
        return True

    def take(self) -> Job | None:
        """The next job."""
        if not self._lines:
            return None
        client, line = self._lines.popitem(last=False)
        job = line.popleft()
        self._count -= 1
        if line:
            self._lines[client] = line  # at the end: the others come first
        return job
