"""What may lie in the repository: nothing of one machine, no photograph, little weight."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEIGHT_SUFFIXES = {".bin", ".gguf", ".npy", ".npz", ".onnx", ".pt", ".pth", ".safetensors"}
MAX_WEIGHT_BYTES = 40 * 1024 * 1024
OPEN_IMAGES = ROOT / "alignment" / "data" / "open_set" / "images"
ICON_IMAGES = ROOT / "alignment" / "data" / "icon_set" / "images"
MAX_OPEN_IMAGE_BYTES = 3 * 1024 * 1024

# Written so that this file does not match itself.
ONE_MACHINE = re.compile(
    r"""
      (?<![\w.])/(?:work|root|home/\w+)/     # folders of the machine something was written on
    | \.\./(?:shared)\b
    | /opt/(?:wheels|pypi)
    | (?:index-url|find-links|trusted-host)[ =]+\S
    | (?:pypi[.](?:org|python)|python[h]osted|download[.]pytorch)
    """,
    re.VERBOSE,
)


@cache
def tracked() -> tuple[Path, ...]:
    """Files of the repository, also those not committed yet."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(
        path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()
    )


def test_the_listing_finds_this_very_file() -> None:
    assert Path(__file__).resolve() in {path.resolve() for path in tracked()}


@pytest.mark.parametrize(
    "line",
    [
        "data lies in /work" + "/main",
        "pip install --index" + "-url https://packages.example/simple",
        "see .." + "/shared/design.md",
        "https://download" + ".pytorch.org/whl/cpu",
        "/home" + "/ada/checkpoint",
    ],
)
def test_a_line_about_one_machine_is_recognised(line: str) -> None:
    assert ONE_MACHINE.search(line)


def test_no_file_names_a_machines_folders_or_a_package_index() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if ONE_MACHINE.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")

    assert found == []


def test_no_photograph_lies_in_the_repository() -> None:
    photographs = {".avif", ".bmp", ".heic", ".jpeg", ".jpg", ".tif", ".tiff", ".webp"}

    assert [
        path
        for path in tracked()
        if path.suffix.lower() in photographs
        and not (path.suffix == ".webp" and path.parent in (OPEN_IMAGES, ICON_IMAGES))
    ] == []


def test_the_open_set_holds_drawings_that_may_be_given_away_and_nothing_else() -> None:
    folder = OPEN_IMAGES.parent
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    listed = {line["file"]: line for line in lines}
    lying = {
        path.relative_to(folder).as_posix(): path
        for path in tracked()
        if path.parent == OPEN_IMAGES
    }

    assert len(listed) == len(lines)
    assert listed.keys() == lying.keys()
    assert {line["style"] for line in lines} <= {"emoji", "icon"}
    assert {line["license"] for line in lines} <= {"Apache-2.0", "CC-BY-3.0", "CC-BY-4.0", "MIT"}
    assert all(line["source"].startswith("npm:") and line["author"] for line in lines)
    assert {line["split"] for line in lines} == {"test"}
    assert sum(path.stat().st_size for path in lying.values()) <= MAX_OPEN_IMAGE_BYTES


def test_the_weights_stay_small() -> None:
    sizes = {
        str(path.relative_to(ROOT)): path.stat().st_size
        for path in tracked()
        if path.suffix in WEIGHT_SUFFIXES
    }

    assert sum(sizes.values()) <= MAX_WEIGHT_BYTES, sizes


def test_no_module_lacks_a_concept_in_its_name() -> None:
    homeless = {"utils.py", "util.py", "common.py", "helpers.py", "helper.py", "misc.py"}

    assert [path for path in tracked() if path.name in homeless] == []
