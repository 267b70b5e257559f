"""Which model is meant, and exactly which version of it: local folder or hub id.

A verdict names the model that gave it, so two checkpoints that could answer differently must never
share a version.

- A local folder: SHA-256 over the names and contents of every file that decides an answer. Weight
  files above `_WHOLE_FILE_BYTES` are sampled (size, first and last blocks, and blocks evenly
  between), so that start-up stays quick; two trainings of one model differ in every layer.
- A hub id: the commit its name resolved to.
- With a live adapter: SHA-256 over the model's version and the adapter folder's digest.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import EngineStartError

# Python too: a checkpoint may carry code of its own, which decides answers where it is let run.
_SUFFIXES = {".bin", ".jinja", ".json", ".model", ".pt", ".pth", ".py", ".safetensors", ".txt"}
_WHOLE_FILE_BYTES = 1 << 30
_SAMPLES = 256
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: `folder` is None for a model of the hub."""

    name: str
    folder: Path | None

    @property
    def argument(self) -> str:
        """What vLLM is given as model and tokenizer."""
        return self.name if self.folder is None else str(self.folder)

    @property
    def label(self) -> str:
        """A short public name: the hub id, or the folder's own name."""
        return self.name if self.folder is None else self.folder.name

    def weight_bytes(self) -> int | None:
        """Size of a local model's weight files; None for a model of the hub."""
        if self.folder is None:
            return None
        return sum(file.stat().st_size for file in self.folder.glob("*.safetensors"))


def find_model(model: str | Path) -> ModelSource:
    """Tell a local folder from a hub id.

    Raises `EngineStartError` for a path that is not there, or a folder that holds no checkpoint.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise EngineStartError(f"{path} holds no checkpoint: it has no config.json")
        return ModelSource(name=str(model), folder=path.resolve())
    name = str(model)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise EngineStartError(f"no model folder at {path}; give a checkpoint folder or a hub id")
    return ModelSource(name=name, folder=None)


def version_of(source: ModelSource, hf_config: Any, adapter: Path | None = None) -> str:
    """The version of a loaded model, in hex; `hf_config` is the configuration it was loaded with.

    Raises `EngineStartError` when a hub model's commit is unknown. Reads up to 1 GiB a file.
    """
    if source.folder is not None:
        version = folder_digest(source.folder)
    else:
        version = str(getattr(hf_config, "_commit_hash", None) or "")
        if not version:
            raise EngineStartError(f"the hub did not say which commit of {source.name} this is")
    return adapted_version(version, adapter)


def adapted_version(version: str, adapter: Path | None) -> str:
    """The version of a model of this version with an adapter folder on it, or without."""
    if adapter is None:
        return version
    # Digested together, so that the first digits of a version already tell adapters apart.
    return hashlib.sha256(f"{version}+{folder_digest(adapter)}".encode()).hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256, in hex, over the files of a checkpoint or adapter folder that decide answers."""
    digest = hashlib.sha256()
    for file in sorted(f for f in folder.iterdir() if f.is_file() and f.suffix in _SUFFIXES):
        size = file.stat().st_size
        digest.update(f"{file.name}\0{size}\0".encode())
        _update_from_file(digest, file, size)
    return digest.hexdigest()


def _update_from_file(digest: "hashlib._Hash", file: Path, size: int) -> None:
    with file.open("rb") as stream:
        if size <= _WHOLE_FILE_BYTES:
            while block := stream.read(_BLOCK_BYTES):
                digest.update(block)
            return
        for sample in range(_SAMPLES):
            stream.seek(sample * (size - _BLOCK_BYTES) // (_SAMPLES - 1))
            digest.update(stream.read(_BLOCK_BYTES))
