"""From packaged weights and our committed ones to a checkpoint directory on disk.

The base is the packaged weights and a delta; an aligned variant is that base and an adapter,
merged, or safety modules beside it, or both (`server.vlm.references`). A calibration file goes into
the checkpoint as it is.

A checkpoint is keyed by a hash of everything that goes into it, so a new delta, package or
vocabulary makes a new directory and never a stale one. It is built in a temporary directory and
renamed into place, so no reader ever sees half of one: two servers that start at once, a full disk
or a kill leave at worst a temporary directory, which the next build removes. Every file's checksum
is kept; a directory that fails it is built again.
"""

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError

from server.concepts.calibration import CALIBRATION_NAME
from server.concepts.taxonomy import load_taxonomy
from server.errors import SightwardError
from server.vlm.adapter import merge_adapter
from server.vlm.cache import cache_root
from server.vlm.delta import merge_delta, read_delta
from server.vlm.packaged_weights import language_file, tower_file
from server.vlm.references import (
    ADAPTER_CONFIG_NAME,
    ADAPTER_NAME,
    BASE,
    Reference,
    ReferenceFiles,
    reference_files,
)
from server.vlm.safety_file import SafetyFileError, read_safety

MANIFEST_NAME = "sightward_manifest.json"
# Raise when the code below builds something else from the same inputs.
_FORMAT = "1"


