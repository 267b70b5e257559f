import io

from rich.console import Console
from rich.text import Text

from benchmarks.models import models_table
from server.engine.model_registry import load_registry
from server.engine.model_requirements import GIB, Machine

LAPTOP = Machine(
    ram_free_bytes=16 * GIB,
    gpu_name=None,
    gpu_free_bytes=None,
    has_package=lambda name: name != "xformers",
    has_hub_token=False,
    has_api_key=False,
)


def rows() -> dict[str, list[str]]:
    console = Console(width=160, file=io.StringIO(), record=True)
    table = models_table(load_registry(), LAPTOP)
    console.print(table)
    text = console.export_text()
    assert "memory: 16.0 GiB free" in text
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    plain = [[Text.from_markup(cell).plain for cell in row] for row in zip(*cells, strict=True)]
    return {names.partition("\n")[0]: [names, *rest] for names, *rest in plain}


def test_every_model_has_a_row_and_the_papers_eight_come_first() -> None:
    names = list(rows())
    assert len(names) == len(load_registry().entries)
    assert all(name.endswith("*") for name in names[:8])
    assert not any(name.endswith("*") for name in names[8:])


def test_a_row_says_what_keeps_a_model_from_running_here() -> None:
    shown = {name: row[-1] for name, row in rows().items()}
    assert shown["qwen3-vl-2b"] == "yes"
    assert shown["llava-1.5-13b *"] == "no: memory"
    assert shown["cogvlm-chat *"] == "no: own code"
    assert shown["gpt-4v *"] == "no: retired"
    assert shown["gpt-4.1"] == "no: API key"
    assert shown["gemma-3-4b"] == "no: hub token"


def test_a_row_gives_size_need_and_licence() -> None:
    names, engine, needed, _ = rows()["llava-1.5-13b *"]
    assert names.splitlines()[1:] == [
        "llava-hf/llava-1.5-13b-hf",
        "13.35 B parameters, llama2",
    ]
    assert (engine, needed) == ("vllm", "29.4")
    assert rows()["gemma-3-4b"][0].endswith("gemma, gated")
    assert rows()["gpt-4.1"][2] == ""


def test_the_table_fits_into_eighty_columns() -> None:
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(models_table(load_registry(), LAPTOP))
    text = console.export_text()

    assert "HuggingFaceTB/SmolVLM2-2.2B-Instruct" in text
    assert "no: hub token" in text
    assert "…" not in text
