"""Code that comes with a checkpoint: run only what somebody has read and pinned.

A checkpoint may name Python classes of its own (`auto_map` in its configuration). Loading it runs
that code with all of this process's rights, so it needs two things said on purpose: that it may
run, and which exact revision. For a model of the hub that is a commit; a branch or tag can be moved
under us. A folder on this machine is pinned by its own digest.
"""

import re
from collections.abc import Mapping
from typing import Any

from server.engine.model_source import ModelSource, folder_digest
from server.errors import EngineStartError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_MIN_DIGEST_DIGITS = 12


def own_code(config: Mapping[str, Any]) -> dict[str, str]:
    """What a raw configuration wants loaded from the checkpoint: Auto class name to reference.

    Empty for a model that transformers knows itself: then its own code is never run.
    """
    from transformers import CONFIG_MAPPING

    auto_map = config.get("auto_map")
    if not isinstance(auto_map, Mapping) or config.get("model_type") in CONFIG_MAPPING:
        return {}
    return {str(name): str(_first(reference)) for name, reference in auto_map.items()}


def check_own_code(
    source: ModelSource, code: Mapping[str, str], *, trusted: bool, revision: str | None
) -> None:
    """Refuse code that was not allowed, or not pinned; `code` is what `own_code` gave.

    Raises `EngineStartError` with what to do.
    """
    elsewhere = sorted({ref.split("--")[0] for ref in code.values() if "--" in ref})
    if elsewhere:
        raise EngineStartError(
            f"{source.name} runs code from another repository ({', '.join(elsewhere)}), "
            "which no revision of its own pins"
        )
    digest = None if source.folder is None else folder_digest(source.folder)
    wanted = "COMMIT" if digest is None else digest[:_MIN_DIGEST_DIGITS]
    if not trusted:
        files = ", ".join(sorted({f"{ref.split('.')[0]}.py" for ref in code.values()}))
        raise EngineStartError(
            f"{source.name} runs Python code of its own ({files}); read it, then allow it with "
            f"--trust-remote-code --revision {wanted}"
        )
    if revision is None:
        raise EngineStartError(
            f"{source.name} runs code of its own and no revision of it is pinned; "
            f"give --revision {wanted}"
        )
    if digest is None:
        if not _COMMIT.fullmatch(revision):
            raise EngineStartError(
                f"{revision!r} is no commit of {source.name}: a branch or tag can be moved, so "
                "code is only run from a commit of 40 hexadecimal digits"
            )
    elif len(revision) < _MIN_DIGEST_DIGITS or not digest.startswith(revision):
        raise EngineStartError(
            f"{source.name} is not the revision {revision} that was allowed to run code; "
            f"it is {wanted}"
        )


def _first(reference: object) -> object:
    """A tokenizer's entry is a pair (slow, fast); either may be missing."""
    if isinstance(reference, list | tuple):
        return next((entry for entry in reference if entry), "")
    return reference
