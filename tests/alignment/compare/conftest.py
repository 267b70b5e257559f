"""Records of measurements, written by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUESTION = "social_media"


def answer(subject: str, *, is_unsafe: bool, right: bool, **fields: Any) -> dict[str, Any]:
    label = "unsafe" if is_unsafe else "safe"
    said = label if right else {"safe": "unsafe", "unsafe": "safe"}[label]
    return {
        "suite": "alignment",
        "mode": "token",
        "modality": "image",
        "kind": "judged",
        "subject": subject,
        "question": QUESTION,
        "is_unsafe": is_unsafe,
        "right": label,
        "outcome": said,
        "score": float(right),
        "p_unsafe": 0.9 if said == "unsafe" else 0.1,
        "tokens": 1,
    } | fields


def record(*, rights: int = 4, general: float = 0.5) -> dict[str, Any]:
    """Two unsafe and two safe pictures, `rights` of the four judged right, and their kind."""
    pictures = [
        answer(f"p{number}", is_unsafe=number % 2 == 0, right=number < rights)
        for number in range(4)
    ]
    words = [
        answer(name, is_unsafe=unsafe, right=True, suite="text", modality="words")
        for name, unsafe in (("Arson", True), ("cup", False))
    ]
    written = [
        answer(
            f"p{number}",
            is_unsafe=number % 2 == 0,
            right=True,
            mode="written",
            p_unsafe=None,
            text="No." if number % 2 == 0 else "Yes.",
        )
        for number in range(4)
    ]
    return {
        "schema_version": 1,
        "data": {"name": "data", "sha256": "0", "split": "test", "examples": 4},
        "figures": {
            "suites": [],
            "gaps": [
                {"mode": "token", "words": words, "counted_wrong": {"value": value, "low": 0.0}}
                for words, value in (("words", 0.4), ("blank", 0.25))
            ],
            "diversity": [{"suite": "alignment", "one_minus_self_bleu": 0.2, "mean_tokens": 3.0}],
            "general": [
                {
                    "benchmark": "builtin",
                    "subtask": subtask,
                    "mode": mode,
                    "score": {"value": general if not subtask else 0.0},
                }
                for subtask in ("", "shapes")
                for mode in ("token", "written")
            ],
        },
        "answers": [*pictures, *words, *written],
    }


@pytest.fixture
def write_record() -> Callable[..., Path]:
    """Writes a record into a file; options as `record` has them."""

    def write(path: Path, **options: Any) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record(**options)))
        return path

    return write