class AssemblyError(SightwardError):
    """A checkpoint can't be built; `reason` is for the operator."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"can't assemble the reference VLM: {reason}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Digests:
    """Hashes, in hex, of all that goes into a checkpoint, and of what goes into its base alone."""

    whole: str
    base: str


def assemble(
    cache_dir: Path | None = None,
    *,
    reference: Reference = BASE,
    files: ReferenceFiles | None = None,
) -> Path:
    """Return a checkpoint directory of the reference VLM, building it where none is whole.

    The base unless told otherwise: it is what every training starts from. `cache_dir` is where
    checkpoints lie (default: the user's cache folder); `files` are others than the variant's own.
    Raises AssemblyError, MissingReferenceError, DeltaError, AdapterError, SafetyFileError or
    PackagedWeightsError with what to do about it.
    """
    files = files or reference_files(reference)
    root = (cache_dir or cache_root()) / "models"
    digests = _input_digests(files)
    target = root / f"{files.name}-{digests.whole[:12]}"
    # Asked before anything is written: an image carries its checkpoint where nobody may write.
    if is_whole(target):
        return target
    try:
        root.mkdir(parents=True, exist_ok=True)
        # The lock spares a second starter the work; the rename below is what keeps readers safe.
        with FileLock(root / f".{target.name}.lock"):
            if not is_whole(target):
                _discard(target)
                _build(target, digests, files)
    except OSError as error:
        raise AssemblyError(f"{error.strerror or error} ({error.filename or root})") from error
    except SafetensorError as error:  # how the weights' writer reports a full disk
        raise AssemblyError(f"{error} ({root})") from error
    return target


def is_whole(checkpoint: Path) -> bool:
    """Whether every file of the manifest is there with its checksum."""
    try:
        manifest = json.loads((checkpoint / MANIFEST_NAME).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["files"]
        return all(_sha256(checkpoint / name) == expected for name, expected in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def read_digest(checkpoint: Path) -> str | None:
    """The digest that names an assembled checkpoint's version; None for any other directory."""
    return _read_manifest(checkpoint, "digest")


def read_base_digest(checkpoint: Path) -> str | None:
    """The digest of the base in an assembled checkpoint; None for any other directory.

    It is the same before and after a calibration, and in every variant of the base.
    """
    return _read_manifest(checkpoint, "base") or read_digest(checkpoint)


def _read_manifest(checkpoint: Path, field: str) -> str | None:
    try:
        manifest = json.loads((checkpoint / MANIFEST_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    value = manifest.get(field)
    return value if isinstance(value, str) else None


def _build(target: Path, digests: _Digests, files: ReferenceFiles) -> None:
    for leftover in target.parent.glob(f".{target.name}.*.partial"):
        shutil.rmtree(leftover, ignore_errors=True)
    partial = Path(
        tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    )
    try:
        _write_checkpoint(partial, files, digests.base)
        if files.calibration is not None:
            shutil.copyfile(files.calibration, partial / CALIBRATION_NAME)
        manifest: dict[str, Any] = {"digest": digests.whole}
        if digests.base != digests.whole:
            manifest["base"] = digests.base
        manifest["files"] = {path.name: _sha256(path) for path in sorted(partial.iterdir())}
        (partial / MANIFEST_NAME).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        for path in partial.iterdir():
            _flush(path)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _write_checkpoint(folder: Path, files: ReferenceFiles, base_digest: str) -> None:
    # transformers is slow to import and a warm start doesn't need it here.
    from server.vlm.base import base_config, base_model, base_tokenizer
    from server.vlm.processing import SightwardImageProcessor, SightwardProcessor

    delta = read_delta(files.delta)
    shape = delta.shape
    safety = None if files.safety is None else read_safety(files.safety)
    if safety is not None:
        safety.check_base(base_digest)
    try:
        config = base_config(
            grid=shape.grid,
            safety_tokens=shape.safety_tokens,
            recognition_hidden=shape.recognition_hidden,
            safety=None if safety is None else safety.shape,
        )
    except ValueError as error:
        if safety is None:
            raise
        raise SafetyFileError(safety.path, str(error)) from error
    # Our own parts are all in the delta, so the seed of their first values leaves no trace.
    model = base_model(config, seed=0)
    tied = "language_model.lm_head.weight"
    base = {name: value for name, value in model.state_dict().items() if name != tied}
    model.load_state_dict(merge_delta(base, delta, files.delta), strict=False)
    if safety is not None:
        model.safety = safety.modules()
    model.to(torch.bfloat16)  # type: ignore[arg-type]
    if files.adapter is not None:
        merge_adapter(model.state_dict(), files.adapter, base_digest=base_digest)
    model.save_pretrained(folder)
    tokenizer: Any = base_tokenizer()
    SightwardProcessor(
        image_processor=SightwardImageProcessor(),
        tokenizer=tokenizer,
        chat_template=tokenizer.chat_template,
        image_positions=config.image_positions,
    ).save_pretrained(folder)


def _input_digests(files: ReferenceFiles) -> _Digests:
    digest = hashlib.sha256(_FORMAT.encode())
    taxonomy = load_taxonomy()
    digest.update("\n".join((*taxonomy.category_names, *taxonomy.concept_names)).encode())
    _add(digest, tower_file(), language_file(), files.delta)
    base = digest.hexdigest()
    # A base without more keeps the digest that it had before there were adapters.
    for kind, paths in _further(files).items():
        digest.update(kind.encode())
        _add(digest, *paths)
    return _Digests(whole=digest.hexdigest(), base=base)


def _further(files: ReferenceFiles) -> dict[str, tuple[Path, ...]]:
    """What a checkpoint is made of beside its base, by kind."""
    further: dict[str, tuple[Path, ...]] = {}
    if files.adapter is not None:
        further["adapter"] = (files.adapter / ADAPTER_NAME, files.adapter / ADAPTER_CONFIG_NAME)
    if files.safety is not None:
        further["safety"] = (files.safety,)
    if files.calibration is not None:
        further["calibration"] = (files.calibration,)
    return further


def _add(digest: "hashlib._Hash", *paths: Path) -> None:
    for path in paths:
        try:
            digest.update(bytes.fromhex(_sha256(path)))
        except OSError as error:
            raise AssemblyError(f"{path.name}: {error.strerror}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Push a file to the disk before the rename makes it visible."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _discard(checkpoint: Path) -> None:
    """Move a broken checkpoint aside in one step, then delete it."""
    if checkpoint.exists():
        grave = checkpoint.with_name(f".{checkpoint.name}.{os.getpid()}.partial")
        shutil.rmtree(grave, ignore_errors=True)
        checkpoint.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)
