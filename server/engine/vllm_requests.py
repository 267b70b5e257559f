"""What vLLM is asked for and how its output is read: one token's probabilities, or an answer."""

from collections.abc import Sequence
from typing import Any

from server.engine.protocol import Sampling, Written
from server.errors import EngineError, UnusableAnswerError


def one_token(token_ids: Sequence[int]) -> Any:
    """`SamplingParams` for the first token's log-probabilities of `token_ids`."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        logprob_token_ids=list(token_ids),
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def many_tokens(sampling: Sampling, seed: int) -> Any:
    """`SamplingParams` for a written answer."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        # Greedy answers need none, and a generator that is never used would still be wound back.
        seed=seed if sampling.temperature > 0.0 else None,
        skip_special_tokens=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def first_token_logprobs(output: Any) -> dict[int, float]:
    """Natural-log probabilities by token id, of those asked for and of the chosen token."""
    for position in output.outputs[0].logprobs or ():
        return {token_id: float(entry.logprob) for token_id, entry in position.items()}
    return {}


def written(output: Any) -> Written | EngineError:
    """The written answer of a finished request."""
    completion = output.outputs[0]
    if completion.finish_reason not in ("stop", "length"):
        return UnusableAnswerError(f"the answer ended early: {completion.finish_reason}")
    return Written(
        text=completion.text,
        tokens=len(completion.token_ids),
        is_complete=completion.finish_reason == "stop",
    )


def refusals() -> tuple[type[Exception], ...]:
    """What vLLM raises for a request that it won't take; the engine goes on."""
    from vllm.exceptions import VLLMClientError
    from vllm.v1.engine.exceptions import EngineGenerateError

    # ValueError: a model's own processor refuses a picture, say for its aspect ratio.
    return (EngineGenerateError, VLLMClientError, ValueError)
