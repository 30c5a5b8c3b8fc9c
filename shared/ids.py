"""What may be the id of each thing. Every door checks a new id here, and matches all of it.

Ids become parts of paths in Firestore and Cloud Storage, of URLs, of log lines and of accounts' names. So
they are ASCII letters and digits with few marks: no slash, `?`, `#`, space or control character, and no
letter that only looks like another. An id that was stored before there was a rule goes on being read.
"""

import re

NAMED = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,127}")
"""What an operator may call a customer or a site. Firestore keeps `__…__`, `.` and `..` to itself.
https://cloud.google.com/firestore/quotas#limits"""

MADE = re.compile(r"[0-9a-f]{32}")
"""What Waybill calls a job, an upload or a mail."""

KEY = re.compile(r"[0-9a-f]{16}")
"""The id of a key: what is between the underscores of `wb_<id>_<secret>`."""

MAX_SLUG = 9
"""Characters of a slug: `customer-<slug>-data-export` must fit in an account's 30 characters.
https://cloud.google.com/iam/docs/service-accounts-create"""

SLUG = re.compile(rf"(?=.{{1,{MAX_SLUG}}}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
"""What names a customer's account."""

ACCOUNT = re.compile(
    r"[a-z0-9][a-z0-9-]{4,28}[a-z0-9]@[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?\.iam\.gserviceaccount\.com"
)
"""The email of a service account."""

NAMED_RULE = "must be 1 to 128 ASCII letters, digits, '_' and '-', the first a letter or digit"
SLUG_RULE = f"must be 1 to {MAX_SLUG} small letters, digits and inner hyphens"
