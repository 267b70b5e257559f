import os
import subprocess
import sys
from pathlib import Path

import pytest

from server.engine.cpu_runtime import engine_environment, environment, openmp_library

CHANGES = {"SIGHTWARD_TEST_OLD": "changed", "SIGHTWARD_TEST_NEW": "set"}
MAPS = "print(open('/proc/self/maps').read())"


def fail_where(changed: bool) -> None:
    assert changed
    raise RuntimeError


def test_the_measured_set_up_is_chosen_on_a_cpu() -> None:
    added = engine_environment({}, on_cpu=True, is_local_model=True)
    assert added["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert added["VLLM_CPU_KVCACHE_SPACE"] == "1"
    assert added["KMP_BLOCKTIME"] == "5"
    assert Path(added["LD_PRELOAD"]).name == "libiomp5.so"
    assert added["HF_HUB_OFFLINE"] == "1"


def test_on_a_gpu_vllms_own_defaults_stand() -> None:
    added = engine_environment({}, on_cpu=False, is_local_model=True)
    assert not [name for name in added if "CPU" in name or "MULTIPROC" in name]
    assert "LD_PRELOAD" not in added
    assert added["VLLM_NO_USAGE_STATS"] == "1"


def test_the_hub_stays_reachable_for_a_model_of_the_hub() -> None:
    assert "HF_HUB_OFFLINE" not in engine_environment({}, on_cpu=True, is_local_model=False)


def test_an_operators_own_values_win() -> None:
    own = {
        "VLLM_CPU_KVCACHE_SPACE": "8",
        "VLLM_LOGGING_LEVEL": "INFO",
        "LD_PRELOAD": "/opt/libgomp.so.1",
    }
    added = engine_environment(own, on_cpu=True, is_local_model=True)
    assert not set(own) & set(added)
    assert "KMP_BLOCKTIME" not in added, "it is for the OpenMP runtime that was not preloaded"


def test_another_preloaded_library_is_kept() -> None:
    added = engine_environment({"LD_PRELOAD": "/opt/libmine.so"}, on_cpu=True, is_local_model=True)
    first, second = added["LD_PRELOAD"].split(":")
    assert first == "/opt/libmine.so"
    assert Path(second).name == "libiomp5.so"


def test_without_the_package_nothing_is_preloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.engine.cpu_runtime._OPENMP_PACKAGE", "no-such-package")
    assert openmp_library() is None
    assert "LD_PRELOAD" not in engine_environment({}, on_cpu=True, is_local_model=True)


def test_a_child_started_inside_has_the_library_mapped_and_one_started_after_has_not() -> None:
    added = engine_environment({"PATH": os.environ["PATH"]}, on_cpu=True, is_local_model=True)
    with environment(added):
        inside = subprocess.run([sys.executable, "-c", MAPS], capture_output=True, text=True)
    after = subprocess.run([sys.executable, "-c", MAPS], capture_output=True, text=True)
    assert "libiomp5.so" in inside.stdout
    assert "libiomp5.so" not in after.stdout


def test_the_environment_is_put_back_even_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTWARD_TEST_OLD", "old")
    monkeypatch.delenv("SIGHTWARD_TEST_NEW", raising=False)
    with pytest.raises(RuntimeError), environment(CHANGES):
        fail_where(os.environ["SIGHTWARD_TEST_OLD"] == "changed")
    assert os.environ["SIGHTWARD_TEST_OLD"] == "old"
    assert "SIGHTWARD_TEST_NEW" not in os.environ
