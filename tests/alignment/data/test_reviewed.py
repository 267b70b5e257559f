"""Decided reviews come back as a set that can be trained on."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from alignment.data.manifest import read_image_set
from server.ingest.fingerprint import fingerprint
from server.record.entries import DecisionEntry, Review, VerdictEntry
from server.record.export import export_reviews
from server.record.kept_images import KeptImages


def review(
    number: int, picture: Image.Image, caller_id: str | None = None, **decided: Any
) -> Review:
    verdict = {
        "id": f"v{number}",
        "time_unix_ms": number,
        "caller_id": caller_id,
        "fingerprint": fingerprint(picture),
        "modality": "image",
        "route": "moderations",
        "outcome": "safe",
        "action": "review",
        "answer_action": "review",
        "p_unsafe": 0.4,
        "raw_p_unsafe": 0.4,
        "engine_ms": 1.0,
        "risk_level": None,
        "risk_type": None,
        "listed": None,
        "error": None,
        "source": "model",
        "judged_by": ("model",),
        **{key: {} for key in ("categories", "concepts", "own_concepts")},
        **dict.fromkeys(("request_id", "answer_id", "tenant", "key_id", "input"), "x"),
        **dict.fromkeys(("model_version", "policy_version"), "1"),
    }
    decision = {"id": f"d{number}", "time_unix_ms": number, "verdict_id": f"v{number}"}
    decision |= {"tenant": "x", "key_id": "ada", "category": "", "concept": "", "note": ""}
    return Review(
        verdict=VerdictEntry.model_validate(verdict),
        decision=DecisionEntry.model_validate(decision | decided) if decided else None,
    )


RED, GREEN, BLUE = (Image.new("RGB", (8, 8), shade) for shade in ("red", "green", "blue"))


def test_decided_pictures_are_found_by_their_pixels_and_make_a_set(tmp_path: Path) -> None:
    pictures, out = tmp_path / "pictures", tmp_path / "out"
    (pictures / "deep").mkdir(parents=True)
    RED.save(pictures / "deep" / "renamed.bmp")
    GREEN.save(pictures / "named.png")
    BLUE.save(pictures / "misnamed.png")

    done = export_reviews(
        [
            review(1, RED, label="Unsafe", category="Illegal activity", concept="Arson"),
            review(2, GREEN, "named.png", label="Safe"),
            review(3, BLUE),
        ],
        out,
        pictures=pictures,
    )

    assert (done.written, done.missing) == (2, 0)
    found = {example.id: example for example in read_image_set(out).examples}
    red, green = found[fingerprint(RED)], found[fingerprint(GREEN)]
    assert (red.label, red.category, red.concept) == ("Unsafe", "Illegal activity", "Arson")
    assert (green.label, green.category) == ("Safe", "Safe")
    assert fingerprint(read_image_set(out).open(red)) == fingerprint(RED)


def test_a_picture_is_taken_from_the_kept_copies(tmp_path: Path) -> None:
    KeptImages(tmp_path / "kept").keep(RED, fingerprint(RED))

    done = export_reviews([review(1, RED, label="Safe")], tmp_path / "out", kept=tmp_path / "kept")

    assert (done.written, done.missing) == (1, 0)


def test_the_newest_decision_about_a_picture_counts(tmp_path: Path) -> None:
    RED.save(tmp_path / "red.png")
    decided = [review(1, RED, label="Safe"), review(2, RED, label="Unsafe", category="Hate")]

    export_reviews(decided, tmp_path / "out", pictures=tmp_path)

    (example,) = read_image_set(tmp_path / "out").examples
    assert example.label == "Unsafe"


@pytest.mark.parametrize("caller_id", [None, "gone.png", "../secret.png", "/etc/passwd", "\0"])
def test_a_picture_that_is_not_found_is_listed_and_nothing_outside_is_read(
    tmp_path: Path, caller_id: str | None
) -> None:
    (tmp_path / "pictures").mkdir()
    RED.save(tmp_path / "secret.png")

    done = export_reviews(
        [review(1, RED, caller_id, label="Safe")], tmp_path / "out", pictures=tmp_path / "pictures"
    )

    assert (done.written, done.missing) == (0, 1)
    missing = (tmp_path / "out" / "missing.jsonl").read_text(encoding="utf-8")
    assert fingerprint(RED) in missing
