"""An adapter merged into the weights it was trained on."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from server.vlm.adapter import AdapterError, merge_adapter

PREFIX = "base_model.model."
PAIR = {
    f"{PREFIX}layer.lora_A.weight": torch.full((2, 4), 0.5),
    f"{PREFIX}layer.lora_B.weight": torch.full((3, 2), 0.25),
}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 6}


def written(
    folder: Path, tensors: Mapping[str, Tensor] = PAIR, base: str = "b", **config: object
) -> Path:
    save_file(dict(tensors), folder / "adapter_model.safetensors", {"sightward_base": base})
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG | config))
    return folder


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {"layer.weight": torch.ones(3, 4, dtype=dtype), "other.weight": torch.ones(1)}


def test_the_pairs_are_added_at_their_scale(tmp_path: Path) -> None:
    merged = weights()
    assert merge_adapter(merged, written(tmp_path), base_digest="b") == {"layer.weight"}
    # alpha / r = 3; each entry of B @ A is 2 * 0.25 * 0.5.
    assert torch.equal(merged["layer.weight"], torch.full((3, 4), 1 + 3 * 0.25))
    assert merged["other.weight"].tolist() == [1.0]


def test_sums_are_rounded_once_to_a_neighbour(tmp_path: Path) -> None:
    # One plus 3/512 is between 1 and the next bf16, 1 + 4/512; in bf16 alone 2 + 1 would round off.
    pair = {name: torch.full_like(tensor, 1 / 32) for name, tensor in PAIR.items()}
    merged = weights(torch.bfloat16)
    merge_adapter(merged, written(tmp_path, pair), base_digest="b")
    assert merged["layer.weight"].dtype == torch.bfloat16
    assert set(merged["layer.weight"].flatten().tolist()) == {1.0, 1 + 4 / 512}


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="trained on base b, the base here is other"):
        merge_adapter(weights(), written(tmp_path), base_digest="other")


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({f"{PREFIX}gone.lora_A.weight": torch.ones(2, 4)}, "no half of a pair"),
        ({f"{PREFIX}layer.weight": torch.ones(3, 4)}, "no half of a pair"),
        (
            {name.replace("layer", "gone"): tensor for name, tensor in PAIR.items()},
            "'gone' is no layer of the base",
        ),
        (PAIR | {f"{PREFIX}layer.lora_A.weight": torch.ones(2, 5)}, "in that shape"),
    ],
)
def test_what_has_no_place_in_the_base_is_refused(
    tmp_path: Path, tensors: dict[str, Tensor], reason: str
) -> None:
    with pytest.raises(AdapterError, match=reason):
        merge_adapter(weights(), written(tmp_path, tensors), base_digest="b")


@pytest.mark.parametrize(
    "config", [{"peft_type": "IA3"}, {"use_dora": True}, {"rank_pattern": {"layer": 4}}]
)
def test_only_plain_lora_is_merged(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(AdapterError, match="plain LoRA"):
        merge_adapter(weights(), written(tmp_path, **config), base_digest="b")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_broken_file_is_named(tmp_path: Path, name: str) -> None:
    written(tmp_path)
    (tmp_path / name).write_text("{")
    with pytest.raises(AdapterError, match=name):
        merge_adapter(weights(), tmp_path, base_digest="b")
