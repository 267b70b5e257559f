"""The three packages are the ones of this repository, and the tests are no package at all."""

import importlib
import importlib.metadata
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("server", "alignment", "benchmarks")


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_is_imported_from_this_repository(name: str) -> None:
    module = importlib.import_module(name)

    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT.resolve() / name / "__init__.py"


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_that_it_is_typed(name: str) -> None:
    assert (ROOT / name / "py.typed").is_file()


@pytest.mark.parametrize("name", PACKAGES)
def test_every_folder_with_modules_is_a_package(name: str) -> None:
    folders = {path.parent for path in (ROOT / name).rglob("*.py")}

    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_no_package_below_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_the_installed_version_is_the_project_files() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert importlib.metadata.version("sightward") == project["version"]


def test_no_package_index_would_take_the_distribution() -> None:
    classifiers = importlib.metadata.metadata("sightward").get_all("Classifier") or []

    assert "Private :: Do Not Upload" in classifiers


def test_the_changelog_leads_with_what_comes_next() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    headings = [
        line.removeprefix("## ")
        for line in (ROOT / "CHANGELOG.md").read_text().splitlines()
        if line.startswith("## ")
    ]

    assert headings[0] == "Unreleased" or headings[0].startswith(project["version"])


def test_the_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text()

    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
