"""What memory is bounded by: the least recently used goes first, and never what was put last."""

from hypothesis import given
from hypothesis import strategies as st

from storage.lru import Lru


def test_the_least_recently_used_goes_first_and_is_handed_back() -> None:
    lru: Lru[str, int] = Lru(2)
    assert lru.put("a", 1) == lru.put("b", 2) == []
    assert lru.get("a") == 1
    assert lru.put("c", 3) == [("b", 2)]
    assert (lru.get("a"), lru.get("b"), lru.get("c")) == (1, None, 3)
    assert lru.items() == [("a", 1), ("c", 3)]


def test_one_that_is_put_again_is_the_last_one_used_and_weighs_what_it_weighs_now() -> None:
    lru: Lru[str, str] = Lru(10, len)
    lru.put("a", "xxxx")
    lru.put("b", "xxxx")
    assert lru.put("a", "xxxxxx") == []
    assert lru.put("a", "xxxxxxx") == [("b", "xxxx")]
    assert lru.weight == 7


def test_the_last_one_put_stays_however_heavy_it_is() -> None:
    lru: Lru[str, str] = Lru(10, len)
    lru.put("a", "x")
    assert lru.put("b", "x" * 1000) == [("a", "x")]
    assert lru.get("b") is not None
    assert lru.put("c", "x") == [("b", "x" * 1000)]
    lru.clear()
    assert (lru.weight, len(lru)) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-1, 40))))
def test_it_never_holds_more_than_it_may_and_always_knows_what_it_holds(steps: list[tuple[str, int]]) -> None:
    """A step puts a value of a weight; -1 takes it out."""
    lru: Lru[str, str] = Lru(60, len)
    for key, weight in steps:
        if weight < 0:
            lru.drop(key)
        else:
            lru.put(key, "x" * weight)
            assert lru.items()[-1] == (key, "x" * weight)
        assert lru.weight == sum(len(value) for _, value in lru.items())
        assert lru.weight <= 60
