"""What an export task is asked to do: the body of `POST /v2/{project_id}/datasets/{dataset_id}/export-tasks`,
parsed once into frozen types. Every wrong field is named.

Clients send null or an empty text for what they do not set: that is the same as leaving the field out.
https://support.huaweicloud.com/intl/en-us/api-modelarts/ExportTask.html
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from shared.analysis.results import NAME_LONGEST, TEXT_LONGEST
from shared.cutting import shown
from shared.datasets.errors import InvalidExportParameter, InvalidPath, ParameterError
from shared.datasets.samples import CLASSIFICATION, DETECTION, SEGMENTATION
from shared.delivery.cloud_storage.uri import BucketUri
from shared.errors import FieldProblem, Invalid
from shared.http.bodies import OneOf, read

LABELLED, UNLABELLED, ALL, BY_CONDITIONS = 0, 1, 2, 3
"""`export_type`: which samples are exported."""

TREE, TILE = 1, 2
"""`export_format`: an image's last directory is its label, or images and files with their labels lie side by
side."""

CARBON_DATA = "CarbonData"
"""ModelArts' format of tables. Photographs cannot be exported in it."""

VERSION_FORMATS = ("Default", "CSV", "YOLO", "Parquet", "WebDataset")
"""The formats of a version. `Default` is the manifest."""

ANNOTATION_FORMATS = ("VOC", "COCO")
"""The formats of labels."""

PREFIXES = ("obs://", "s3://", "gs://")
"""`source_type_header`: what paths in exported files begin with."""

SAMPLE_STATES = (
    "__ALL__",
    "__NONE__",
    "__UNCHECK__",
    "__ACCEPTED__",
    "__REJECTED__",
    "__UNREVIEWED__",
    "__REVIEWED__",
    "__AUTO_ANNOTATION__",
)
"""The states that a sample can have here. `shared.datasets.filters` says what each means."""

SAMPLED_STATES = tuple(
    f"__WORKFORCE_SAMPLED_{state}_" for state in ("", "UNCHECK_", "CHECKED_", "ACCEPTED_", "REJECTED_")
)
"""The states of samples that were drawn to check a team's work. Nothing is drawn here."""

LABEL_PROPERTIES = ("task", "annotated-by")
"""The attributes of a label: the task whose result it is, and who gave it."""

TYPES = {
    CLASSIFICATION: "image classification",
    DETECTION: "object detection",
    SEGMENTATION: "image segmentation",
}
"""The types of datasets, and of their labels."""

NOT_OF_PHOTOGRAPHS = {
    "frame_in_video": "photographs are no videos",
    "time_in_video": "photographs are no videos",
    "kvp": "photographs have no DICOM attributes",
    "slice_thickness": "photographs have no DICOM attributes",
    "study_date": "photographs have no DICOM attributes",
    "parent_sample_id": "photographs are not cut out of other samples",
}
"""The filters that cannot apply to photographs, each with the reason."""

MAX_SAMPLES = 10_000
"""How many ids `samples` may have."""

MAX_CONDITIONS = 20
"""How many search conditions a task may have."""

MAX_LABELS = 50
"""How many labels one search condition may have."""

MAX_PROPERTIES = 20
"""How many attributes a search may name."""

MAX_VALUES = 100
"""How many values a search may name of one attribute."""

MAX_DAYS = 30
"""How many days may lie between the first and the last day of `sample_time`."""

ID_LONGEST = 64
"""Characters of an id."""

LABEL_LONGEST = NAME_LONGEST + 1 + TEXT_LONGEST
"""Characters of a label's name: it may begin with the name of its task and a colon."""

PREFIX_BYTES = 512
"""Bytes of a path after its bucket. The names of exported files take as many again; an object's name has at
most 1,024. https://cloud.google.com/storage/quotas#objects"""

_SITE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHARE = re.compile(r"0(?:\.[0-9]{1,12})?|1(?:\.0{1,12})?")
_RANGE = re.compile(f"({_SHARE.pattern})-({_SHARE.pattern})")
_DAYS = re.compile(r"([0-9]{8})-([0-9]{8})")
_DATASET_NAME = r"^[\w-]{1,100}$"
_VERSION_NAME = r"^[\w.-]{1,32}$"


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float


