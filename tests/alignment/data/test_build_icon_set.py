"""Building the icon set: what names say, what is stayed clear of, and that it can be repeated."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alignment.data.build_icon_set import (
    HeldOut,
    IconSetError,
    build_icon_set,
    held_out_of,
)
from alignment.data.icon_names import IconNames, IconSource, caption_of, plain_name, words_of
from alignment.data.icon_packages import IconPackageError, read_icon_package
from alignment.data.icon_set import HeldOutSymbols
from alignment.data.manifest import Example, read_image_set
from alignment.data.open_set_credits import Credits

SQUARE = '<path fill="currentColor" d="M0 0h16v16H0z"/>'
NAMES = IconNames(
    revision="1",
    packages=(IconSource(prefix="drawn", style="icon", safe="things"),),
    unsafe={"War and combat scenes": {"object": ("bomb", "tank")}},
    safe={"things": ("cat", "chair", "cup", "bench", "spoon")},
    wrong={"drawn": ("tank-solid",)},
)
CREDITS = Credits.model_validate(
    {
        "revision": "1",
        "collections": [
            {
                "package": "@drawn/icons",
                "version": "1.0.0",
                "title": "Drawn",
                "author": "Ann",
                "link": "https://example.org",
                "license": "MIT",
                "license_link": "https://example.org/mit",
                "notice": "Copyright Ann",
                "remark": "",
                "artists": {},
            }
        ],
    }
)


def write_package(path: Path, slugs: list[str], *, licence: str = "MIT") -> Path:
    members: dict[str, Any] = {
        "package.json": {"name": "@drawn/icons", "version": "1.0.0"},
        "info.json": {"license": {"spdx": licence}},
        "icons.json": {"prefix": "drawn", "icons": {slug: {"body": SQUARE} for slug in slugs}},
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            data = json.dumps(content).encode()
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def held_out(*slugs: str, hashes: tuple[int, ...] = ()) -> HeldOut:
    examples = [
        Example(id=slug, file="x", label="Safe", concept="x", source=f"npm:@other/set@1#{slug}")
        for slug in slugs
    ]
    return HeldOut(HeldOutSymbols(examples), np.array(hashes, dtype=np.uint64), ())


def stripes(svg: str, width_px: int) -> Image.Image:
    """Stands for a renderer: every drawing differs by its ink alone."""
    picture = Image.new("RGBA", (width_px, width_px), (0, 0, 0, 0))
    picture.paste(svg.split('fill="')[1][:7], (0, 0, width_px // 3, width_px))
    return picture


def build(tmp_path: Path, slugs: list[str], held: HeldOut, *, name: str = "out") -> Any:
    package = read_icon_package(write_package(tmp_path / "package.tgz", slugs))
    return build_icon_set(
        [package],
        tmp_path / name,
        held_out=held,
        render=stripes,
        renderer="stripes 1",
        names=NAMES,
        credit=CREDITS,
    )


def sources(built: Any) -> set[str]:
    return {line["source"].split("#")[1] for line in built.lines}


def test_names_decide_labels_and_unknown_names_are_left_out(tmp_path: Path) -> None:
    built = build(tmp_path, ["bomb", "cat", "cup", "spear"], held_out())
    lines = {line["source"].split("#")[1]: line for line in built.lines}

    assert lines.keys() == {"bomb", "cat", "cup"}
    assert lines["bomb"]["concept"] == "War and combat scenes"
    assert (lines["cat"]["label"], lines["cat"]["concept"]) == ("Safe", "cat")
    assert {line["split"] for line in built.lines} == {"train"}


def test_what_was_seen_to_be_wrong_is_left_out(tmp_path: Path) -> None:
    assert sources(build(tmp_path, ["tank-solid", "bomb"], held_out())) == {"bomb"}


def test_safe_drawings_are_at_most_half_as_many_again(tmp_path: Path) -> None:
    built = build(tmp_path, ["bomb", "tank", "cat", "chair", "cup", "bench", "spoon"], held_out())

    assert sum(line["label"] == "Safe" for line in built.lines) == 3


@pytest.mark.parametrize("slug", ["bomb", "bombs", "bomb-off-road", "road-bomb"])
def test_symbols_of_held_out_pictures_are_stayed_clear_of(tmp_path: Path, slug: str) -> None:
    names = NAMES.model_copy(
        update={"unsafe": {"War and combat scenes": {"object": (slug, "tank")}}}
    )
    package = read_icon_package(write_package(tmp_path / "p.tgz", [slug, "tank"]))
    built = build_icon_set(
        [package],
        tmp_path / "out",
        held_out=held_out("bomb"),
        render=stripes,
        renderer="stripes 1",
        names=names,
        credit=CREDITS,
    )

    assert sources(built) == {"tank"}
    assert built.left_out == {"symbol of a held-out picture": 1}


def test_near_duplicates_of_held_out_pictures_are_left_out(tmp_path: Path) -> None:
    build(tmp_path, ["bomb", "tank"], held_out())
    images = read_image_set(tmp_path / "out")
    taken = next(one for one in images.examples if one.source.endswith("#bomb"))
    from alignment.data.near_duplicates import perceptual_hash

    held = held_out(hashes=(perceptual_hash(images.open(taken)),))
    built = build(tmp_path, ["bomb", "tank", "cat"], held, name="again")

    assert "bomb" not in sources(built)
    assert built.left_out["near-duplicate of a held-out picture"] >= 1


def test_the_same_packages_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        build(tmp_path, ["bomb", "cat"], held_out(), name=name)
    one, two = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    )

    assert one == two


def test_a_folder_with_a_set_is_not_written_over(tmp_path: Path) -> None:
    build(tmp_path, ["bomb"], held_out())

    with pytest.raises(IconSetError, match="already holds"):
        build(tmp_path, ["bomb"], held_out())


def test_another_licence_than_the_credited_one_stops_the_build(tmp_path: Path) -> None:
    package = read_icon_package(write_package(tmp_path / "p.tgz", ["bomb"], licence="GPL-3.0"))

    with pytest.raises(IconSetError, match=r"GPL-3\.0"):
        build_icon_set(
            [package],
            tmp_path / "out",
            held_out=held_out(),
            render=stripes,
            renderer="stripes 1",
            names=NAMES,
            credit=CREDITS,
        )


def test_a_file_that_is_no_package_is_named(tmp_path: Path) -> None:
    path = tmp_path / "no.tgz"
    path.write_bytes(b"nothing")

    with pytest.raises(IconPackageError, match=r"no\.tgz"):
        read_icon_package(path)


def test_test_and_validation_pictures_are_held_out_and_train_pictures_are_not(
    tmp_path: Path,
) -> None:
    slugs = [f"thing-{letter}" for letter in "abcdefghijklmnop"]
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    lines = [
        {
            "id": slug,
            "file": "x.png",
            "label": "Safe" if number % 2 else "Unsafe",
            "concept": "cup" if number % 2 else "Arson",
            "style": "icon",
            "split": "test" if number < 4 else "train",
            "source": f"npm:@other/set@1#{slug}",
        }
        for number, slug in enumerate(slugs)
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "manifest.jsonl").write_text(text)
    held = held_out_of([read_image_set(tmp_path)])
    found = [slug for slug in slugs if held.symbols.holds(words_of(slug))]

    assert set(slugs[:4]) < set(found) < set(slugs)


@pytest.mark.parametrize(
    ("slug", "name"),
    [("sword-01", "sword"), ("beer-bold", "beer"), ("blister-pills-14px", "blister-pills")],
)
def test_a_name_is_what_is_drawn_and_not_how(slug: str, name: str) -> None:
    assert plain_name(slug) == name


@pytest.mark.parametrize(
    ("name", "caption"),
    [
        ("time-bomb", "an icon of a time bomb"),
        ("axe", "an icon of an axe"),
        ("swords", "an icon of swords"),
        ("wine-glass", "an icon of a wine glass"),
    ],
)
def test_captions_have_their_article(name: str, caption: str) -> None:
    assert caption_of("icon", name) == caption


def test_a_name_can_not_be_of_two_concepts() -> None:
    with pytest.raises(ValueError, match="'bomb' is of"):
        IconNames.model_validate(
            NAMES.model_dump()
            | {"unsafe": {"Arson": {"weak": ["bomb"]}, "Torture": {"weak": ["bomb"]}}}
        )
