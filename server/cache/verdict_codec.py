"""Verdicts as bytes and back, without losing a bit: what stores keep.

JSON, since several replicas share a store and whoever can write there must not be able to run code
here. What can't be read back is no verdict; it is judged anew.
"""

import hashlib
import json

from pydantic import TypeAdapter, ValidationError

from server.concepts.verdict import Verdict

_VERSION_CHARS = 8


class VerdictCodec:
    """Writes and reads verdicts. `version` changes with their shape, so it belongs into keys."""

    def __init__(self) -> None:
        self._adapter = TypeAdapter(Verdict)
        shape = json.dumps(self._adapter.json_schema(), sort_keys=True)
        self.version = hashlib.sha256(shape.encode()).hexdigest()[:_VERSION_CHARS]

    def encode(self, verdict: Verdict) -> bytes:
        """The verdict as JSON."""
        return self._adapter.dump_json(verdict)

    def decode(self, payload: bytes) -> Verdict | None:
        """The verdict that was encoded; None for anything else."""
        try:
            return self._adapter.validate_json(payload)
        except (ValidationError, ValueError):
            return None
