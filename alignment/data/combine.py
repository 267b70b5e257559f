"""Two sets as one: all of an unsafe set, and as many safe pictures of another as balance it.

So [S1] builds its 690 test images, 345 of them safe. Which safe pictures are taken follows from the
seed and their ids alone. Where both sets are split, each split is balanced for itself; where one of
them is, the other is split by our rule first.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from alignment.data.importing import Filled, ImportRequest, built_once
from alignment.data.manifest import Example, ImageSet
from alignment.data.splits import SEED, split_by_concept
from server.vlm.cache import cache_root


def combine(
    unsafe: ImageSet, safe: ImageSet, *, seed: int = SEED, cache_dir: Path | None = None
) -> ImageSet:
    """Join `unsafe` as a whole and safe pictures of `safe`, in a manifest folder in the cache.

    Safe pictures that `unsafe` itself holds count. Where `safe` has too few, all are taken and a
    note says so. Raises `CacheWriteError`.
    """
    if unsafe.is_split != safe.is_split:
        unsafe = unsafe if unsafe.is_split else split_by_concept(unsafe, seed=seed).images
        safe = safe if safe.is_split else split_by_concept(safe, seed=seed).images
    chosen: list[Example] = []
    notes = [*unsafe.notes, *safe.notes]
    for split in ("train", "test") if unsafe.is_split else (None,):
        ours = [example for example in unsafe.examples if example.split == split]
        offered = [one for one in safe.examples if one.split == split and not one.unsafe]
        wanted = sum(1 if example.unsafe else -1 for example in ours)
        taken = _sample(offered, wanted, seed)
        if len(taken) < wanted:
            where = f", {split} split" if split else ""
            notes.append(f"safe pictures from {safe.name}{where}: {len(taken)} of {wanted} wanted")
        chosen.extend(taken)
    request = ImportRequest(
        name=f"{unsafe.name}+{safe.name}",
        source=f"{unsafe.sha256}+{safe.sha256}",
        version="",
        asked={"seed": seed},
    )

    def fill(folder: Path) -> Filled:
        examples = [
            *_copied(unsafe, unsafe.examples, folder, "a"),
            *_copied(safe, chosen, folder, "b"),
        ]
        return Filled(examples, notes)

    return built_once(request, (cache_dir or cache_root()) / "data", fill)


def _sample(offered: Sequence[Example], count: int, seed: int) -> list[Example]:
    def draw(example: Example) -> bytes:
        return hashlib.sha256(f"{seed}:{example.id}".encode()).digest()

    return sorted(offered, key=draw)[: max(0, count)]


def _copied(
    images: ImageSet, examples: Sequence[Example], folder: Path, part: str
) -> list[Example]:
    """The examples with their files copied; the part's letter keeps equal names apart."""
    copied = []
    for example in examples:
        file = f"images/{part}/{example.file}"
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(images.path_of(example), target)
        group = f"{part}:{example.group}" if example.group else ""
        copied.append(
            example.model_copy(update={"id": f"{part}-{example.id}", "file": file, "group": group})
        )
    return copied
