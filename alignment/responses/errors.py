"""What keeps a response classifier from being made or loaded."""

from server.errors import SightwardError


class ResponsesError(SightwardError):
    """Root of the errors about reading answers."""


class UnknownClassifierError(ResponsesError):
    """`name` is no classifier; `known` are those there are."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"unknown response classifier {name!r}; known: {', '.join(known)}")
        self.name = name
        self.known = known


class MissingPartError(ResponsesError):
    """The classifier `name` can't be made without `part`."""

    def __init__(self, name: str, part: str) -> None:
        super().__init__(f"the response classifier {name!r} needs {part}")
        self.name = name
        self.part = part


class ClassifierFileError(ResponsesError):
    """A trained classifier can't be loaded from `source`; `reason` says why."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"no response classifier can be loaded from {source}: {reason}")
        self.source = source
        self.reason = reason
