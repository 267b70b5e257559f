from dataclasses import replace
from pathlib import Path

import pytest

from server.engine import model_requirements
from server.engine.model_dry_run import dry_run
from server.engine.model_registry import ModelChoice, load_registry, resolve
from server.engine.model_requirements import (
    GIB,
    Machine,
    RunOptions,
    check_runs_here,
    for_machine,
    measure_machine,
    needed_bytes,
)
from server.vlm.references import reference_files

EXAMPLE = "Is it safe? Answer with yes or no."
ROOMY = Machine(
    ram_free_bytes=512 * GIB,
    gpu_name=None,
    gpu_free_bytes=None,
    has_package=lambda name: True,
    has_hub_token=True,
    has_api_key=True,
)
ALLOWED = RunOptions(trust_remote_code=True)


def without(*packages: str) -> Machine:
    return replace(ROOMY, has_package=lambda name: name not in packages)


def gib(choice: ModelChoice, machine: Machine, options: RunOptions | None = None) -> float:
    needed = needed_bytes(choice, machine, options or RunOptions())
    assert needed is not None
    return needed / GIB


def test_the_formula_is_the_one_that_is_written_down() -> None:
    weights = 7.06e9 * 2 / GIB
    gpu = replace(ROOMY, gpu_name="GPU", gpu_free_bytes=80 * GIB)
    llava = resolve("llava-1.5-7b")
    assert gib(llava, gpu) == pytest.approx(weights * 1.1 + 1, abs=0.01)
    assert gib(llava, ROOMY) == pytest.approx(weights * 1.1 + 1 + 1, abs=0.01), "and vLLM's cache"


def test_float32_needs_twice_the_weights_and_is_the_default_of_transformers_on_a_cpu() -> None:
    blip = resolve("instructblip-7b")
    half = gib(blip, ROOMY, RunOptions(dtype="bfloat16")) - 1
    assert gib(blip, ROOMY) - 1 == pytest.approx(2 * half, abs=0.01)
    gpu = replace(ROOMY, gpu_name="GPU", gpu_free_bytes=80 * GIB)
    assert gib(blip, gpu) - 1 == pytest.approx(half, abs=0.01)


def test_every_model_that_is_not_retired_runs_on_a_machine_that_has_everything() -> None:
    for entry in load_registry().entries:
        reason = check_runs_here(resolve(entry.name), ROOMY, ALLOWED)
        assert (reason is None) == (entry.retired is None), (entry.name, reason)


def test_too_little_memory_is_refused_with_the_figures() -> None:
    small = replace(ROOMY, ram_free_bytes=16 * GIB)
    reason = check_runs_here(resolve("llava-1.5-13b"), small)
    assert reason is not None
    assert "29.4 GiB is needed (13.35 billion parameters in bfloat16" in reason
    assert "16.0 GiB is free" in reason


def test_on_a_gpu_its_memory_counts() -> None:
    machine = replace(ROOMY, gpu_name="Tiny GPU", gpu_free_bytes=8 * GIB)
    reason = check_runs_here(resolve("llava-1.5-7b"), machine)
    assert reason is not None
    assert "GPU memory (Tiny GPU)" in reason
    assert "8.0 GiB is free" in reason


def test_memory_that_can_not_be_told_refuses_nothing() -> None:
    assert check_runs_here(resolve("llava-1.5-13b"), replace(ROOMY, ram_free_bytes=None)) is None


@pytest.mark.parametrize(
    ("name", "package"), [("qwen2-vl-7b", "vllm"), ("instructblip-7b", "transformers")]
)
def test_an_engine_that_is_not_installed_is_named(name: str, package: str) -> None:
    reason = check_runs_here(resolve(name), without(package))
    assert reason is not None
    assert "is not installed" in reason
    assert package in reason


def test_without_what_vllm_imports_for_a_model_transformers_runs_it() -> None:
    bare = without("torchvision")
    llava = resolve("llava-1.5-7b")
    reason = check_runs_here(llava, bare)
    assert reason is not None
    assert "vLLM needs torchvision" in reason
    assert for_machine(llava, bare).engine == "transformers"
    assert check_runs_here(for_machine(llava, bare), bare) is None
    assert for_machine(llava, ROOMY) == llava


def test_a_model_that_vllm_serves_without_more_stays_with_it() -> None:
    for spec in ("idefics3-8b", "reference", "someone/some-vlm"):
        choice = resolve(spec)
        assert for_machine(choice, without("torchvision")) == choice
        assert for_machine(choice, without("vllm")).engine == "transformers"


def test_a_refusal_for_memory_says_what_fewer_bytes_would_need() -> None:
    small = replace(ROOMY, ram_free_bytes=16 * GIB)
    reason = check_runs_here(resolve("instructblip-7b"), small)
    assert reason is not None
    assert reason.endswith("16.0 GiB is free; --dtype bfloat16 needs 17.2 GiB")


