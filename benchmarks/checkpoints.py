"""The folder of a model that is named on a command line."""

from pathlib import Path

from server.vlm.references import reference_named


def checkpoint_of(model: str) -> Path:
    """A folder as it is; `reference[:VARIANT]` put together where it is not yet."""
    reference = reference_named(model)
    if reference is None:
        return Path(model)
    from server.vlm.assembly import assemble

    return assemble(reference=reference)
