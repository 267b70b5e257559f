"""Which files are meant: those that are named, and the pictures in folders that are.

A named file is judged whatever it is called; in a folder what is called like a picture counts,
hidden names left out and links to folders not followed. What is not there, or can't be looked into,
is a file too, with the reason: left out it would pass for judged.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from server.audit.judge import UNREADABLE_FILE
from server.audit.suffixes import is_picture

STDIN = "-"


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file to judge, by the name that it goes by in the results; or why it can't be."""

    name: str
    problem: str = ""
    error: str = ""


def named_files(paths: Iterable[str], *, listed: Iterable[str] = ()) -> Iterator[NamedFile]:
    """Every file once; `listed` are the lines that stand in for the path ``-``."""
    seen: set[str] = set()
    for file in _all(paths, listed):
        if file.name not in seen:
            seen.add(file.name)
            yield file


def _all(paths: Iterable[str], listed: Iterable[str]) -> Iterator[NamedFile]:
    for path in paths:
        if path != STDIN:
            yield from _under(path)
            continue
        for line in listed:
            if name := line.rstrip("\r\n"):
                yield from _under(name)


def _under(path: str) -> Iterator[NamedFile]:
    name = os.path.normpath(path)
    if Path(name).is_dir():
        yield from _in_folder(name)
    else:
        yield NamedFile(name)


def _in_folder(top: str) -> Iterator[NamedFile]:
    unreadable: list[OSError] = []
    for folder, folders, files in os.walk(top, onerror=unreadable.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if is_picture(name):
                yield NamedFile(str(Path(folder, name)))
        while unreadable:
            yield _not_listed(unreadable.pop())
    while unreadable:
        yield _not_listed(unreadable.pop())


def _not_listed(error: OSError) -> NamedFile:
    problem = error.strerror or "can't be listed"
    return NamedFile(str(error.filename), problem=problem, error=UNREADABLE_FILE)