def test_code_of_a_models_own_is_asked_for_with_the_revision_to_read() -> None:
    choice = resolve("cogvlm-chat")
    assert choice.entry is not None
    reason = check_runs_here(choice, ROOMY)
    assert reason is not None
    assert f"revision {choice.entry.revision}" in reason
    assert "--trust-remote-code" in reason
    assert check_runs_here(choice, ROOMY, ALLOWED) is None


def test_code_of_a_models_own_without_a_known_revision_asks_for_one() -> None:
    choice = resolve("cogvlm-chat")
    assert choice.entry is not None
    unpinned = replace(choice, entry=choice.entry.model_copy(update={"revision": None}))
    reason = check_runs_here(unpinned, ROOMY, ALLOWED)
    assert reason is not None
    assert "--revision COMMIT" in reason
    assert check_runs_here(unpinned, ROOMY, replace(ALLOWED, revision="a" * 40)) is None


def test_packages_that_a_models_code_imports_are_looked_for() -> None:
    reason = check_runs_here(resolve("cogvlm-chat"), without("torchvision", "xformers"), ALLOWED)
    assert reason is not None
    assert reason.endswith("torchvision, xformers")


def test_a_package_that_a_known_model_needs_is_looked_for_too() -> None:
    reason = check_runs_here(resolve("smolvlm2-2.2b"), without("num2words"))
    assert reason is not None
    assert reason.endswith("num2words")


def test_a_remote_model_needs_a_key_or_an_endpoint_of_ones_own() -> None:
    keyless = replace(ROOMY, has_api_key=False)
    for spec in ("gpt-4.1", "remote:their-vlm"):
        reason = check_runs_here(resolve(spec), keyless)
        assert reason is not None
        assert "OPENAI_API_KEY" in reason
        assert check_runs_here(resolve(spec), ROOMY) is None
        own = RunOptions(url="http://localhost:8000/v1")
        assert check_runs_here(resolve(spec), keyless, own) is None


def test_a_retired_model_names_its_successor() -> None:
    reason = check_runs_here(resolve("gpt-4v"), ROOMY)
    assert reason is not None
    assert "gpt-4.1" in reason


def test_a_gated_model_needs_a_token() -> None:
    reason = check_runs_here(resolve("gemma-3-4b"), replace(ROOMY, has_hub_token=False))
    assert reason is not None
    assert "HF_TOKEN" in reason


def test_a_folder_is_measured_by_its_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 4096)
    small = replace(ROOMY, ram_free_bytes=GIB)
    reason = check_runs_here(resolve(str(tmp_path)), small)
    assert reason is not None
    assert "2.0 GiB is needed (its weights" in reason


def test_this_machine_can_be_measured() -> None:
    machine = measure_machine()
    assert machine.has_package("pytest")
    assert not machine.has_package("no_such_package_anywhere")
    assert machine.ram_free_bytes is None or machine.ram_free_bytes > 0


def test_refusals_are_one_line() -> None:
    poor = Machine(0, None, None, lambda name: True, has_hub_token=False, has_api_key=False)
    for options in (RunOptions(), ALLOWED):
        for entry in load_registry().entries:
            reason = check_runs_here(resolve(entry.name), poor, options)
            assert reason is not None
            assert "\n" not in reason


def test_a_dry_run_says_everything_that_the_command_would_do() -> None:
    lines = dry_run(resolve("llava-1.5-7b"), ROOMY, questions=345, example=EXAMPLE)
    text = "\n".join(lines)
    assert "llava-hf/llava-1.5-7b-hf" in text
    assert "engine     vllm" in lines
    assert "14.1 GB" in text
    assert "GiB needed in bfloat16, 512.0 GiB free of memory" in text
    assert "questions  345" in lines
    assert f"USER: <image>\n           {EXAMPLE} ASSISTANT:" in text
    assert lines[-1] == "would run"


def test_a_dry_run_ends_with_the_refusal() -> None:
    lines = dry_run(
        resolve("cogvlm-chat"), ROOMY, questions=1, example=EXAMPLE, options=RunOptions()
    )
    assert lines[-1].startswith("would not run: THUDM/cogvlm-chat-hf runs Python code")
    assert f"prompt     Question: {EXAMPLE} Answer:" in lines


@pytest.mark.parametrize("spec", ["reference", "someone/some-vlm", "remote:their-vlm", "gpt-4v"])
def test_every_kind_of_model_has_a_dry_run(spec: str) -> None:
    lines = dry_run(resolve(spec), ROOMY, questions=2, example=EXAMPLE)
    assert any(EXAMPLE in line for line in lines)
    assert not any("None" in line for line in lines)


def test_a_variant_without_weights_is_refused_with_those_that_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(
        model_requirements, "reference_files", lambda one: reference_files(one, tmp_path)
    )
    reason = check_runs_here(resolve("reference:dpo"), ROOMY)
    assert reason is not None
    assert "'dpo' are here; there are: none" in reason
    lines = dry_run(resolve("reference:dpo"), ROOMY, questions=1, example=EXAMPLE)
    assert "the reference VLM (dpo)" in lines[0]
    assert lines[-1].startswith("would not run: no weights")
