"""A container of a rendered Deployment, run without a container engine.

What a kubelet and a runtime would do with Linux namespaces, by `unshare`, `chroot` and `setpriv`: a
root of its own that is read-only, no network but its own loopback, its own process numbers, the
manifest's command, environment, user, volumes and probes. Not done: limits of memory and processor.

The image is a folder (what `bare_root.py` built), or, without one, this machine's system and
virtual environment laid out where the Dockerfile has them.
"""

import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from tests.deploy.bare_root import DEFAULT_PATH, instructions

ROOT = Path(__file__).parents[2]
CLONE_NEWNET = 0x40000000
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64")
ETC = "ld.so.* ssl passwd group nsswitch.conf hosts localtime alternatives"
DEVICES = ("null", "zero", "full", "random", "urandom")


@dataclass(frozen=True)
class Image:
    """What the Dockerfile's last stage says: environment and command, and where its files are."""

    env: Mapping[str, str]
    entrypoint: Sequence[str]
    mounts: str

    @classmethod
    def of(cls, dockerfile: Path, *, root: Path | None, checkpoint: Path) -> "Image":
        """Read the target `cpu`; `root` is a built image, `checkpoint` stands in without one."""
        steps = instructions(dockerfile.read_text(encoding="utf-8"))
        env = {"PATH": DEFAULT_PATH}
        entrypoint: list[str] = []
        stage = ""
        for name, arguments in steps:
            if name == "FROM":
                stage = arguments.split()[-1]
            elif stage not in ("runtime", "cpu"):
                continue
            elif name == "ENV":
                pairs = (pair.partition("=") for pair in shlex.split(arguments))
                env |= {key: value.replace("$PATH", env["PATH"]) for key, _, value in pairs}
            elif name == "ENTRYPOINT":
                entrypoint = json.loads(arguments)
        if root is not None:
            # A layer of its own above the image, for mount points, as runtimes have.
            layers = f'lowerdir={root},upperdir="$R/../layer/up",workdir="$R/../layer/work"'
            return cls(
                env,
                entrypoint,
                'mkdir "$R/../layer"; mount -t tmpfs layer "$R/../layer"; '
                'mkdir "$R/../layer/up" "$R/../layer/work"; '
                f'mount -t overlay image -o {layers} "$R"; ',
            )
        cache = Path(env["XDG_CACHE_HOME"]) / "sightward" / "models" / checkpoint.name
        folders = [*map(Path, SYSTEM), Path(sys.base_prefix), Path(sys.prefix), ROOT]
        return cls(
            env,
            entrypoint,
            'mount -t tmpfs -o mode=755 image "$R"; mkdir "$R/etc"; '
            f'for one in {ETC}; do cp -a /etc/$one "$R/etc/"; done 2>/dev/null || true; '
            + "".join(_bind(folder, str(folder)) for folder in folders)
            + f'mkdir -p "$R/opt/sightward"; ln -s {sys.prefix}/bin "$R/opt/sightward/bin"; '
            + _bind(checkpoint, str(cache)),
        )


def _bind(source: Path, target: str) -> str:
    """Shell that shows `source` at `target` of the new root, read-only."""
    if source.is_symlink():
        return f'ln -s {os.readlink(source)} "$R{target}"; '
    return (
        f'mkdir -p "$R{target}"; mount --bind {source} "$R{target}"; '
        f'mount -o remount,bind,ro "$R{target}"; '
    )


def _bind_device(name: str) -> str:
    # Read-only is the node, not what it leads to.
    place = f'"$R/dev/{name}"'
    return f": > {place}; mount --bind /dev/{name} {place}; mount -o remount,bind,ro {place}; "


