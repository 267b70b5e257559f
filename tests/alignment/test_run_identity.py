"""A run folder is claimed once, and gone on with only by the same run."""

from pathlib import Path

import pytest

from alignment.run_identity import OtherRunError, claim_run


def test_the_same_run_may_go_on(tmp_path: Path) -> None:
    identity = {"recipe": {"lr": 1e-4, "targets": ("q_proj",)}, "data": "abc"}
    claim_run(tmp_path / "run", identity)
    claim_run(tmp_path / "run", identity)

    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.json"]


def test_another_run_is_told_by_what_differs(tmp_path: Path) -> None:
    claim_run(tmp_path, {"recipe": {"lr": 1e-4, "seed": 1}, "data": "abc"})
    with pytest.raises(OtherRunError, match=r"lr, data differ") as caught:
        claim_run(tmp_path, {"recipe": {"lr": 2e-4, "seed": 1}, "data": "abd"})
    assert caught.value.differing == ("lr", "data")
