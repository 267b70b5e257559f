"""What asking a model would do, said without doing it."""

from server.engine.model_registry import ModelChoice
from server.engine.model_requirements import (
    GIB,
    Machine,
    RunOptions,
    check_runs_here,
    dtype_of,
    needed_bytes,
    revision_of,
)
from server.vlm.references import reference_named


def dry_run(
    choice: ModelChoice,
    machine: Machine,
    *,
    questions: int,
    example: str,
    options: RunOptions | None = None,
) -> list[str]:
    """Lines for a terminal: which model and engine, what would be downloaded and needed, the
    prompt that the question `example` would become, how many questions, and whether it would run.
    """
    options = options or RunOptions()
    refusal = check_runs_here(choice, machine, options)
    return [
        f"model      {_model(choice)}",
        f"engine     {choice.engine}",
        f"revision   {_revision(choice, options)}",
        *_about(choice),
        f"download   {_download(choice)}",
        f"memory     {_memory(choice, machine, options)}",
        f"questions  {questions}",
        "prompt     " + _prompt(choice, example).replace("\n", "\n           "),
        "would run" if refusal is None else f"would not run: {refusal}",
    ]


def _model(choice: ModelChoice) -> str:
    if choice.kind == "reference":
        variant = reference_named(choice.spec)
        return f"the reference VLM ({variant}), assembled from the installed packages"
    title = "" if choice.entry is None else f"{choice.entry.title}, "
    kind = {"folder": "folder", "remote": "remote model"}.get(choice.kind, "")
    if choice.kind == "registered":
        kind = "remote model" if choice.engine == "remote" else "hub"
    return f"{title}{kind or 'hub'} {choice.model}"


def _revision(choice: ModelChoice, options: RunOptions) -> str:
    if choice.engine == "remote":
        return "the provider's to say"
    if choice.kind in ("reference", "folder"):
        return "a digest of its files, taken at start"
    return revision_of(choice, options) or "the newest, whose commit is recorded"


def _about(choice: ModelChoice) -> list[str]:
    entry = choice.entry
    if entry is None:
        return []
    gated = ", gated" if entry.is_gated else ""
    lines = [f"licence    {entry.licence}{gated}", f"pixels     {entry.pixels}"]
    if entry.needs_remote_code:
        lines.append("code       runs Python code of its own")
    return lines if entry.note is None else [*lines, f"note       {entry.note}"]


def _download(choice: ModelChoice) -> str:
    if choice.kind in ("reference", "folder", "remote") or choice.engine == "remote":
        return "nothing"
    if choice.entry is None or choice.entry.download_gb is None:
        return "of unknown size"
    return f"{choice.entry.download_gb:.1f} GB, less what the hub's cache already holds"


def _memory(choice: ModelChoice, machine: Machine, options: RunOptions) -> str:
    if choice.engine == "remote":
        return "none here"
    needed = needed_bytes(choice, machine, options)
    where, free = machine.memory
    wanted = (
        "unknown need"
        if needed is None
        else f"{needed / GIB:.1f} GiB needed in {dtype_of(choice, machine, options)}"
    )
    return f"{wanted}, {'unknown' if free is None else f'{free / GIB:.1f} GiB'} free of {where}"


def _prompt(choice: ModelChoice, example: str) -> str:
    form = choice.chat_format
    if form is None and choice.engine == "remote":
        return f"one user message: the picture, then: {example}"
    if form is None:
        return f"{example}  (in the checkpoint's own chat template)"
    return form.replace("{text}", example).rstrip("\n")
