"""Ends vLLM's engine process when the process that started it is gone.

vLLM's core stops when it is told to, or when its pipes close in good order. Killed outright
(SIGKILL, out of memory), its parent can do neither, and the core would stay behind with the model
in memory. vLLM calls `exit_with_parent` as a plug-in, in every process it starts.
"""

import multiprocessing
import multiprocessing.connection
import os
import threading

_EXIT_ORPHANED = 1


def exit_with_parent() -> None:
    """In a process that another one spawned: exit as soon as that one has ended, however it did.

    Does nothing in a process that nobody spawned, such as the server itself.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        # Nobody is left to clean up for, and a worker stuck in a kernel could not be asked.
        os._exit(_EXIT_ORPHANED)

    threading.Thread(target=watch, name="sightward-core-watch", daemon=True).start()
