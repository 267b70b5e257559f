"""Which model is to be loaded, and whether whoever asks for it may have it.

A key with the scope admin runs the service and is not its operator: it must not make the process
read any folder of the machine, or download what it likes. So it may name a shipped reference
variant, a folder inside of the one that the operator set aside, and what the operator listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from server.errors import ModelNotAllowedError
from server.vlm.references import REFERENCES, spec_of

_NAME_CHARS = 64


@dataclass(frozen=True, slots=True)
class ModelOrder:
    """A model by what it is loaded from.

    `spec` is anything that `server.engine.model_registry` resolves. With `adapter` alone it is an
    adapter on the weights that are loaded already; with both it is served on a copy of its own.
    """

    spec: str | None = None
    adapter: Path | None = None

    def __str__(self) -> str:
        """What it is in one line, for lists."""
        parts = [self.spec, None if self.adapter is None else f"adapter {self.adapter.name}"]
        return " with ".join(part for part in parts if part is not None)

    @property
    def name(self) -> str:
        """What it is called where nobody said: a name that fits into a path of the API."""
        said = self.spec if self.adapter is None else self.adapter.name
        last = str(said).rstrip("/").rpartition("/")[2]
        slug = "".join(char if char.isalnum() or char in "._-" else "-" for char in last)
        return slug.encode("ascii", "replace").decode().replace("?", "-")[:_NAME_CHARS] or "model"


@dataclass(frozen=True, slots=True)
class LoadRules:
    """What an administrator may have loaded: folders inside of `folder`, and what is `listed`."""

    folder: Path | None = None
    listed: Sequence[str] = ()

    def order(self, *, model: str | None, adapter: str | None) -> ModelOrder:
        """The order for what an administrator named; raises `ModelNotAllowedError`."""
        return ModelOrder(
            spec=None if model is None else self._model(model),
            adapter=None if adapter is None else self._inside(adapter, "adapter_config.json"),
        )

    def _model(self, model: str) -> str:
        variants = map(spec_of, REFERENCES)
        if model in self.listed or model in variants:
            return model
        return str(self._inside(model, "config.json"))

    def _inside(self, name: str, holds: str) -> Path:
        """The folder of that name inside of the one that was set aside."""
        if name in self.listed:
            return Path(name).expanduser()
        steps = PurePosixPath(name).parts
        is_inside = bool(steps) and ".." not in steps and not PurePosixPath(name).is_absolute()
        if self.folder is None or not is_inside or "\0" in name or "\\" in name:
            raise ModelNotAllowedError(name)
        folder = self.folder.joinpath(*steps)
        # Not said apart from a folder that is there and holds something else.
        if not (folder / holds).is_file():
            raise ModelNotAllowedError(name)
        return folder