class Days(NamedTuple):
    """Days from `first` to `last` in UTC, both included."""

    first: date
    last: date


@dataclass(frozen=True)
class _Read:
    """In `Annotated`: a text is read by this function. `pattern` is what it must look like."""

    read: Callable[[Any], Any]
    pattern: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^(?:{self.pattern})$"}


def _range(value: Any) -> Range:
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError(
            "must be a text with two numbers from 0 to 1, such as '0.2-0.8', or '0.8-1' for 0.8 and more"
        )
    low, high = map(float, found.groups())
    if low > high:
        raise ValueError(f"must have the smaller number first; got {shown(value)}")
    return Range(low, high)


def _ratio(value: Any) -> float:
    if isinstance(value, str) and _SHARE.fullmatch(value):
        return float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError("must be a number from 0 to 1, such as 0.8, or the same as a text")


def _sample_time(value: Any) -> Literal["month", "day"] | Days:
    if value in ("month", "day"):
        word: Literal["month", "day"] = value
        return word
    found = _DAYS.fullmatch(value) if isinstance(value, str) else None
    if not found:
        raise ValueError("must be month, day, or two days such as 20190901-20190915")
    try:
        first, last = (datetime.strptime(day, "%Y%m%d").date() for day in found.groups())  # noqa: DTZ007
    except ValueError:
        raise ValueError(f"must name days that exist; got {shown(value)}") from None
    if first > last:
        raise ValueError(f"must have the earlier day first; got {shown(value)}")
    if last - first > timedelta(MAX_DAYS):
        raise ValueError(
            f"must have at most {MAX_DAYS} days between the first and the last; got {shown(value)}"
        )
    return Days(first, last)


def _site(value: str) -> str:
    if not _SITE_ID.fullmatch(value):
        raise ValueError(f"must be the id of a site, a UUID in small letters; got {shown(value)}")
    return value


def _directory(value: str) -> str:
    if not value.endswith("/"):
        raise ValueError(f"must end with a slash; got {shown(value)}")
    if value.count("/") > 1 or value == "/":
        raise ValueError(f"must be a work order's name and a slash, such as 'WO-7/'; got {shown(value)}")
    return value


def _several(op: str | None, count: int, what: str) -> None:
    if op is None and count > 1:
        raise ValueError(f"op is needed where there are several {what}: OR or AND")


Op = Annotated[str, OneOf(("OR", "AND"))]
VersionFormat = Annotated[str, OneOf((*VERSION_FORMATS, CARBON_DATA))]
State = Annotated[str, OneOf((*SAMPLE_STATES, *SAMPLED_STATES))]
Share = Annotated[Range, _Read(_range, _RANGE.pattern)]
Ratio = Annotated[
    float,
    BeforeValidator(_ratio),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0, "maximum": 1}]}),
]
SampleTime = Annotated[Literal["month", "day"] | Days, _Read(_sample_time, f"month|day|{_DAYS.pattern}")]
Text = Annotated[str, Field(max_length=TEXT_LONGEST)]
Id = Annotated[str, Field(max_length=ID_LONGEST)]
Searched = Annotated[
    dict[
        Annotated[str, Field(max_length=TEXT_LONGEST)],
        Annotated[list[Text], Field(max_length=MAX_VALUES)] | None,
    ],
    Field(max_length=MAX_PROPERTIES),
]
"""Of each attribute's name the values that are searched for; null or none for any value."""


