"""What keeps a benchmark from giving figures."""

from server.errors import SightwardError


class MeasurementError(SightwardError):
    """Nothing can be measured, or what was measured means nothing; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
