"""`make demo`: what the README promises, as a stranger runs it."""

import re
import subprocess
import sys

import pytest

from infra.local.processes import REPOSITORY

pytestmark = pytest.mark.slow

PROMISED = [
    r"^=== Day one, .*: 204 work orders of a customer$",
    r"a daily export to gs://demo-telecom-bi/waybill/production, made through the HTTP API$",
    r"^  storage.objects.create   passed   ",
    r"^  probe                    passed   ",
    r"the connection test passes$",
    r"^\$ python3 upload.py http://127.0.0.1:\d+ monday.zip --wait$",
    r"^Batch [0-9a-f-]{36}: COMPLETED_WITH_ERRORS$",
    r"^  200 of 204 work orders taken in, with 600 photographs \(.* MB\)$",
    r"^  4 errors, \d\d\d warnings:$",
    r"^  WO_WRONG_GROUP/roof-1.jpg: UNKNOWN_TASK_GROUP: ",
    r"^  WO_WRONG_PICTURE/meter.jpg: NOT_AN_IMAGE: ",
    r"^  WO_WRONG_METADATA/metadata.json: JSON_NOT_VALID: .* line 1, column ",
    r"^  WO_WRONG_PARAMETERS/parameters.json: WRONG_PARAMETER: .*'floor' should be a number",
    r"^  In all: 600 LOW_RESOLUTION, ",
    r"600 photographs and 200 work orders taken in$",
    r"200 work orders checked and analysed, in .* s more$",
    r"^=== The clock goes to .*, 02:00 UTC, and a tick comes$",
    r"run s[0-9a-f]{32}: 200 rows, 1 file, 600 images; .* s from its start$",
    r"^gs://demo-telecom-bi/$",
    r"^  waybill/production/[0-9a-f-]{36}/images/   600 objects, .* MiB$",
    r"^  waybill/production/[0-9a-f-]{36}/work-orders-timeline/dt=\d{4}-\d\d-\d\d/   1 object, ",
    r"^      work-orders-timeline_\d{8}T\d{6}Z_\d{8}T000000Z_s[0-9a-f]{32}\.jsonl   ",
    r"^  waybill/production/_manifests/[0-9a-f-]{36}/   1 object, ",
    r"^One record:$",
    r'^ +"task_name": "brightness",$',
    r"^How long each step took:$",
    r"^  cold start of export_work_orders_timeline +\d",
    r"checked: 200 records, and 600 images \(.* MiB\) byte for byte$",
    r"^=== Day two: 12 work orders change, 3 are new, one is deleted$",
    r"^Batch [0-9a-f-]{36}: COMPLETED$",
    r"one corrected by hand, the others by a second archive; the rest untouched$",
    r"^=== The clock goes to .*, 02:00 UTC, and a tick comes$",
    r"run s[0-9a-f]{32}: 15 rows, 1 file, 39 images; .* s from its start$",
    r'^  "manifest_version": 1,$',
    r'^  "deleted": \[$',
    r"checked: 15 records, and 603 images \(.* MiB\) byte for byte$",
    r"the second window holds the 15 changes and the deletion, and nothing else$",
    r"^=== What the analyses found, as CSV, to quality@demo-telecom.example$",
    r"run s[0-9a-f]{32}: \d+ rows, 1 file, 0 images; .* s from its start$",
    r"^To: quality@demo-telecom.example$",
    r"^Subject: What the analyses found: your export is ready",
    r"^http://127.0.0.1:\d+/v1/downloads/\S+$",
    r"^The link is good for seven days, until ",
    r"the link leads to a file of \d+ rows \(.*\)$",
    r"^=== Technicians, from a CSV file with three bad rows$",
    r"^  reason +5 of 8 records were imported, and 3 rejected. Line 4: The field name is required: ",
    r"^The rejected rows, each with its reason:$",
    r"^  T-03,,Roofs,1,2026-01-07\n      Line 4: The field name is required: give it a value.$",
    r"^  T-05,Noor,Masts,two,2022-06-30\n      Line 6: The field level must be an integer.$",
    r"^  T-07,Maja,Roofs,1,31/03/2024\n      Line 8: The field since must be a date of ISO 8601, such as ",
    r"5 technicians imported, 3 rows rejected$",
    r"the three rows fixed in that file, and the file sent again: they are imported$",
    r"checked: 8 technicians, field by field$",
    r"^=== Which technician visited what: a query over technicians and work orders$",
    r"^  reason +188 records were exported.$",
    r"^work_order,technician,team\nWO_0000,Ada,Fibre\n",
    r"checked: 188 rows, field by field$",
    r"^=== What 9 work orders show, said by a person, and a dataset of all photographs$",
    r"18 results corrected: the analyser knows colours, the person knows what it is$",
    r"^  status                   SUCCESSED\n  progress                 100.0$",
    r"^  total_sample_count       600\n  finished_sample_count    600$",
    r"the dataset is exported as COCO to gs://demo-telecom-bi/datasets/objects/$",
    r"^  \d+ blue, \d+ cat, \d+ cup, 3 flower, 3 motorcycle, \d+ orange, ",
    r"^  \d\d+ images have no label$",
    r"checked with pycocotools: 600 images byte for byte, \d{3,} boxes one by one$",
    r"^Six of them with their boxes and labels are drawn in .*demo/contact-sheet\.png\.$",
    r"^All of it took .* s\. What the suite holds is in .*demo\.$",
]
"""What it prints, in this order, beside other things."""


def test_the_demo_shows_what_the_readme_promises() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "infra.local", "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, ""), shown.stderr + shown.stdout
    at = 0
    for promise in PROMISED:
        found = re.compile(promise, re.MULTILINE).search(shown.stdout, at)
        assert found, f"{promise!r} is not said, or not there:\n{shown.stdout}"
        at = found.end()
    took = re.search(r"All of it took ([0-9.]+) s", shown.stdout)
    assert took
    assert float(took[1]) < 120  # "in about a minute"


def test_make_demo_is_that_command() -> None:
    """Told by make itself, which runs nothing here: else it might install."""
    told = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "demo"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert told.stdout.splitlines()[-1].endswith("/python -m infra.local demo")
