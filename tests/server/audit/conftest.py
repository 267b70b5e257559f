"""Small data sets of every kind, and a stub engine that judges by brightness."""

import io
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from server.audit.audit import AuditOptions, run_audit
from server.audit.summary import Summary
from server.concepts.recognition import Recognition
from server.concepts.risk import CLEAN, Risk
from server.concepts.taxonomy import load_taxonomy
from server.engine.protocol import Answer, ModelCard, Question
from server.engine.stub import StubEngine
from server.settings import Settings, read_settings

STUB = ModelCard(id="stub-vlm", version="abcdef012345", has_recognition=True)
Auditor = Callable[..., Summary]


def _picture(level: int, *, side: int = 24, kind: str = "PNG") -> bytes:
    """A picture of its own whose first pixel has the brightness `level`: the darker the worse."""
    image = Image.new("RGB", (side, side), (level, level, level))
    for at in range(6):
        box = (4 * (at % 3) + 6, 6 + 8 * (at // 3), 4 * (at % 3) + 9, 13 + 8 * (at // 3))
        image.paste(((level * 37 + at * 61) % 256, (level * 91) % 256, at * 40), box)
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def _by_brightness(question: Question) -> Answer:
    """P(unsafe) is the darkness of the first pixel; the likeliest category is Violence.

    The probe that is asked by default says "unsafe" by "no".
    """
    assert question.image is not None
    p_unsafe = 1 - question.image.getpixel((0, 0))[0] / 255
    taxonomy = load_taxonomy()
    categories = dict.fromkeys(taxonomy.category_names, 0.05) | {"Violence": 0.5}
    concepts = dict.fromkeys(taxonomy.concept_names, 0.01) | {"Gun violence": 0.2}
    return Answer(
        option_mass={"yes": 1 - p_unsafe, "no": p_unsafe},
        recognition=Recognition(categories, 0.1, concepts, 0.06),
    )


def _with_risk(question: Question) -> Answer:
    """As `_by_brightness`, from a model with a safety head."""
    plain = _by_brightness(question)
    types = dict.fromkeys(load_taxonomy().category_names, 0.0) | {"Hate": 0.75, CLEAN: 0.25}
    risk = Risk(levels=(0.25, 0.125, 0.5, 0.125), types=types)
    return Answer(plain.option_mass, plain.recognition, risk=risk)


def _stub(settings: Settings) -> StubEngine:
    """What the audit's engine maker is in tests."""
    return StubEngine(_by_brightness, card=STUB)


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """Makes an encoded picture of its own: the darker its `level`, the worse."""
    return _picture


@pytest.fixture
def broken() -> bytes:
    """Bytes that begin like a JPEG file and are none."""
    return b"\xff\xd8\xff\xe0 no picture"


@pytest.fixture
def write_shard() -> Callable[[Path, Mapping[str, bytes]], None]:
    """Writes a tar file with these members in this order."""
    return _write_shard


@pytest.fixture
def safety_stub() -> Callable[[Settings], StubEngine]:
    """Makes the stub engine of a model with a safety head."""
    return lambda settings: StubEngine(_with_risk, card=replace(STUB, risk_types=("Hate", CLEAN)))


@pytest.fixture
def audit(tmp_path: Path) -> Auditor:
    """Audit a source into `tmp_path/out` with a stub; options as `AuditOptions`."""

    def run(
        source: object,
        *,
        make_engine: Any = _stub,
        settings: Settings | None = None,
        **options: Any,
    ) -> Summary:
        made = {"make_engine": make_engine}
        if "make_reader" in options:
            made["make_reader"] = options.pop("make_reader")
        given: dict[str, Any] = {"out": tmp_path / "out", "in_flight": 4} | options
        return run_audit(
            AuditOptions(source=str(source), **given), settings or read_settings(), **made
        )

    return run


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[], dict[str, dict[str, Any]]]:
    """The rows of `scores.parquet` by id."""

    def read() -> dict[str, dict[str, Any]]:
        from pyarrow.parquet import read_table

        found = read_table(tmp_path / "out" / "scores.parquet").to_pylist()
        by_id = {row["id"]: row for row in found}
        assert len(by_id) == len(found)
        return by_id

    return read


@pytest.fixture
def folder(tmp_path: Path, broken: bytes) -> Path:
    """Six loose pictures, one broken file, one that no picture is expected in."""
    root = tmp_path / "pictures"
    (root / "deep" / "er").mkdir(parents=True)
    for number, level in enumerate((0, 60, 120, 160, 200, 250)):
        place = root / ("deep/er" if number % 2 else "") / f"{number}.png"
        place.write_bytes(_picture(level))
    (root / "broken.jpg").write_bytes(broken)
    (root / "notes.txt").write_text("not a picture")
    (root / ".hidden.png").write_bytes(_picture(1))
    return root


def _write_shard(path: Path, members: Mapping[str, bytes]) -> None:
    """A tar file with these members in this order."""
    mode = "w:gz" if path.suffix == ".gz" else "w"
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Three shards of four samples, with labels beside some."""
    root = tmp_path / "shards"
    root.mkdir()
    for shard in range(3):
        members: dict[str, bytes] = {}
        for sample in range(4):
            level = shard * 80 + sample * 20
            label = {"label": "Unsafe" if level < 100 else "Safe", "concept": ""}
            members[f"{sample:04d}.jpg"] = _picture(level, kind="JPEG")
            members[f"{sample:04d}.json"] = json.dumps(label).encode()
        _write_shard(root / f"set-{shard:03d}.tar", members)
    return root
