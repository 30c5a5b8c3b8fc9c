"""Which permissions of Google's IAM a call needs, and which a role gives. The laptop checks those of Storage
and of acting as an account; this table has the rest, so that what functions were seen to do can be held
against what Terraform grants them (tests/end_to_end/test_permissions.py).

Firestore: https://cloud.google.com/firestore/docs/security/iam
Pub/Sub: https://cloud.google.com/pubsub/docs/access-control
Acting as an account: https://cloud.google.com/iam/docs/service-account-permissions#token-creator-role
Secrets: https://cloud.google.com/secret-manager/docs/access-control
Being called: https://cloud.google.com/run/docs/reference/iam/roles and
https://cloud.google.com/eventarc/docs/access-control
"""

from collections.abc import Mapping

from infra.local.storage import iam

GET_TOKEN = "iam.serviceAccounts.getAccessToken"  # noqa: S105
SIGN = "iam.serviceAccounts.signBlob"
PUBLISH = "pubsub.topics.publish"
READ_SECRET = "secretmanager.versions.access"  # noqa: S105
INVOKE = "run.routes.invoke"
RECEIVE = "eventarc.events.receiveEvent"

DATABASE = "the database"
"""Firestore's roles are given on a project's database as a whole: there is none on a collection."""

PROJECT = "the project"
"""What a role is given on that is given on nothing smaller."""

_READ = ("datastore.entities.get", "datastore.entities.list")

CALLS: Mapping[str, tuple[str, ...]] = {
    "firestore.GetDocument": ("datastore.entities.get",),
    "firestore.BatchGetDocuments": ("datastore.entities.get",),
    "firestore.ListDocuments": _READ,
    "firestore.ListCollectionIds": ("datastore.entities.list",),
    "firestore.RunQuery": _READ,
    "firestore.RunAggregationQuery": _READ,
    "firestore.BeginTransaction": ("datastore.databases.get",),
    "firestore.Rollback": ("datastore.databases.get",),
    # A write without a precondition may create and may update.
    "firestore.Commit": ("datastore.entities.create", "datastore.entities.update"),
    "firestore.BatchWrite": ("datastore.entities.create", "datastore.entities.update"),
    "pubsub.Publish": (PUBLISH,),
}
"""The kinds of calls whose service does not check by itself, and what they need."""

_VIEWER = frozenset({"datastore.databases.get", *_READ})

ROLES: Mapping[str, frozenset[str]] = {
    **iam.ROLES,
    "roles/datastore.viewer": _VIEWER,
    "roles/datastore.user": _VIEWER
    | {f"datastore.entities.{each}" for each in ("allocateIds", "create", "delete", "update")},
    "roles/pubsub.publisher": frozenset({PUBLISH}),
    "roles/iam.serviceAccountTokenCreator": frozenset(
        {f"iam.serviceAccounts.{each}" for each in ("getOpenIdToken", "implicitDelegation", "signJwt")}
        | {GET_TOKEN, SIGN}
    ),
    "roles/secretmanager.secretAccessor": frozenset({READ_SECRET}),
    "roles/run.invoker": frozenset({INVOKE}),
    "roles/eventarc.eventReceiver": frozenset({RECEIVE}),
}
"""What a role permits, as far as something here needs it: roles that Waybill has, and smaller ones in their
place."""
