"""What is exported of a run answers as its policy did, or is not there."""

import ast
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from alignment import export_aligned as module
from alignment.checkpoint import UnfinishedRunError
from alignment.commands.export import ExportTargetError, export
from alignment.export_aligned import OccupiedFolderError, export_aligned, export_reference
from alignment.export_card import model_card
from alignment.export_parity import (
    MAX_TOLERANCE_NATS,
    MEAN_TOLERANCE_NATS,
    Parity,
    ParityError,
    PolicySays,
    ask_policy,
    compare,
    parity_questions,
)
from alignment.export_run import FinishedRun, LostBaseError, read_run
from alignment.policy import Policy
from alignment.policy_base import PolicyBase, load_base
from alignment.policy_config import LoraShape, PolicyConfig
from alignment.policy_files import save_policy
from server.engine.transformers_engine import TransformersEngine

MakeBase = Callable[..., PolicyBase]
LORA = LoraShape(r=2, alpha=4, targets=("q_proj", "v_proj", "down_proj"))
PARITY = Parity(9, 0.1, 0.05, 2.0, "vllm")


def stirred(policy: Policy, std: float) -> Policy:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.trainable("policy").values():
            weight.copy_(torch.randn(weight.shape, generator=generator) * std)
    return policy


def checkpoint(base: PolicyBase, folder: Path) -> Path:
    base.model.to(torch.bfloat16).save_pretrained(folder)
    base.processor.save_pretrained(folder)
    (folder / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.7}')
    (folder / "notes.md").write_text("not part of a checkpoint")
    return folder


def write_run(
    folder: Path, base: str, *, std: float = 0.3, lora: LoraShape = LORA, **recipe: object
) -> Path:
    policy = Policy(load_base(base, device="cpu"), PolicyConfig(policy=lora, value=LORA))
    save_policy(stirred(policy, std), folder / "policy")
    identity = {"recipe": {"name": "tiny-ppo", **recipe}, "data": {"sha256": "d"}, "base": base}
    (folder / "run.json").write_text(json.dumps(identity))
    return folder


@pytest.fixture
def served_by_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """No vLLM here: what would serve is transformers, in bf16."""
    monkeypatch.setattr(
        "server.serving_engine.make_engine",
        lambda settings: TransformersEngine(settings.model, dtype="bfloat16"),
    )


@pytest.fixture
def run(make_base: MakeBase, tmp_path: Path) -> Path:
    """A finished run of a tiny LLaVA."""
    base = checkpoint(make_base("llava"), tmp_path / "base")
    return write_run(tmp_path / "run", str(base))


