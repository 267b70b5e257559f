"""Small trained files: what they keep, how they merge, what they refuse."""

from pathlib import Path

import pytest
import torch

from server.vlm.delta import Delta, DeltaError, DeltaShape, merge_delta, read_delta, write_delta

SHAPE = DeltaShape(grid=4, safety_tokens=4, recognition_hidden=8, lora_r=2, lora_alpha=6)
FILE = Path("delta.safetensors")


def lora(a: torch.Tensor, b: torch.Tensor) -> Delta:
    names = {"layer.lora_A.default.weight": a, "layer.lora_B.default.weight": b}
    return Delta(SHAPE, names)


def test_a_written_delta_reads_back(tmp_path: Path) -> None:
    path = tmp_path / FILE
    write_delta(path, Delta(SHAPE, {"head.weight": torch.tensor([[0.5, -2.0]])}))
    again = read_delta(path)
    assert again.shape == SHAPE
    assert again.tensors["head.weight"].dtype == torch.bfloat16
    assert again.tensors["head.weight"].tolist() == [[0.5, -2.0]]


def test_lora_pairs_are_added_at_their_scale() -> None:
    base = {"layer.weight": torch.ones(3, 4), "other.weight": torch.ones(1)}
    a, b = torch.full((2, 4), 0.5), torch.full((3, 2), 0.25)
    merged = merge_delta(base, lora(a, b), FILE)
    # alpha / r = 3; each entry of b @ a is 2 * 0.25 * 0.5.
    assert torch.equal(merged["layer.weight"], torch.full((3, 4), 1 + 3 * 0.25))
    assert torch.equal(merged["other.weight"], base["other.weight"])
    assert torch.equal(base["layer.weight"], torch.ones(3, 4))


def test_our_own_parts_replace_the_base() -> None:
    merged = merge_delta(
        {"head.weight": torch.zeros(2)}, Delta(SHAPE, {"head.weight": torch.ones(2)}), FILE
    )
    assert merged["head.weight"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("delta", "message"),
    [
        (Delta(SHAPE, {"nowhere": torch.ones(1)}), "'nowhere' is no parameter"),
        (Delta(SHAPE, {"layer.weight": torch.ones(1)}), "has shape"),
    ],
)
def test_a_delta_that_does_not_fit_is_refused(delta: Delta, message: str) -> None:
    with pytest.raises(DeltaError, match=message):
        merge_delta({"layer.weight": torch.zeros(3, 4)}, delta, FILE)


def test_a_file_cut_short_or_missing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with pytest.raises(DeltaError, match="can't be read"):
        read_delta(path)
    write_delta(path, Delta(SHAPE, {"head.weight": torch.ones(64)}))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DeltaError, match="can't be read"):
        read_delta(path)


def test_a_delta_of_another_format_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / FILE
    save_file({"head.weight": torch.ones(1)}, path, {"format": "0"})
    with pytest.raises(DeltaError, match="format '0'"):
        read_delta(path)
