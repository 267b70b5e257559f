import multiprocessing
import os
from multiprocessing.connection import Connection

from server.engine.core_watch import exit_with_parent


def report_niceness(answer: Connection) -> None:
    exit_with_parent()
    answer.send(os.getpriority(os.PRIO_PROCESS, 0))


def niceness_of_a_child() -> int:
    context = multiprocessing.get_context("spawn")
    mine, its = context.Pipe(duplex=False)
    child = context.Process(target=report_niceness, args=(its,))
    child.start()
    found: int = mine.recv()
    child.join()
    return found


def test_a_spawned_process_lets_its_parent_go_first() -> None:
    assert niceness_of_a_child() >= max(5, os.getpriority(os.PRIO_PROCESS, 0))


def test_a_process_that_nobody_spawned_stays_as_it_is() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    exit_with_parent()
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
