"""The seam for an engine that can die behind the back of whoever started it."""

from typing import Protocol, runtime_checkable


@runtime_checkable
class Mortal(Protocol):
    """An engine beside being an `Engine`: one whose work is done by a process that may end."""

    async def died(self) -> str:
        """Wait until the started engine has died, well under a second; returns how, for the log.

        It answers nothing any more and must be stopped. An engine that is stopped does not die.
        """
        ...
