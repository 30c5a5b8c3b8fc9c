"""A small checkout to run instead of ours: two functions that do what a test asks of them. And what tests of
processes look at."""

import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from infra.local.clock import machine_time, wait

PATIENCE = timedelta(seconds=30)

BUNDLE = """
functions:
  desk:
    does: tells what it was asked
    trigger: {http: [/desk]}
    timeout: 20
    memory: 512Mi
    concurrency: 4
    instances: {most: 1, because: a test has one}
    account: desk-account
    public: true
    secrets: [DESK_KEYS]
  pack:
    does: what its message says
    trigger: {topic: pack}
    timeout: 20
    memory: 512Mi
    concurrency: 1
    instances: {most: 1, because: a test has one}
    account: pack-account
    retry: true
    attempts: 5
    dead_letter: undelivered
    secrets: [PACK_KEYS]
  slow:
    does: what its message says, in a second
    trigger: {topic: slow}
    timeout: 1
    memory: 512Mi
    concurrency: 1
    instances: {most: 1, because: a test has one}
    account: pack-account
    retry: true
  broken:
    does: nothing, it does not start
    trigger: {http: [/broken]}
    timeout: 20
    memory: 512Mi
    concurrency: 1
    instances: {most: 1, because: a test has one}
    account: desk-account
  receive:
    does: writes down the objects that arrive
    trigger: {bucket: arrivals}
    timeout: 20
    memory: 512Mi
    concurrency: 1
    instances: {most: 1, because: a test has one}
    account: pack-account
    retry: true
    attempts: 5
    dead_letter: undelivered
  tick:
    does: nothing
    trigger: {topic: tick}
    timeout: 20
    memory: 512Mi
    concurrency: 1
    instances: {most: 1, because: a test has one}
    account: pack-account
    retry: true
buckets:
  goods: {holds: goods}
  arrivals: {holds: what came}
roles: {}
accounts:
  desk-account: {firestore: true, publishes: [pack], storage: {}, impersonates: false}
  pack-account:
    firestore: true
    publishes: [pack]
    storage: {goods: [roles/storage.objectViewer]}
    impersonates: true
    signs: true
customer_folders: {goods: [roles/storage.objectViewer]}
customer_grant: [storage.objects.create, storage.objects.list, storage.objects.get, storage.buckets.get]
"""

DESK = """
import json, os
import functions_framework

@functions_framework.http
def desk(request):
    told = {"env": dict(os.environ), "cwd": os.getcwd(), "pid": os.getpid(), "parent": os.getppid()}
    told |= {"path": request.full_path, "body": request.get_data(as_text=True)}
    return json.dumps(told)
"""

# Writes its own pid, its parent's and the message's id to the file `note`, waits until somebody has written
# to the pipe `gate`, and fails if told to.
WORKER = """
import base64, json, os
import functions_framework

@functions_framework.cloud_event
def {name}(event):
    asked = json.loads(base64.b64decode(event.data["message"]["data"]))
    if "note" in asked:
        with open(asked["note"], "a") as note:
            note.write(json.dumps([os.getpid(), os.getppid(), event["id"]]) + "\\n")
    if "gate" in asked:
        open(asked["gate"]).read()
    if asked.get("fail"):
        raise RuntimeError("as asked")
"""

# Writes its own pid, its parent's, and the event that it got to the file that the object's metadata names.
RECEIVE = """
import json, os
import functions_framework

@functions_framework.cloud_event
def receive(event):
    with open(event.data["metadata"]["note"], "a") as note:
        told = {**event.get_attributes(), "data": event.data}
        note.write(json.dumps([os.getpid(), os.getppid(), told]) + "\\n")
"""

BROKEN = """
raise RuntimeError("no handler today")
"""


def checkout(root: Path) -> Path:
    """Write the checkout; returns its root."""
    sources = {"desk": DESK, "broken": BROKEN, "receive": RECEIVE}
    sources |= {name: WORKER.replace("{name}", name) for name in ("pack", "slow", "tick")}
    for name, source in sources.items():
        folder = root / "functions" / name
        folder.mkdir(parents=True)
        (folder / "main.py").write_text(source)
    (root / "infra").mkdir()
    (root / "infra" / "bundle.yaml").write_text(BUNDLE)
    return root


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does; a deadline, not a pause, decides."""
    deadline = machine_time() + PATIENCE
    while not holds():
        assert machine_time() < deadline, f"waited in vain: {what}"
        wait(0.02)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and nobody has asked for counts as ended."""
    try:
        os.kill(pid, 0)
        return " Z " not in f" {Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2]}"
    except (ProcessLookupError, FileNotFoundError):
        return False


def notes(file: Path) -> list[tuple[int, int, str]]:
    """Worker's pid, its parent's and the event's id, of each time that the function began."""
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []
