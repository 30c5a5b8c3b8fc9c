"""The customer that `make up` and `make demo` come with: Demo Telecom, its site, its bucket and a key."""

import json
import os
import uuid

from infra.local import private
from infra.local.project import make_customer_account, make_customer_bucket
from infra.local.suite import Suite

CUSTOMER = "demo"
SITE = str(uuid.uuid5(uuid.NAMESPACE_DNS, "north.demo.waybill"))
BUCKET = "demo-telecom-bi"
TASK_GROUPS = ("meter", "cabinet", "antenna")
REQUIRED = ("meter", "cabinet")

PLATFORM = "waybill-platform"
"""The account that onboarding runs as."""

NETWORKS = ("127.0.0.0/8",)
"""A server of this customer's own may listen on this machine."""

_FILE = "customer.json"


def ensure(suite: Suite) -> dict[str, str]:
    """Make the customer unless the suite's state has it; returns WAYBILL_API_KEY, WAYBILL_SITE_ID and
    WAYBILL_CUSTOMER_BUCKET.

    A key is only ever shown once, so the suite's state keeps this one: it opens nothing but the demo.
    """
    kept = suite.state / _FILE
    shown: dict[str, str] = json.loads(private.read(kept) or "{}")
    elsewhere = suite.emulators.firestore or suite.emulators.storage
    if shown and not elsewhere:
        return shown
    # google-auth reads where the metadata server is when it is first used: before that, say so.
    os.environ.update(suite.env(PLATFORM))
    from shared.accounts import networks
    from shared.accounts.customers import Parameter, add_customer, add_site
    from shared.accounts.keys import SCOPES, create_key
    from shared.gcp.clients import connect

    cloud = connect()
    # A server of the user's own may have lost, or never had, what this state remembers.
    known = bool(shown) and cloud.db.document(f"customers/{CUSTOMER}").get().exists
    customer = add_customer(cloud.db, id=CUSTOMER, slug="demo", name="Demo Telecom")
    account = make_customer_account(suite, CUSTOMER, customer.slug)
    make_customer_bucket(suite, BUCKET, account, open_to_all=True)
    networks.change(cloud.db, CUSTOMER, add=tuple(map(networks.parse, NETWORKS)))
    if known:
        return shown
    add_site(
        cloud.db,
        id=SITE,
        customer=CUSTOMER,
        name="North",
        task_groups=TASK_GROUPS,
        required=REQUIRED,
        parameters=[Parameter("floor", "number", required=False)],
    )
    shown = {
        "WAYBILL_API_KEY": create_key(
            cloud.db, customer=CUSTOMER, scopes=SCOPES, site=SITE, settings=cloud.settings
        ),
        "WAYBILL_SITE_ID": SITE,
        "WAYBILL_CUSTOMER_BUCKET": BUCKET,
    }
    private.write(kept, json.dumps(shown))  # a key is in it
    return shown
