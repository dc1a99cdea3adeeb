"""Labels that others decide about stay few."""

from policy.counting import OTHER, Bounded


def test_new_values_are_all_one_when_there_are_many() -> None:
    label = Bounded(3)
    assert [label(value) for value in ("a", "b", "a", "c", "d", "e", "c", "a")] == ["a", "b", "a", "c", OTHER, OTHER, "c", "a"]