@pytest.mark.usefixtures("served_by_transformers")
@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_adapter_and_merged_checkpoint_are_the_policy(
    make_base: MakeBase, tmp_path: Path, family: str
) -> None:
    from peft import PeftModel

    base = checkpoint(make_base(family), tmp_path / "base")
    finished = read_run(write_run(tmp_path / "run", str(base)))
    exported = export_aligned(finished, tmp_path / "out")

    assert exported.parity.effect_nats > 2 * MAX_TOLERANCE_NATS
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    assert record["parity"] == asdict(exported.parity)
    assert {path.name for path in tmp_path.iterdir()} == {"base", "run", "out"}

    config = json.loads((tmp_path / "out" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(base)
    assert (config["r"], config["lora_alpha"], config["inference_mode"]) == (2, 4, True)
    live = load_base(base, device="cpu")
    adapted = PeftModel.from_pretrained(
        live.model, str(tmp_path / "out" / "adapter"), autocast_adapter_dtype=False
    ).eval()
    words = torch.tensor([[300, 301, 302, 303]])
    with torch.no_grad():
        ours = finished.load().base.model(input_ids=words).logits
        assert torch.equal(adapted(input_ids=words).logits, ours)

    merged = tmp_path / "out" / "merged"
    assert len({path.stat().st_mode for path in merged.iterdir()}) == 1
    assert len({path.stat().st_mode for path in (tmp_path / "out" / "adapter").iterdir()}) == 1
    for name in ("tokenizer.json", "generation_config.json", "tokenizer_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()
    assert not (merged / "notes.md").exists()
    before, after = load_base(base, device="cpu").model, load_base(merged, device="cpu").model
    changed = {
        name.rsplit(".", 2)[1]
        for name, weight in before.named_parameters()
        if not torch.equal(weight, after.get_parameter(name))
    }
    assert changed == set(LORA.targets)
    assert not any(".lora_" in name for name, _ in after.named_parameters())


@pytest.mark.usefixtures("served_by_transformers")
def test_merged_weights_keep_the_names_that_the_base_has(
    make_base: MakeBase, tmp_path: Path
) -> None:
    """As LLaVA-1.5 was published, with a level that transformers leaves out when it saves."""
    base = checkpoint(make_base("llava"), tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    published = {
        re.sub(r"vision_tower\.(?!vision_model\.)", "vision_tower.vision_model.", name): weight
        for name, weight in weights.items()
    }
    save_file(published, base / "model.safetensors", {"format": "pt"})
    export_aligned(read_run(write_run(tmp_path / "run", str(base))), tmp_path / "out")

    merged = load_file(tmp_path / "out" / "merged" / "model.safetensors")
    assert merged.keys() == published.keys()
    assert any(".vision_model." in name for name in merged)


@pytest.mark.usefixtures("served_by_transformers")
def test_an_adapter_that_gets_lost_is_refused_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget(policy: Policy) -> PolicyBase:
        policy.adapted.unload()
        return policy.base

    monkeypatch.setattr(module, "merge", forget)
    with pytest.raises(ParityError, match=r"nothing was written: .* differ by \d\.\d+ nats") as no:
        export_aligned(read_run(run), tmp_path / "out")
    assert no.value.parity.max_nats > MAX_TOLERANCE_NATS
    assert {path.name for path in tmp_path.iterdir()} == {"base", "run"}


def test_a_folder_of_something_else_is_left_alone(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(OccupiedFolderError):
        export_aligned(read_run(run), tmp_path / "out")
    with pytest.raises(OccupiedFolderError):
        export_reference(read_run(run), "ppo", tmp_path / "out")


@pytest.mark.usefixtures("served_by_transformers")
def test_an_earlier_export_is_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "export.json").write_text("{}")
    (tmp_path / "out" / "old").touch()
    export_aligned(read_run(run), tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"adapter", "merged", "export.json"}


def test_the_adapter_of_a_baseline_is_read_as_it_was_trained(
    make_base: MakeBase, run: Path, tmp_path: Path
) -> None:
    ppo = read_run(run)
    policy = ppo.load()
    sft = tmp_path / "sft"
    (sft / "adapter").mkdir(parents=True)
    policy.adapted.save_pretrained(str(sft), selected_adapters=["policy"])
    (sft / "policy").rename(sft / "policy-of-peft")
    for file in (sft / "policy-of-peft").iterdir():
        file.rename(sft / "adapter" / file.name)
    identity = {"recipe": {"name": "tiny-sft", "lora": asdict(LORA)}, "base": ppo.base, "data": "d"}
    (sft / "run.json").write_text(json.dumps(identity))

    questions = parity_questions()
    assert ask_policy(read_run(sft).load(), questions) == ask_policy(policy, questions)

    lora = asdict(replace(LORA, r=4))
    (sft / "run.json").write_text(json.dumps(identity | {"recipe": {"lora": lora}}))
    with pytest.raises(UnfinishedRunError, match="of another base"):
        read_run(sft).load()


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"base": "owner/name"}')
    with pytest.raises(UnfinishedRunError, match="neither a policy nor an adapter"):
        read_run(tmp_path)


def test_a_base_that_moved_is_asked_for(run: Path, tmp_path: Path) -> None:
    moved = (tmp_path / "base").rename(tmp_path / "moved")
    with pytest.raises(LostBaseError, match="is not there any more; name where it lies with"):
        read_run(run)
    assert read_run(run, model=str(moved)).base == str(moved)


def test_a_run_of_another_model_is_no_reference(run: Path, tmp_path: Path) -> None:
    with pytest.raises(LostBaseError, match="is not the reference VLM's"):
        export_reference(read_run(run), "ppo", tmp_path / "out")


def test_an_aligned_variant_is_no_base_for_another(run: Path, tmp_path: Path) -> None:
    from server.vlm.assembly import MANIFEST_NAME, assemble, read_digest

    manifest = {"digest": "an adapter's", "base": read_digest(assemble())}
    (tmp_path / "base" / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(LostBaseError, match="is an aligned variant already"):
        export_reference(read_run(run), "ppo", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("checkpoint", "is_base"),
    [
        ({"a": 1.0, "b": 2.0}, True),
        ({"a": 1.0, "b": 2.0, "safety.c": 3.0}, True),
        ({"a": 1.0, "b": 2.5}, False),
        ({"a": 1.0}, False),
    ],
)
def test_modules_beside_a_base_leave_it_a_base_and_merged_weights_do_not(
    checkpoint: dict[str, float], is_base: bool, tmp_path: Path
) -> None:
    for name, weights in (("base", {"a": 1.0, "b": 2.0}), ("run", checkpoint)):
        (tmp_path / name).mkdir()
        tensors = {key: torch.full((2,), value) for key, value in weights.items()}
        save_file(tensors, tmp_path / name / "model.safetensors")
    assert module._holds_weights_of(tmp_path / "base", tmp_path / "run") is is_base


def test_the_command_needs_a_place_and_a_run_that_suits_it(tmp_path: Path) -> None:
    with pytest.raises(ExportTargetError, match="is no run of sft, dpo or ppo"):
        export(tmp_path, as_reference="ppo")
    (tmp_path / "run.json").write_text('{"base": "owner/name"}')
    (tmp_path / "policy").mkdir()
    with pytest.raises(ExportTargetError, match="name a folder to write to"):
        export(tmp_path)


def test_gaps_are_those_of_logarithms_and_no_number_is_no_parity() -> None:
    ours = PolicySays(({"yes": 0.5, "no": 0.5}, {"yes": 0.2, "no": 0.8}), effect_nats=1.0)
    theirs = ({"yes": 0.5, "no": 0.5}, {"yes": 0.25, "no": 0.75})
    parity = compare(ours, theirs, engine="vllm")
    assert parity.max_nats == pytest.approx(0.22314, abs=1e-5)  # ln(0.25 / 0.2)
    assert parity.mean_nats == pytest.approx((0.22314 + 0.06454) / 4, abs=1e-5)
    for broken in ({"yes": float("nan"), "no": 0.8}, {"yes": 0.01, "no": 0.99}):
        with pytest.raises(ParityError):
            compare(ours, (theirs[0], broken), engine="vllm")
    assert not replace(parity, max_nats=0.01, mean_nats=2 * MEAN_TOLERANCE_NATS).holds


def test_the_questions_are_the_same_each_time_and_all_different() -> None:
    once, twice = parity_questions(), parity_questions()
    assert [q.text for q in once] == [q.text for q in twice]
    pictures = [q.image.tobytes() for q in once if q.image is not None]
    assert pictures == [q.image.tobytes() for q in twice if q.image is not None]
    assert len({*pictures}) == len(pictures) >= 5
    assert any(q.image is None for q in once)


def test_the_card_says_what_the_run_says_and_leaves_room(tmp_path: Path) -> None:
    lines = [{"step": step, "reward": step / 100, "kl": None} for step in range(40)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    identity = {
        "recipe": {"name": "r", "seed": 7, "steps": 40, "lora": {"r": 8, "targets": ["q_proj"]}},
        "data": {"name": "set", "sha256": "abc"},
        "commit": "c0ffee",
    }
    card = model_card(
        FinishedRun(tmp_path, identity, "base"), "dpo", base_digest="f00d", parity=PARITY
    )
    assert "`sightward serve --reference dpo`" in card
    for row in (
        "| recipe | `r` |",
        "| commit | `c0ffee` |",
        "| data | set, sha256 `abc` |",
        "| base | `f00d` |",
        "| adapter | r 8, targets q_proj |",
        "| steps | 40 |",
        "| reward | 0.295 |",
    ):
        assert row in card.splitlines()
    assert "| kl |" not in card
    assert card.count("to be measured") > 5


# Where transformers keeps the language model of each architecture, and vLLM's module for it.
ARCHITECTURES = {
    "llava": ("LlavaForConditionalGeneration", "model.language_model"),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", "model.language_model"),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "model.language_model"),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "model.language_model"),
    "interns1": ("InternS1ForConditionalGeneration", "model.language_model"),
    "gemma3_mm": ("Gemma3ForConditionalGeneration", "model.language_model"),
    "idefics3": ("Idefics3ForConditionalGeneration", "model.text_model"),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_vllm_finds_an_adapters_layers_in_its_language_model(name: str) -> None:
    """Read from vLLM's source: most of its models can't be imported without torchvision."""
    class_name, decoder = ARCHITECTURES[name]
    vllm = importlib.util.find_spec("vllm")
    assert vllm is not None
    assert vllm.origin is not None
    source = Path(vllm.origin).parent / "model_executor" / "models" / f"{name}.py"
    (found,) = [
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == class_name
    ]
    layer = f"{decoder}.layers.0.self_attn.q_proj"
    for old, new in _prefixes(found).items():
        if layer.startswith(old):
            layer = new + layer.removeprefix(old)
    assert layer.startswith(f"{_language_model(found)}.")
    assert layer.removeprefix(f"{_language_model(found)}.") in (
        "model.layers.0.self_attn.q_proj",
        "layers.0.self_attn.q_proj",
    )


def _prefixes(model: ast.ClassDef) -> dict[str, str]:
    """What the class's `hf_to_vllm_mapper` puts in place of which prefix."""
    for node in model.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "hf_to_vllm_mapper":
            assert isinstance(node.value, ast.Call)
            (given,) = [k.value for k in node.value.keywords if k.arg == "orig_to_new_prefix"]
            read: dict[str, str] = ast.literal_eval(given)
            return read
    return {}


def _language_model(model: ast.ClassDef) -> str:
    """What the class's `get_mm_mapping` says its language model is."""
    for node in ast.walk(model):
        if isinstance(node, ast.keyword) and node.arg == "language_model":
            said: Any = ast.literal_eval(node.value)
            return str(said)
    raise AssertionError(f"{model.name} names no language model")
