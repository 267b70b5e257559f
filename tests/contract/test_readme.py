"""The README's promises that a test can hold."""

import re
from pathlib import Path

from server.concepts.taxonomy import load_taxonomy
from server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_default() -> None:
    documented = dict(re.findall(rf"^\| `({PREFIX}\w+)` \| `?([^|`]*)`? \|", README, re.MULTILINE))
    defaults = {
        f"{PREFIX}{name.upper()}": "" if field.default in (None, ()) else str(field.default)
        for name, field in Settings.model_fields.items()
    }

    assert {name: default.strip() for name, default in documented.items()} == defaults


def test_every_make_target_it_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"\bmake ([a-z]+)", README)) <= targets
    assert {"serve", "test", "lint", "help"} <= targets


def test_the_tree_names_folders_that_exist() -> None:
    (tree,) = re.findall(r"^```\n(server/.*?)^```", README, re.MULTILINE | re.DOTALL)
    parent = ""
    for line in tree.splitlines():
        name = line.split()[0]
        parent = parent if line.startswith(" ") else name
        folder = parent + name if line.startswith(" ") else name
        assert (ROOT / folder).is_dir(), folder


def test_the_nine_categories_are_named() -> None:
    assert [name for name in load_taxonomy().category_names if name not in README] == []


def test_the_first_screen_shows_request_commands_and_tree() -> None:
    first_screen = "\n".join(README.split("\n## ")[0].splitlines())

    assert "curl " in first_screen
    assert "make serve" in first_screen
    assert "make test" in first_screen
    assert "server/" in first_screen
