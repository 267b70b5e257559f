"""The engine that serves the model of the settings, here or at the address that they name.

What is calibrated or checked offline "as served" goes through here too, so that it is.
"""

from pathlib import Path

import structlog

from server.cascade import FastReader
from server.engine.model_registry import REFERENCE, REMOTE_PREFIX, ModelChoice, resolve
from server.engine.model_requirements import (
    RunOptions,
    check_runs_here,
    for_machine,
    measure_machine,
)
from server.engine.protocol import Engine
from server.errors import EngineStartError, NoFastPathError
from server.rollout.orders import ModelOrder
from server.rollout.parts import ModelParts
from server.settings import Settings
from server.startup_check import StartupCheck, check_judged_right, check_readable
from server.vlm.references import DEFAULT_REFERENCE, reference_files, reference_named, spec_of

# As vLLM serves; transformers' own float32 would take twice the memory.
_DTYPE = "bfloat16"


def make_engine(settings: Settings) -> Engine:
    """The engine that asks the model; engines are imported late, they take seconds and memory.

    vLLM serves whatever it can; what is named ``remote:NAME`` is asked at `model_url`. Raises
    `UnknownModelError`, and `EngineStartError` for a model that can't be served from this machine.
    """
    choice = _choice(settings)
    if choice.engine == "remote":
        return _remote_engine(settings, choice)
    model, name = choice.model or "", None
    if (reference := reference_named(choice.spec)) is not None:
        from server.vlm.assembly import assemble

        files = reference_files(reference)
        model, name = str(assemble(files=files)), files.name
    if choice.engine == "transformers":
        from server.engine.transformers_engine import TransformersEngine

        # Say so: a platform engineer expects vLLM's throughput.
        structlog.get_logger("server").warning(
            "vLLM can't load this model here; serving it with transformers", model=choice.spec
        )
        return TransformersEngine(
            model, adapter=settings.adapter, dtype=_DTYPE, revision=_pinned(choice)
        )
    from server.engine.vllm_engine import VllmEngine

    return VllmEngine(
        model,
        adapter=settings.adapter,
        max_pictures=settings.max_chat_images,
        name=name,
        further_adapters=settings.live_adapters,
        max_adapter_rank=settings.live_adapter_rank,
    )


def parts_of(settings: Settings, order: ModelOrder) -> ModelParts:
    """The parts of a further model, under the settings of the first where they are not about it.

    Raises `UnknownModelError`, and `EngineStartError` for a model that can't be served from this
    machine, for want of memory beside what runs already, among others.
    """
    own = settings.model_copy(
        update={
            "model": order.spec,
            "reference": None,
            "adapter": order.adapter,
            # Adapters beside adapters are the default's.
            "live_adapters": 0,
        }
    )
    if not (order.spec or "").startswith(REMOTE_PREFIX):
        own = own.model_copy(update={"model_url": None, "model_url_key": None})
    _choice(own)
    return ModelParts(
        make=lambda: make_engine(own),
        fast_reader=lambda: make_fast_reader(own),
        check=startup_check(own),
    )


def order_of(settings: Settings) -> ModelOrder:
    """The model that the settings name, as one among others."""
    spec = _spec(settings)
    # By its own name, whatever the default variant is called one day.
    return ModelOrder(spec_of(DEFAULT_REFERENCE) if spec == REFERENCE else spec, settings.adapter)


def _choice(settings: Settings) -> ModelChoice:
    """The model that the settings mean and what runs it; raises as `make_engine`."""
    machine = measure_machine()
    choice = for_machine(resolve(_spec(settings)), machine)
    if choice.engine == "remote":
        return choice
    if settings.model_url is not None:
        raise EngineStartError(f"{choice.spec} runs here: only remote:NAME is asked at an address")
    refusal = check_runs_here(choice, machine, RunOptions(dtype=_DTYPE))
    if refusal is not None:
        raise EngineStartError(f"{choice.spec} can't run here: {refusal}")
    return choice


def _remote_engine(settings: Settings, choice: ModelChoice) -> Engine:
    """What asks a vLLM, or anything like it, elsewhere.

    Chat completions carry no recognition rows, no safety head and no calibration, so categories and
    concepts are asked for one by one, and nobody writes answers to conversations.
    """
    if settings.model_url is None:
        raise EngineStartError(f"{choice.spec} runs elsewhere: SIGHTWARD_MODEL_URL says where")
    from server.engine.remote import Patience, RemoteEngine

    key = settings.model_url_key
    return RemoteEngine(
        settings.model_url,
        choice.model or "",
        api_key=None if key is None else key.get_secret_value(),
        # Its own queue batches them: as many as there are calls, each with a question at a time.
        max_concurrency=settings.max_running_calls,
        # A pod that is replaced is out of sight in seconds; later callers should hear of it.
        patience=Patience(connect_s=2, silence_s=60, attempt_s=60, attempts=3, total_s=10),
    )


def make_fast_reader(settings: Settings) -> FastReader:
    """What reads pictures by the model's safety head alone; slow, and starts a thread.

    Raises `NoFastPathError` where the model has no such head, and `UnknownModelError`.
    """
    choice = resolve(_spec(settings))
    if (reference := reference_named(choice.spec)) is not None:
        from server.vlm.assembly import assemble

        checkpoint = assemble(files=reference_files(reference))
    elif choice.kind == "folder" and choice.model is not None:
        checkpoint = Path(choice.model)
    else:
        raise NoFastPathError("only the reference VLM has one")
    from server.vlm.fast_path import load_fast_path_model
    from server.vlm.fast_reader import BatchedReader

    return BatchedReader(load_fast_path_model(checkpoint))


def startup_check(settings: Settings) -> StartupCheck:
    """What the served model must pass before anyone asks it.

    The reference model is known to judge the drawn pictures rightly; of any other, and of one with
    somebody's adapter on it, no more is known than that an answer can be read.
    """
    is_ours = reference_named(resolve(_spec(settings)).spec) is not None
    return check_judged_right if is_ours and settings.adapter is None else check_readable


def _spec(settings: Settings) -> str:
    """The name of the model that the settings mean."""
    if settings.reference is not None:
        return spec_of(settings.reference)
    return settings.model or REFERENCE


def _pinned(choice: ModelChoice) -> str | None:
    return None if choice.entry is None else choice.entry.revision
