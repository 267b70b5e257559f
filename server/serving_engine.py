"""The engine that serves the model of the settings on this machine.

What is calibrated or checked offline "as served" goes through here too, so that it is.
"""

import structlog

from server.engine.model_registry import REFERENCE, ModelChoice, resolve
from server.engine.model_requirements import (
    RunOptions,
    check_runs_here,
    for_machine,
    measure_machine,
)
from server.engine.protocol import Engine
from server.errors import EngineStartError
from server.settings import Settings

# As vLLM serves; transformers' own float32 would take twice the memory.
_DTYPE = "bfloat16"


def make_engine(settings: Settings) -> Engine:
    """The engine that runs the model here; engines are imported late, they take seconds and memory.

    vLLM serves whatever it can. Raises `UnknownModelError`, and `EngineStartError` for a model that
    can't run on this machine.
    """
    machine = measure_machine()
    choice = for_machine(resolve(settings.model or REFERENCE), machine)
    if choice.engine == "remote":
        raise EngineStartError(f"{choice.spec} runs elsewhere; only local models are served")
    refusal = check_runs_here(choice, machine, RunOptions(dtype=_DTYPE))
    if refusal is not None:
        raise EngineStartError(f"{choice.spec} can't run here: {refusal}")
    model, name = choice.model or "", None
    if choice.kind == "reference":
        from server.vlm.assembly import MODEL_NAME, assemble

        model, name = str(assemble()), MODEL_NAME
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

    return VllmEngine(model, adapter=settings.adapter, name=name)


def _pinned(choice: ModelChoice) -> str | None:
    return None if choice.entry is None else choice.entry.revision
