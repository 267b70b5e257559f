"""``sightward policy``: check a policy file before a server reads it, and what lists need."""

import json
import sys
from pathlib import Path

from cyclopts import App

from server.concepts.policy_book import PolicyDocument, load_policy_book
from server.errors import DataFileError, ImageError, SettingsError

_EXIT_UNUSABLE = 2

policy_app = App(name="policy", help="Check policy files; name pictures for their lists.")


@policy_app.command
def check(file: Path) -> None:
    """Check a policy file and the lists it names; every problem with its line.

    Parameters
    ----------
    file
        A policy file, YAML or JSON.
    """
    try:
        book = load_policy_book(file)
    except DataFileError as error:
        for problem in error.problems:
            print(f"sightward: {error.path}: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(_EXIT_UNUSABLE)
    for one in book.every:
        lists = f", {len(one.allowed)} allowed and {len(one.blocked)} blocked by hash"
        print(f"{one.tenant}: {one.version}{lists if one.has_lists else ''}")  # noqa: T201


@policy_app.command
def schema() -> None:
    """Print the JSON schema of policy files, for editors."""
    print(schema_text(), end="")  # noqa: T201


@policy_app.command
def fingerprint(*files: Path) -> None:
    """Print the fingerprints of pictures, as allow-lists and block-lists name them.

    They are those of the server's settings: a large photo's depends on how it is decoded.

    Parameters
    ----------
    files
        Pictures in any format that the server takes.
    """
    from server.ingest.decode import ImageDecoder
    from server.settings import read_settings

    try:
        decoder, has_failed = ImageDecoder(read_settings().image_limits()), False
    except SettingsError as error:
        for problem in error.problems:
            print(f"sightward: {problem}", file=sys.stderr)  # noqa: T201
        sys.exit(_EXIT_UNUSABLE)
    for file in files:
        try:
            print(f"{decoder.decode(file.read_bytes()).fingerprint}  # {file}")  # noqa: T201
        except (ImageError, OSError) as error:
            has_failed = True
            print(f"sightward: {file}: {error}", file=sys.stderr)  # noqa: T201
    if has_failed:
        sys.exit(_EXIT_UNUSABLE)


def schema_text() -> str:
    """The JSON schema of policy files as it is shipped."""
    shape = PolicyDocument.model_json_schema()
    return json.dumps(shape, indent=2, ensure_ascii=False) + "\n"
