"""A customer who has some of everything: exports, batches, jobs and datasets in every state, and names that
no page expects."""

import socket
from collections.abc import Mapping
from datetime import datetime, timedelta

import asyncssh

from infra.local.suite import Suite
from shared.accounts import by_mail
from shared.accounts.customers import add_site
from shared.accounts.keys import MAX_NAME, SCOPES, create_key, revoke_key
from shared.gcp.clients import Cloud
from tests.archives import File, zipped
from tests.subjects.small_dataset import Datasets
from tests.subjects.small_job import Jobs
from tests.world import OTHER_SITE, SITE, World, jpeg

MARKUP = (
    '<b>bold</b><script>document.title="stolen"</script><img src="https://evil.example/x" onerror=alert(1)>'
)
RIGHT_TO_LEFT = "\u202egpj.exe \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627"
EMOJI = "Köln 👷🏽‍♀️🏗️ 東京 {{ 7*7 }} ${x} &amp;"
LONG = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 4 + "Pneumonoultramicrosc"

NAMES: Mapping[str, str] = {"markup": MARKUP, "rtl": RIGHT_TO_LEFT, "emoji": EMOJI, "long": LONG}
"""Names that must be shown as text, in place."""

ODD_SITE = "0dd51fe0-5b7d-4e8f-9a6b-1c2d3e4f5a6b"

HIRES = (
    "number,name,team,level\n"
    f'T-01,Ada,Fibre,3\nT-02,"{MARKUP.replace(chr(34), chr(34) * 2)}",Roofs,2\nT-03,,Roofs,1\n'
    f"T-04,{LONG},{EMOJI},two\n" + "".join(f"T-{n},,Masts,1\n" for n in range(10, 45))
)
"""Technicians; most of them are wrong."""

TECHNICIAN = {"key": "number", "required": ["name"], "types": {"level": "integer"}}


def seed(suite: Suite, cloud: Cloud, account: str, now: datetime) -> dict[str, str]:
    """Fill the services through the functions' own handlers, and return the ids of what is there, and keys.

    The services' clock stands, days before `now`; in the end it is almost `now`.
    """
    world = World(suite, cloud, account)
    world.allow_loopback()
    made: dict[str, str] = {"site": SITE, "other_site": OTHER_SITE, "odd_site": ODD_SITE}
    add_site(
        cloud.db,
        id=ODD_SITE,
        customer="acme",
        name=MARKUP,
        task_groups=("meter", "door"),
        required=("meter", "door"),
    )
    made["key"] = create_key(cloud.db, customer="acme", scopes=SCOPES, settings=cloud.settings)
    made["spare_key"] = create_key(cloud.db, customer="acme", scopes=["exports"], name=LONG[:MAX_NAME])
    made["spare_key_id"] = made["spare_key"].split("_")[1]
    made["revoked_key"] = create_key(
        cloud.db, customer="acme", scopes=["exports", "batches"], name=MARKUP[:MAX_NAME]
    )
    revoke_key(cloud.db, made["revoked_key"].split("_")[1])
    world.key = made["key"]
    made["address"] = by_mail.allow(cloud, "Ann@acme.example", made["key"].split("_")[1]).address
    made |= _batches(world)
    made |= _exports(world)
    made |= _jobs(world)
    made |= _datasets(world)
    made["stranger_key"] = world.stranger()
    world.move_to(now - timedelta(minutes=10))
    made |= _waiting(world)
    return made


def _exports(world: World) -> dict[str, str]:
    begun = world.suite.clock.now().replace(second=0, microsecond=0)
    start = {"start": (begun - timedelta(days=3)).isoformat()}
    made = {"export": world.export(**start, timezone="Europe/Paris", notify=["ops@acme.example"])}
    for name, text in NAMES.items():
        made[f"export_{name}"] = world.export(name=text, site_ids=[ODD_SITE], interval="weekly")
    made["export_mail"] = world.export(
        name="Conformity, to quality",
        export_type="conformity-results",
        file_format="csv",
        connector_type="email",
        connector_config={"emails": ["ann@acme.example", "bob@acme.example"]},
        **start,
    )
    nowhere = {"storage_uri": "gs://acme-gone/waybill"}
    made["export_failing"] = world.export(
        name=f"To a bucket that is gone {MARKUP[:60]}", connector_config=nowhere
    )
    made["export_paused"] = world.export(name="Paused since spring", site_ids=[SITE, OTHER_SITE])
    world.request("POST", f"/v1/exports/{made['export_paused']}:pause")
    for day in (1, 2):
        _morning(world, begun + timedelta(days=day))
    [newest, *_] = world.audit(made["export"])
    made["run"] = newest["run_id"]
    for name in ("export_mail", "export_failing"):
        made[name.replace("export", "run")] = world.audit(made[name])[0]["run_id"]
    changed = world.request(
        "PATCH", f"/v1/exports/{made['export']}", {"name": "Nightly, to BI", "at": "02:30"}
    )
    assert changed.status == 200, changed
    return made


