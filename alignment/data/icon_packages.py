"""Icon packages as npm packs them: one `.tgz` with every drawing as SVG in one JSON file."""

import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from alignment.data.errors import DataError


class IconPackageError(DataError):
    """A file that holds no icon package; `reason` says what is wrong with it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} is no icon package: {reason}")
        self.path = path
        self.reason = reason


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Drawing(_Record):
    body: str
    left: float = 0
    top: float = 0
    width: Annotated[float, Field(gt=0)] | None = None
    height: Annotated[float, Field(gt=0)] | None = None
    hidden: bool = False


class _Icons(_Record):
    prefix: str
    icons: dict[str, _Drawing]
    width: Annotated[float, Field(gt=0)] = 16
    height: Annotated[float, Field(gt=0)] = 16


class _Manifest(_Record):
    name: str
    version: str


class _Licence(_Record):
    spdx: str


class _Info(_Record):
    license: _Licence


@dataclass(frozen=True, slots=True)
class Icon:
    """One drawing: SVG elements, and the part of the plane they are drawn on (its own units)."""

    body: str
    left: float
    top: float
    width: float
    height: float

    def svg(self, *, ink: str) -> str:
        """A whole SVG file; `ink` stands wherever the drawing leaves its colour open."""
        box = f"{self.left:g} {self.top:g} {self.width:g} {self.height:g}"
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'width="{self.width:g}" height="{self.height:g}" viewBox="{box}">'
            f"{self.body.replace('currentColor', ink)}</svg>"
        )


@dataclass(frozen=True, slots=True)
class IconPackage:
    """A package in one version. `icons` has its visible drawings by slug."""

    name: str
    version: str
    prefix: str
    license: str
    icons: Mapping[str, Icon]


def read_icon_package(path: Path) -> IconPackage:
    """Read a package's file. Raises `IconPackageError`."""
    try:
        with tarfile.open(path) as archive:
            about = _Manifest.model_validate(_member(archive, "package.json"))
            info = _Info.model_validate(_member(archive, "info.json"))
            drawings = _Icons.model_validate(_member(archive, "icons.json"))
    except (OSError, tarfile.TarError, KeyError, ValueError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = "its files are not as expected" if isinstance(error, ValidationError) else first
        raise IconPackageError(path, reason) from error
    icons = {
        slug: Icon(
            drawing.body,
            drawing.left,
            drawing.top,
            drawing.width or drawings.width,
            drawing.height or drawings.height,
        )
        for slug, drawing in drawings.icons.items()
        if not drawing.hidden
    }
    return IconPackage(about.name, about.version, drawings.prefix, info.license.spdx, icons)


def _member(archive: tarfile.TarFile, name: str) -> object:
    file = archive.extractfile(f"package/{name}")
    if file is None:
        raise KeyError(name)
    return json.load(file)
