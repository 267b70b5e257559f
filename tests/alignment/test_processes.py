"""Two real processes of a launcher end where one process does."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from alignment.policy_base import PolicyBase, load_base
from alignment.ppo import POLICY_FOLDER
from alignment.processes import (
    ALONE,
    DifferentWeightsError,
    Processes,
    SeparateRunsError,
    join_processes,
)

HERE = Path(__file__).parent
CONFIG = HERE.parents[1] / "alignment" / "accelerate" / "fsdp.yaml"
CLOCKED = {"seconds", "tokens_per_s", "memory_gib"}


def weights(run: Path) -> dict[str, Tensor]:
    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted((run / POLICY_FOLDER).rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


def metrics(run: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[name] for name in line if name not in CLOCKED} for line in lines]


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, make_small_llava: Callable[[], PolicyBase]
) -> Path:
    """Runs "straight", "resumed" and "sharded" of two processes, and "alone" of one."""
    folder = tmp_path_factory.mktemp("processes")
    worker = HERE / "processes_worker.py"
    spec = importlib.util.spec_from_file_location("processes_worker", worker)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_data(folder / "data")
    made = make_small_llava()
    made.model.save_pretrained(folder / "model")
    made.processor.save_pretrained(folder / "model")
    base = load_base(folder / "model", device="cpu", dtype="float32")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIG)]
    command += ["--main_process_port", str(port), str(worker), str(folder)]
    ended = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    module.train("alone", folder, base, ALONE)
    torch.set_num_threads(threads)
    return folder


@pytest.mark.parametrize("name", ["straight", "sharded"])
def test_two_processes_end_where_one_does(runs: Path, name: str) -> None:
    alone, together = weights(runs / "alone"), weights(runs / name)

    assert together.keys() == alone.keys()
    for tensor_name, tensor in alone.items():
        torch.testing.assert_close(together[tensor_name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["straight", "sharded"])
def test_figures_are_of_the_whole_batch(runs: Path, name: str) -> None:
    alone, together = metrics(runs / "alone"), metrics(runs / name)

    assert len(together) == len(alone) == 2
    for one, two in zip(alone, together, strict=True):
        assert two.pop("samples") == one.pop("samples")
        assert two == pytest.approx(one, rel=1e-3, abs=1e-4, nan_ok=True)


def test_two_processes_go_on_bit_for_bit_after_a_failure(runs: Path) -> None:
    straight, resumed = weights(runs / "straight"), weights(runs / "resumed")

    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())
    assert metrics(runs / "resumed") == metrics(runs / "straight")


def test_prompts_that_sharded_processes_cant_share_are_refused_by_all(runs: Path) -> None:
    for rank in range(2):
        said = (runs / f"uneven-{rank}").read_text()
        assert "2 processes can't share" in said
        assert "3 answers_about_pictures" in said


def test_a_share_is_dealt_by_kind_and_all_shares_are_everything() -> None:
    kinds = [True, False, True, True, False, True, True, False]
    shares = [Processes(rank, size=2).share(kinds) for rank in range(2)]

    assert sorted(shares[0] + shares[1]) == list(range(8))
    assert [sum(kinds[row] for row in share) for share in shares] == [3, 2]
    assert ALONE.share(kinds) == list(range(8))


def test_sharded_shares_have_their_kinds_in_step() -> None:
    kinds = [True, False, False, True, False, True, True, False]
    shares = [Processes(rank, size=2, shards_base=True).share(kinds) for rank in range(2)]

    assert [kinds[row] for row in shares[0]] == [kinds[row] for row in shares[1]]


def test_one_process_talks_to_nobody() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    parameter.grad = torch.full((2,), 3.0)
    ALONE.sum_gradients([parameter])

    assert parameter.grad.tolist() == [3.0, 3.0]
    assert ALONE.gathered([1, 2]) == [1, 2]
    assert ALONE.once(max, 3, 4) == 4
    assert ALONE.agree_on(5) == 5
    assert ALONE.idle_passes(2) == 0


def test_processes_that_see_different_runs_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Processes, "gathered", lambda self, mine: [*mine, 7])
    with pytest.raises(SeparateRunsError, match=r"\(5, 7\)"):
        Processes(0, size=2).agree_on(5)


def test_processes_with_other_weights_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = [torch.ones(3), torch.full((2,), torch.nan)]
    others = [torch.ones(3), torch.zeros(2)]
    sums = tuple(float(weight.double().sum()) for weight in others)
    monkeypatch.setattr(Processes, "gathered", lambda self, mine: [*mine, sums])

    Processes(0, size=2).require_same(others)
    with pytest.raises(DifferentWeightsError):
        Processes(0, size=2).require_same(weights)
    ALONE.require_same(weights)


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_processes() is ALONE
