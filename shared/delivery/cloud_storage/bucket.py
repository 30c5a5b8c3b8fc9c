"""A customer's bucket, reached as the customer's account: what goes there, and what its refusals mean."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

from google.api_core.exceptions import Forbidden, GoogleAPICallError, RetryError
from google.auth.exceptions import RefreshError

from shared.errors import CustomerMustAct, GiveUp, Retry
from shared.gcp.clients import Cloud
from shared.gcp.many import NotTaken
from shared.gcp.objects import DifferentObject, Objects, Refusal, Stored, asked_url
from shared.settings import Settings

_FINAL = re.compile(r'"code":\s*(?:400|403|404)\b')
"""How the IAM credentials API says that asking again will not help.
https://cloud.google.com/apis/design/errors"""

_PERMISSION = re.compile(r"storage\.(?:objects|buckets)\.[A-Za-z]+")

_BUCKET = re.compile(r"/b/([^/?]+)")
"""The bucket in the URL of a call; of a rewrite the one that it reads in."""

SAID_LONGEST = 300
"""How much of Storage's own sentence is shown, in characters."""


@dataclass(frozen=True)
class _Cause:
    """Why a bucket refuses. `sign` is found in Storage's reason or sentence; `what` and `fix` are sentences
    about {bucket} and {account}, `fix` without its end."""

    sign: re.Pattern[str]
    what: str
    fix: str


_CAUSES = (
    _Cause(
        re.compile(r"requester pays|userProject(?:Missing|Invalid|AccessDenied)|serviceusage", re.I),
        "The bucket {bucket} has Requester Pays turned on, and Waybill pays for no bucket.",
        "Turn Requester Pays off on gs://{bucket}",
    ),
    _Cause(
        re.compile(r"cloudKms|\bKMS\b|cryptoKey", re.I),
        "The encryption key of the bucket {bucket} cannot be used.",
        "Enable that key, and grant the Cloud Storage service agent of the bucket's project "
        "roles/cloudkms.cryptoKeyEncrypterDecrypter on it",
    ),
    _Cause(
        re.compile(r"vpcServiceControls|VPC Service Controls|prohibited by organi[sz]ation's policy", re.I),
        "A VPC Service Controls perimeter keeps the account {account} out of the bucket {bucket}.",
        "Add {account} to an ingress rule of the perimeter",
    ),
    _Cause(
        re.compile(r"accountDisabled|UserProjectAccountProblem|\bbilling\b", re.I),
        "The billing of the project that owns the bucket {bucket} is turned off.",
        "Turn the project's billing on",
    ),
    _Cause(
        re.compile(r"retention|underActiveHold|under active hold", re.I),
        "A retention policy or a hold on the bucket {bucket} refuses what Waybill writes.",
        "Change that policy so that new objects can be created in gs://{bucket}",
    ),
    _Cause(
        re.compile(r"orgPolicy|organi[sz]ation policy|constraints/|violates constraint", re.I),
        "An organisation policy forbids what Waybill writes into the bucket {bucket}.",
        "Ask your organisation's administrators to allow {account} to write into gs://{bucket}",
    ),
    _Cause(
        re.compile(r"\bIP[ _-]?filter", re.I),
        "The IP filter of the bucket {bucket} keeps Waybill out.",
        "Remove the IP filter of gs://{bucket}, or have it let {account} in",
    ),
)
"""https://cloud.google.com/storage/docs/json_api/v1/status-codes,
https://cloud.google.com/storage/docs/troubleshooting"""


@dataclass(frozen=True)
class Ways:
    """What a customer can do after a refusal, as ends of sentences.

    again      once it is fixed
    elsewhere  to deliver to another place instead
    """

    again: str
    elsewhere: str


RUN_WAYS = Ways("retry the run", "change the export's storage_uri, and retry what failed with :retry-failed")
"""What can be done about a run of an export."""


def why_not(settings: Settings, bucket: str) -> str | None:
    """Why a bucket cannot be a customer's, in a sentence; None where it can."""
    if bucket not in settings.own_buckets:
        return None
    return f"{bucket} is a bucket of Waybill's own, in which nothing is delivered: name a bucket of yours"


