"""Text-only twins: which words stand for a set's pictures, and the blank picture they go with.

S1 measures alignment on text by asking about every concept by name, on a blank image; the modality
gap is that figure minus the one on pictures. We ask the names of safe pictures too, so that a model
that calls everything unsafe does not look perfect. Rules:

- An unsafe picture is named by its concept, a safe one by the name of what it shows. Names that
  differ only in case or spaces are one; the spelling that sorts first is asked.
- Words that name an unsafe concept are unsafe whatever is labelled so: a picture of a gun shop may
  be safe, the words "Gun violence" are about violence. Safe pictures with such a name are counted
  as `contested`, and no words are asked as safe for them.
- A safe picture without a name (empty, or just "Safe") stands for no words.

The words go into a probe's own text form: ``probe.about_text(subject.text)``.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image

from alignment.data.manifest import SAFE, Example
from server.concepts.taxonomy import load_taxonomy

BLANK_SIDE_PX = 336


@dataclass(frozen=True, slots=True)
class WordSubject:
    """Words that a model judges in place of pictures.

    `pictures` counts the pictures they stand for, 0 for a concept that the set shows none of;
    `contested` those labelled safe whose name the taxonomy holds unsafe. `concept` is empty for
    safe words.
    """

    text: str
    concept: str
    category: str
    is_unsafe: bool
    pictures: int
    contested: int = 0


def words_of(examples: Iterable[Example], *, all_concepts: bool = False) -> list[WordSubject]:
    """The words for a set's examples: concepts in the taxonomy's order, then safe names sorted.

    `all_concepts` adds the concepts that no example shows, so that sets are asked the same words.
    """
    unsafe: Counter[str] = Counter()
    safe: Counter[str] = Counter()
    spellings: dict[str, set[str]] = {}
    for example in examples:
        text = " ".join(example.concept.split())
        (unsafe if example.unsafe else safe)[text.casefold()] += 1
        spellings.setdefault(text.casefold(), set()).add(text)
    taxonomy = load_taxonomy()
    subjects = []
    for concept in taxonomy.concept_names:
        key = concept.casefold()
        contested = safe.pop(key, 0)
        if unsafe[key] or contested or all_concepts:
            category = taxonomy.category_of(concept)
            subjects.append(WordSubject(concept, concept, category, True, unsafe[key], contested))
    subjects += [
        WordSubject(min(spellings[key]), "", SAFE, False, safe[key])
        for key in sorted(safe.keys() - {"", SAFE.casefold()})
    ]
    return subjects


def blank_picture(size: tuple[int, int] = (BLANK_SIDE_PX, BLANK_SIDE_PX)) -> Image.Image:
    """The picture that says nothing: white, RGB, width and height in pixels.

    All we know of S1's is that it is blank. Colour and size are ours: white as an empty page, as
    large as the vision tower of its main model (LLaVA-1.5) takes it, so nothing has to be scaled.
    """
    return Image.new("RGB", size, "white")
