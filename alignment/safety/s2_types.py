"""Our ten risk types as [S2]'s seven, for figures to be held beside its own.

Six of our categories have no counterpart there. Each goes where [S2]'s tables count such pictures
(pornography among what is illegal) or would have to. Nothing of ours is politics or privacy as a
whole: no figure of ours is about those two.
"""

from collections.abc import Mapping

from server.concepts.risk import CLEAN

S2_TYPES = (
    "politics",
    "illegal",
    "insults and bullying",
    "fairness",
    "privacy",
    "misleading",
    CLEAN,
)

S2_TYPE_OF: Mapping[str, str] = {
    "Hate": "fairness",
    "Harassment": "insults and bullying",
    "Violence": "illegal",
    "Self-harm": "illegal",
    "Sexual": "illegal",
    "Shocking": "illegal",
    "Illegal activity": "illegal",
    "Deception": "misleading",
    "Public and personal health": "illegal",
    CLEAN: CLEAN,
}
"""By our type."""
