"""Every error the service raises on purpose: one root, leaves that carry fields.

`server.api.errors` maps these classes to HTTP status and error code; nothing else decides that.
"""


class SightwardError(Exception):
    """Root of all errors raised on purpose."""


class EngineError(SightwardError):
    """The engine can't do what was asked."""


class EngineStartError(EngineError):
    """The engine can't start; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class EngineUnavailableError(EngineError):
    """The engine is stopped, starting or dead: nothing can be judged now."""
