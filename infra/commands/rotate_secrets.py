"""Seal customers' secrets with the newest key, and say which keys are needed no longer.

First give the functions the newest version in WAYBILL_SECRET_KEYS, then run this with the same value: those
that have it not cannot open what it seals. It can be run at any time, and again. The steps of a
rotation are in docs/operators/operating.md, "A new key for secrets".
"""

import argparse

from infra.commands import Problem, connect, say, table
from shared.accounts import secrets
from shared.analysis import analyser

SITES_LISTED = 200
"""How many sites with an analyser are named: what a person can read."""


def arguments(_: argparse.ArgumentParser) -> None:
    """The command takes nothing."""


def run(_: argparse.Namespace) -> int:
    """Do it; 1 where a secret could not be opened."""
    cloud = connect()
    held = cloud.settings.secret_keys
    try:
        secrets.newest(cloud.settings)
    except ValueError as wrong:
        raise Problem(str(wrong)) from wrong
    done = secrets.rotate(cloud)
    say(f"Sealed anew with version {done.newest}: {done.sealed} of {sum(done.found.values())} secrets.")
    if done.unopened:
        say(f"Could not be opened, and left as they are: {done.unopened}.")
        say(table(("CUSTOMER", "SECRET", "WHY"), [(each.customer, each.id, each.why) for each in done.told]))
    sites = analyser.sites(cloud.db, SITES_LISTED) if len(held) > 1 else []
    for version, needing in sorted(done.left.items(), reverse=True):
        if version == done.newest:
            what = "it is the newest, and stays"
        elif version not in held:
            what = "it is not in WAYBILL_SECRET_KEYS: put it back"
        elif needing:
            what = "it must stay: run this again"
        else:
            what = "it may be removed from WAYBILL_SECRET_KEYS" + (" after the step below" if sites else "")
        say(f"Version {version} seals {needing} secrets; {what}.")
    if sites:
        more = " and more" if len(sites) == SITES_LISTED else ""
        say(f"Before a version is removed, the analysers of these sites{more} must have the newest secret,")
        say("which `add-site --analysis-url` prints:")
        say(table(("CUSTOMER", "SITE"), sites))
    return 1 if done.unopened else 0