class _Form(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return {name: value for name, value in sent.items() if value is not None and value != ""}


class SearchLabel(_Form):
    """A search for a label."""

    name: Annotated[str, Field(max_length=LABEL_LONGEST)] | None = Field(
        default=None, description="The label's name. Without it, any label is searched for."
    )
    op: Op | None = Field(
        default=None,
        description="Whether the label must have one of several attributes (`OR`) or all (`AND`).",
    )
    property: Searched | None = Field(
        default=None,
        description=(
            "The label's attributes, `task` and `annotated-by`. It must have one of the values of each; "
            "null stands for any value."
        ),
    )
    type: int | None = Field(default=None, description="The label's type, which is the dataset's type.")

    @model_validator(mode="after")
    def _needs_op(self) -> "SearchLabel":
        _several(self.op, len(self.property or ()), "attributes")
        return self


class SearchLabels(_Form):
    """A search for labels."""

    labels: Annotated[list[SearchLabel], Field(max_length=MAX_LABELS)] = Field(
        default=[], description="The labels. One that says nothing is left out."
    )
    op: Op | None = Field(
        default=None, description="Whether a sample must have one of several labels (`OR`) or all (`AND`)."
    )

    @model_validator(mode="after")
    def _needs_op(self) -> "SearchLabels":
        _several(self.op, len(self.searched), "labels")
        return self

    @property
    def searched(self) -> list[SearchLabel]:
        """The labels that say something."""
        return [each for each in self.labels if each.name or each.property or each.type is not None]


class SearchProp(_Form):
    """A search for attributes of a sample."""

    op: Op | None = Field(
        default=None,
        description="Whether a sample must have one of several attributes (`OR`) or all (`AND`).",
    )
    props: Searched = Field(
        default={},
        description=(
            "The names of attributes, each with its values. A sample must have one of the values; null "
            "stands for any value."
        ),
    )

    @model_validator(mode="after")
    def _needs_op(self) -> "SearchProp":
        _several(self.op, len(self.props), "attributes")
        return self


class SearchCondition(_Form):
    """What a sample must be like. All fields that are given must hold."""

    coefficient: Share | None = Field(
        default=None, description="How hard the sample is, as a range such as `0.2-0.8`, both ends included."
    )
    frame_in_video: int | None = Field(default=None, description="Refused: photographs are no videos.")
    hard: Annotated[str, OneOf(("0", "1"))] | None = Field(
        default=None, description="Whether the sample is hard: `1`, or `0` if it is not."
    )
    import_origin: Annotated[str, AfterValidator(_site)] | None = Field(
        default=None, description="The id of the site that the sample is from."
    )
    kvp: str | None = Field(default=None, description="Refused: photographs have no DICOM attributes.")
    label_list: SearchLabels | None = Field(default=None, description="Labels of the sample.")
    labeler: Annotated[str, Field(max_length=NAME_LONGEST)] | None = Field(
        default=None, description="Who labelled the sample."
    )
    metadata: SearchProp | None = Field(default=None, description="Attributes of the sample.")
    parent_sample_id: str | None = Field(
        default=None, description="Refused: photographs are not cut out of other samples."
    )
    sample_dir: Annotated[str, Field(max_length=TEXT_LONGEST), AfterValidator(_directory)] | None = Field(
        default=None, description="The name of the sample's work order, and a slash."
    )
    sample_name: Text | None = Field(
        default=None, description="The name of the sample's file, with its extension."
    )
    sample_time: SampleTime | None = Field(
        default=None,
        description=(
            "When the sample was added: `month` (from 30 days ago until today), `day` (since yesterday), "
            "or two days as `yyyyMMdd-yyyyMMdd`, both included, with at most 30 days between. Days are in"
            " UTC."
        ),
    )
    score: Share | None = Field(
        default=None,
        description=(
            "The confidence of a label of the sample, as a range such as `0.2-0.8`, both ends included."
        ),
    )
    slice_thickness: str | None = Field(
        default=None, description="Refused: photographs have no DICOM attributes."
    )
    study_date: str | None = Field(default=None, description="Refused: photographs have no DICOM attributes.")
    time_in_video: str | None = Field(default=None, description="Refused: photographs are no videos.")


class ExportParams(_Form):
    """What is exported of the samples, to where, and which samples."""

    clear_difficult: bool | None = Field(default=None, description="Another name of `clear_hard_property`.")
    clear_hard_property: bool | None = Field(
        default=None,
        description="Whether the attributes `hard` and `hard-coefficient` are left out. Default: true.",
    )
    export_dataset_version_format: VersionFormat | None = Field(
        default=None, description="The format of the version that is made."
    )
    export_dataset_version_name: Annotated[str, Field(pattern=_VERSION_NAME)] | None = Field(
        default=None,
        description="The name of the version that is made: up to 32 letters, digits, `_`, `-` and `.`",
    )
    export_dest: Annotated[str, OneOf(("DIR", "NEW_DATASET"))] = Field(
        default="DIR",
        description="`DIR` exports to the path, `NEW_DATASET` to a new dataset, in its work path.",
    )
    export_new_dataset_name: Annotated[str, Field(pattern=_DATASET_NAME)] | None = Field(
        default=None, description="The name of the new dataset: up to 100 letters, digits, `_` and `-`."
    )
    export_new_dataset_work_path: str | None = Field(
        default=None,
        description="Where the new dataset is kept, as `gs://bucket/prefix/` or `/bucket/prefix/`.",
    )
    ratio_sample_usage: bool = Field(
        default=False, description="Whether samples are split at random into TRAIN and EVAL."
    )
    sample_state: State | None = Field(default=None, description="The state that samples must have.")
    samples: Annotated[list[Id], Field(max_length=MAX_SAMPLES)] = Field(
        default=[], description="The ids of the samples. None for all."
    )
    search_conditions: Annotated[list[SearchCondition], Field(max_length=MAX_CONDITIONS)] = Field(
        default=[], description="What samples must be like. One of several conditions must hold."
    )
    train_sample_ratio: Ratio = Field(default=1.0, description="The share of samples in TRAIN, from 0 to 1.")


class ExportTaskBody(_Form):
    """An export task. Fields that answers have, such as `status`, are ignored."""

    annotation_format: Annotated[str, OneOf(ANNOTATION_FORMATS)] | None = Field(
        default=None, description="The format of the labels."
    )
    dataset_id: Any = Field(default=None, description="Ignored: the call's path names the dataset.")
    dataset_type: int | None = Field(default=None, description="The dataset's type.")
    export_format: Annotated[int, Field(ge=TREE, le=TILE)] = Field(
        default=TILE,
        description=(
            "1: an image's last directory is its label. 2: images and their label files lie side by side."
        ),
    )
    export_params: ExportParams = Field(
        default=ExportParams(), description="More about what is exported, and to where."
    )
    export_type: Annotated[int, Field(ge=LABELLED, le=BY_CONDITIONS)] = Field(
        default=ALL,
        description=(
            "Which samples: 0 labelled, 1 unlabelled, 2 all, 3 by the search conditions. All filters that"
            " are given must hold, whatever the type."
        ),
    )
    path: str | None = Field(
        default=None,
        description="Where to: `gs://bucket/prefix/` or `/bucket/prefix/`. A new dataset needs none.",
    )
    sample_state: State | None = Field(default=None, description="The state that samples must have.")
    source_type_header: Annotated[str, OneOf(PREFIXES)] = Field(
        default=PREFIXES[0], description="What paths in exported files begin with."
    )
    version_format: VersionFormat = Field(
        default=VERSION_FORMATS[0], description="The format of what is exported."
    )
    version_id: Id | None = Field(
        default=None, description="The version to export. Without it, the samples as they are now."
    )
    with_column_header: bool = Field(
        default=True, description="Whether a CSV file begins with a row of names."
    )

    create_time: Any = Field(default=None, description="Ignored, as are the following: answers have them.")
    error_code: Any = Field(default=None, description="Ignored.")
    error_msg: Any = Field(default=None, description="Ignored.")
    finished_sample_count: Any = Field(default=None, description="Ignored.")
    progress: Any = Field(default=None, description="Ignored.")
    status: Any = Field(default=None, description="Ignored.")
    task_id: Any = Field(default=None, description="Ignored.")
    total_sample_count: Any = Field(default=None, description="Ignored.")
    update_time: Any = Field(default=None, description="Ignored.")


IGNORED = frozenset(name for name, field in ExportTaskBody.model_fields.items() if field.annotation is Any)
"""The fields of a body that say nothing: they may hold anything."""


@dataclass(frozen=True)
class NewDataset:
    """The dataset that a task makes: its name, and where it is kept."""

    name: str
    work_path: BucketUri


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """Which samples are chosen.

    export_type             LABELLED, UNLABELLED, ALL or BY_CONDITIONS
    sample_states           the states that a sample must have, all of them
    samples                 the ids that a sample must have one of; None for any
    conditions              the search conditions that a sample must meet one of, if there are any
    """

    export_type: int
    sample_states: tuple[str, ...]
    samples: frozenset[str] | None
    conditions: tuple[SearchCondition, ...]


@dataclass(frozen=True, kw_only=True)
class Request(Chosen):
    """What an export task is asked to do, of the samples that are chosen.

    path                    where to: of a new dataset, its work path
    export_format           TREE or TILE
    version_format          one of VERSION_FORMATS
    annotation_format       one of ANNOTATION_FORMATS, or None
    source_type_header      one of PREFIXES
    with_column_header      whether a CSV file begins with a row of names
    version_id              the version to export; None for the samples as they are
    new_dataset             the dataset to make; None where the task only exports to `path`
    dataset_version_name    the name of the version that is made; None where it is not given
    dataset_version_format  the format of that version, one of VERSION_FORMATS, or None
    clear_hard_property     whether the attributes of hard samples are left out
    ratio_sample_usage      whether samples are split into TRAIN and EVAL
    train_sample_ratio      the share of TRAIN, from 0 to 1
    """

    path: BucketUri
    export_format: int
    version_format: str
    annotation_format: str | None
    source_type_header: str
    with_column_header: bool
    version_id: str | None
    new_dataset: NewDataset | None
    dataset_version_name: str | None
    dataset_version_format: str | None
    clear_hard_property: bool
    ratio_sample_usage: bool
    train_sample_ratio: float


def parse(body: Mapping[str, Any], dataset_type: int) -> Request:
    """What the body asks of a dataset of that type.

    ParameterError where fields are wrong, else InvalidPath where paths are, else InvalidExportParameter where
    something cannot apply to photographs. Each names every such field.
    """
    sent = _read(body)
    params = sent.export_params
    if problems := list(_wrong(sent, dataset_type)):
        raise ParameterError(problems)
    path, work_path = _places(sent)
    if problems := list(_inapplicable(sent, dataset_type)):
        raise InvalidExportParameter(problems)
    name = params.export_new_dataset_name
    clear = params.clear_difficult if params.clear_hard_property is None else params.clear_hard_property
    return Request(
        **_chosen(sent),
        path=path,
        export_format=sent.export_format,
        version_format=sent.version_format,
        annotation_format=sent.annotation_format,
        source_type_header=sent.source_type_header,
        with_column_header=sent.with_column_header,
        version_id=sent.version_id,
        new_dataset=NewDataset(name, work_path) if name and work_path else None,
        dataset_version_name=params.export_dataset_version_name,
        dataset_version_format=params.export_dataset_version_format,
        clear_hard_property=True if clear is None else clear,
        ratio_sample_usage=params.ratio_sample_usage,
        train_sample_ratio=params.train_sample_ratio,
    )


def parse_chosen(body: Mapping[str, Any], dataset_type: int) -> Chosen:
    """Which samples of a dataset of that type the body of a task chooses; it needs no path. Raises what
    `parse` raises of these fields."""
    sent = _read(body)
    if problems := list(_inapplicable(sent, dataset_type)):
        raise InvalidExportParameter(problems)
    return Chosen(**_chosen(sent))


def _read(body: Mapping[str, Any]) -> ExportTaskBody:
    try:
        return read(ExportTaskBody, dict(body))
    except Invalid as error:
        raise ParameterError(error.problems, error.more) from error


def _chosen(sent: ExportTaskBody) -> dict[str, Any]:
    """The fields of `Chosen`."""
    params = sent.export_params
    return {
        "export_type": sent.export_type,
        "sample_states": tuple(filter(None, (sent.sample_state, params.sample_state))),
        "samples": frozenset(params.samples) or None,
        "conditions": tuple(params.search_conditions),
    }


def _wrong(sent: ExportTaskBody, dataset_type: int) -> Iterator[FieldProblem]:
    """What is wrong between fields that are right in themselves."""
    params = sent.export_params
    if sent.dataset_type not in (None, dataset_type):
        message = f"this dataset has the type {_type(dataset_type)}: send that, or leave it out"
        yield FieldProblem("dataset_type", message)
    for field in ("export_new_dataset_name", "export_new_dataset_work_path"):
        given = getattr(params, field) is not None
        if params.export_dest == "NEW_DATASET" and not given:
            yield FieldProblem(f"export_params.{field}", "is needed where export_dest is NEW_DATASET")
        if params.export_dest != "NEW_DATASET" and given:
            message = "belongs to a new dataset: set export_dest to NEW_DATASET, or leave this out"
            yield FieldProblem(f"export_params.{field}", message)
    clear, other = params.clear_hard_property, params.clear_difficult
    if clear is not None and other is not None and clear != other:
        message = "must not differ from clear_hard_property, which it is another name of: send one of them"
        yield FieldProblem("export_params.clear_difficult", message)


def _places(sent: ExportTaskBody) -> tuple[BucketUri, BucketUri | None]:
    """Where samples are exported to: the path, or the work path of a new dataset; and that work path."""
    problems = []
    path = work_path = None
    to_path = sent.export_params.export_dest == "DIR"
    if to_path or sent.path:
        try:
            path = place(sent.path or "")
        except ValueError as error:
            problems.append(FieldProblem("path", str(error)))
    if (given := sent.export_params.export_new_dataset_work_path) is not None:
        try:
            work_path = place(given)
        except ValueError as error:
            problems.append(FieldProblem("export_params.export_new_dataset_work_path", str(error)))
    where = path if to_path else work_path
    if where is None or problems:
        raise InvalidPath(problems)
    return where, work_path


def place(path: str) -> BucketUri:
    """A path of a dataset, `gs://bucket/prefix/` or `/bucket/prefix/`. The prefix may be empty, and its last
    slash may be missing. ValueError with a sentence where it is none."""
    if not path:
        raise ValueError("is needed: gs://bucket/prefix/ or /bucket/prefix/")
    if not path.startswith(("/", "gs://")):
        raise ValueError(
            f"must be gs://bucket/prefix/ or /bucket/prefix/, in Google Cloud Storage; got {shown(path)}"
        )
    uri = BucketUri.parse(f"gs:/{path}" if path.startswith("/") else path)
    if len(uri.prefix.encode()) > PREFIX_BYTES:
        raise ValueError(f"must have at most {PREFIX_BYTES} bytes after the bucket's name")
    return uri


def _inapplicable(sent: ExportTaskBody, dataset_type: int) -> Iterator[FieldProblem]:
    """What cannot apply to the photographs of a dataset of that type."""
    params = sent.export_params
    for field, version_format in (
        ("version_format", sent.version_format),
        ("export_params.export_dataset_version_format", params.export_dataset_version_format),
    ):
        if version_format == CARBON_DATA:
            message = f"CarbonData is a format of tables: use one of {', '.join(VERSION_FORMATS)}"
            yield FieldProblem(field, message)
    for field, state in (
        ("sample_state", sent.sample_state),
        ("export_params.sample_state", params.sample_state),
    ):
        if state in SAMPLED_STATES:
            message = (
                f"no samples are drawn here to check a team's work, so none is {state}: "
                "use __ACCEPTED__, __REJECTED__ or __UNCHECK__"
            )
            yield FieldProblem(field, message)
    for number, condition in enumerate(params.search_conditions):
        yield from _of_condition(condition, f"export_params.search_conditions[{number}]", dataset_type)


def _of_condition(condition: SearchCondition, at: str, dataset_type: int) -> Iterator[FieldProblem]:
    for field, reason in NOT_OF_PHOTOGRAPHS.items():
        if getattr(condition, field) is not None:
            yield FieldProblem(f"{at}.{field}", f"{reason}: leave this filter out")
    for name in condition.metadata.props if condition.metadata else ():
        if name.startswith("@modelarts:"):
            message = f"{name} is no attribute of photographs: use the filters hard and coefficient"
            yield FieldProblem(f"{at}.metadata.props", message)
    for number, label in enumerate(condition.label_list.labels if condition.label_list else ()):
        here = f"{at}.label_list.labels[{number}]"
        if label.type not in (None, dataset_type):
            message = f"the labels of this dataset have the type {_type(dataset_type)}; got {label.type}"
            yield FieldProblem(f"{here}.type", message)
        for name in label.property or ():
            if name not in LABEL_PROPERTIES:
                message = f"labels here have no attribute {shown(name)}: use {' or '.join(LABEL_PROPERTIES)}"
                yield FieldProblem(f"{here}.property", message)


def _type(number: int) -> str:
    return f"{number} ({TYPES[number]})"
