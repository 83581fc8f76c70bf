"""Requests that wait for a thread: bounded, and served in turn."""

from infra.web_worker.waiting import Waiting


def test_clients_are_served_in_turn_and_each_in_order() -> None:
    waiting: Waiting[str] = Waiting(100, 50)
    for client, jobs in (("a", "123"), ("b", "4"), ("c", "56")):
        assert all(waiting.put(client, job) for job in jobs)
    assert len(waiting) == 6
    assert [waiting.take() for _ in range(7)] == ["1", "4", "5", "2", "6", "3", None]
    assert len(waiting) == 0


def test_one_client_leaves_room_for_others_and_all_have_a_bound() -> None:
    waiting: Waiting[int] = Waiting(4, 3)
    assert [waiting.put("a", number) for number in range(5)] == [True, True, True, False, False]
    assert [waiting.put("b", number) for number in range(2)] == [True, False]
    assert [waiting.take() for _ in range(5)] == [0, 0, 1, 2, None]
    assert waiting.put("a", 9)


def test_clients_who_found_no_room_are_not_remembered() -> None:
    waiting: Waiting[int] = Waiting(1, 1)
    assert waiting.put("a", 1)
    assert not any(waiting.put(f"other {number}", 1) for number in range(1000))
    assert waiting.take() == 1
    assert waiting.take() is None
