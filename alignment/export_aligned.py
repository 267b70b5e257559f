"""From a finished run of `sft`, `dpo` or `ppo` to what is served, whole and checked or not at all.

Of any VLM: a folder with ``adapter/`` (for vLLM on a GPU, beside the base), ``merged/`` (a
checkpoint of its own, for a CPU) and ``export.json``. Of the reference VLM also: the adapter that
is committed and merged anew on every machine. Both are built under another name, asked what the
policy was asked (`alignment.export_parity`), and get their own name only when they answer alike.
"""

import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from alignment.export_card import commit, model_card
from alignment.export_parity import (
    Parity,
    ask_policy,
    ask_served,
    compare,
    parity_questions,
)
from alignment.export_run import FinishedRun, LostBaseError
from alignment.export_weights import merge, write_adapter, write_merged
from alignment.policy import Policy
from server.concepts.calibration import CALIBRATION_NAME
from server.errors import SightwardError
from server.vlm.adapter import BASE_KEY
from server.vlm.assembly import assemble, read_base_digest
from server.vlm.references import (
    ADAPTER_NAME,
    BASE,
    MODEL_NAME,
    SAFETY_NAME,
    Reference,
    adapted_files,
    reference_files,
    variant_folder,
)
from server.vlm.safety import SafetyModules
from server.vlm.safety_file import write_safety

ADAPTER_FOLDER = "adapter"
MERGED_FOLDER = "merged"
RECORD_NAME = "export.json"
_CARD_NAME = "README.md"
_MODEL_NAME = "model.safetensors"


class OccupiedFolderError(SightwardError):
    """The folder to write to holds something that no export wrote."""

    def __init__(self, folder: Path) -> None:
        super().__init__(f"{folder} is there already and is no export; name another folder")
        self.folder = folder


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and the check it passed. `dropped` is a calibration that held no more."""

    folder: Path
    parity: Parity
    dropped: bool = False


def export_aligned(run: FinishedRun, out: Path) -> Exported:
    """Write adapter and merged checkpoint of any VLM's run into folder `out`.

    Raises ParityError with nothing written, OccupiedFolderError, EngineStartError where the merged
    checkpoint can't be served here, and what reading the run raises.
    """
    if out.exists() and any(out.iterdir()) and not (out / RECORD_NAME).is_file():
        raise OccupiedFolderError(out)
    questions = parity_questions()
    with _appearing(out) as partial:
        policy = run.load()
        said = ask_policy(policy, questions)
        write_adapter(policy, partial / ADAPTER_FOLDER, base_name=run.base)
        write_merged(merge(policy), run.base, partial / MERGED_FOLDER)
        # Two copies of a large model need not fit.
        del policy
        _free_memory()
        served, engine = ask_served(partial / MERGED_FOLDER, questions)
        parity = compare(said, served, engine=engine)
        _write_record(partial / RECORD_NAME, run, parity)
    return Exported(out, parity)


def export_reference(
    run: FinishedRun,
    reference: Reference,
    out: Path | None = None,
) -> Exported:
    """Write a run of the reference VLM as its aligned variant `reference`, by default in its place.

    A calibration that lay there was another adapter's and is left out. Raises ParityError with
    nothing written, LostBaseError for a run of anything else than the base as it is here,
    OccupiedFolderError, EngineStartError and what reading the run raises.
    """
    out = out or variant_folder(reference)
    if out.exists() and any(out.iterdir()) and not (out / ADAPTER_NAME).is_file():
        raise OccupiedFolderError(out)
    base_digest = _base_digest(run)
    questions = parity_questions()
    dropped = (out / CALIBRATION_NAME).is_file()
    with _appearing(out) as partial, tempfile.TemporaryDirectory(prefix="sightward-") as cache:
        policy = run.load()
        said = ask_policy(policy, questions)
        _write_committed(policy, partial, base_digest)
        del policy
        _free_memory()
        files = adapted_files(f"{MODEL_NAME}-{reference}", reference_files(BASE).delta, partial)
        checkpoint = assemble(Path(cache), files=files)
        served, engine = ask_served(checkpoint, questions)
        parity = compare(said, served, engine=engine)
        card = model_card(run, reference, base_digest=base_digest, parity=parity)
        (partial / _CARD_NAME).write_text(card, encoding="utf-8")
    return Exported(out, parity, dropped)


def _write_committed(policy: Policy, folder: Path, base_digest: str) -> None:
    modules = getattr(policy.base.model, "safety", None)
    if isinstance(modules, SafetyModules):
        write_safety(folder / SAFETY_NAME, modules, base=base_digest)
    write_adapter(
        policy,
        folder,
        # A path of this machine means nothing on another.
        base_name=MODEL_NAME,
        dtype=torch.bfloat16,
        metadata={BASE_KEY: base_digest},
    )


def _base_digest(run: FinishedRun) -> str:
    """The digest of the run's base, which must be the one that variants are assembled on.

    It may carry safety modules. An adapter merged into it would be missing from what is exported.
    """
    here = assemble()
    digest = read_base_digest(Path(run.base))
    if digest is None or digest != read_base_digest(here):
        raise LostBaseError(Path(run.base).name, f"is not the reference VLM's, {here.name}")
    if not _holds_weights_of(here, Path(run.base)):
        raise LostBaseError(Path(run.base).name, "is an aligned variant already")
    return digest


def _holds_weights_of(base: Path, checkpoint: Path) -> bool:
    """Whether every tensor of `base` is in `checkpoint` as it is."""
    with (
        safe_open(base / _MODEL_NAME, framework="pt") as ours,
        safe_open(checkpoint / _MODEL_NAME, framework="pt") as theirs,
    ):
        names = ours.keys()
        return set(names) <= set(theirs.keys()) and all(
            torch.equal(ours.get_tensor(name), theirs.get_tensor(name)) for name in names
        )


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """A new folder that takes the name `out` when all went well, and is gone when not."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    old = out.with_name(f".{out.name}.{os.getpid()}.old")
    for leftover in (partial, old):
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            out.rename(old)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def _write_record(path: Path, run: FinishedRun, parity: Parity) -> None:
    record = {
        "format": 1,
        "run": dict(run.identity),
        "base": run.base,
        "commit": commit(),
        "parity": asdict(parity),
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _free_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
