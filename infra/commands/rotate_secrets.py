"""Seal customers' secrets with the newest keys, and say which versions are needed no longer.

First give the functions the newest version in WAYBILL_SECRET_KEYS or WAYBILL_ACCESS_KEYS, then run this with
the same value: those that have it not cannot open what it seals. It can be run at any time, and again. The
steps of a rotation are in docs/operators/operating.md, "New keys".
"""

import argparse

from infra.commands import Problem, connect, say, table
from shared.accounts import secrets
from shared.accounts.secrets import Rotated
from shared.analysis import analyser

SITES_LISTED = 200
"""How many sites with an analyser are named: what a person can read."""


def arguments(_: argparse.ArgumentParser) -> None:
    """The command takes nothing."""


def run(_: argparse.Namespace) -> int:
    """Do it; 1 where a secret could not be opened."""
    cloud = connect()
    settings = cloud.settings
    sealing = (settings.secret_keys, settings.access_keys)
    try:
        # Both are looked at before anything is changed.
        for keys in sealing:
            keys.newest()
    except ValueError as wrong:
        raise Problem(str(wrong)) from wrong
    done = [secrets.rotate(cloud, keys) for keys in sealing]
    for each in done:
        _tell(each)
    if len(settings.analyser_keys.versions) > 1 and (sites := analyser.sites(cloud.db, SITES_LISTED)):
        more = " and more" if len(sites) == SITES_LISTED else ""
        say("Before an old version is removed from WAYBILL_ANALYSER_KEYS, the analysers of these")
        say(f"sites{more} must have the newest secret, which `add-site --analysis-url` prints:")
        say(table(("CUSTOMER", "SITE"), sites))
    return 1 if any(each.unopened for each in done) else 0


def _tell(done: Rotated) -> None:
    keys = done.keys
    found = sum(done.found.values())
    say(f"{keys.variable}: sealed anew with version {done.newest}: {done.sealed} of {found}.")
    if done.unopened:
        say(f"Could not be opened, and left as they are: {done.unopened}.")
        say(table(("CUSTOMER", "SECRET", "WHY"), [(each.customer, each.id, each.why) for each in done.told]))
    for version, needing in sorted(done.left.items(), reverse=True):
        if version == done.newest:
            what = "it is the newest, and stays"
        elif version not in keys.versions:
            what = f"it is not in {keys.variable}: put it back"
        elif needing:
            what = "it must stay: run this again"
        else:
            what = f"it may be removed from {keys.variable}"
        say(f"Version {version} seals {needing} secrets; {what}.")
