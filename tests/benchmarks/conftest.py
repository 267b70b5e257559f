"""Answers to measure, made by hand."""

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.capabilities.schema import NO_ANSWER, AnswerRow


@pytest.fixture(scope="session")
def answer_row() -> Callable[..., AnswerRow]:
    """Makes the row of one answer; by default a judged one, right, about an unsafe picture.

    `outcome` decides the score, and `subject` and `question` the task, unless they are given.
    """

    def make(subject: str = "p1", **fields: Any) -> AnswerRow:
        is_unsafe = fields.get("is_unsafe", True)
        parts: dict[str, Any] = {
            "suite": "alignment",
            "mode": "token",
            "modality": "image",
            "kind": "judged",
            "subject": subject,
            "group": subject,
            "concept": "Arson" if is_unsafe else "cup",
            "category": "Illegal activity" if is_unsafe else "Safe",
            "is_unsafe": is_unsafe,
            "question": "fit",
            "right": "unsafe" if is_unsafe else "safe",
        } | fields
        parts.setdefault("outcome", parts["right"])
        if "score" not in parts:
            known = parts["outcome"] != NO_ANSWER
            parts["score"] = float(parts["outcome"] == parts["right"]) if known else None
        parts.setdefault(
            "task",
            "/".join(
                (
                    parts["suite"],
                    parts["mode"],
                    parts["modality"],
                    f"{parts.get('benchmark', '')}{parts.get('subtask', '')}{subject}",
                    parts["question"],
                )
            ),
        )
        return AnswerRow(**parts)

    return make
