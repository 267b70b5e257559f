"""``sightward moderate PATH...``: a row for each file, and an exit code that says what it was."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from server.audit.stopping import StoppedError
from server.errors import DataFileError, EngineError, SettingsError, SightwardError
from server.moderate.errors import ModerateError, NoAnswerError
from server.moderate.exit_codes import (
    EXIT_NOT_JUDGED,
    EXIT_UNUSABLE,
    STOPPED_BY_SIGNAL,
    FailOn,
)
from server.moderate.files import STDIN
from server.vlm.references import Reference

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from server.moderate.run import Connect, ModerateOptions

_CONNECT_TIMEOUT_S = 10.0
_TIMEOUT_S = 600.0


def moderate(
    paths: Annotated[list[str], Parameter(negative="")],
    *,
    out: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    fail_on: FailOn = "block",
    url: str | None = None,
    key: Annotated[str | None, Parameter(env_var="MODERATE_KEY")] = None,
    at_once: int = 8,
    model: str | None = None,
    reference: Reference | None = None,
    adapter: Path | None = None,
    policy: Path | None = None,
) -> None:
    """Judge pictures: files, folders with all below them, or - for a list on standard input.

    Exits with 0 when all were judged and none is to be blocked, 1 when one is (see --fail-on), 2
    when the command can't be carried out, 3 when some could not be judged.

    Parameters
    ----------
    paths
        Files and folders; in folders what is named like a picture is judged, in name order.
    out
        Write rows to this .csv or .jsonl file; by default as JSON lines to standard output.
    resume
        Go on with a file that is there: what was judged stays, everything else is judged now.
    fail_on
        Exit with 1 for this action of the policy and stricter ones, or never.
    url
        Ask this running service, e.g. http://127.0.0.1:8000; by default a model is loaded here.
    key
        The service's API key; also read from MODERATE_KEY, where it stays out of listings.
    at_once
        Files that are judged at the same time.
    model
        Folder, hub id or known name of a VLM to load here.
    reference
        Which variant of the reference model to load here, instead.
    adapter
        PEFT adapter for the model that is loaded here.
    policy
        Policy file for the model that is loaded here, instead of the shipped one.
    """
    from server.moderate.run import ModerateOptions

    is_local_only = any(one is not None for one in (model, reference, adapter, policy))
    try:
        if url is not None and is_local_only:
            raise ModerateError("--url asks a service, which has its own model and policy")
        if at_once < 1:
            raise ModerateError("--at-once must be at least 1")
        connect = _here(model, reference, adapter, policy) if url is None else _there(url, key)
        options = ModerateOptions(
            paths=tuple(paths),
            listed=tuple(sys.stdin) if STDIN in paths else (),
            out=out,
            is_resumed=resume,
            fail_on=fail_on,
            at_once=at_once,
        )
        code = _run(options, connect)
    except StoppedError as error:
        more = "" if out is None else "; the same command with --resume goes on from here"
        _fail(f"stopped{more}", code=STOPPED_BY_SIGNAL + error.number)
    except SettingsError as error:
        _fail(*error.problems, code=EXIT_UNUSABLE)
    except DataFileError as error:
        _fail(*(f"{error.path}: {problem}" for problem in error.problems), code=EXIT_UNUSABLE)
    except (NoAnswerError, EngineError) as error:
        _fail(str(error), code=EXIT_NOT_JUDGED)
    except SightwardError as error:
        _fail(str(error), code=EXIT_UNUSABLE)
    sys.exit(code)


def _run(options: "ModerateOptions", connect: "Connect") -> int:
    from rich.console import Console

    from server.moderate.run import run_moderate
    from server.telemetry import configure_logging

    configure_logging(level="error", log_format="console")
    return run_moderate(options, connect, stdout=sys.stdout, console=Console(stderr=True))


def _there(url: str, key: str | None) -> "Connect":
    """The service at an address, written with or without the /v1 at its end."""
    base = url.rstrip("/").removesuffix("/v1") + "/"
    if not base.startswith(("http://", "https://")):
        raise ModerateError(f"--url must begin with http:// or https://, got {url}")

    @asynccontextmanager
    async def connect() -> "AsyncIterator[httpx2.AsyncClient]":
        import httpx2

        headers = {} if key is None else {"authorization": f"Bearer {key}"}
        timeout = httpx2.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        async with httpx2.AsyncClient(base_url=base, headers=headers, timeout=timeout) as client:
            yield client

    return connect


def _here(
    model: str | None, reference: Reference | None, adapter: Path | None, policy: Path | None
) -> "Connect":
    """The service in this process."""
    from server.settings import read_settings

    settings = read_settings(model=model, reference=reference, adapter=adapter, policy=policy)

    @asynccontextmanager
    async def connect() -> "AsyncIterator[httpx2.AsyncClient]":
        from server.moderate.own_service import own_service
        from server.serving_engine import make_engine, startup_check

        async with own_service(
            settings, make_engine=make_engine, startup_check=startup_check
        ) as client:
            yield client

    return connect


def _fail(*problems: str, code: int) -> None:
    for problem in problems:
        print(f"sightward: {problem}", file=sys.stderr)  # noqa: T201 - a command's own output
    sys.exit(code)
