import gc

from server.engine import heap


class Ring:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def rings() -> int:
    # Not isinstance: some objects warn of being asked for their class.
    return sum(type(one) is Ring for one in gc.get_objects())


def test_what_was_settled_is_collected_only_once_it_is_released() -> None:
    before = gc.get_threshold()
    ring = Ring()
    try:
        heap.settle()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
        assert rings() == 0  # out of the collector's sight
        del ring
    finally:
        heap.release()
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before
    assert rings() == 0
