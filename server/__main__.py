"""The command line: ``sightward serve``, or ``python -m server serve``."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import uvicorn
from cyclopts import App, Parameter

from server.api.app import create_app
from server.api.key_command import keys
from server.audit.command import audit_dataset
from server.config_command import config_app
from server.draining_server import DrainingServer
from server.errors import AuditLogError, DataFileError, SettingsError
from server.moderate.command import moderate
from server.policy_command import policy_app
from server.record.command import audit, export_reviews
from server.record.models_command import audit_models
from server.serving_engine import make_engine as _make_engine
from server.serving_engine import make_fast_reader as _make_fast_reader
from server.serving_engine import parts_of as _parts_of
from server.serving_engine import startup_check as _startup_check
from server.settings import Settings, read_settings
from server.telemetry import configure_logging, quiet_libraries
from server.vlm.references import Reference

_EXIT_BAD_SETTINGS = 2
_EXIT_ENGINE_FAILED = 3
_KEEP_ALIVE_S = 75
"""Longer than clients and load balancers keep a quiet connection: whoever closes it second loses a
request that is sent in the same moment."""

app = App(name="sightward", help="Moderation of pictures and texts by a vision-language model.")
app.command(audit_dataset)
app.command(moderate)
app.command(keys)
app.command(audit)
app.command(audit_models)
app.command(export_reviews)
app.command(policy_app)
app.command(config_app)


@app.command
def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    model: Annotated[str | None, Parameter(help="Folder, hub id or known name of a VLM.")] = None,
    reference: Annotated[
        Reference | None, Parameter(help="Which variant of the reference model, instead.")
    ] = None,
    adapter: Annotated[Path | None, Parameter(help="PEFT adapter for the model.")] = None,
    probes: Annotated[Path | None, Parameter(help="File of questions to ask instead.")] = None,
    calibration: Annotated[
        str | None, Parameter(help="Calibration file instead of the model's own, or 'none'.")
    ] = None,
    policy: Annotated[
        Path | None, Parameter(help="Policy file instead of the shipped one.")
    ] = None,
) -> None:
    """Serve the moderation endpoint.

    Every option can also be set as SIGHTWARD_<NAME>; an option given here wins. Without a model the
    reference model is assembled from the installed packages.
    """
    try:
        settings = read_settings(
            host=host,
            port=port,
            model=model,
            reference=reference,
            adapter=adapter,
            probes=probes,
            calibration=calibration,
            policy=policy,
        )
    except SettingsError as error:
        for problem in error.problems:
            print(f"sightward: {problem}", file=sys.stderr)
        sys.exit(_EXIT_BAD_SETTINGS)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    try:
        has_engine = _serve(settings)
    except DataFileError as error:
        for problem in error.problems:
            print(f"sightward: {error.path}: {problem}", file=sys.stderr)
        sys.exit(_EXIT_BAD_SETTINGS)
    except SettingsError as error:
        for problem in error.problems:
            print(f"sightward: {problem}", file=sys.stderr)
        sys.exit(_EXIT_BAD_SETTINGS)
    except AuditLogError as error:
        print(f"sightward: audit log: {error.reason}", file=sys.stderr)
        sys.exit(_EXIT_BAD_SETTINGS)
    if not has_engine:
        sys.exit(_EXIT_ENGINE_FAILED)


def _serve(settings: Settings) -> bool:
    """Serve until told to stop; False if it ended because no engine can be kept alive."""
    has_engine = True

    def stop_without_engine() -> None:
        # A server that can never answer is better restarted, or its command corrected.
        nonlocal has_engine
        has_engine = False
        server.should_exit = True

    service = create_app(
        settings,
        engine=lambda: _make_engine(settings),
        fast_reader=lambda: _make_fast_reader(settings),
        startup_check=_startup_check(settings),
        model_maker=lambda order: _parts_of(settings, order),
        on_engine_failure=stop_without_engine,
    )
    server = DrainingServer(
        uvicorn.Config(
            service,
            host=settings.host,
            port=settings.port,
            log_level="warning",
            access_log=False,  # we write one line a request ourselves
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        ),
        service.state.drain,
    )
    server.run()
    return has_engine


def main() -> None:
    """The console script."""
    quiet_libraries()
    # Until something is served a signal ends the process at once, and whoever sent it must not read
    # that as a death.
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, lambda *_: sys.exit(0))
    app()


if __name__ == "__main__":
    main()
