"""Which package may import what: among ourselves, and from other distributions."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("server", "alignment", "benchmarks")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# What may be imported in each package: the dependencies and these extras.
EXTRAS = {
    "server": ("cpu", "gpu", "audit", "ray", "redis", "sql", "traces"),
    "alignment": ("cpu", "gpu", "train"),
    "benchmarks": ("cpu", "gpu", "train", "bench", "load"),
}
# Run by the Python of an environment of its own, which this file pins.
ELSEWHERE = {"benchmarks/peers/detector_child.py": "benchmarks/peers/detectors.txt"}
FORBIDDEN = {"torchvision", "torchaudio", "torchcodec", "triton"}


def imported(package: str) -> dict[str, set[str]]:
    """Top-level module name -> the files of `package` that import it, anywhere in them."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(str(path.relative_to(ROOT)))
    return found


def test_the_floors_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_the_project_declares(package: str) -> None:
    allowed = {
        canonicalize_name(Requirement(line).name)
        for line in (
            *PROJECT["dependencies"],
            *(
                line
                for extra in EXTRAS[package]
                for line in PROJECT["optional-dependencies"][extra]
            ),
        )
    }
    distributions = importlib.metadata.packages_distributions()
    undeclared = {
        module: sorted(files)
        for module, files in imported(package).items()
        if module not in sys.stdlib_module_names
        and module not in PACKAGES
        and not {canonicalize_name(name) for name in distributions.get(module, [])} & allowed
        and not files <= {path for path, pins in ELSEWHERE.items() if pinned(module, pins)}
    }

    assert undeclared == {}


def pinned(module: str, path: str) -> bool:
    """Whether the file pins a distribution that is called as the module is."""
    lines = [line for line in (ROOT / path).read_text().splitlines() if line[:1].isalnum()]
    return canonicalize_name(module) in {
        canonicalize_name(Requirement(line).name) for line in lines
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_imports_what_a_cpu_machine_lacks(package: str) -> None:
    assert FORBIDDEN & set(imported(package)) == set()


def test_no_file_imports_the_tests() -> None:
    assert [package for package in PACKAGES if "tests" in imported(package)] == []


def test_the_concepts_load_without_a_model_library() -> None:
    code = (
        "import sys, pkgutil, importlib, server.concepts as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'server.concepts.{module.name}')\n"
        "print(*sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {re.match(r"\w+", name)[0] for name in run.stdout.split()}  # type: ignore[index]

    assert loaded & {"torch", "vllm", "transformers", "fastapi", "PIL"} == set()
