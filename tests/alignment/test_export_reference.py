"""An aligned variant of the real reference VLM: committed small, assembled, asked through vLLM."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from alignment.export_aligned import export_reference
from alignment.export_parity import MAX_TOLERANCE_NATS
from alignment.export_run import read_run
from alignment.policy import Policy
from alignment.policy_base import load_base
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_files import save_policy
from server.vlm.assembly import read_digest

pytestmark = pytest.mark.engine

MAX_BYTES = 5_000_000
STD = 0.1


def test_what_is_assembled_answers_as_the_policy(
    reference_checkpoint: Path, tmp_path: Path
) -> None:
    base = load_base(reference_checkpoint, device="cpu")
    shape = LoraShape(r=8, alpha=16)
    policy = Policy(base, PolicyConfig(policy=shape, value=LoraShape(r=1, alpha=1)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in policy.trainable("policy").items():
            if "lora_B" in name:
                weight.copy_(torch.randn(weight.shape, generator=generator) * STD)
    save_policy(policy, tmp_path / "run" / "policy")
    identity = {"recipe": {"name": "random"}, "base": str(reference_checkpoint)}
    (tmp_path / "run" / "run.json").write_text(json.dumps(identity))
    out = tmp_path / "reference-ppo"
    out.mkdir()
    for name in ("adapter_model.safetensors", "calibration.json"):
        (out / name).touch()
    del policy, base

    exported = export_reference(read_run(tmp_path / "run"), "ppo", out)

    assert exported.parity.engine == "vllm"
    assert exported.parity.effect_nats > 2 * MAX_TOLERANCE_NATS
    assert exported.dropped
    assert {path.name for path in out.iterdir()} == {
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert (out / "adapter_model.safetensors").stat().st_size < MAX_BYTES
    assert {t.dtype for t in load_file(out / "adapter_model.safetensors").values()} == {
        torch.bfloat16
    }
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "sightward-reference"
    digest = read_digest(reference_checkpoint)
    assert digest is not None
    assert digest in (out / "README.md").read_text()
