"""Sampling with vLLM: a second copy of the base, which gets the policy's weights before it draws.

vLLM runs in a process of its own, on the same device. What the policy's adapter changes is merged,
handed over in a file in memory and loaded into the running model (`alignment.policy_merged`,
`alignment.rollout_vllm_worker`); live adapters would spare the merging on a GPU and are 12 times
slower on a CPU. A rollout is handed over as one list after every cache was emptied
(`server.engine.vllm_batch`), so no answer rests on earlier weights, and the same weights, prompts
and seeds give the same answers again.

Tried on vLLM's CPU build alone: see `alignment/README.md` for what that leaves open on a GPU.
"""

import asyncio
import gc
import itertools
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from alignment.experience import Sampled
from alignment.policy import Policy
from alignment.policy_inputs import Encoded, EncodedPrompt
from alignment.policy_merged import merged_modules
from alignment.policy_vision import Picture, PictureReader
from alignment.prompts import AlignmentPrompt
from alignment.rollout_rows import Drawn, lay_out
from alignment.rollout_vllm_worker import TAKE_WEIGHTS, WORKER_EXTENSION
from server.engine.model_source import find_model
from server.engine.vllm_batch import BatchRequest, run_together
from server.engine.vllm_loading import LoadOptions, load_model, shut_down
from server.engine.vllm_requests import refusals
from server.errors import EngineError, EngineUnavailableError

# vLLM lifts what lies below, and its log-probabilities would be of another distribution.
_LOWEST_TEMPERATURE = 0.01
_PIECE_BYTES = 1 << 30
_MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108 - files in it are in a folder of our own