class CustomerBucket:
    """The customer's bucket. Refusals that the customer can fix are raised as CustomerMustAct."""

    @classmethod
    def of(cls, cloud: Cloud, account: str, bucket: str, ways: Ways = RUN_WAYS) -> "CustomerBucket":
        """A bucket, reached as a customer's account. CustomerMustAct where it is one of ours: what each door
        refuses may stand in documents that were written before."""
        if why := why_not(cloud.settings, bucket):
            sentence = why.partition(":")[0]
            raise CustomerMustAct(f"{sentence}.", f"{ways.elsewhere[0].upper()}{ways.elsewhere[1:]}.")
        return cls(cloud.as_customer(account), account, bucket, ways)

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
            if "storage.objects.list" in Refusal.of(refused).message:
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

    def taken(self, name: str) -> CustomerMustAct:
        """What to say where something else has the name of an object that is to be written."""
        return CustomerMustAct(
            f"There is already another object at gs://{self.bucket}/{name}. Waybill did not change it.",
            f"Move or delete that object, then {self._ways.again}. Or {self._ways.elsewhere}.",
        )

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Raise what the customer, or we, must fix as an error that says so, and what is passing as Retry;
        other errors pass through, among them refusals by other buckets than this one."""
        try:
            yield
        except DifferentObject as different:
            raise self.taken(different.stored.name) from different
        except NotTaken as refused:
            if refused.bucket != self.bucket:
                raise
            raise self.explain(refused.refusal) or refused from refused
        except RetryError as passing:
            # The client itself has tried again for two minutes by now.
            last = passing.cause
            said = str(Refusal.of(last)) if isinstance(last, GoogleAPICallError) else type(last).__name__
            raise self._passing(said) from passing
        except GoogleAPICallError as refused:
            told = self.explain(Refusal.of(refused)) if self._is_of(refused) else None
            if told is None:
                raise
            raise told from refused
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

    def explain(self, refused: Refusal) -> CustomerMustAct | Retry | None:
        """What a refusal means: what the customer must do, or that it is passing; None where it is ours to
        fix.

        Only here refusals are explained, for connection tests, runs and dataset tasks alike. A rewrite reads
        in our bucket and writes in theirs: what is about its source is ours.
        """
        if refused.passing:
            return self._passing(str(refused))
        if refused.no_bucket:
            return self.gone()
        if refused.of_source:
            return None
        # A key is named in full, with its project: ours is ours to enable.
        if f"projects/{self.account.partition('@')[2].partition('.')[0]}/" in refused.message:
            return None
        if refused.status == 403 and (permission := _PERMISSION.search(refused.message)):
            return self.refusal(permission[0])
        return self._kept_out(refused)

    def _kept_out(self, refused: Refusal) -> CustomerMustAct:
        """What to say of a refusal that is about neither a permission nor a bucket that is gone."""
        of = {"bucket": self.bucket, "account": self.account}
        said = "".join(each if each.isprintable() else " " for each in refused.message)[:SAID_LONGEST]
        words = f' Cloud Storage says: "{said.strip()}" (status {refused.status}).'
        for cause in _CAUSES:
            if cause.sign.search(f"{refused.reason} {refused.message}"):
                fix = f"{cause.fix.format(**of)}, then {self._ways.again}. Or {self._ways.elsewhere}."
                return CustomerMustAct(cause.what.format(**of) + words, fix)
        return CustomerMustAct(
            f"The bucket {self.bucket} refuses the account {self.account}, and names no missing permission."
            f"{words}",
            f"Change the settings of gs://{self.bucket} that refuse it, then {self._ways.again}. Or "
            f"{self._ways.elsewhere}.",
        )

    def _passing(self, said: str) -> Retry:
        return Retry(f"the bucket {self.bucket} does not take it now ({said})")

    def _is_of(self, refused: GoogleAPICallError) -> bool:
        """Whether it was this bucket that was asked, or a rewrite into it."""
        url = asked_url(refused)
        asked = _BUCKET.search(url)
        return asked is not None and (unquote(asked[1]) == self.bucket or "/rewriteTo/" in url)