@dataclass
class Pod:
    """One container that runs; `files` are the contents of Secrets and ConfigMaps by volume."""

    name: str
    template: dict[str, Any]
    image: Image
    files: Mapping[str, Mapping[str, str]]
    workdir: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        spec = self.template["spec"]
        (self.container,) = spec["containers"]
        user, group = spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]
        self.workdir.mkdir()
        (self.workdir / "root").mkdir()
        variables = [f"{key}={value}" for key, value in (self.image.env | self._env()).items()]
        command = [*self.image.entrypoint, *self.container["args"]]
        mounts = self.container["volumeMounts"]
        script = (
            "mount --make-rprivate /; "
            + self.image.mounts
            + 'mkdir -p "$R/proc" "$R/sys" "$R/dev"; mount -t proc proc "$R/proc"; '
            + 'mount -t sysfs -o ro sysfs "$R/sys"; '
            + "".join(_bind_device(name) for name in DEVICES)
            + "".join(self._volume(mount, spec["volumes"], group) for mount in mounts)
            + 'mount -o remount,ro "$R"; ip link set lo up; '
            + f'exec chroot "$R" setpriv --reuid {user} --regid {group} --groups {group} '
            + '--no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"'
        )
        self.log = self.workdir / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child",
                 "sh", "-euc", script, "pod", *variables, *command],
                env=os.environ | {"R": str(self.workdir / "root")}, stdout=log, stderr=log, cwd="/",
            )  # fmt: skip
        self._inside = ThreadPoolExecutor(1, initializer=self._enter)

    def _env(self) -> dict[str, str]:
        env: dict[str, str] = {}
        for one in self.container["env"]:
            reference = one.get("valueFrom", {}).get("resourceFieldRef")
            if reference is None:
                env[one["name"]] = one["value"]
            else:
                kind, _, resource = reference["resource"].partition(".")
                env[one["name"]] = self.container["resources"][kind][resource]
        return env

    def _volume(self, mount: dict[str, Any], volumes: list[dict[str, Any]], group: int) -> str:
        (volume,) = (one for one in volumes if one["name"] == mount["name"])
        place = f'"$R{mount["mountPath"]}"'
        made = f"mkdir -p {place}; "
        if "emptyDir" in volume:
            size = volume["emptyDir"]["sizeLimit"].replace("Gi", "g").replace("Mi", "m")
            return made + f"mount -t tmpfs -o mode=2775,gid={group},size={size} volume {place}; "
        source = self.workdir / mount["name"]
        source.mkdir()
        for name, content in self.files[mount["name"]].items():
            (source / name).write_text(content, encoding="utf-8")
            os.chown(source / name, 0, group)
            (source / name).chmod(volume.get("secret", {}).get("defaultMode", 0o644))
        return made + _bind(source, mount["mountPath"])

    @property
    def pid(self) -> int:
        """The container's first process, as this machine counts."""
        (pid,) = self._children().read_text().split()
        return int(pid)

    def _enter(self) -> None:
        # One thread lives in the container's network; a socket stays where it was made.
        children = self._children()
        while not children.read_text() and self.process.poll() is None:
            time.sleep(0.05)
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/proc/{self.pid}/ns/net") as network:
            if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")

    def _children(self) -> Path:
        return Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        timeout_s: float = 60,
    ) -> tuple[int, bytes]:
        """One request to the container's port, from within its network: status and body."""
        port = self.container["ports"][0]["containerPort"]
        with closing(HTTPConnection("127.0.0.1", port, timeout=timeout_s)) as connection:
            connection.sock = self._inside.submit(
                socket.create_connection, ("127.0.0.1", port), timeout_s
            ).result()
            connection.request(method, path, body, dict(headers or {}))
            with connection.getresponse() as response:
                return response.status, response.read()

    def probe(self, name: str) -> bool:
        """Ask one of the manifest's probes, as a kubelet would."""
        probe = self.container[name]
        try:
            status, _ = self.ask("GET", probe["httpGet"]["path"], timeout_s=probe["timeoutSeconds"])
        except (OSError, HTTPException):
            return False
        return 200 <= status < 400

    def wait_until(self, name: str) -> float:
        """Ask a probe in its period until it succeeds; returns the seconds that took."""
        probe = self.container[name]
        began_s = time.monotonic()
        for _ in range(probe["failureThreshold"]):
            asked_s = time.monotonic()
            if self.probe(name):
                return time.monotonic() - began_s
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            # A kubelet's period, which is what is tested.
            time.sleep(max(0.0, probe["periodSeconds"] - (time.monotonic() - asked_s)))
        raise AssertionError(f"{name} failed for good: {self.log.read_text()[-3000:]}")

    def terminate(self) -> None:
        """SIGTERM to the first process."""
        os.kill(self.pid, signal.SIGTERM)

    def wait(self, timeout_s: float) -> int:
        """The exit status, within the grace period."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Kill what is left."""
        self.process.kill()
        self.process.wait()
        self._inside.shutdown()
