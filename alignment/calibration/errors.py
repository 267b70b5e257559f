"""What keeps a calibration from being fitted."""

from alignment.data.errors import DataError


class CalibrationDataError(DataError):
    """Nothing can be fitted on the examples; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"can't calibrate: {reason}")
        self.reason = reason