class VllmSamplingError(EngineError):
    """vLLM can't draw the policy's answers; `reason` says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"vLLM can't sample for the policy: {reason}")
        self.reason = reason


class VllmSampler:
    """Draws from `policy` at its own temperature, answers of at most `max_new_tokens`.

    `policy` is made of a checkpoint that vLLM serves too; `pictures` gives the pictures of prompts
    (the reference VLM's tower features are taken as the policy has encoded them).
    `gpu_memory_share` is the part of a GPU's memory that vLLM takes for weights and key-value
    cache, beside the training model; it has no say on a CPU. Starting takes seconds to minutes.
    `close` (or leaving its context) ends vLLM's process.

    Raises EngineStartError where vLLM is missing or can't serve the model, VllmSamplingError for a
    policy that it can't draw for.
    """

    def __init__(
        self,
        policy: Policy,
        pictures: PictureReader,
        *,
        max_new_tokens: int,
        gpu_memory_share: float = 0.4,
    ) -> None:
        if max_new_tokens < 1 or not 0.0 < gpu_memory_share < 1.0:
            raise ValueError(f"can't sample {max_new_tokens} tokens in {gpu_memory_share} memory")
        _check(policy)
        self._policy = policy
        self._pictures = pictures
        self._max_new_tokens = max_new_tokens
        self._request_number = itertools.count()
        # vLLM's client belongs to one event loop, which must outlive each rollout.
        self._runner = asyncio.Runner()
        try:
            self._llm = load_model(
                find_model(policy.base.name), _load_options(policy, gpu_memory_share)
            ).llm
        except BaseException:
            self._runner.close()
            raise
        self._max_prefill_tokens = _max_prefill_tokens(self._llm)

    def sample(
        self, prompts: Sequence[AlignmentPrompt], encoded: Encoded, seeds: Sequence[int]
    ) -> Sampled:
        """One answer a prompt, by the policy as it is now.

        Raises VllmSamplingError for a prompt that vLLM reads otherwise than the policy, or refuses,
        and EngineUnavailableError where its process has died.
        """
        from vllm.v1.engine.exceptions import EngineDeadError

        if not len(seeds) == len(prompts) == len(encoded):
            raise ValueError(f"{len(prompts)} prompts, {len(encoded)} encoded, {len(seeds)} seeds")
        try:
            drawn = self._runner.run(self._draw(prompts, encoded, seeds))
        except EngineDeadError as error:
            raise EngineUnavailableError("vLLM's engine process died") from error
        device = encoded.prompts[0].input_ids_P.device
        return lay_out(prompts, drawn, self._policy.base, device)

    def close(self) -> None:
        """End vLLM's process and release its memory."""
        try:
            self._runner.run(shut_down(self._llm))
        finally:
            self._runner.close()
            # vLLM's objects refer to each other, and can't be taken down with the interpreter.
            self._llm = None
            gc.collect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def _draw(
        self, prompts: Sequence[AlignmentPrompt], encoded: Encoded, seeds: Sequence[int]
    ) -> list[Drawn]:
        await self._push()
        requests = [
            BatchRequest(
                id=f"answer-{next(self._request_number)}",
                render=partial(self._render, prompt, one),
                sampling=self._sampling(seed),
            )
            for prompt, one, seed in zip(prompts, encoded.prompts, seeds, strict=True)
        ]
        ended = await run_together(
            self._llm,
            requests,
            returned=(EngineError, *refusals()),
            max_prefill_tokens=self._max_prefill_tokens,
        )
        return [_drawn(prompt, one) for prompt, one in zip(prompts, ended, strict=True)]

    async def _push(self) -> None:
        """Give vLLM the policy's weights as they are now.

        Nothing is asked of vLLM meanwhile, and `run_together` empties its caches before it asks.
        """
        from safetensors.torch import save_file

        for piece in _pieces(merged_modules(self._policy)):
            size = sum(tensor.nbytes for tensor in piece.values())
            with tempfile.TemporaryDirectory(dir=_exchange(size)) as folder:
                file = Path(folder) / "weights.safetensors"
                save_file({name: one.cpu().contiguous() for name, one in piece.items()}, file)
                try:
                    await self._llm.collective_rpc(TAKE_WEIGHTS, args=(str(file),))
                except Exception as error:
                    reason = f"it did not take the policy's weights: {str(error).splitlines()[0]}"
                    raise VllmSamplingError(reason) from error

    async def _render(self, prompt: AlignmentPrompt, encoded: EncodedPrompt) -> Any:
        """vLLM's input, which must be token for token what the policy is trained on."""
        expected = encoded.input_ids_P.tolist()
        request: dict[str, object] = {"prompt_token_ids": expected}
        if prompt.example_id is not None:
            request["prompt_token_ids"] = self._token_ids(prompt.text)
            picture = self._picture(prompt.example_id, prompt.view, encoded)
            request["multi_modal_data"] = {"image": picture}
        (rendered,) = await self._llm.renderer.render_cmpl_async([request])
        read = list(rendered["prompt_token_ids"])
        if read != expected:
            raise VllmSamplingError(
                f"it reads prompt {prompt.id!r} as {len(read)} tokens that are not the "
                f"{len(expected)} of the policy's processor"
            )
        limit = self._llm.model_config.max_model_len
        if len(read) + self._max_new_tokens > limit:
            raise VllmSamplingError(
                f"prompt {prompt.id!r} of {len(read)} tokens and {self._max_new_tokens} of an "
                f"answer don't fit into {limit}"
            )
        return rendered

    def _token_ids(self, text: str) -> list[int]:
        """A prompt about a picture, with one placeholder where the picture goes."""
        base = self._policy.base
        prompt = base.renderer.prompt(text, with_image=True)
        ids: list[int] = base.tokenizer.encode(
            prompt, add_special_tokens=not base.renderer.starts_with_bos(prompt)
        )
        return ids

    def _picture(self, example_id: str, view: int, encoded: EncodedPrompt) -> Picture:
        if self._policy.base.is_reference_vlm:
            return encoded.per_picture["tower_features"].cpu()
        return self._pictures(example_id, view)

    def _sampling(self, seed: int) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        return SamplingParams(
            max_tokens=self._max_new_tokens,
            temperature=self._policy.config.temperature,
            seed=seed,
            stop_token_ids=list(self._policy.base.end_ids),
            logprobs=0,  # of the drawn token alone
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )


def _check(policy: Policy) -> None:
    """Refuse what can't be drawn for before anything is started."""
    temperature = policy.config.temperature
    if temperature < _LOWEST_TEMPERATURE:
        raise VllmSamplingError(
            f"it draws at temperatures of {_LOWEST_TEMPERATURE} and above, not {temperature}"
        )
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        processes = distributed.get_world_size()
        if processes > 1:
            raise VllmSamplingError(f"it serves one training process, not {processes}")


def _load_options(policy: Policy, gpu_memory_share: float) -> LoadOptions:
    further: dict[str, object] = {
        "worker_extension_cls": WORKER_EXTENSION,
        # After temperature, as the policy's own are.
        "logprobs_mode": "processed_logprobs",
        "gpu_memory_utilization": gpu_memory_share,
        "enable_mm_embeds": policy.base.is_reference_vlm,
    }
    if policy.base.processor_options:
        further["mm_processor_kwargs"] = dict(policy.base.processor_options)
    # What this very rounding does to log-probabilities is part of the policy.
    dtype = str(policy.base.model.dtype).rpartition(".")[2]
    return LoadOptions(dtype=dtype, revision=policy.base.revision, further=further)


def _max_prefill_tokens(llm: Any) -> int | None:
    """How many prompt tokens may be drawn from with seeds at once (see `vllm_batch`)."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return None
    limit: int = llm.vllm_config.scheduler_config.max_num_batched_tokens
    return limit


def _pieces(modules: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """Whole modules together, about `_PIECE_BYTES` at a time."""
    piece: dict[str, Tensor] = {}
    size = 0
    for module in modules:
        piece |= module
        size += sum(tensor.nbytes for tensor in module.values())
        if size >= _PIECE_BYTES:
            yield piece
            piece, size = {}, 0
    if piece:
        yield piece


def _exchange(size_bytes: int) -> Path | None:
    """A folder in memory with room to spare; None, for the ordinary one, where there is none."""
    # Containers often have 64 MiB of it.
    if _MEMORY_FOLDER.is_dir() and shutil.disk_usage(_MEMORY_FOLDER).free > 2 * size_bytes:
        return _MEMORY_FOLDER
    return None


def _drawn(prompt: AlignmentPrompt, output: Any) -> Drawn:
    if isinstance(output, VllmSamplingError):
        raise output
    if isinstance(output, Exception):
        raise VllmSamplingError(f"it refused prompt {prompt.id!r}: {output}") from output
    answer = output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        raise VllmSamplingError(f"the answer to {prompt.id!r} ended early: {answer.finish_reason}")
    token_ids = list(answer.token_ids)
    return Drawn(
        token_ids,
        [
            float(position[token_id].logprob)
            for token_id, position in zip(token_ids, answer.logprobs, strict=True)
        ],
    )
