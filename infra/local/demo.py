"""`make demo`: two days of a customer's data, in by one door and out by another, for anyone to see.

A field-operations manager uploads an archive of 204 work orders with the client that Waybill serves: 200 are
taken in with their 600 photographs, four are wrong and say why. The photographs are checked, and the site's
own analyser is asked about them. A daily export is set up through the HTTP API; the clock goes to the next
morning and a tick comes: everything lands in the customer's bucket. A second archive changes some work
orders and adds some, one is deleted; the clock goes on a day, a tick: only that lands. Then all that
was found wrong with photographs goes to a mailbox as CSV, and the mail's link is followed. A list of
technicians is imported from a CSV file with three bad rows, which are fixed and sent again, and a query joins
technicians and work orders. At the end a person says what some photographs show, the photographs are exported
as a dataset for training, and pycocotools reads it. Nothing is faked: each function is a process of its own,
started cold by its first event.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests
from PIL import Image

from infra.local import demo_customer, example_analyser
from infra.local.clock import machine_time, wait
from infra.local.demo_customer import BUCKET, PLATFORM, TASK_GROUPS
from infra.local.photographs import SUBJECTS, NoPhotographs, cut, subject
from infra.local.processes import REPOSITORY
from infra.local.suite import Suite

if TYPE_CHECKING:
    from shared.accounts.customers import Site
    from shared.gcp.clients import Cloud

WORK_ORDERS = 200
CHANGED = 12
ADDED = 3

WRONG = {
    "WO_WRONG_GROUP/roof-1.jpg": None,
    "WO_WRONG_PICTURE/meter.jpg": b"not a picture",
    "WO_WRONG_METADATA/meter.jpg": None,
    "WO_WRONG_METADATA/metadata.json": b'{"technician": "Ada", }',
    "WO_WRONG_PARAMETERS/meter.jpg": None,
    "WO_WRONG_PARAMETERS/parameters.json": b'{"floor": "third"}',
}
"""Files of work orders that cannot be taken in, as they happen to be; None is a photograph."""

WRONG_ORDERS = len({name.partition("/")[0] for name in WRONG})

RECIPIENT = "quality@demo-telecom.example"
"""Whom the demo mails."""

TECHNICIAN = {
    "key": "number",
    "required": ["name"],
    "types": {"level": "integer", "since": "moment"},
}
"""What the technicians are: a definition of their item type."""

TECHNICIANS = """\
number,name,team,level,since
T-01,Ada,Fibre,3,2019-04-01
T-02,Zoë,Roofs,2,2021-09-15
T-03,,Roofs,1,2026-01-07
T-04,Bảo,Fibre,3,2018-02-19
T-05,Noor,Masts,two,2022-06-30
T-06,Idris,Masts,2,2020-11-02
T-07,Maja,Roofs,1,31/03/2024
T-08,Luc,Fibre,1,2025-08-25
"""
"""A list as people keep it. Three of its rows are wrong."""

FIXES = {"T-03,,": "T-03,Sofia,", ",two,": ",2,", "31/03/2024": "2024-03-31"}
"""What a person makes of those three."""

TEAMS = {"Ada": "Fibre", "Zoë": "Roofs", "Bảo": "Fibre"}
"""The technicians who have work orders, and their teams."""

VISITS = """\
select w.name as work_order, t.name as technician, t.team
from demo_entity_Technician t join WorkOrder w on w.metadata->>'technician' = t.name
order by w.name"""

NAMED = range(CHANGED, CHANGED + 9)
"""The numbers of the work orders whose photographs a person looks at: those that did not change."""

DATASET = {
    "dataset_name": "objects",
    "dataset_type": 1,
    "task_names": ["object"],
    "description": "What is where on photographs of the site North.",
}
"""A dataset for object detection. Its labels are what the analyser found, and what the person calls it."""

READERS = Path(sys.prefix) / "readers/bin/python"
"""The Python that has pycocotools."""

PATIENCE = timedelta(seconds=90)
"""How long the demo waits for a run, an analysis or a job, before it says that something is wrong."""

STATE = REPOSITORY / ".local" / "demo"

SHEET = STATE / "contact-sheet.png"
"""Six photographs of the dataset with their boxes and labels."""


class WentWrong(Exception):
    """What the demo saw is not what it should be; the text says what."""


def main() -> int:
    """Show it; returns 0 when everything that it showed was right."""
    began = machine_time()
    shutil.rmtree(STATE, ignore_errors=True)
    try:
        with Suite(state=STATE) as suite:
            Demo(suite).show()
    except (NoPhotographs, WentWrong) as wrong:
        print(f"\nThe demo went wrong: {wrong}", file=sys.stderr)
        print(f"The functions' logs are in {STATE / 'logs'}.", file=sys.stderr)
        return 1
    took = (machine_time() - began).total_seconds()
    print(f"\nAll of it took {took:.1f} s. What the suite holds is in {STATE}.")
    print("`make up` starts a suite to play with.")
    return 0


class Demo:
    """The demo's steps, in order, on a running suite."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        self.began = machine_time()
        environment = demo_customer.ensure(suite)
        # google-auth reads where the metadata server is when it is first used: before that, say so.
        os.environ.update(suite.env(PLATFORM))
        from shared.accounts.customers import get_site
        from shared.gcp.clients import connect

        self.cloud: Cloud = connect()
        self.site: Site = get_site(self.cloud.db, environment["WAYBILL_SITE_ID"], demo_customer.CUSTOMER)
        self.key = environment["WAYBILL_API_KEY"]
        self.api = requests.Session()
        self.api.headers["Authorization"] = f"Token {self.key}"
        self.originals: dict[str, bytes] = {}
        self.names: list[str] = []
        self.inputs: dict[str, list[str]] = {}

    def show(self) -> None:
        """Two days; WentWrong at the first thing that is not as it should be."""
        from shared.analysis.analyser import secret

        server, url = example_analyser.serve(0, secret(self.cloud.settings, self.site))
        self.cloud.db.document(f"sites/{self.site.id}").update({"analysis_url": url})
        try:
            self._show()
        finally:
            server.shutdown()
            server.server_close()

    def _show(self) -> None:
        # In the morning, so that no midnight comes in between.
        now = self.suite.move_clock(_at(self.suite.clock.now(), hour=9))
        self.say(f"Day one, {now:%A %d %B %Y}: {WORK_ORDERS + WRONG_ORDERS} work orders of a customer")
        export = self.create_export()
        self.done(f"a daily export to gs://{BUCKET}/waybill/production, made through the HTTP API")
        self.test_connection(export)
        self.take_in()
        self.analysed()

        morning = _at(now, hour=2)
        self.say(f"The clock goes to {morning:%A %d %B, %H:%M} UTC, and a tick comes")
        first = self.run(export, morning)
        self.tree()
        self.one_record()
        self.steps(export, first)
        self.check(first, rows=WORK_ORDERS, images=len(self.originals))

        self.say(f"Day two: {CHANGED} work orders change, {ADDED} are new, one is deleted")
        deleted = self.change()
        self.done("one corrected by hand, the others by a second archive; the rest untouched")
        morning += timedelta(days=1)
        self.say(f"The clock goes to {morning:%A %d %B, %H:%M} UTC, and a tick comes")
        second = self.run(export, morning)
        manifest = self.manifest(second)
        print(json.dumps(manifest, indent=2))
        self.steps(export, second)
        self.check(second, rows=CHANGED + ADDED, images=len(self.originals))
        if manifest["deleted"] != [deleted]:
            raise WentWrong(f"the second manifest should name {deleted} as deleted, and no other")
        self.done(f"the second window holds the {CHANGED + ADDED} changes and the deletion, and nothing else")

        self.say(f"What the analyses found, as CSV, to {RECIPIENT}")
        export = self.create_export(
            name="What the analyses found",
            export_type="conformity-results",
            file_format="csv",
            interval="once",
            connector_type="email",
            connector_config={"emails": [RECIPIENT]},
        )
        self.inbox(self.run(export))

        self.say("Technicians, from a CSV file with three bad rows")
        self.import_technicians()
        self.say("Which technician visited what: a query over technicians and work orders")
        self.join()

        self.say(f"What {len(NAMED)} work orders show, said by a person, and a dataset of all photographs")
        named = self.name_objects()
        self.done(f"{len(named)} results corrected: the analyser knows colours, the person knows what it is")
        task = self.export_dataset()
        for name in ("status", "progress", "total_sample_count", "finished_sample_count"):
            print(f"  {name:24} {task[name]}")
        self.done(f"the dataset is exported as COCO to {task['path']}")
        self.check_dataset(named)

    def take_in(self) -> None:
        """Upload an archive as a customer does: with the client that Waybill serves."""
        client = STATE / "upload.py"
        client.write_bytes(self.api.get(f"{self.suite.url}/v0.2/batches/upload.py", timeout=60).content)
        photographs = cut(WORK_ORDERS * len(TASK_GROUPS) + len(WRONG))
        files: dict[str, bytes] = {}
        for number in range(WORK_ORDERS):
            name = f"WO_{number:04}"
            self.names.append(name)
            told = {"technician": tuple(TEAMS)[number % 3], "street": f"Rue {number}"}
            files[f"{name}/metadata.json"] = json.dumps(told).encode()
            for place, group in enumerate(TASK_GROUPS):
                file = f"{group}-{place}.jpg"
                files[f"{name}/{file}"] = self.remember(name, file, next(photographs))
        files |= {name: next(photographs) if content is None else content for name, content in WRONG.items()}
        self.upload("monday.zip", files.items(), exits=3)
        self.done(f"{len(self.originals)} photographs and {WORK_ORDERS} work orders taken in")

    def upload(self, name: str, files: Iterable[tuple[str, bytes]], *, exits: int) -> None:
        """Have the client upload an archive of these and wait for what comes of it: 3 says that some were
        wrong."""
        archive = STATE / name
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
            for file, content in files:
                made.writestr(file, content)
        print(f"$ python3 upload.py {self.suite.url} {name} --wait", flush=True)
        shown = subprocess.run(
            [sys.executable, STATE / "upload.py", self.suite.url, archive, "--wait"],
            env={**os.environ, "WAYBILL_API_KEY": self.key},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(shown.stdout, end="", flush=True)
        if shown.returncode != exits:
            raise WentWrong(f"the client should have ended with {exits}; it ended with {shown.returncode}")

    def remember(self, work_order: str, file: str, content: bytes) -> bytes:
        """Keep what each image should be, to hold what lands against it."""
        from shared.workorders import store

        id = store.input_id(store.work_order_id(self.site.id, work_order), file, content)
        self.originals[f"{id}.jpg"] = content
        self.inputs.setdefault(work_order, []).append(id)
        return content

    def analysed(self) -> None:
        """Wait until every photograph is checked and the site's own analyser has answered."""
        from shared.workorders import stored

        begun = machine_time()
        while machine_time() < begun + PATIENCE:
            found = self.cloud.db.collection("work_orders").select(["analysis", "deleted"]).stream()
            states = Counter(each.get("analysis") for each in found if not each.get("deleted"))
            if set(states) == {stored.DONE}:
                took = (machine_time() - begun).total_seconds()
                self.done(f"{states[stored.DONE]} work orders checked and analysed, in {took:.1f} s more")
                return
            wait(0.2)
        raise WentWrong(f"not every work order was analysed within {PATIENCE.seconds} s: {dict(states)}")

    def create_export(self, **changes: Any) -> str:
        """Set an export up as a customer does: daily, to the bucket, but for these changes."""
        asked = {
            "name": "Nightly, to BI",
            "site_ids": [self.site.id],
            "export_type": "work-orders-timeline",
            "file_format": "json",
            "interval": "daily",
            "connector_type": "cloud_storage",
            "connector_config": {"storage_uri": f"gs://{BUCKET}/waybill/production", "export_images": True},
        }
        answer = self.api.post(f"{self.suite.url}/v1/exports", json=asked | changes, timeout=60)
        if answer.status_code != 201:
            raise WentWrong(f"the export was answered {answer.status_code}: {answer.text}")
        id: str = answer.json()["id"]
        return id

    def test_connection(self, export: str) -> None:
        """Ask Waybill whether the export can land, as a customer does before the first night."""
        answer = self.api.post(f"{self.suite.url}/v1/exports/{export}:test", timeout=60)
        if answer.status_code != 200 or not answer.json()["passed"]:
            raise WentWrong(f"the connection test was answered {answer.status_code}: {answer.text}")
        for step in answer.json()["steps"]:
            print(f"  {step['name']:24} {step['verdict']:8} {step['sentence']}")
        self.done("the connection test passes")

    def run(self, export: str, at: datetime | None = None) -> dict[str, Any]:
        """Tick, and wait for the run's audit event."""
        known = {run["run_id"] for run in self.runs(export)}
        self.suite.tick(at)
        deadline = machine_time() + PATIENCE
        while machine_time() < deadline:
            for run in self.runs(export):
                if run["run_id"] not in known and run["status"] in ("COMPLETED", "FAILED"):
                    if run["status"] == "FAILED":
                        raise WentWrong(f"the run failed: {run['error']} {run['next_action']}")
                    told = "run {run_id}: {rows} rows, {file_count} file, {images} images".format(**run)
                    self.done(f"{told}; {run['duration_ms'] / 1000:.1f} s from its start")
                    return run
            wait(0.1)
        raise WentWrong(f"no run ended within {PATIENCE.seconds} s of the tick")

    def runs(self, export: str) -> list[dict[str, Any]]:
        """The export's audit, as the HTTP API shows it."""
        answer = self.api.get(f"{self.suite.url}/v1/exports/{export}/runs", timeout=60)
        if answer.status_code != 200:
            raise WentWrong(f"the audit was answered {answer.status_code}: {answer.text}")
        runs: list[dict[str, Any]] = answer.json()["runs"]
        return runs

    def inbox(self, run: dict[str, Any]) -> None:
        """Show the one mail that was sent, as its reader sees it, and follow its link as a browser does."""
        (file,) = self.suite.outbox.glob("*.eml")
        mail = message_from_bytes(file.read_bytes(), policy=policy.default)
        body = mail.get_body(("plain",))
        text = body.get_content() if body is not None else ""
        print(f"To: {mail['To']}\nSubject: {mail['Subject'].strip()}\n\n{text}")
        link = next((line for line in text.splitlines() if line.startswith(self.suite.url)), "")
        answer = requests.get(link, timeout=60)
        rows = list(csv.reader(io.StringIO(answer.text)))
        if answer.status_code != 200 or len(rows) != run["rows"] + 1:
            raise WentWrong(
                f"the link led to {answer.status_code} and {len(rows)} lines: {answer.text[:200]}"
            )
        for row in rows[:3]:
            print(",".join(row))
        self.done(f"the link leads to a file of {len(rows) - 1} rows ({_size(len(answer.content))})")

    def change(self) -> str:
        """What happens on the second day; returns the id of the work order that is deleted."""
        from shared.workorders import store

        corrected, deleted = (store.work_order_id(self.site.id, self.names[at]) for at in (0, -1))
        photograph = store.get(self.cloud, self.site, corrected).work_items[0].input[0]
        correction = {
            "input_id": photograph.id,
            "task_name": "brightness",
            "corrected_value": 128,
            "message": "looked at again",
        }
        self.work_order("PATCH", corrected, {"corrections": [correction]}, expect=200)
        photographs = list(cut(WORK_ORDERS * len(TASK_GROUPS) + len(WRONG) + ADDED))[-ADDED:]
        files = {
            f"{name}/metadata.json": json.dumps({"visited": 2}).encode() for name in self.names[1:CHANGED]
        }
        for number, content in enumerate(photographs):
            name, file = f"WO_NEW_{number}", f"{TASK_GROUPS[0]}.jpg"
            files[f"{name}/{file}"] = self.remember(name, file, content)
        self.upload("tuesday.zip", files.items(), exits=0)
        self.work_order("DELETE", deleted, None, expect=204)
        self.analysed()
        return deleted

    def import_technicians(self) -> None:
        """Import the list, show what was rejected, and send that again once it is fixed."""
        answer = self.api.put(f"{self.suite.url}/ls/api/itemTypes/Technician", json=TECHNICIAN, timeout=60)
        if answer.status_code != 200:
            raise WentWrong(f"the item type was answered {answer.status_code}: {answer.text}")
        print(TECHNICIANS)
        rows = TECHNICIANS.count("\n") - 1
        job = self.import_job(TECHNICIANS)
        self.check_job(job, processed=rows, rejected=len(FIXES))
        rejected = self.download(job["rejected"])
        print("\nThe rejected rows, each with its reason:")
        head, *bad = list(csv.reader(io.StringIO(rejected)))
        for row in bad:
            print(f"  {','.join(row[:-1])}\n      {row[-1]}")
        if head[-1] != "waybill_error" or [row[0] for row in bad] != ["T-03", "T-05", "T-07"]:
            raise WentWrong(f"three rows should have been rejected, each with its reason:\n{rejected}")
        print()
        self.done(f"{rows - len(bad)} technicians imported, {len(bad)} rows rejected")

        fixed = TECHNICIANS
        for wrong, right in FIXES.items():
            rejected, fixed = rejected.replace(wrong, right), fixed.replace(wrong, right)
        self.check_job(self.import_job(rejected), processed=len(bad), rejected=0)
        self.done("the three rows fixed in that file, and the file sent again: they are imported")
        asked = {"itemType": "Technician", "contentType": "text/plain"}
        content = self.download(self.job("export", data=asked)["links"][0])
        if sorted(csv.reader(io.StringIO(content))) != sorted(csv.reader(io.StringIO(fixed))):
            raise WentWrong(f"the technicians are not what was sent:\n{content}")
        self.done(f"checked: {rows} technicians, field by field")

    def import_job(self, content: str) -> dict[str, Any]:
        """Import a CSV file of technicians as a customer's script does."""
        return self.job(
            "import",
            files={"file": ("technicians.csv", content.encode(), "text/plain")},
            data={"jobName": "Technicians", "itemType": "Technician", "contentType": "text/plain"},
        )

    def join(self) -> None:
        """Export a query's rows, and compare them with what they should be."""
        print(f"{VISITS}\n")
        job = self.job("export", data={"jobName": "Visits", "contentType": "text/plain", "sqlQuery": VISITS})
        # The second day's archive replaced the metadata of some, and the last was deleted.
        kept = [number for number in range(WORK_ORDERS - 1) if not 1 <= number < CHANGED]
        names = [(self.names[number], tuple(TEAMS)[number % 3]) for number in kept]
        self.check_job(job, processed=len(names), rejected=0)
        content = self.download(job["links"][0])
        print()
        for line in content.splitlines()[:4]:
            print(line)
        wanted = [["work_order", "technician", "team"], *([name, who, TEAMS[who]] for name, who in names)]
        if list(csv.reader(io.StringIO(content))) != wanted:
            raise WentWrong(f"the query's rows are not what they should be: {content[:400]}")
        self.done(f"checked: {len(names)} rows, field by field")

    def name_objects(self) -> dict[str, str]:
        """Correct what the analyser calls by its colour, as a person does; returns the names by input."""
        from shared.workorders import store

        named = {}
        for number in NAMED:
            name, corrections = self.names[number], []
            for place, input in enumerate(self.inputs[name]):
                seen = subject(number * len(TASK_GROUPS) + place)
                if seen and self.found(input):
                    correction = {"input_id": input, "task_name": "object", "corrected_value": seen}
                    corrections.append(correction)
                    named[input] = seen
            id = store.work_order_id(self.site.id, name)
            self.work_order("PATCH", id, {"corrections": corrections}, expect=200)
        return named

    def found(self, input: str) -> list[tuple[str, example_analyser.Box]]:
        """What the analyser finds on a photograph: names and boxes."""
        picture = Image.open(io.BytesIO(self.originals[f"{input}.jpg"])).convert("RGB")
        return [(name, box) for name, box, _ in example_analyser.patches(picture)]

    def export_dataset(self) -> dict[str, Any]:
        """Create a dataset of the site, and export it, as a customer does; returns the task at its end."""
        datasets = f"/v2/{demo_customer.CUSTOMER}/datasets"
        made = self.ask("POST", datasets, {**DATASET, "site_ids": [self.site.id]})
        tasks = f"{datasets}/{made['dataset_id']}/export-tasks"
        asked = {"path": f"gs://{BUCKET}/datasets/objects/", "annotation_format": "COCO"}
        id = self.ask("POST", tasks, asked)["task_id"]
        deadline = machine_time() + PATIENCE
        while machine_time() < deadline:
            task = self.ask("GET", f"{tasks}/{id}")
            if task["status"] == "SUCCESSED":
                return task
            if task["status"] == "FAILED":
                raise WentWrong(f"the dataset was not exported: {task['error_msg']}")
            wait(0.1)
        raise WentWrong(f"the dataset was not exported within {PATIENCE.seconds} s: {task}")

    def check_dataset(self, named: dict[str, str]) -> None:
        """Have pycocotools read the dataset and draw six images of it, and compare all images and labels with
        what they should be."""
        folder, prefix = STATE / "objects", "datasets/objects/"
        for each in self.suite.storage.list(BUCKET):
            if each.name.startswith(prefix):
                file = folder / each.name.removeprefix(prefix)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(self.suite.storage.read(BUCKET, each.name))
        script = REPOSITORY / "infra/local/contact_sheet.py"
        if not READERS.exists():
            raise WentWrong(
                "pycocotools is not installed: `make demo` does that, from requirements-readers.txt"
            )
        drawn = subprocess.run(
            [READERS, script, folder, SHEET, *SUBJECTS.values()], capture_output=True, text=True, check=False
        )
        if drawn.returncode:
            raise WentWrong(f"pycocotools cannot read the dataset: {drawn.stderr}")
        read = json.loads(drawn.stdout)
        kept = [input for name in self.inputs if name != self.names[-1] for input in self.inputs[name]]
        boxes = []
        for input in kept:
            found = self.found(input)
            boxes += [
                [input, named.get(input, name) if name == found[0][0] else name, *box] for name, box in found
            ]
        if sorted(read["boxes"]) != sorted(boxes):
            wrong = [each for each in read["boxes"] if each not in boxes][:3]
            raise WentWrong(
                f"the dataset should have {len(boxes)} boxes; it has {len(read['boxes'])}, such as {wrong}"
            )
        if sorted(id for id, _ in read["images"]) != sorted(kept):
            raise WentWrong(f"the dataset should have {len(kept)} images; it has {len(read['images'])}")
        for id, name in read["images"]:
            if (folder / "images" / name).read_bytes() != self.originals[f"{id}.jpg"]:
                raise WentWrong(f"the image {name} is not, byte for byte, what was taken in")
        labels = Counter(name for _, name, *_ in boxes)
        print(f"  {', '.join(f'{count} {name}' for name, count in sorted(labels.items()))}")
        print(f"  {read['without_labels']} images have no label")
        self.done(
            f"checked with pycocotools: {len(kept)} images byte for byte, {len(boxes)} boxes one by one"
        )
        print(f"Six of them with their boxes and labels are drawn in {SHEET}.")

    def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Ask about datasets as a customer does."""
        headers = {"X-Auth-Token": self.key}
        answer = requests.request(method, self.suite.url + path, json=body, headers=headers, timeout=60)
        if not answer.ok:
            raise WentWrong(f"{method} {path} was answered {answer.status_code}: {answer.text}")
        answered: dict[str, Any] = answer.json()
        return answered

    def job(self, does: str, **form: Any) -> dict[str, Any]:
        """Make a job with an access token, as customers' scripts do, and wait until it is completed."""
        base = f"{self.suite.url}/ls/api"
        asked = {
            "grant_type": "password",
            "username": "demo",
            "password": self.key,
            "scope": "community=demo",
        }
        token = requests.post(f"{base}/oauth2/token", data=asked, timeout=60).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.post(f"{base}/batch/{does}", headers=headers, timeout=60, **form)
        deadline = machine_time() + PATIENCE
        while machine_time() < deadline:
            if answer.status_code != 200:
                raise WentWrong(f"the job was answered {answer.status_code}: {answer.text}")
            job: dict[str, Any] = answer.json()
            if job["status"] == "Completed":
                return job
            if job["status"] in ("Rejected", "Canceled", "Failed"):
                raise WentWrong(f"the {does} is {job['status']}: {job['reason']}")
            wait(0.1)
            answer = requests.post(
                f"{base}/batch/status", data={"jobId": job["jobId"]}, headers=headers, timeout=60
            )
        raise WentWrong(f"the {does} did not end within {PATIENCE.seconds} s: {answer.text}")

    def check_job(self, job: dict[str, Any], *, processed: int, rejected: int) -> None:
        """Show a job, and compare its counts with what they should be."""
        for name in ("status", "recordsProcessed", "recordsRejected", "reason"):
            print(f"  {name:18} {job[name]}")
        if (job["recordsProcessed"], job["recordsRejected"]) != (str(processed), str(rejected)):
            raise WentWrong(f"{processed} records should have been processed, and {rejected} rejected")

    def download(self, link: str) -> str:
        """What a job's link leads to, for whoever has it."""
        answer = requests.get(link, timeout=60)
        if answer.status_code != 200:
            raise WentWrong(f"a job's link was answered {answer.status_code}: {answer.text[:200]}")
        return answer.content.decode()

    def work_order(self, method: str, id: str, body: Any, *, expect: int) -> None:
        """Change a work order as a customer does."""
        answer = self.api.request(method, f"{self.suite.url}/v0.2/work-orders/{id}", json=body, timeout=60)
        if answer.status_code != expect:
            raise WentWrong(f"{method} of a work order was answered {answer.status_code}: {answer.text}")

    def check(self, run: dict[str, Any], *, rows: int, images: int) -> None:
        """Hold what landed against what should have, image by image."""
        storage = self.suite.storage
        manifest = self.manifest(run)
        found = {
            each.name.rpartition("/")[2]: storage.read(BUCKET, each.name)
            for each in storage.list(BUCKET)
            if "/images/" in each.name
        }
        lines = [
            line for file in manifest["files"] for line in storage.read(BUCKET, file["name"]).splitlines()
        ]
        if len(lines) != rows or run["rows"] != rows:
            raise WentWrong(f"{rows} rows should have landed; there are {len(lines)}")
        if len(found) != images:
            raise WentWrong(f"{images} images should be there; there are {len(found)}")
        for name, content in found.items():
            if content != self.originals[name]:
                raise WentWrong(f"the image {name} is not, byte for byte, what was taken in")
        total = sum(map(len, found.values()))
        self.done(f"checked: {len(lines)} records, and {len(found)} images ({_size(total)}) byte for byte")

    def manifest(self, run: dict[str, Any]) -> dict[str, Any]:
        """The manifest that a run wrote."""
        named = [
            each.name
            for each in self.suite.storage.list(BUCKET)
            if each.name.endswith(f"_{run['run_id']}.json")
        ]
        if len(named) != 1:
            raise WentWrong(f"the run {run['run_id']} should have one manifest; it has {named}")
        manifest: dict[str, Any] = json.loads(self.suite.storage.read(BUCKET, named[0]))
        return manifest

    def tree(self) -> None:
        """What is in the customer's bucket, folder by folder."""
        objects = self.suite.storage.list(BUCKET)
        folders = Counter(each.name.rpartition("/")[0] for each in objects)
        print(f"\ngs://{BUCKET}/")
        for folder, count in sorted(folders.items()):
            inside = [each for each in objects if each.name.rpartition("/")[0] == folder]
            print(
                f"  {folder}/   {count} object{'s' * (count > 1)}, {_size(sum(each.size for each in inside))}"
            )
            for each in inside[:2]:
                print(f"      {each.name.rpartition('/')[2]}   {_size(each.size)}")
            if count > 2:
                print(f"      and {count - 2} more")
        print()

    def one_record(self) -> None:
        """The first record of the first file."""
        file = next(each for each in self.suite.storage.list(BUCKET) if "/dt=" in each.name)
        line = self.suite.storage.read(BUCKET, file.name).splitlines()[0]
        print("One record:")
        print(json.dumps(json.loads(line), indent=2, ensure_ascii=False), "\n")

    def steps(self, export: str, run: dict[str, Any]) -> None:
        """How long each step took, by Firestore's times, and each cold start."""
        fields = self.cloud.db.document(f"exports/{export}/runs/{run['run_id']}").get().to_dict() or {}
        marks = ("created", "started", "planned", "delivering", "finished")
        names = ("wait for a slot", "plan", "write", "deliver, copy images, finish")
        print("How long each step took:")
        for name, (before, after) in zip(names, pairwise(marks), strict=True):
            print(f"  {name:32} {(fields[after] - fields[before]).total_seconds():6.2f} s")
        for start in self.suite.processes.starts:
            print(f"  cold start of {start.function:28} {start.seconds:6.2f} s (within the above)")
        self.suite.processes.starts.clear()
        print()

    def say(self, text: str) -> None:
        """A heading."""
        print(f"\n=== {text}", flush=True)

    def done(self, text: str) -> None:
        """What was done, and when since the start."""
        print(f"[{(machine_time() - self.began).total_seconds():5.1f} s] {text}", flush=True)


def _at(now: datetime, *, hour: int) -> datetime:
    """When that hour begins for the next time."""
    today = now.replace(hour=hour, minute=0, second=0, microsecond=0)
    return today if today > now else today + timedelta(days=1)


def _size(count: int) -> str:
    return f"{count / 1_048_576:.1f} MiB" if count >= 1_048_576 else f"{count / 1024:.1f} KiB"
