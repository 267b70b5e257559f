"""The words that turn a judgement round, or take its edge off."""

import re

# What may be harmful is not yet said to be.
MAYBE = re.compile(r"\b(?:could|may|might|can)(?: [\w-]+){0,6} $")

# "A photo of gun violence", "it shows gun violence": what is to be seen, and nothing said of it.
CAPTION = re.compile(
    r"(?:\w+ ){0,3}(?:shows?|depicts?|features?|portrays?|is of) |"
    r"(?!.*\b(?:is|are|was|were|has|have|contains?|no|not|nothing|nobody|without)\b)"
)

# What denies that something is there, and not that one may or should.
DENIAL = re.compile(
    r"\b(?:no|nothing|none|nobody|neither|nor|without|free (?:of|from)|lacks?|lacking|devoid|"
    r"not (?:\w+ ){0,2}(?:contain|show|depict|include|have|feature|display|appear|involve|any|see|"
    r"find))\b"
)

NEGATOR = re.compile(
    r"\b(?:not|no|never|nothing|nobody|none|neither|nor|without|hardly|barely|scarcely|lacks?|"
    r"lacking|devoid|far from|anything but|rather than|unlikely|doubt|doubtful|stop)\b"
)

# Words that look like a negation and are none.
NO_NEGATION = re.compile(
    r"\bnot (?:only|just|merely|to mention)\b|\b(?:no|without(?: a| any)?) (?:doubt|question)\b|"
    r"\bno matter\b|\bif not\b|\bwhy not\b|\bor not\b|\bdoubtless\b"
)
