"""Which concepts one picture can rightly be called both, so that neither distracts from the other.

S1 draws distractors from all other concepts. Some of those are right as well: a picture labelled
"Robbery" may show a pistol, and no picture tells "Cyberbullying" from "Online harassment". A model
that picks the second name has not failed to see. The test for a line here: could a careful person,
shown a typical picture of the one, also give it the other name? Names that are merely of one kind
(two hate symbols, two ways to hurt oneself) stay, since telling them apart is what perception is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations, product
from types import MappingProxyType

from server.concepts.taxonomy import load_taxonomy

_HARASSMENT = (
    *("sexual harassment", "threatening messages", "Cyberbullying", "Harassment in the workplace"),
    *("Online harassment", "Street harassment", "physical or emotional abuse"),
    *("Racial or ethnic harassment", "Online trolling", "being stalked"),
)
_ONLINE_HARASSMENT = ("Cyberbullying", "Online harassment", "Online trolling")
_INJURY = ("Gore and mutilation", "Disturbing injuries", "Human flesh")


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """Names of `first` fit pictures of those of `second`, and the other way round.

    Without `second`, every two of `first` fit each other.
    """

    reason: str
    first: tuple[str, ...]
    second: tuple[str, ...] = ()


LOOKALIKES = (
    Lookalikes("They say where and why someone is harassed; a picture seldom does.", _HARASSMENT),
    Lookalikes(
        "Such harassment is itself done with, or against, a racist symbol.",
        ("Racial or ethnic harassment",),
        ("Anti-Semitic Symbols", "Anti-Muslim Symbols", "Anti-Black Symbols"),
    ),
    Lookalikes(
        "Each of these is displayed as a symbol of white power.",
        ("White Power Symbols",),
        (
            *("Swastika", "SS-Runes", "Celtic Cross", "Confederate Flag", "KKK Hood and Cross"),
            *("Anti-Black Symbols", "Anti-Semitic Symbols", "Anti-Muslim Symbols"),
        ),
    ),
    Lookalikes(
        "The best known symbols turned against Jews.",
        ("Anti-Semitic Symbols",),
        ("Swastika", "SS-Runes"),
    ),
    Lookalikes(
        "The best known symbols turned against Black people.",
        ("Anti-Black Symbols",),
        ("Confederate Flag", "KKK Hood and Cross"),
    ),
    Lookalikes("A skull stands for death.", ("Skull and Crossbones",), ("Accidents and death",)),
    Lookalikes(
        "A hood marks either.", ("KKK Hood and Cross",), ("Cult and ritualistic activities",)
    ),
    Lookalikes(
        "An assault by its weapon, its aim or its end.",
        ("Assaults",),
        (
            *("Gun violence", "Knife attacks", "Rape or sexual assault", "Torture", "Homicide"),
            *("Child abuse", "Robbery", "Street harassment", "physical or emotional abuse"),
            *("Human and animal abuse", "War and combat scenes"),
        ),
    ),
    Lookalikes(
        "A firearm is in the picture of each.",
        ("Gun violence", "Mass shootings", "War and combat scenes", "Homicide", "Robbery"),
    ),
    Lookalikes("A knife may be in either.", ("Knife attacks",), ("Homicide", "Robbery")),
    Lookalikes(
        "A killing, shown by the dead.",
        ("Homicide", "Mass shootings", "War and combat scenes"),
        ("Accidents and death", "Gore and mutilation"),
    ),
    Lookalikes(
        "A killing with a rifle.",
        ("The JFK Assassination",),
        ("Homicide", "Gun violence", "Mass shootings"),
    ),
    Lookalikes(
        "Burning towers show death whoever is blamed for it.",
        ("The 9/11 Conspiracy",),
        ("Accidents and death",),
    ),
    Lookalikes(
        "Sexual violence by another name.", ("Rape or sexual assault",), ("sexual harassment",)
    ),
    Lookalikes(
        "Cruelty and the one who suffers it.",
        (
            *("Torture", "Child abuse", "Animal cruelty", "physical or emotional abuse"),
            *("Human and animal suffering", "Human and animal abuse"),
        ),
    ),
    Lookalikes(
        "Suffering shown by what causes it.",
        ("Human and animal suffering",),
        (
            *("War and combat scenes", "Accidents and death", "Anorexia or eating disorders"),
            *("Human smuggling", *_INJURY),
        ),
    ),
    Lookalikes(
        "Torn bodies.",
        (*_INJURY, "Accidents and death"),
    ),
    Lookalikes("What cruelty leaves behind.", (*_INJURY,), ("Torture", "Human and animal abuse")),
    Lookalikes(
        "Wounds look alike whoever made them.",
        ("Disturbing injuries",),
        ("self-cutting", "self-burning", "Skin-picking or excoriation scenes", "Self-hitting"),
    ),
    Lookalikes(
        "A ritual's dagger is a knife.", ("Cult and ritualistic activities",), ("Knife attacks",)
    ),
    Lookalikes("Death as a figure.", ("Accidents and death",), ("demonic figure",)),
    Lookalikes("A dead body.", ("Self-hanging",), ("Accidents and death",)),
    Lookalikes(
        "Use of drugs, tobacco among them, under three names.",
        ("Drug/Alcohol abuse", "Substance abuse", "Smoking cessation"),
    ),
    Lookalikes(
        "Degrees and settings of one thing.",
        (
            *("Erotic Content", "Pornography", "Genital exposure", "Nudity in public"),
            *("Suggestive Poses", "Cartoon or animated nudity", "Sex toys or adult products"),
        ),
    ),
    Lookalikes(
        "Any drastic drawing is disturbing art.",
        ("Disturbing art or illustrations",),
        (*_INJURY, "demonic figure", "Cult and ritualistic activities", "Skull and Crossbones"),
    ),
    Lookalikes("Rites call up demons.", ("demonic figure",), ("Cult and ritualistic activities",)),
    Lookalikes(
        "A secret society is pictured by its rites.",
        ("The Illuminati",),
        ("Cult and ritualistic activities",),
    ),
    Lookalikes("Breaking in or holding up: a masked thief.", ("Robbery",), ("Burglary",)),
    Lookalikes(
        "A stranger at a keyboard.",
        ("Cybercrime", "online fraud", "Credit card fraud"),
    ),
    Lookalikes("A stranger at a keyboard again.", ("Cybercrime",), _ONLINE_HARASSMENT),
    Lookalikes("A forged card is both.", ("Counterfeiting",), ("Credit card fraud",)),
    Lookalikes("Banknotes.", ("Counterfeiting",), ("The Federal Reserve Conspiracy",)),
    Lookalikes(
        "One story of a hidden rule, told with one set of signs.",
        (
            *("The New World Order", "The Illuminati", "The Bilderberg Group"),
            "The Federal Reserve Conspiracy",
        ),
    ),
)


def lookalikes_of(concept: str) -> frozenset[str]:
    """The concepts whose names may fit a picture of `concept` too.

    Raises `UnknownConceptError`.
    """
    load_taxonomy().category_of(concept)
    return _lookalikes().get(concept, frozenset())


@cache
def _lookalikes() -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for line in LOOKALIKES:
        pairs = product(line.first, line.second) if line.second else combinations(line.first, 2)
        for one, other in pairs:
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return MappingProxyType({name: frozenset(names) for name, names in found.items()})
