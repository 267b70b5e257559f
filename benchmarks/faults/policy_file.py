"""The policy file of the service under test: the shipped policy with what a fault wants changed."""

import json
import os
from pathlib import Path

import server.concepts

_SHIPPED = Path(server.concepts.__file__).with_name("policy.json")


def write_policy(
    path: Path, *, audit_failure: str = "continue", revision: str = "faults_1"
) -> None:
    """Write it as an operator's tool would: whole, by renaming."""
    policy = json.loads(_SHIPPED.read_text(encoding="utf-8"))
    policy |= {"audit_failure": audit_failure, "revision": revision}
    replace_file(path, json.dumps(policy))


def replace_file(path: Path, text: str) -> None:
    """Put another file in its place in one step."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)
