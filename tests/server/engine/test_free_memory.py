from pathlib import Path

from server.engine.free_memory import free_memory_bytes

MIB = 1 << 20


def machine(folder: Path, available_kib: int) -> Path:
    meminfo = folder / "meminfo"
    meminfo.write_text(f"MemTotal: 9999999 kB\nMemAvailable: {available_kib} kB\n")
    return meminfo


def container(folder: Path, limit: str, current: int, page_cache: int) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {page_cache}\n")
    return folder


def test_a_containers_limit_counts_when_it_is_the_smaller(tmp_path: Path) -> None:
    cgroup = container(tmp_path, str(100 * MIB), current=80 * MIB, page_cache=30 * MIB)
    assert free_memory_bytes(machine(tmp_path, 1024 * 1024), cgroup) == 50 * MIB


def test_the_machine_counts_when_it_has_less(tmp_path: Path) -> None:
    cgroup = container(tmp_path, str(100 * MIB), current=0, page_cache=0)
    assert free_memory_bytes(machine(tmp_path, 1024), cgroup) == MIB


def test_a_container_without_limit_is_the_machine(tmp_path: Path) -> None:
    cgroup = container(tmp_path, "max", current=80 * MIB, page_cache=0)
    assert free_memory_bytes(machine(tmp_path, 1024), cgroup) == MIB


def test_where_nothing_can_be_read_it_is_unknown(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path / "none", tmp_path / "nowhere") is None
