"""How a report names and writes things: one way for the page, the plots and the Markdown tables.

Figures have three decimals and keep their leading zero everywhere, so that columns line up and no
figure looks more exact in one place than in another.
"""

from benchmarks.capabilities.tasks import Modality, Mode, Suite
from benchmarks.stats import Estimate

UNKNOWN = "unknown"
"""Written where a figure could not be computed, e.g. a share of nothing."""

NOT_MEASURED = "not measured"
"""Written where a run did not ask for it."""

MODES: dict[Mode, str] = {"token": "one token", "written": "written"}

SUITES: dict[Suite, str] = {
    "perception": "Perception",
    "alignment": "Alignment",
    "text": "Alignment",
    "context": "Alignment in context",
    "general": "General ability",
}

MODALITIES: dict[Modality, str] = {
    "image": "by picture",
    "blank": "by words, blank picture",
    "words": "by words, no picture",
}

MINUS = "\N{MINUS SIGN}"


def aspect_name(suite: Suite, modality: Modality) -> str:
    """What was measured, e.g. "Alignment by words, blank picture"."""
    if suite in ("perception", "context", "general") and modality == "image":
        return SUITES[suite]
    return f"{SUITES[suite]} {MODALITIES[modality]}"


def mode_name(kind: str) -> str:
    """A mode, or what else a record files a reader under, in words."""
    return next((name for mode, name in MODES.items() if mode == kind), kind)


def suite_name(suite: Suite) -> str:
    """A suite without its modality."""
    return {**SUITES, "text": "Alignment by words", "alignment": "Alignment by picture"}[suite]


def question_name(question: str) -> str:
    """A question's id in words."""
    named = {"fine": "Where showing it is fine", "not_fine": "Where showing it is not fine"}
    return named.get(question, question.replace("_", " "))


def number(value: float | None) -> str:
    """Three decimals."""
    return UNKNOWN if value is None else f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three decimals with a sign; no sign before zero."""
    if value is None:
        return UNKNOWN
    shown = f"{value:+.3f}".replace("-", MINUS)
    return shown[1:] if shown[1:] == "0.000" else shown


def interval(found: Estimate, *, with_sign: bool = False) -> str:
    """The 95% interval in parentheses; empty where there is none."""
    if found.low is None or found.high is None:
        return ""
    shown = signed if with_sign else number
    return f"({shown(found.low)} to {shown(found.high)})"


def estimate(found: Estimate, *, with_sign: bool = False) -> str:
    """A value and its interval."""
    value = signed(found.value) if with_sign else number(found.value)
    return f"{value} {interval(found, with_sign=with_sign)}".rstrip()


def count(value: int) -> str:
    """A whole number with thin groups of thousands."""
    return f"{value:,}"


def plural(value: int, noun: str) -> str:
    """A count with its noun; only for nouns that take an s."""
    return f"{count(value)} {noun}{'' if value == 1 else 's'}"


def rate_per_s(value: float | None) -> str:
    """A speed: three significant digits, never in powers of ten."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def per_s(amount: int, seconds: float) -> float | None:
    """`amount` a second; None where no time was measured."""
    return amount / seconds if seconds > 0 else None


def clipped(text: str, max_chars: int) -> str:
    """One line of at most `max_chars`, cut text marked; control characters become spaces."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return (
        line
        if len(line) <= max_chars
        else line[: max_chars - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"
    )
