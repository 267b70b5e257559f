"""What the Dockerfile's steps made: all that serves is there, and nothing that builds.

Run by `make image`, which builds it first; `IMAGE_ROOT` is the finished root of the target `cpu`.
"""

import os
import subprocess
from pathlib import Path

import pytest

_BUILT = os.environ.get("IMAGE_ROOT")

pytestmark = pytest.mark.skipif(
    _BUILT is None or os.geteuid() != 0, reason="no image was built: make image, as root"
)


def inside(*command: str) -> subprocess.CompletedProcess[str]:
    """A command in the root as the image's user, with the image's paths."""
    root = str(_BUILT)
    setting = [
        "PATH=/opt/sightward/bin:/usr/bin:/bin",
        "HOME=/tmp",
        "XDG_CACHE_HOME=/opt/sightward/cache",
        "PYTHONDONTWRITEBYTECODE=1",
    ]
    entered = ["chroot", "--userspec=10001:10001", root, "env", "-i", *setting, *command]
    return subprocess.run(entered, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("tool", ["pip", "pip3", "gcc", "g++", "cc", "make", "ld"])
def test_nothing_that_builds_is_in_it(tool: str) -> None:
    assert inside("sh", "-c", f"command -v {tool}").returncode != 0


def test_the_command_starts_and_takes_its_settings() -> None:
    checked = inside("sightward", "config", "check")
    assert (checked.stdout, checked.returncode) == ("ok\n", 0), checked.stderr


def test_the_model_is_there_and_everyone_may_read_it() -> None:
    (checkpoint,) = Path(str(_BUILT), "opt/sightward/cache/sightward/models").glob(
        "sightward-reference*"
    )
    named = "/" + str(checkpoint.relative_to(str(_BUILT)))
    assert inside("sh", "-c", f"cat {named}/* > /dev/null").returncode == 0


def test_its_user_can_write_nothing_but_what_all_can() -> None:
    found = inside("find", "/opt", "/usr", "/etc", "-writable", "-not", "-type", "l")
    assert found.stdout == ""


def test_no_source_but_the_package_is_in_it() -> None:
    left = Path(str(_BUILT))
    assert not (left / "src").exists()
    assert not list((left / "opt/sightward/lib/python3.11/site-packages").glob("tests"))
