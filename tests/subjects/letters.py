"""Examples of each letter and of each page that people get."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from shared.batches.problems import PROBLEM_TYPES
from shared.outbox import letters, pages
from shared.outbox.letters import Letter, Link
from shared.outbox.pages import Listed
from tests.shared.outbox.post import FACTS

URL = "https://waybill.example"
LINK = Link(f"{URL}/v1/downloads/{'0' * 32}_{'s' * 43}", datetime(2026, 11, 29, 1, 0, 5, tzinfo=UTC))
SIGN_IN = Link(f"{URL}/console/by-mail/{'0' * 32}_{'s' * 43}", datetime(2026, 11, 22, 9, 32, tzinfo=UTC))

FAILED = {
    **{name: FACTS[name] for name in ("customer", "sites", "export_name", "export", "run")},
    **{name: FACTS[name] for name in ("window_start", "window_end", "timezone")},
    "error": "The account customer-acme-data-export@x may not create objects in the bucket acme-bi.",
    "next_action": "Grant it storage.objects.create on acme-bi.",
}
UNSENT = [
    {
        "place": f"reader-{number}@acme.example",
        "sentence": "An earlier mail to this address came back: 550 5.1.1",
    }
    for number in range(9)
]
PROBLEMS = [
    {
        "code": "UNKNOWN_TASK_GROUP",
        "level": "error",
        "count": 12,
        "action": PROBLEM_TYPES["UNKNOWN_TASK_GROUP"].action,
        "places": [
            {
                "place": f"WO_{number} / roof.jpg",
                "sentence": "The image “roof.jpg” belongs to no task group of the site.",
            }
            for number in range(3)
        ],
    },
    {
        "code": "MISSING_PARAMETER",
        "level": "error",
        "count": 1,
        "action": PROBLEM_TYPES["MISSING_PARAMETER"].action,
        "places": [
            {
                "place": "WO_17",
                "sentence": "The work order “WO_17” lacks a parameter that the site requires: “pole_id”.",
            }
        ],
    },
    {
        "code": "UNREADABLE",
        "level": "warning",
        "count": 1,
        "action": PROBLEM_TYPES["UNREADABLE"].action,
        "places": [
            {
                "place": "WO_9 / antenna-2.jpg",
                "sentence": "The image “antenna-2.jpg” was imported, but cannot be shown: its pixels are "
                "damaged or incomplete.",
            }
        ],
    },
]
BATCH: dict[str, Any] = {
    "customer": "Acme",
    "batch": "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b",
    "filename": "monday.zip",
    "site": "North",
    "status": "COMPLETED_WITH_ERRORS",
    "work_orders_done": 1_300,
    "work_orders_failed": 4,
    "images": 5_200,
    "bytes": 12_500_000_000,
    "errors": 13,
    "warnings": 1,
    "error": None,
    "problems": PROBLEMS,
}
JOB: dict[str, Any] = {
    "customer": "Acme",
    "job": "3f2a1c9e-5b7d-4e8f-9a6b-1c2d3e4f5a6b",
    "name": "Technicians of the north",
    "does": "import",
    "item_type": "Technician",
    "status": "Completed",
    "reason": "1,297 of 1,300 records were imported, and 3 rejected. Line 8: The field age is wrong.",
    "processed": 1_300,
    "rejected": 3,
    "files": 1,
}
UNDELIVERED = {
    **{name: value for name, value in FAILED.items() if name not in ("error", "next_action")},
    "unsent": UNSENT,
    "count": len(UNSENT),
    "next_action": "Correct the addresses in the export's emails.",
}
EXPORTED = {"does": "export", "reason": "1,300 records were exported.", "rejected": 0}
UNREADABLE = {
    "status": "Rejected",
    "reason": "The file is empty: see that it is the right one.",
    **dict.fromkeys(("processed", "rejected", "files"), 0),
}
ALL_IN = {"status": "COMPLETED", "work_orders_failed": 0, "errors": 0, "warnings": 0, "problems": []}
WARNED = {**ALL_IN, "warnings": 1, "problems": PROBLEMS[2:]}
NONE_CAME = {
    **{name: 0 for name, value in BATCH.items() if isinstance(value, int)},
    "status": "EXPIRED",
    "problems": [],
}
BROKEN: dict[str, Any] = {
    "status": "FAILED",
    "error": "The upload is not a zip archive. Send a zip file; rar, 7z and tar files are not supported.",
    "filename": None,
    **dict.fromkeys(("work_orders_done", "work_orders_failed", "images", "bytes", "warnings"), 0),
    "errors": 1,
    "problems": [
        {
            "code": "ARCHIVE_NOT_A_ZIP",
            "level": "error",
            "count": 1,
            "action": PROBLEM_TYPES["ARCHIVE_NOT_A_ZIP"].action,
            "places": [],
        }
    ],
}

LETTERS: dict[str, tuple[str, dict[str, Any], Link | None]] = {
    "export": ("export", FACTS, LINK),
    "export_once": (
        "export",
        {**FACTS, "window_start": "1970-01-01T00:00:00Z", "files": 12, "sites": ["North", "South", "3 more"]},
        LINK,
    ),
    "failed": ("failed", FAILED, None),
    "suspended": ("suspended", FAILED, None),
    "waiting": ("waiting", FAILED, None),
    "undelivered": ("undelivered", UNDELIVERED, None),
    "batch": ("batch", BATCH, LINK),
    "batch_completed": ("batch", {**BATCH, **ALL_IN}, None),
    "batch_warned": ("batch", {**BATCH, **WARNED}, LINK),
    "batch_failed": ("batch", {**BATCH, **BROKEN}, None),
    "batch_expired": ("batch", {**BATCH, **NONE_CAME}, None),
    "job": ("job", JOB, LINK),
    "job_exported": ("job", {**JOB, **EXPORTED}, LINK),
    "job_rejected": ("job", {**JOB, **UNREADABLE}, None),
    "sign_in": ("sign_in", {"customer": "Acme"}, SIGN_IN),
    "job_canceled": ("job", {**JOB, "status": "Canceled", "reason": "The job was canceled."}, LINK),
}
"""Each letter, in each way that it can end."""

LONG = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 4
HOSTILE = (
    'x\r\nBcc: eve@evil.example\r\n\r\n<img src="https://evil.example/?"><b><script>alert(1)</script>'
    "\u202egpj.exe\x00\u2028&amp;\u200f\"'"
)

ABOUT = letters.about("export", FACTS)

PAGES: dict[str, str] = {
    "files": pages.files(
        ABOUT,
        LINK.expires,
        [
            Listed(f"all-{number:04}", f"work-orders-timeline/dt=2026-11-20/{name}", rows, size)
            for number, (name, rows, size) in enumerate(
                [
                    (
                        "work-orders-timeline_20261119T230000Z_20261120T230000Z_0123456789.csv",
                        1_234_567,
                        912_345_678,
                    ),
                    ("part-2.csv", 12, 1_234),
                    ("work-orders-timeline_20261119T230000Z_20261120T230000Z_0123456789-3.csv", None, 7),
                ]
            )
        ],
        3,
    ),
    "files_of_job": pages.files(
        letters.about("job", JOB),
        LINK.expires,
        [Listed("rejected", "Technicians-rejected.csv", 3, 410)],
        2_000,
    ),
    "expired": pages.says(
        pages.FAILURE,
        "Expired",
        "This link has expired",
        "It was good for seven days. Ask whoever manages this export to send it again.",
        about=ABOUT,
        ended=LINK.expires,
    ),
    "unknown": pages.says(
        pages.FAILURE, "Unknown", "No such link", "See that it is whole, as it stands in the mail."
    ),
    "busy": pages.says(pages.WARNING, "Busy", "Not possible now", "Try again in a minute."),
    "files_of_long_names": pages.files(
        replace(ABOUT, name=LONG, customer=LONG, sites=[LONG, LONG]),
        LINK.expires,
        [Listed("all", f"{LONG}/{LONG}.csv", 1, 1), Listed("b", HOSTILE, 10**15, 10**15)],
        2,
    ),
}
"""The pages that a link can lead to."""


def letter(kind: str, facts: dict[str, Any], link: Link | None) -> Letter:
    return letters.write(letters.parse(kind, facts), URL, link)


TOLD_BY_OTHERS = {
    "customer",
    "sites",
    "name",
    "reason",
    "export_name",
    "site",
    "filename",
    "error",
    "next_action",
    "item_type",
    "place",
    "sentence",
    "action",
    "address",
}
"""The facts that people and other programs name."""


def told(value: Any, text: str, name: str = "") -> Any:
    """A letter's facts where everything that others name is this text."""
    if isinstance(value, dict):
        return {name: told(each, text, name) for name, each in value.items()}
    if isinstance(value, list):
        return [told(each, text, name) for each in value]
    return text if isinstance(value, str) and name in TOLD_BY_OTHERS else value
