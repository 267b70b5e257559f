"""The calibration that comes with a model, from the folder that its last trained weights lie in."""

from pathlib import Path

from server.concepts.calibration import CALIBRATION_NAME, Calibration, read_calibration
from server.engine.model_source import ModelSource
from server.errors import DataFileError, EngineStartError


def calibration_of(source: ModelSource, adapter: Path | None) -> Calibration | None:
    """The calibration beside the adapter, or beside the model where there is no adapter.

    An adapter changes the answers, so its model's own calibration does not hold for it. None where
    no such file lies there. Raises `EngineStartError` for one that can't be used.
    """
    folder = source.folder if adapter is None else adapter
    if folder is None or not (folder / CALIBRATION_NAME).exists():
        return None
    try:
        return read_calibration(folder / CALIBRATION_NAME)
    except DataFileError as error:
        raise EngineStartError(str(error)) from error
