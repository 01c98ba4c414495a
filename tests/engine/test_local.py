import threading

import pytest

from samplewise.engine import make_engine
from samplewise.engine.local import LocalEngine
from samplewise.errors import UsageError


def test_results_come_in_order_and_from_several_threads():
    threads = set()
    barrier = threading.Barrier(2, timeout=10)

    def square(item):
        barrier.wait()
        threads.add(threading.get_ident())
        return item**2

    assert list(LocalEngine(workers=2).map(square, range(10))) == [i**2 for i in range(10)]
    assert len(threads) == 2


def test_an_error_reaches_the_caller_and_nothing_further_starts():
    started = []

    def fails(item):
        started.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        list(LocalEngine(workers=1).map(fails, range(100)))
    assert len(started) <= 3


def test_few_items_are_in_flight():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = LocalEngine(workers=2).map(abs, items())
    next(results)
    assert len(taken) <= 4


def test_an_unknown_engine_is_refused():
    with pytest.raises(UsageError, match="local, ray"):
        make_engine("spark")
