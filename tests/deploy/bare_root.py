"""The Dockerfile's stages, run without a container engine: each in a bare Debian root by chroot.

    python tests/deploy/bare_root.py WORKDIR [--target cpu] [--dockerfile FILE] [--context FOLDER]

Shows what an engine would build: the same instructions in the same order, from nothing but minimal
Debian and Python, with the files that the ignore file lets through. Needs root, `debootstrap`, a
Debian mirror and this machine's pip configuration, which stands in for the secret; the finished
root lies in WORKDIR/TARGET. HEALTHCHECK, LABEL and EXPOSE change nothing here.
"""

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
BASE_PACKAGES = "python3.11 python3.11-venv ca-certificates"
SUITE = "bookworm"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass
class Stage:
    """A root as it grows: its environment, working directory, user and what it would start."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": DEFAULT_PATH})
    cwd: str = "/"
    user: str = "0:0"
    entrypoint: list[str] = field(default_factory=list)
    cmd: list[str] = field(default_factory=list)


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """The file's instructions with their arguments, continuation lines joined, comments dropped."""
    lines = [line for line in dockerfile.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [(name.upper(), arguments.strip()) for name, _, arguments in parts]


def needed_stages(steps: list[tuple[str, str]], target: str) -> set[str]:
    """`target`, and every stage that it stands on or copies from."""
    needs: dict[str, set[str]] = {}
    current = ""
    for name, arguments in steps:
        if name == "FROM":
            base, _, current = re.fullmatch(r"(\S+)( AS (\S+))", arguments).group(1, 2, 3)  # type: ignore[union-attr]
            needs[current] = {base}
        elif name == "COPY" and (source := re.match(r"--from=(\S+)", arguments)):
            needs[current].add(source[1])
    found: set[str] = set()
    todo = [target]
    while todo:
        stage = todo.pop()
        if stage in needs and stage not in found:
            found.add(stage)
            todo.extend(needs[stage])
    return found


def context_files(context: Path, ignore_file: Path) -> list[str]:
    """Paths in `context` that an ignore file of our form (all, but these, without those) keeps."""
    kept = [line[1:] for line in ignore_file.read_text().splitlines() if line.startswith("!")]
    return [
        path
        for top in kept
        for path in sorted(
            str(one.relative_to(context))
            for one in (
                [context / top] if (context / top).is_file() else (context / top).rglob("*")
            )
            if one.is_file() and "__pycache__" not in one.parts and one.suffix != ".pyc"
        )
    ]


class Builder:
    """Runs one Dockerfile's instructions; `stages` are what has been built."""

    def __init__(
        self, workdir: Path, context: Path, ignore_file: Path, binds: list[Path] | None = None
    ) -> None:
        self._workdir = workdir
        self._binds = _pip_folders() if binds is None else binds
        self._context = context
        self._files = context_files(context, ignore_file)
        self.stages: dict[str, Stage] = {}

    def base(self) -> Path:
        """A bare Debian with Python, made once."""
        root = self._workdir / "base"
        if not (root / "usr/bin/python3.11").exists():
            debootstrap = os.environ.get("DEBOOTSTRAP", "debootstrap")
            mirror = os.environ.get("DEBIAN_MIRROR", "http://deb.debian.org/debian")
            bootstrap = [*shlex.split(debootstrap), "--variant=minbase", SUITE, str(root), mirror]
            subprocess.run(bootstrap, check=True)
            apt = (
                f"apt-get update -q && apt-get install -qy --no-install-recommends {BASE_PACKAGES}"
            )
            subprocess.run(["chroot", str(root), "sh", "-euc", apt], check=True)
        return root

    def from_(self, base: str, name: str) -> Stage:
        """Begin a stage: a copy of another one, or of the bare root."""
        before = self.stages.get(base)
        root = self._workdir / name
        source = self.base() if before is None else before.root
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(source), str(root)], check=True)
        if before is None:
            return Stage(root)
        return Stage(root, dict(before.env), before.cwd, before.user, before.entrypoint, before.cmd)

    def copy(self, stage: Stage, arguments: str) -> None:
        """Copy from the context or from another stage."""
        words = shlex.split(arguments)
        source_stage = None
        if words[0].startswith("--from="):
            source_stage = self.stages[words.pop(0).removeprefix("--from=")]
        *sources, target = words
        folder = stage.root / os.path.join(stage.cwd, target).lstrip("/")
        for source in sources:
            if source_stage is not None:
                folder.parent.mkdir(parents=True, exist_ok=True)
                subprocess.run(
                    ["cp", "-a", str(source_stage.root / source.lstrip("/")), str(folder)],
                    check=True,
                )
                continue
            prefix = source.rstrip("/")
            for path in self._files:
                if path == prefix:
                    place = folder / path
                elif path.startswith(prefix + "/"):
                    place = folder / path.removeprefix(prefix + "/")
                else:
                    continue
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(self._context / path, place)

    def run(self, stage: Stage, arguments: str) -> None:
        """Run a command line in the stage's root, with the network and pip's configuration."""
        command = re.sub(r"--mount=\S+\s+", "", arguments)
        shutil.copy2("/etc/resolv.conf", stage.root / "etc/resolv.conf")
        passed = {
            key: value
            for key, value in os.environ.items()
            if key.startswith("PIP_") or key.lower().endswith("_proxy")
        }
        authorities = stage.root / "etc/pip-authorities.crt"
        if trusted := _pip_authorities():
            shutil.copy2(trusted, authorities)
            passed["PIP_CERT"] = "/etc/pip-authorities.crt"
        env = stage.env | passed
        # What `--secret id=pip` would give: how this machine's pip finds packages.
        pip_conf = stage.root / "etc/pip.conf"
        pip_conf.write_text(_pip_configuration())
        mounts = ""
        for bind in self._binds:
            place = stage.root / str(bind).lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            mounts += f"mount --rbind {shlex.quote(str(bind))} {shlex.quote(str(place))}; "
        inner = f"cd {shlex.quote(stage.cwd)} && {command}"
        uid, _, gid = stage.user.partition(":")
        inside = mounts + (
            'mount -t proc proc "$1/proc"; mount -t tmpfs tmpfs "$1/dev/shm" || true; '
            'root=$1 user=$2; shift 2; exec chroot --userspec="$user" "$root" env -i "$@"'
        )
        variables = (f"{key}={value}" for key, value in env.items())
        start = ["run", str(stage.root), f"{uid}:{gid or uid}", *variables, "sh", "-euc", inner]
        subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "sh", "-euc", inside, *start], check=True
        )
        pip_conf.unlink()
        authorities.unlink(missing_ok=True)

    def build(self, steps: list[tuple[str, str]], target: str) -> Stage:
        """Run everything that `target` stands on; returns its stage."""
        wanted = needed_stages(steps, target)
        stage: Stage | None = None
        for name, arguments in steps:
            if name == "FROM":
                base, _, label = arguments.partition(" AS ")
                stage = None
                if label in wanted:
                    print(f"=== {name} {arguments}", flush=True)
                    stage = self.stages[label] = self.from_(base, label)
            elif stage is not None:
                print(f"--- {name} {arguments}", flush=True)
                self._apply(stage, name, arguments)
        return self.stages[target]

    def _apply(self, stage: Stage, name: str, arguments: str) -> None:
        match name:
            case "ENV":
                for pair in shlex.split(arguments):
                    key, _, value = pair.partition("=")
                    stage.env[key] = value.replace("$PATH", stage.env["PATH"])
            case "WORKDIR":
                stage.cwd = arguments
                (stage.root / arguments.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = arguments
            case "COPY":
                self.copy(stage, arguments)
            case "RUN":
                self.run(stage, arguments)
            case "ENTRYPOINT":
                stage.entrypoint = json.loads(arguments)
            case "CMD":
                stage.cmd = json.loads(arguments)
            case "LABEL" | "EXPOSE" | "HEALTHCHECK":
                pass
            case _:
                raise ValueError(f"no rule for {name}")


def _pip_settings() -> dict[str, str]:
    """Everything that pip is told on this machine, by files and by the environment."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    pairs = (line.partition("=") for line in listed.splitlines())
    return {key: value.strip("'").replace("\\n", " ") for key, _, value in pairs}


def _pip_authorities() -> str | None:
    """The file of certificate authorities that pip is told to trust here, if any."""
    named = [value for key, value in _pip_settings().items() if key.endswith(".cert")]
    return named[-1] if named else None


def _pip_folders() -> list[Path]:
    """Folders of this machine among the places that pip takes packages from."""
    words = " ".join(_pip_settings().values()).split()
    # The pages of an index name their files by paths that lead out of its own folder.
    indexes = [
        Path(word.removeprefix("file://")).parent for word in words if word[:8] == "file:///"
    ]
    folders = [*indexes, *(Path(word) for word in words if word.startswith("/"))]
    return sorted({folder for folder in folders if folder.is_dir()})


def _pip_configuration() -> str:
    of_files = {
        key.removeprefix("global."): value
        for key, value in _pip_settings().items()
        if key.startswith("global.")
    }
    return "\n".join(["[global]", *(f"{key} = {value}" for key, value in of_files.items())]) + "\n"


def main() -> None:
    """Build, then show what would be started with what."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--target", default="cpu")
    parser.add_argument("--dockerfile", type=Path, default=ROOT / "deploy/docker/Dockerfile")
    parser.add_argument("--context", type=Path, default=ROOT)
    parser.add_argument(
        "--bind", type=Path, action="append", help="folders that pip reads from (default: its own)"
    )
    given = parser.parse_args()
    builder = Builder(
        given.workdir.resolve(),
        given.context,
        Path(f"{given.dockerfile}.dockerignore"),
        given.bind,
    )
    stage = builder.build(instructions(given.dockerfile.read_text()), given.target)
    print(json.dumps({"root": str(stage.root), "env": stage.env, "user": stage.user,
                      "command": stage.entrypoint + stage.cmd}, indent=2))  # fmt: skip


if __name__ == "__main__":
    main()
