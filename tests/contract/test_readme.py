"""The README's promises that a test can hold."""

import re
from pathlib import Path

from server.concepts.taxonomy import load_taxonomy
from server.settings import PREFIX, Settings
from server.settings_table import settings_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_the_codes_own() -> None:
    page = (ROOT / "server" / "SETTINGS.md").read_text(encoding="utf-8")

    assert page.endswith("\n\n" + settings_table()), "write it anew: sightward config table"
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} has no meaning"


def test_no_setting_is_named_that_there_is_none_of() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for page in (ROOT / "README.md", *ROOT.glob("server/**/*.md"), *ROOT.glob("*/README.md")):
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", page.read_text(encoding="utf-8")))
        assert named <= known | {PREFIX.rstrip("_")}, page.name


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
