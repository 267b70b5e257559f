"""What keeps a model from being a policy, each said in one line."""

from pathlib import Path

from server.errors import SightwardError


class PolicyError(SightwardError):
    """A policy can't be made, read or asked."""


class PolicyModelError(PolicyError):
    """The base model can't be aligned; `reason` says what it lacks."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"{model} can't be aligned: {reason}")
        self.model = model
        self.reason = reason


class PolicyFilesError(PolicyError):
    """A folder that holds no whole policy."""

    def __init__(self, folder: Path, reason: str) -> None:
        super().__init__(f"{folder} holds no policy that can be read: {reason}")
        self.folder = folder
        self.reason = reason


class PictureKindError(PolicyError):
    """Tower features were given to a model that has another tower, or none of its own kind."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} takes pictures, not the reference VLM's tower features (rows of numbers)"
        )
        self.model = model
