"""The LRU cache: what it evicts, and when."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from store.lru import LruCache, WeighedLruCache

OPERATIONS = st.lists(st.tuples(st.sampled_from(("get", "put", "remove")), st.integers(0, 6)), max_size=60)


def test_the_least_recently_used_entry_is_evicted() -> None:
    cache = LruCache[str, int](2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.get("b") is None
    assert (cache.get("a"), cache.get("c"), len(cache)) == (1, 3, 2)


def test_a_membership_test_does_not_count_as_a_use() -> None:
    cache = LruCache[str, int](2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert "a" in cache
    cache.put("c", 3)
    assert "a" not in cache


def test_a_batch_may_exceed_the_bound_until_it_is_trimmed() -> None:
    cache = LruCache[int, str](3)
    for key in range(10):
        cache.put_unbounded(key, str(key))
    assert len(cache) == 10
    cache.trim()
    assert [key for key in range(10) if key in cache] == [7, 8, 9]


def test_a_cleared_cache_is_empty() -> None:
    cache = LruCache[int, str](3)
    cache.put(1, "one")
    cache.clear()
    assert (len(cache), cache.get(1)) == (0, None)


@given(OPERATIONS, st.integers(1, 4))
def test_the_cache_agrees_with_a_list_in_order_of_use(operations: list[tuple[str, int]], bound: int) -> None:
    cache = LruCache[int, int](bound)
    model: OrderedDict[int, int] = OrderedDict()
    for number, (operation, key) in enumerate(operations):
        if operation == "put":
            cache.put(key, number)
            model.pop(key, None)
            model[key] = number
            if len(model) > bound:
                del model[next(iter(model))]
        elif operation == "remove":
            cache.remove(key)
            model.pop(key, None)
        else:
            assert cache.get(key) == model.get(key)
            if key in model:
                model[key] = model.pop(key)
    assert {key: cache.get(key) for key in range(7) if key in cache} == dict(model)


WEIGHED = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 40)), max_size=60)


@given(WEIGHED)
def test_a_weighed_cache_stays_within_its_bytes_and_counts_them_right(puts: list[tuple[int, int]]) -> None:
    cache = WeighedLruCache[int, bytes](4, max_bytes=100, weigh=len)
    for key, size in puts:
        cache.put(key, b"x" * size)
        assert cache.bytes <= 100
        assert len(cache) <= 4
        assert cache.bytes == sum(len(cache[key]) for key in range(7) if key in cache)
    cache.remove(0)
    assert cache.bytes == sum(len(cache[key]) for key in range(7) if key in cache)
    cache.clear()
    assert (len(cache), cache.bytes) == (0, 0)


def test_a_value_that_exceeds_all_bytes_is_not_kept() -> None:
    cache = WeighedLruCache[str, bytes](4, max_bytes=10, weigh=len)
    cache.put("small", b"x")
    cache.put("large", b"x" * 11)
    assert "large" not in cache
    assert "small" in cache
