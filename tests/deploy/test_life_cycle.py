"""The reference VLM in a pod as the manifest has it: start, traffic, rolling update, drain."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.fresh_images import fresh_jpeg
from server.vlm.assembly import assemble
from server.vlm.references import DEFAULT_REFERENCE
from tests.deploy.conftest import DEPLOY, ROOT, Rendered
from tests.deploy.pod import Image as ContainerImage
from tests.deploy.pod import Pod

NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "true"]
PICTURE = Image.open(next((ROOT / "alignment/data/open_set/images").rglob("*.webp"))).convert("RGB")
BOUNDARY = "pictures"
SEEDS = itertools.count()


def body(pictures: int) -> bytes:
    """A call with pictures that no cache has seen."""
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    files = (fresh_jpeg(PICTURE, seed=[next(SEEDS)]) for _ in range(pictures))
    parts = b"".join(head.encode() + file + b"\r\n" for file in files)
    return parts + f"--{BOUNDARY}--\r\n".encode()


@pytest.fixture
def cluster(
    overlay: Callable[[str], Rendered], tmp_path: Path
) -> Iterator[tuple[Callable[[str], Pod], str]]:
    """What starts a pod of the overlay cpu-small by name, and a key that it takes."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and other users need root")
    tried = subprocess.run(NAMESPACES, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"namespaces are refused here: {tried.stderr.strip()}")
    built = os.environ.get("IMAGE_ROOT")  # what bare_root.py made, if that is to be tried
    if built is None and Path(sys.prefix).is_relative_to("/tmp"):
        pytest.skip("the container has a /tmp of its own, which would hide this environment")
    checkpoint = assemble(reference=DEFAULT_REFERENCE)
    # Its owner alone may read it, until the Dockerfile's chmod.
    readable = tmp_path / checkpoint.name
    shutil.copytree(checkpoint, readable)
    readable.chmod(0o755)
    for file in readable.iterdir():
        file.chmod(0o644)
    image = ContainerImage.of(
        DEPLOY / "docker" / "Dockerfile",
        root=None if built is None else Path(built),
        checkpoint=readable,
    )
    keys = tmp_path / "keys.json"
    new_key = [sys.executable, "-m", "server", "keys", "new", "test", "--file", str(keys)]
    made = subprocess.run(new_key, capture_output=True, text=True, check=True, cwd=ROOT)
    (key,) = (word for word in made.stdout.split() if word.startswith("sw-"))
    rendered = overlay("cpu-small")
    files = {
        "keys": {"keys.json": keys.read_text()},
        "policy": rendered["ConfigMap", "sightward-policy"]["data"],
    }
    template = rendered["Deployment", "sightward"]["spec"]["template"]
    pods: list[Pod] = []

    def start(name: str) -> Pod:
        pods.append(Pod(name, template, image, files, tmp_path / name))
        return pods[-1]

    yield start, key
    for pod in pods:
        pod.close()


class Service:
    """Sends calls to whoever is ready, one after the other and without a second try."""

    def __init__(self, key: str) -> None:
        self.ready: list[Pod] = []
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []
        self._key = key
        self._is_over = threading.Event()
        self._callers = [threading.Thread(target=self._call_on) for _ in range(2)]

    def call(self, pod: Pod, payload: bytes) -> tuple[int, dict[str, object]]:
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": f"multipart/form-data; boundary={BOUNDARY}",
        }
        status, answer = pod.ask("POST", "/v1/moderations", payload, headers)
        return status, json.loads(answer)

    def _call_on(self) -> None:
        while not self._is_over.is_set():
            pod = self.ready[-1]
            try:
                status, answer = self.call(pod, body(1))
            except (OSError, HTTPException) as error:
                self.failures.append(f"{pod.name}: {error!r}")
                continue
            self.answers[pod.name] += 1
            if status != 200:
                self.failures.append(f"{pod.name}: {status} {answer}")
            self._is_over.wait(0.5)

    def __enter__(self) -> "Service":
        for caller in self._callers:
            caller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for caller in self._callers:
            caller.join()


def locked_down(pod: Pod) -> None:
    """The first process is what the manifest says: nobody, without rights, on a read-only root."""
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{pod.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert status["Uid"].split() == status["Gid"].split() == ["10001"] * 4
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    mounts = [line.split() for line in Path(f"/proc/{pod.pid}/mountinfo").read_text().splitlines()]
    writable = {words[4] for words in mounts if "rw" in words[5].split(",")}
    assert writable - {"/proc"} == {"/tmp", "/dev/shm"}


@pytest.mark.engine
@pytest.mark.timeout(1200)  # two engines on a busy machine
def test_a_pod_lives_and_is_replaced_without_a_failed_call(
    cluster: tuple[Callable[[str], Pod], str],
) -> None:
    start, key = cluster
    began_s = time.monotonic()

    def told(words: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {words}")

    first = start("first")
    told(f"first pod: {' '.join([*first.image.entrypoint, *first.container['args']])}")
    told(f"startup probe passes after {first.wait_until('startupProbe'):.1f} s")
    first.wait_until("readinessProbe")
    assert first.probe("livenessProbe")
    locked_down(first)
    told("ready and alive; user 10001, no capabilities, writes to /tmp and /dev/shm alone")

    service = Service(key)
    status, answer = service.call(first, body(1))
    assert status == 200, answer
    assert first.ask("POST", "/v1/moderations", b"{}")[0] == 401, "nobody without a key"
    service.ready.append(first)
    with service:
        second = start("second")
        told("traffic on the first pod; the second one starts beside it")
        told(f"second pod: startup probe passes after {second.wait_until('startupProbe'):.1f} s")
        second.wait_until("readinessProbe")
        service.ready.append(second)
        told(f"second pod is ready; the first has answered {service.answers['first']} calls")
        pre_stop_s = first.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        # The kubelet's sleep, in which load balancers hear of it: whoever still calls is answered.
        time.sleep(pre_stop_s / 2)
        status, answer = service.call(first, body(1))
        assert status == 200, answer
        time.sleep(pre_stop_s / 2)
        late = call_in_flight(service, first)
        first.terminate()
        told("SIGTERM to the first pod, with a call of eight pictures in flight")
        while first.probe("readinessProbe"):
            pass
        status, answer = service.call(first, body(1))
        assert (status, answer["error"]["code"]) == (503, "server_draining")  # type: ignore[index]
        assert first.wait(first.template["spec"]["terminationGracePeriodSeconds"]) == 0
        assert late.result()[0] == 200
        told("it refused what came late (503), finished what ran (200) and exited with 0")
    assert service.answers["second"] > 0
    assert service.failures == []
    told(
        f"{service.answers.total()} calls through the service, none failed: {dict(service.answers)}"
    )
    second.terminate()
    assert second.wait(90) == 0
    told("SIGTERM to the second pod: exit 0")


def call_in_flight(service: Service, pod: Pod) -> Future[tuple[int, dict[str, object]]]:
    """A call of eight pictures that the pod has taken and not answered yet."""
    caller = ThreadPoolExecutor(max_workers=1)
    while True:
        call = caller.submit(service.call, pod, body(8))
        # A fast machine may have answered before it says that it is at work: then another one.
        while not call.done():
            if "sightward_calls_running 0.0" not in metrics(pod):
                caller.shutdown(wait=False)
                return call


def metrics(pod: Pod) -> str:
    return pod.ask("GET", "/metrics")[1].decode()
