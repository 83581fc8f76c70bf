"""Ids sort by time, also those that one process makes within a millisecond."""

from datetime import UTC, datetime

from infra.ids import first_uuid7, uuid7


def test_ids_that_are_made_one_after_the_other_sort_like_that() -> None:
    made = [uuid7() for _ in range(2000)]
    assert made == sorted(made)
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}


def test_an_id_is_not_smaller_than_the_first_of_its_moment() -> None:
    before = datetime.now(UTC)
    made = uuid7()
    assert first_uuid7(before) <= made <= uuid7()
