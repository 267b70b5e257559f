"""From a recipe or a finished stage 1 to a base that carries safety modules."""

from pathlib import Path

from alignment.checkpoint import UnfinishedRunError
from alignment.policy_base import PolicyBase, load_base
from server.vlm.assembly import assemble
from server.vlm.references import BASE, SAFETY_NAME, adapted_files, reference_files
from server.vlm.safety_file import SafetyFile, read_safety

STAGE1_NAME = "sightward-reference-stage1"


def load_plain_base(model: str | None, dtype: str = "bfloat16") -> PolicyBase:
    """A base without modules: the reference VLM's where no model is named."""
    return load_base(assemble() if model is None else model, dtype=dtype)


def load_stage_one_base(run: Path, model: str | None, dtype: str = "bfloat16") -> PolicyBase:
    """The base that stage 2 trains on: the reference VLM comes assembled with stage 1's modules.

    Its checkpoint's folder is the base's name, so that PPO can start from the same. A named model
    comes plain; modules are attached to it (`alignment.safety.guarding`). Raises
    UnfinishedRunError.
    """
    read_stage_one(run)
    if model is not None:
        return load_base(model, dtype=dtype)
    return load_base(assembled_stage_one(run), dtype=dtype)


def assembled_stage_one(run: Path) -> Path:
    """The checkpoint of the reference VLM's base with the modules in folder `run`."""
    return assemble(files=adapted_files(STAGE1_NAME, reference_files(BASE).delta, run))


def read_stage_one(run: Path) -> SafetyFile:
    """The modules of a finished stage 1. Raises UnfinishedRunError, SafetyFileError."""
    path = run / SAFETY_NAME
    if not path.is_file():
        raise UnfinishedRunError(run, f"{SAFETY_NAME} is not there")
    return read_safety(path)
