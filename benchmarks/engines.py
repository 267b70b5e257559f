"""Which engine runs the model that is measured, opened from the command line's options."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import MeasurementError
from server.engine.model_registry import EngineName, ModelChoice, resolve
from server.engine.model_requirements import (
    Machine,
    RunOptions,
    check_runs_here,
    for_machine,
    measure_machine,
    revision_of,
)
from server.engine.protocol import BatchEngine
from server.vlm.references import reference_files, reference_named

OPENAI_URL = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """A model and how it is run.

    `model` is anything `resolve` knows. `kind` overrides the engine that suits it here.
    `url` is the OpenAI-compatible endpoint of a remote model, whose name may then be anything.
    `api_key` goes there and nowhere else. `concurrency` bounds requests in flight to it.
    """

    model: str = "reference"
    kind: EngineName | None = None
    url: str | None = None
    api_key: str | None = None
    adapter: Path | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    dtype: str | None = None
    concurrency: int = 8

    def choice(self, machine: Machine) -> ModelChoice:
        """Which model is meant, and what runs it on `machine`. Raises `UnknownModelError`."""
        if self.url is not None and self.kind in (None, "remote"):
            name = self.model.removeprefix("remote:")
            return ModelChoice(self.model, "remote", "remote", name)
        found = resolve(self.model)
        if self.kind is None:
            return for_machine(found, machine)
        return ModelChoice(found.spec, found.kind, self.kind, found.model, found.entry)

    def run_options(self) -> RunOptions:
        """The part of the options that decides whether the model can run here."""
        return RunOptions(
            trust_remote_code=self.trust_remote_code,
            revision=self.revision,
            dtype=self.dtype,
            url=self.url,
        )

    def shown(self) -> dict[str, Any]:
        """The options as a record shows them: no key, no address, no folder of this machine."""
        choice = self.choice(measure_machine())
        return {
            "model": Path(self.model).name if choice.kind == "folder" else self.model,
            "engine": choice.engine,
            "adapter": None if self.adapter is None else self.adapter.name,
            "revision": revision_of(choice, self.run_options()),
            "dtype": self.dtype,
        }


def open_engine(options: EngineOptions) -> BatchEngine:
    """The engine, not started yet.

    What can't run here is refused before anything is downloaded. Raises `UnknownModelError` and
    `MeasurementError` with the reason.
    """
    machine = measure_machine()
    choice = options.choice(machine)
    refusal = check_runs_here(choice, machine, options.run_options())
    if refusal is not None:
        raise MeasurementError(f"{options.model} can't run here: {refusal}")
    _refuse_unused(options, choice)
    if choice.engine == "remote":
        return _remote(options, choice)
    if choice.engine == "transformers":
        return _transformers(options, choice)
    return _vllm(options, choice)


def engine_label(engine: BatchEngine) -> str:
    """The engine in words, with how it reads one token where there are several ways."""
    from server.engine.remote import RemoteEngine

    if isinstance(engine, RemoteEngine):
        return f"remote, read by {'probabilities' if engine.has_logprobs else 'first words'}"
    return type(engine).__name__.removesuffix("Engine").lower()


def _refuse_unused(options: EngineOptions, choice: ModelChoice) -> None:
    """An option that would do nothing is a misunderstanding, better said at once."""
    unused = {
        "--url": options.url is not None and choice.engine != "remote",
        "--adapter": options.adapter is not None and choice.engine == "remote",
        "--dtype": options.dtype is not None and choice.engine == "remote",
        "--revision": options.revision is not None and choice.kind in ("reference", "remote"),
        "--trust-remote-code": options.trust_remote_code and choice.engine != "transformers",
    }
    for option, is_unused in unused.items():
        if is_unused:
            raise MeasurementError(
                f"{option} means nothing for {options.model}, which the engine {choice.engine} runs"
            )


def _vllm(options: EngineOptions, choice: ModelChoice) -> BatchEngine:
    from server.engine.vllm_engine import VllmEngine

    model, name = _checkpoint(choice)
    return VllmEngine(
        model,
        adapter=options.adapter,
        dtype=options.dtype,
        revision=options.revision,
        name=name,
    )


def _transformers(options: EngineOptions, choice: ModelChoice) -> BatchEngine:
    from server.engine.transformers_engine import TransformersEngine

    model, name = _checkpoint(choice)
    return TransformersEngine(
        model,
        adapter=options.adapter,
        dtype=options.dtype,
        name=name,
        revision=revision_of(choice, options.run_options()),
        tokenizer=None if choice.entry is None else choice.entry.tokenizer,
        trust_remote_code=options.trust_remote_code,
    )


def _remote(options: EngineOptions, choice: ModelChoice) -> BatchEngine:
    from server.engine.remote import RemoteEngine

    return RemoteEngine(
        options.url or OPENAI_URL,
        choice.model or options.model,
        api_key=options.api_key,
        max_concurrency=options.concurrency,
    )


def _checkpoint(choice: ModelChoice) -> tuple[str | Path, str | None]:
    """What the engine loads, and the name it goes by (None: the engine's own choice)."""
    reference = reference_named(choice.spec)
    if reference is None:
        return choice.model or choice.spec, None
    from server.vlm.assembly import assemble

    files = reference_files(reference)
    return assemble(files=files), files.name
