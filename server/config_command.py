"""``sightward config``: what can be set, and whether what is set here can be served with."""

import sys
from pathlib import Path

from cyclopts import App

from server.errors import ConceptsError, DataFileError, SettingsError
from server.settings import PREFIX, Settings, read_settings

_EXIT_UNUSABLE = 2

config_app = App(name="config", help="Check what the environment sets; list what can be set.")


@config_app.command
def check() -> None:
    """Check the environment's settings and every file that they name, without loading a model.

    Prints what is set to something else than its default; keys and passwords stay hidden.
    """
    try:
        settings = read_settings()
        _read_files(settings)
    except (SettingsError, DataFileError) as error:
        where = f"{error.path}: " if isinstance(error, DataFileError) else ""
        for problem in error.problems:
            print(f"sightward: {where}{problem}", file=sys.stderr)  # noqa: T201
        sys.exit(_EXIT_UNUSABLE)
    except ConceptsError as error:
        print(f"sightward: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(_EXIT_UNUSABLE)
    for name in sorted(settings.model_fields_set):
        print(f"{PREFIX}{name.upper()}={getattr(settings, name)}")  # noqa: T201
    print("ok")  # noqa: T201


@config_app.command
def table() -> None:
    """Print every setting with its default and meaning, as Markdown."""
    from server.settings_table import settings_table

    print(settings_table(), end="")  # noqa: T201


def _read_files(settings: Settings) -> None:
    """Read every file that is named; raises what the server would refuse to start with."""
    from server.api.keys import read_key_file
    from server.concepts.calibration import read_calibration
    from server.concepts.policy_book import load_policy_book
    from server.concepts.probes import load_probes

    if settings.api_keys_file is not None:
        read_key_file(settings.api_keys_file)
    load_policy_book(settings.policy)
    load_probes(settings.probes)
    if isinstance(settings.calibration, Path):
        read_calibration(settings.calibration)
