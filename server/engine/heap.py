"""What was loaded to stay is kept out of Python's garbage collection.

A full collection visits every object there is, which with vLLM, torch and transformers loaded is
more than a million: now and then, under load, the whole process stood still for .4 to .9 s
(measured on two cores), and refusals with it. Nothing of it becomes garbage while the engine lives.

What remains is collected seldom. Python counts what is alive more than at the last time, and with
hundreds of calls waiting its usual 700 are reached many times a second.
"""

import gc

_SELDOM = (10_000, 10, 10)
_USUAL = (700, 10, 10)


def settle() -> None:
    """Collect once, then leave whatever lives out of later collections.

    For when a model was loaded; the process stands still for as long as a full collection takes.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_SELDOM)


def release() -> None:
    """Collect everything, what was settled included; for when a model was let go."""
    gc.set_threshold(*_USUAL)
    gc.unfreeze()
    gc.collect()