def _waiting(world: World) -> dict[str, str]:
    """A run that waits for an SFTP server which does not listen."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    place = {
        "host": "127.0.0.1",
        "port": _unused_port(),
        "username": "waybill",
        "password": "correct horse",
        "host_key": " ".join(key.export_public_key().decode().split()[:2]),
        "path": "waybill",
    }
    made = world.export(name="To the SFTP server", connector_type="sftp", connector_config=place)
    world.work_order("WO_WAITING", photographs=1)
    world.wait(timedelta(minutes=3))
    begun = world.request("POST", f"/v1/exports/{made}:run")
    assert begun.status < 300, begun
    world.drain()
    [run] = world.audit(made)
    assert run["waits_for"], run
    return {"export_waiting": made, "run_waiting": run["run_id"]}


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _morning(world: World, day: datetime) -> None:
    """The ticks of a morning, when what is due is exported; what fails is tried until it is given up."""
    world.work_order(f"WO_{day:%d}_ADDED", photographs=1)
    world.move_to(day.replace(hour=3, minute=0))
    for _ in range(3):
        world.tick()
        while world.step():
            world.wait(timedelta(seconds=1.7))  # so that steps take as long as they do
        world.wait(timedelta(minutes=1))


def _batches(world: World) -> dict[str, str]:
    made = {}
    files = [File(f"WO_{n:03}/meter-{n}.jpg", jpeg(f"meter {n}")) for n in range(12)]
    made["batch"] = world.batch(zipped([*files, File("WO_000/metadata.json", b'{"technician": "Ada"}')]))
    odd = [File(f"{name.replace('/', '|')}/meter.jpg", jpeg(name)) for name in NAMES.values()]
    wrong = [File(f"WO_WRONG_{n:02}/roof-{n}.jpg", jpeg(f"roof {n}")) for n in range(40)]
    strange = [
        File(f"{MARKUP.replace('/', '|')} 2/{RIGHT_TO_LEFT} <i>roof</i>.jpg", jpeg("roof")),
        File(f"{LONG}_2/meter.jpg", b"not a picture"),
        File(f"WO_JSON/{EMOJI.replace('/', '|')}.jpg", jpeg("?")),
        File("WO_JSON/metadata.json", b'{"technician": "Ada", }'),
        File("stray.jpg", jpeg("stray")),
    ]
    made["batch_errors"] = world.batch(zipped([*files[:3], *odd, *wrong, *strange]))
    made["batch_broken"] = world.batch(b"PK\x03\x04 this is no archive")
    made["batch_empty"] = world.batch()
    world.drain()
    assert not world.failures, "\n".join(world.failures)
    found = {each.get("name"): each.id for each in world.cloud.db.collection("work_orders").stream()}
    made["work_order"] = found["WO_000"]
    for name, text in NAMES.items():
        order = world.work_order(text, metadata={text[:40]: text})
        made[f"work_order_{name}"] = order.id
        made[f"input_{name}"] = order.work_items[0].input[0].id
    return made


def _jobs(world: World) -> dict[str, str]:
    jobs = Jobs(world)
    jobs.key = world.key
    assert world.request("PUT", "/ls/api/itemTypes/Technician", TECHNICIAN).status < 300
    done = jobs.imported(HIRES.encode(), jobName="Technicians", jobDescription="What HR sent")
    odd = jobs.imported(b"number,name\nT-50,Eve\n", jobName=MARKUP)
    long = jobs.imported(b"number,name\nT-51,Dan\n", jobName=LONG)
    exported = jobs.exported(jobName=f"Export {EMOJI} {RIGHT_TO_LEFT}")
    refused = jobs.imported(b"number\n", "9 lives", jobName=f"{LONG} {MARKUP[:60]}")
    return {
        "job_rejected": refused["jobId"],
        "job": done["jobId"],
        "job_markup": odd["jobId"],
        "job_long": long["jobId"],
        "job_export": exported["jobId"],
    }


def _datasets(world: World) -> dict[str, str]:
    datasets = Datasets(world)
    datasets.key = world.key
    for number in range(30):
        value = ("good", "worn", MARKUP[:60], RIGHT_TO_LEFT, "very" * 12)[number % 5]
        results = {
            "state": {
                "value": value,
                "confidence": 0.5 + number / 100,
                "regions": [
                    {"label": "meter", "box": [20, 25, 150.5, 200]},
                    {"label": value, "box": [100, 10, 300, 100]},
                ],
            }
        }
        datasets.work_order(f"DS-{number:02}", [{"results": results, "size": (320, 240)}])
    described = {"task_names": ["state"], "description": f"{EMOJI} {MARKUP[:100]}"}
    made = {"dataset": datasets.create("Meters", dataset_type=1, **described)}
    task = datasets.exported(made["dataset"])
    made["dataset_task"] = task["task_id"]
    made["dataset_boxes"] = datasets.create("Boxes", task_names=["state"], dataset_type=1)
    datasets.work_order("DS-NEW", [{"results": {"state": {"value": "new"}}}])
    datasets.exported(made["dataset"])
    newest, before, *_ = datasets.got(f"/{made['dataset']}/versions")["versions"]
    made["dataset_version"], made["dataset_before"] = newest["version_id"], before["version_id"]
    made["dataset_boxes_version"] = datasets.got(f"/{made['dataset_boxes']}")["current_version_id"]
    made["dataset_empty"] = datasets.create("Nothing-in-it", site_ids=[OTHER_SITE])
    return made
