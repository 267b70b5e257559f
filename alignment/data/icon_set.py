"""The icon set: drawings to train on that ship with the product.

Icons and emoji under permissive licences, from which `make align` aligns the reference VLM on a
fresh copy without a download or an account, and which add symbols to a larger set's train split.
Every picture is of the split ``train``. None is a variant of a picture of the open set, which tests
what was learnt here.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from alignment.data.icon_names import words_of
from alignment.data.manifest import Example, ImageSet, read_image_set
from alignment.data.open_set import OPEN_LICENCES, OPEN_STYLES

ICON_LICENCES = OPEN_LICENCES
ICON_STYLES = OPEN_STYLES
MAX_ICON_SET_BYTES = 4 * 1024 * 1024

_PACKAGE_PREFIX = "npm:"


def icon_set_folder() -> Path:
    """Where the shipped set lies: a folder with a manifest.jsonl and images."""
    return Path(__file__).with_name("icon_set")


def read_icon_set() -> ImageSet:
    """Read and check the shipped set. Raises `ManifestError` if it was damaged."""
    return read_image_set(icon_set_folder(), name="icon-set")


def recurring(images: ImageSet, *, unsafe: int = 6, safe: int = 2) -> ImageSet:
    """Only the symbols of which the set has at least so many drawings.

    What one package's bomb teaches helps with another's bomb, and with little else: a short run
    sees most of the other symbols once and has nothing to use it on.
    """
    drawings = Counter((example.group, example.unsafe) for example in images.examples)
    return images.with_examples(
        example
        for example in images.examples
        if drawings[example.group, example.unsafe] >= (unsafe if example.unsafe else safe)
    )


def symbol_of(example: Example) -> frozenset[str]:
    """The words of the icon that the example was drawn from; none if it is from no icon package.

    Packages draw the same symbols under the same words, if not always in the same order.
    """
    package, _, slug = example.source.partition("#")
    return words_of(slug) if package.startswith(_PACKAGE_PREFIX) else frozenset()


class HeldOutSymbols:
    """The symbols of pictures that something will be tested on: none may be trained on."""

    def __init__(self, examples: Iterable[Example]) -> None:
        found = (symbol_of(example) for example in examples)
        self._symbols = frozenset(symbol for symbol in found if symbol)

    def holds(self, symbol: frozenset[str]) -> bool:
        """Whether `symbol` has all the words of one of them.

        "wine bottle glass" is taken for a "wine bottle": rather one too many left out than a test
        picture's variant learnt.
        """
        return any(held <= symbol for held in self._symbols)
