"""S1's way as a process: transformers, one picture at a time, a written answer, then a classifier.

`python -m benchmarks.peers.transformers_child CHECKPOINT`, asked by a `JudgingProcess`
(`benchmarks.processes`). With `held_tokens` every answer is exactly that long, as those of VLMs
that answer in sentences are.
"""

import asyncio
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from alignment.responses.factory import classifier
from alignment.responses.protocol import Response
from benchmarks.processes.judging import serve_folders
from server.concepts.probes import load_probes, without_format
from server.freed_memory import keep_freed_memory
from server.vlm.plugin import register_with_transformers

_MAX_TOKENS = 512
"""S1's limit, with its temperature of 1 and nucleus of .9."""


class _Writer:
    """The model, its processor and the classifier of its answers."""

    def __init__(self, checkpoint: Path) -> None:
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        keep_freed_memory()  # as in our engine's process
        register_with_transformers()
        self._torch = torch
        self._processor: Any = AutoProcessor.from_pretrained(checkpoint)
        model: Any = AutoModelForImageTextToText.from_pretrained(checkpoint, dtype=torch.bfloat16)
        self._model = model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
        probes = load_probes()
        probe = probes.judgement(probes.active[0])
        self._question, self._unsafe_answer = without_format(probe.question), probe.unsafe_answer
        content = [{"type": "image"}, {"type": "text", "text": self._question}]
        self._prompt: str = self._processor.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        self._classifier = classifier("rules")

    def __call__(self, files: Sequence[bytes], options: dict[str, Any]) -> None:
        """Decode, write, classify, one picture after another."""
        for data in files:
            self._judge(data, options.get("held_tokens"))

    def _judge(self, data: bytes, held_tokens: int | None) -> None:
        with Image.open(BytesIO(data)) as image:
            picture = image.convert("RGB")
        inputs = self._processor(images=picture, text=self._prompt, return_tensors="pt")
        drawn = {"do_sample": True, "temperature": 1.0, "top_p": 0.9}
        drawn |= {"max_new_tokens": held_tokens or _MAX_TOKENS, "min_new_tokens": held_tokens or 1}
        with self._torch.inference_mode():
            written = self._model.generate(**inputs.to(self._model.device), **drawn)
        answer = written[0, inputs["input_ids"].shape[1] :]
        text = self._processor.tokenizer.decode(answer, skip_special_tokens=True)
        response = Response(self._question, self._unsafe_answer, text=text)
        asyncio.run(self._classifier.classify([response]))


if __name__ == "__main__":
    serve_folders(lambda: _Writer(Path(sys.argv[1])))
