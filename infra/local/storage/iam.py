"""Which permissions a role holds, and who holds which permission on what.

Roles: https://cloud.google.com/storage/docs/access-control/iam-roles
Managed folders: https://cloud.google.com/storage/docs/managed-folders
"""

from collections.abc import Iterable

PERMISSIONS = frozenset(
    [f"storage.objects.{verb}" for verb in (
        "create", "delete", "get", "getIamPolicy", "list", "move", "overrideUnlockedRetention", "restore",
        "setIamPolicy", "setRetention", "update", "createContext", "updateContext", "deleteContext",
    )]
    + [f"storage.buckets.{verb}" for verb in (
        "create", "createTagBinding", "delete", "deleteTagBinding", "enableObjectRetention", "get",
        "getIamPolicy", "getIpFilter", "getObjectInsights", "list", "listEffectiveTags", "listTagBindings",
        "relocate", "restore", "setIamPolicy", "setIpFilter", "update",
    )]
    + [f"storage.multipartUploads.{verb}" for verb in ("abort", "create", "list", "listParts")]
    + [f"storage.managedFolders.{verb}" for verb in (
        "create", "delete", "get", "getIamPolicy", "list", "setIamPolicy",
    )]
    + [f"storage.folders.{verb}" for verb in ("create", "delete", "get", "list", "rename")]
)  # fmt: skip


def _all(*families: str) -> frozenset[str]:
    return frozenset(p for p in PERMISSIONS if p.startswith(families))


_CREATOR = frozenset(
    {
        "storage.folders.create",
        "storage.managedFolders.create",
        "storage.multipartUploads.abort",
        "storage.multipartUploads.create",
        "storage.multipartUploads.listParts",
        "storage.objects.create",
        "storage.objects.createContext",
    }
)
_VIEWER = frozenset(
    {
        "storage.folders.get",
        "storage.folders.list",
        "storage.managedFolders.get",
        "storage.managedFolders.list",
        "storage.objects.get",
        "storage.objects.list",
    }
)
_USER = (
    _CREATOR
    | _VIEWER
    | _all("storage.folders.", "storage.multipartUploads.")
    | {
        "storage.managedFolders.delete",
        "storage.objects.delete",
        "storage.objects.deleteContext",
        "storage.objects.move",
        "storage.objects.restore",
        "storage.objects.update",
        "storage.objects.updateContext",
    }
)

ROLES = {
    "roles/storage.objectViewer": _VIEWER,
    "roles/storage.objectCreator": _CREATOR,
    "roles/storage.objectUser": _USER,
    "roles/storage.objectAdmin": _all(
        "storage.folders.", "storage.managedFolders.", "storage.multipartUploads.", "storage.objects."
    ),
    "roles/storage.admin": PERMISSIONS,
    "roles/storage.legacyBucketReader": frozenset(
        {"storage.buckets.get", "storage.multipartUploads.list", "storage.objects.list"}
    ),
}
"""Only the `storage.` permissions of each role: the others decide nothing here."""

EVERYBODY = "allUsers"
"""The member that is anybody, also without credentials.
https://cloud.google.com/storage/docs/access-control/making-data-public"""

_BUCKET_ONLY = {"roles/storage.admin", "roles/storage.legacyBucketReader"}


def permissions(roles_or_permissions: Iterable[str], *, folder: bool = False) -> frozenset[str]:
    """The permissions in a mix of roles and single permissions; ValueError for one that does not exist.

    With `folder`, roles and permissions that cannot be given on a managed folder raise ValueError too.
    """
    found: set[str] = set()
    for name in roles_or_permissions:
        if name not in ROLES and name not in PERMISSIONS:
            raise ValueError(f"{name} is no role or permission of Cloud Storage known here")
        if folder and (name in _BUCKET_ONLY or name.startswith("storage.buckets.")):
            raise ValueError(f"{name} cannot be granted on a managed folder")
        found |= ROLES.get(name, {name})
    return frozenset(found)


class Grants:
    """Who may do what, in memory. A bucket's grants have the folder ""."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], dict[str, frozenset[str]]] = {}

    def add(self, bucket: str, member: str, folder: str, granted: Iterable[str]) -> None:
        """Give a member permissions on a bucket, or on a folder of it."""
        # A new dictionary each time: another thread may be going through the old one.
        held = self._held.get((bucket, member), {})
        self._held[(bucket, member)] = {**held, folder: held.get(folder, frozenset()) | set(granted)}

    def take(self, bucket: str, member: str, taken: Iterable[str]) -> None:
        """Take permissions from a member, on the bucket and on each of its folders."""
        gone = frozenset(taken)
        held = self._held.get((bucket, member), {})
        self._held[(bucket, member)] = {folder: granted - gone for folder, granted in held.items()}

    def forget_bucket(self, bucket: str) -> None:
        """Drop every grant on a bucket and its folders."""
        self._held = {key: held for key, held in self._held.items() if key[0] != bucket}

    def holds(self, bucket: str, member: str, permission: str, path: str = "") -> bool:
        """Whether a member has a permission on the object (or for a list: the prefix) `path`.

        Grants add up: the bucket's own and those of each folder that `path` lies in.
        """
        return any(
            permission in granted and path.startswith(folder)
            for each in (member, EVERYBODY)
            for folder, granted in self._held.get((bucket, each), {}).items()
        )
