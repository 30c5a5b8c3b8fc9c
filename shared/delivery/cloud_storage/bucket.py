"""A customer's bucket, reached as the customer's account: what goes there, and what its refusals mean."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    RetryError,
    ServerError,
    TooManyRequests,
)
from google.auth.exceptions import RefreshError

from shared.errors import CustomerMustAct, GiveUp, Retry
from shared.gcp.objects import DifferentObject, Objects, Stored

_FINAL = re.compile(r'"code":\s*(?:400|403|404)\b')
"""How the IAM credentials API says that asking again will not help.
https://cloud.google.com/apis/design/errors"""

_PERMISSION = re.compile(r"storage\.(?:objects|buckets)\.[A-Za-z]+")


@dataclass(frozen=True)
class Ways:
    """What a customer can do after a refusal, as ends of sentences.

    again      once it is fixed
    elsewhere  to deliver to another place instead
    """

    again: str
    elsewhere: str


RUN_WAYS = Ways(
    "retry the run", "change the export's storage_uri, and export the window again with :backfill"
)
"""What can be done about a run of an export."""


class CustomerBucket:
    """The customer's bucket. Refusals that the customer can fix are raised as CustomerMustAct."""

    def __init__(self, objects: Objects, account: str, bucket: str, ways: Ways = RUN_WAYS) -> None:
        self.objects = objects
        self.account = account
        self.bucket = bucket
        self._ways = ways

    def deliver(self, staged: Stored, name: str) -> Stored:
        """Copy a staged object there, once: what stands there already is looked at first.

        So an account that may not look fails before anything is written. CustomerMustAct where the bucket
        refuses, is gone, or holds something else of that name.
        """
        with self.explained():
            there = self._look(name) or self.objects.copy(staged, self.bucket, name)
            if not there.same_content(staged.size, staged.crc32c):
                raise DifferentObject(there)
        return there

    def _look(self, name: str) -> Stored | None:
        try:
            return self.objects.stat(self.bucket, name)
        except Forbidden as refused:
            # An account that may not list is not told that an object is not there; a run needs no list.
            # https://cloud.google.com/storage/docs/xml-api/reference-status#404-not-found
            if "storage.objects.list" in _said(refused):
                return None
            raise

    def refusal(self, permission: str) -> CustomerMustAct:
        """What to say when the account lacks a permission on the bucket."""
        return CustomerMustAct(
            f"The account {self.account} does not have the permission {permission} on the bucket "
            f"{self.bucket}.",
            f"Grant {permission} on gs://{self.bucket} to {self.account}, then {self._ways.again}.",
        )

    def gone(self) -> CustomerMustAct:
        """What to say when there is no such bucket."""
        return CustomerMustAct(
            f"The bucket {self.bucket} does not exist.",
            f"Create gs://{self.bucket}, grant {self.account} its permissions there, and {self._ways.again}. "
            f"Or {self._ways.elsewhere}.",
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what the customer, or we, must fix as an error that says so, and what is passing as Retry;
        other errors pass through."""
        try:
            yield
        except DifferentObject as different:
            name = different.stored.name
            raise CustomerMustAct(
                f"There is already another object at gs://{self.bucket}/{name}. Waybill did not change it.",
                f"Move or delete that object, then {self._ways.again}.",
            ) from different
        except (Forbidden, NotFound) as refused:
            told = self.explain(refused)
            if told is None:
                raise
            raise told from refused
        except (RetryError, TooManyRequests, ServerError) as passing:
            # The client itself has tried again for two minutes by now.
            last = passing.cause if isinstance(passing, RetryError) else passing
            said = (
                f"{last.code}: {_said(last)}" if isinstance(last, GoogleAPICallError) else type(last).__name__
            )
            raise Retry(f"the bucket {self.bucket} does not take it now ({said})") from passing
        except RefreshError as refused:
            # 403 or 404 from IAM: the account is disabled, gone, or we may no longer act as it. What is
            # passing is marked as worth trying again.
            if refused.retryable or not _FINAL.search(str(refused)):
                raise Retry(f"no token for {self.account}: {refused}") from refused
            raise GiveUp(
                f"Waybill cannot act as the account {self.account}: it is disabled or deleted, or Waybill "
                "lost the permission to use it.",
                f"Ask Waybill's operators to enable {self.account}, then {self._ways.again}.",
            ) from refused

    def explain(self, refused: GoogleAPICallError) -> CustomerMustAct | None:
        """What a refusal means for the customer; None where it is ours to fix.

        A rewrite reads in our staging and writes in their bucket: what it may not read is ours.
        """
        if isinstance(refused, NotFound):
            return self.gone() if "bucket does not exist" in _said(refused) else None
        permission = _PERMISSION.search(_said(refused))
        # The request is in the error's text; a slash in an object's name would not stand there as one.
        rewriting = "/rewriteTo/" in str(refused)
        if permission is None or (rewriting and permission[0] == "storage.objects.get"):
            return None
        return self.refusal(permission[0])


def _said(refused: GoogleAPICallError) -> str:
    """What Storage says, without the request, whose names the customer chose."""
    return (
        " ".join(str(each.get("message", "")) for each in refused.errors) or str(refused).partition(": ")[2]
    )
