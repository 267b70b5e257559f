"""An audit under a policy with a fast path asks the head first, as the endpoint does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from server.concepts.calibration import Calibration, FastPathCalibration
from server.concepts.fast_path import FastReading
from server.concepts.policy import default_policy
from server.concepts.probes import load_probes
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.settings import Settings, read_settings

CARD = ModelCard(
    id="stub-vlm", version="abcdef012345", has_recognition=True, risk_types=("Hate", CLEAN)
)


class Head:
    """Sure of every picture: all clean. `version` is that of its weights."""

    def __init__(self, version: str = "head") -> None:
        self.version = version
        self.read_pictures = 0
        self.is_closed = False

    async def read(self, image: Image.Image) -> FastReading:
        self.read_pictures += 1
        types = dict.fromkeys(load_taxonomy().category_names, 0.0) | {CLEAN: 1.0}
        return FastReading(Risk((1.0, 0.0, 0.0, 0.0), types))

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A policy that lets the head allow, and a calibration that says from where on."""
    policy = default_policy().model_dump(mode="json") | {"fast_path": "allow_only"}
    (tmp_path / "policy.json").write_text(json.dumps(policy))
    probes = load_probes()
    calibration = Calibration(
        revision="1",
        probes_version=probes.version,
        active=probes.active,
        taxonomy_version=load_taxonomy().version,
        fast_path=FastPathCalibration(head="head", allow_below=0.2),
    )
    (tmp_path / "calibration.json").write_text(calibration.model_dump_json())
    return read_settings(policy=tmp_path / "policy.json", calibration=tmp_path / "calibration.json")


def never(question: Question) -> Answer:
    raise AssertionError("the head is sure of every picture")


def test_what_the_head_is_sure_of_is_not_asked_of_the_model(
    audit: Callable[..., Any],
    rows: Callable[[], dict[str, dict[str, Any]]],
    folder: Path,
    settings: Settings,
) -> None:
    head = Head()
    audit(
        folder,
        make_engine=lambda _: StubEngine(never, card=CARD),
        make_reader=lambda _: head,
        settings=settings,
    )

    judged = [row for row in rows().values() if row["error"] is None]
    assert len(judged) == 6
    assert {row["outcome"] for row in judged} == {"safe"}
    assert all("fast-head" in row["model_version"] for row in judged)
    assert head.is_closed


def test_a_head_that_nothing_was_fitted_for_leaves_all_to_the_model(
    audit: Callable[..., Any],
    rows: Callable[[], dict[str, dict[str, Any]]],
    folder: Path,
    settings: Settings,
) -> None:
    head = Head("another head")
    audit(folder, make_reader=lambda _: head, settings=settings)

    assert {row["outcome"] for row in rows().values()} >= {"safe", "unsafe"}
    assert head.read_pictures == 0
    assert head.is_closed
