"""The audit on a real Ray cluster of this machine: two workers, one of which is killed."""

import os
import pickle
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.parquet import read_table

from server.audit.engines import JudgeSpec
from server.audit.errors import ClusterError
from server.audit.item import Item
from server.audit.ray_cluster import RaySettings, cluster, said_by
from server.audit.ray_run import _JudgeActor, _raise_failure, _reply_schema
from server.cascade import FastReader
from server.engine.stub import StubEngine
from server.errors import EngineStartError
from server.settings import Settings, read_settings

WORKER = Path(__file__).with_name("ray_worker.py")
PICTURES = 60


def test_every_picture_is_judged_once_although_a_worker_is_killed(
    tmp_path: Path, picture: Callable[..., bytes], broken: bytes, write_shard: Callable[..., None]
) -> None:
    source, out, asked = tmp_path / "source", tmp_path / "out", tmp_path / "asked"
    source.mkdir()
    for at in range(PICTURES // 2):
        (source / f"{at:02d}.png").write_bytes(picture(at * 4))
    members = {f"{at:02d}.png": picture(at * 4) for at in range(PICTURES // 2, PICTURES)}
    write_shard(source / "rest.tar", {"broken.jpg": broken, **members})

    run = subprocess.run(
        [sys.executable, str(WORKER), str(source), str(out), str(asked)],
        capture_output=True,
        text=True,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "deprecated" not in run.stderr

    killed = Path(f"{asked}.killed").read_text()
    for name in ("first", "second"):
        assert Path(f"{asked}.{name}").read_text() == str(PICTURES + 1)
    rows = read_table(out / "scores.parquet").to_pylist()
    judged = [round(255 - 255 * row["p_unsafe"]) for row in rows if row["p_unsafe"] is not None]
    assert sorted(judged) == [at * 4 for at in range(PICTURES)]
    assert [row["error"] for row in rows if row["p_unsafe"] is None] == ["truncated_image"]

    asked_by: dict[str, list[str]] = {}
    for line in asked.read_text().splitlines():
        pid, level = line.split()
        asked_by.setdefault(pid, []).append(level)
    assert len(asked_by) >= 2
    # Only what the killed worker had in its hands was asked about again.
    lost = asked_by.pop(killed)
    again = Counter(level for levels in asked_by.values() for level in levels)
    assert max(again.values()) == 1
    assert sorted({*again, *lost}, key=int) == [str(at * 4) for at in range(PICTURES)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "ray::MapWorker()\nValueError: no such thing\n  configure `ray.data` to retry\n",
            "ValueError: no such thing",
        ),
        ("The actor died.\n\tIt was killed.\n", "It was killed."),
        ("", "RuntimeError"),
    ],
)
def test_what_ray_says_becomes_one_line(text: str, said: str) -> None:
    assert said_by(RuntimeError(text)) == said


@pytest.mark.parametrize("address", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_a_cluster_that_is_not_there_is_said_at_once(address: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        named = address.format(free.getsockname()[1])
        with (
            pytest.raises(ClusterError, match=f"no Ray cluster at {named}"),
            cluster(RaySettings(named)),
        ):
            pass


@pytest.mark.parametrize(
    ("is_engines", "raised"), [(True, EngineStartError), (False, ClusterError)]
)
def test_what_keeps_an_actor_from_judging_ends_the_audit(
    is_engines: bool, raised: type[Exception]
) -> None:
    reply = pa.Table.from_pylist(
        [{"failure": None}, {"failure": "no model", "is_engines": is_engines}],
        schema=_reply_schema(),
    )

    with pytest.raises(raised, match=r"^no model$"):
        _raise_failure(reply)


def _no_reader(settings: Settings) -> FastReader:
    raise AssertionError("the policy wants no fast path")


def test_an_actor_whose_engine_can_t_start_says_why(tmp_path: Path) -> None:
    spec = JudgeSpec(
        settings=read_settings(),
        make_engine=lambda _: StubEngine(start_error="no such model"),
        make_reader=_no_reader,
        decode_threads=1,
        in_flight=2,
    )
    item = Item(path="a.png", key="", id="a", content=b"")
    reply = _JudgeActor(spec, None)(pa.table({"item": [pickle.dumps(item)]}))

    with pytest.raises(EngineStartError, match="no such model"):
        _raise_failure(reply)
