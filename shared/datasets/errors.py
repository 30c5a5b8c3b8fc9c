"""The errors of datasets and their export tasks, a class for each code of the surface.

https://support.huaweicloud.com/intl/en-us/api-modelarts/modelarts_03_0095.html
"""

from shared.errors import Conflict, Invalid, NotFound

EXPORT_FAILED = "ModelArts.4401"
"""The `error_code` of an export task that failed for a reason that has no code of its own. No request is
answered with it."""


class ParameterError(Invalid):
    """A field has a wrong value, or is missing. `problems` names every such field."""

    code = "ModelArts.0104"


class NoSuchProject(NotFound):
    """The project is not the customer of the key."""

    code = "ModelArts.0210"


class NoSuchOutputPath(Invalid):
    """The bucket of an output path does not exist."""

    code = "ModelArts.4312"


class DatasetExists(Conflict):
    """The customer has a dataset of that name."""

    code = "ModelArts.4351"


class NoSuchDataset(NotFound):
    """The customer has no such dataset."""

    code = "ModelArts.4352"


class NoSuchVersion(NotFound):
    """The dataset has no such version."""

    code = "ModelArts.4353"


class InvalidPath(Invalid):
    """A path is none that can be exported to. `problems` names its field."""

    code = "ModelArts.4358"


class PathInUse(Conflict):
    """Another task exports to the path, or there is something in it."""

    code = InvalidPath.code


class NoSuchTask(NotFound):
    """The dataset has no such export task."""

    code = "ModelArts.4359"


class InvalidExportParameter(Invalid):
    """A parameter is right in itself, but cannot apply to photographs. `problems` names every such field."""

    code = "ModelArts.4384"


class TooManyTasks(Conflict):
    """The customer has as many tasks under way as it may have."""

    code = "ModelArts.4409"
