from typing import Any

import pytest
from pydantic import TypeAdapter

from shared.datasets import errors, request
from shared.datasets.errors import InvalidExportParameter, InvalidPath, ParameterError
from shared.datasets.request import NewDataset, Request
from shared.datasets.samples import CLASSIFICATION, DETECTION
from shared.delivery.cloud_storage.uri import BucketUri
from shared.errors import Invalid, Refused

PATH = {"path": "/bucket/out/"}


def parsed(body: dict[str, Any], dataset_type: int = CLASSIFICATION) -> Request:
    return request.parse({**PATH, **body}, dataset_type)


def params(**given: Any) -> dict[str, Any]:
    return {"export_params": given}


def condition(**given: Any) -> dict[str, Any]:
    return params(search_conditions=[given])


def problems(error: Invalid) -> dict[str, str]:
    return {each.field: each.message for each in error.problems}


def test_a_path_is_enough() -> None:
    assert parsed({}) == Request(
        path=BucketUri("bucket", "out/"),
        export_type=request.ALL,
        export_format=request.TILE,
        version_format="Default",
        annotation_format=None,
        source_type_header="obs://",
        with_column_header=True,
        version_id=None,
        new_dataset=None,
        dataset_version_name=None,
        dataset_version_format=None,
        clear_hard_property=True,
        ratio_sample_usage=False,
        train_sample_ratio=1.0,
        sample_states=(),
        samples=None,
        conditions=(),
    )


def test_all_that_a_body_can_say() -> None:
    search = {"hard": "1", "score": "0.25-1", "sample_time": "20260301-20260331"}
    made = request.parse(
        {
            "annotation_format": "COCO",
            "dataset_id": "any",
            "dataset_type": 1,
            "export_format": 1,
            "export_type": 3,
            "path": "gs://bucket/a/b",
            "sample_state": "__ALL__",
            "source_type_header": "s3://",
            "version_format": "CSV",
            "version_id": "v1",
            "with_column_header": False,
            "export_params": {
                "clear_hard_property": False,
                "export_dataset_version_format": "Default",
                "export_dataset_version_name": "V001",
                "export_dest": "NEW_DATASET",
                "export_new_dataset_name": "dataset-export-test",
                "export_new_dataset_work_path": "/acme-ml/output/",
                "ratio_sample_usage": True,
                "sample_state": "__ACCEPTED__",
                "samples": ["one", "two"],
                "search_conditions": [search],
                "train_sample_ratio": "0.80",
            },
        },
        DETECTION,
    )
    [only] = made.conditions
    assert made == Request(
        path=BucketUri("acme-ml", "output/"),
        export_type=request.BY_CONDITIONS,
        export_format=request.TREE,
        version_format="CSV",
        annotation_format="COCO",
        source_type_header="s3://",
        with_column_header=False,
        version_id="v1",
        new_dataset=NewDataset("dataset-export-test", BucketUri("acme-ml", "output/")),
        dataset_version_name="V001",
        dataset_version_format="Default",
        clear_hard_property=False,
        ratio_sample_usage=True,
        train_sample_ratio=0.8,
        sample_states=("__ALL__", "__ACCEPTED__"),
        samples=frozenset({"one", "two"}),
        conditions=(only,),
    )
    assert (only.hard, only.score) == ("1", (0.25, 1.0))
    assert [str(day) for day in only.sample_time or ()] == ["2026-03-01", "2026-03-31"]


def test_the_examples_of_the_vendor_are_read() -> None:
    to_storage = {
        "path": "/test-obs/daoChu/",
        "export_type": 3,
        "export_params": {"sample_state": "", "export_dest": "DIR"},
    }
    assert request.parse(to_storage, CLASSIFICATION).path == BucketUri("test-obs", "daoChu/")
    to_dataset = {
        "path": "/test-obs/classify/input/",
        "export_type": 3,
        "export_params": {
            "sample_state": "",
            "export_dest": "NEW_DATASET",
            "export_new_dataset_name": "dataset-export-test",
            "export_new_dataset_work_path": "/test-obs/classify/output/",
        },
    }
    work_path = BucketUri("test-obs", "classify/output/")
    assert request.parse(to_dataset, CLASSIFICATION).new_dataset == NewDataset(
        "dataset-export-test", work_path
    )


def test_what_answers_have_is_ignored() -> None:
    answered = {
        "create_time": 1,
        "dataset_id": "d",
        "error_code": "ModelArts.4401",
        "error_msg": "failed",
        "finished_sample_count": 3,
        "progress": 100.0,
        "status": "SUCCESSED",
        "task_id": "t",
        "total_sample_count": 3,
        "update_time": 2,
    }
    assert parsed(answered) == parsed({})


@pytest.mark.parametrize(
    "body",
    [
        dict.fromkeys(set(request.ExportTaskBody.model_fields) - {"path"}),
        dict.fromkeys(set(request.ExportTaskBody.model_fields) - {"path"}, ""),
        params(**dict.fromkeys(request.ExportParams.model_fields)),
        params(**dict.fromkeys(request.ExportParams.model_fields, "")),
    ],
)
def test_null_and_an_empty_text_are_as_if_left_out(body: dict[str, Any]) -> None:
    assert parsed(body) == parsed({})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("gs://bucket/a/b/", BucketUri("bucket", "a/b/")),
        ("/bucket/a/b/", BucketUri("bucket", "a/b/")),
        ("/bucket/a", BucketUri("bucket", "a/")),
        ("gs://bucket", BucketUri("bucket", "")),
        ("/bucket/", BucketUri("bucket", "")),
    ],
)
def test_paths(path: str, expected: BucketUri) -> None:
    assert parsed({"path": path}).path == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (None, "is needed: gs://bucket/prefix/ or /bucket/prefix/"),
        ("", "is needed: gs://bucket/prefix/ or /bucket/prefix/"),
        (
            "obs://bucket/a/",
            "must be gs://bucket/prefix/ or /bucket/prefix/, in Google Cloud Storage; got 'obs://bucket/a/'",
        ),
        (
            "s3://bucket/a/",
            "must be gs://bucket/prefix/ or /bucket/prefix/, in Google Cloud Storage; got 's3://bucket/a/'",
        ),
        (
            "bucket/a/",
            "must be gs://bucket/prefix/ or /bucket/prefix/, in Google Cloud Storage; got 'bucket/a/'",
        ),
        ("/", "must name a bucket after gs://, such as gs://my-bucket/waybill"),
        ("/Bucket/a/", "'Bucket' is not a bucket name: 3 to 222 small letters, digits, - _ ."),
        ("/bucket/../a/", "must not have a folder named . or .., which most tools cannot open"),
        (
            "/bucket//a/",
            "must not hold two slashes in a row: a folder without a name cannot be reached by Hadoop, "
            "Spark or gcsfuse",
        ),
        ("gs://bucket/a\tb/", "must not hold a line break or another control character"),
        ("/bucket/" + "é/" * 200, "must have at most 512 bytes after the bucket's name"),
    ],
)
def test_wrong_paths_are_refused(path: str | None, message: str) -> None:
    with pytest.raises(InvalidPath) as refused:
        parsed({"path": path})
    assert problems(refused.value) == {"path": message}
    assert (refused.value.code, refused.value.status) == ("ModelArts.4358", 400)


def test_a_prefix_may_have_512_bytes_with_its_slash() -> None:
    assert len(parsed({"path": "/bucket/" + "a/" * 255 + "a"}).path.prefix) == 512


def test_a_wrong_work_path_is_refused_as_a_path() -> None:
    given = {
        "export_dest": "NEW_DATASET",
        "export_new_dataset_name": "new",
        "export_new_dataset_work_path": "s3://b/",
    }
    with pytest.raises(InvalidPath) as refused:
        parsed({"path": "obs://b/", **params(**given)})
    assert [*problems(refused.value)] == ["path", "export_params.export_new_dataset_work_path"]


IN_CONDITION = "export_params.search_conditions[0]"
SHARE = "must be a text with two numbers from 0 to 1, such as '0.2-0.8', or '0.8-1' for 0.8 and more"
RATIO = "must be a number from 0 to 1, such as 0.8, or the same as a text"
TIME = "must be month, day, or two days such as 20190901-20190915"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        ({"colour": "red"}, "colour", "there is no such field"),
        ({"path": 7}, "path", "input should be a valid string"),
        ({"export_type": 4}, "export_type", "input should be less than or equal to 3"),
        ({"export_type": "3"}, "export_type", "input should be a valid integer"),
        ({"export_type": True}, "export_type", "input should be a valid integer"),
        ({"export_format": 0}, "export_format", "input should be greater than or equal to 1"),
        (
            {"version_format": "csv"},
            "version_format",
            "must be Default, CSV, YOLO, Parquet, WebDataset or CarbonData; got 'csv'",
        ),
        ({"annotation_format": "YOLO"}, "annotation_format", "must be VOC or COCO; got 'YOLO'"),
        ({"source_type_header": "s3"}, "source_type_header", "must be obs://, s3:// or gs://; got 's3'"),
        ({"with_column_header": "true"}, "with_column_header", "input should be a valid boolean"),
        ({"version_id": "v" * 65}, "version_id", "string should have at most 64 characters"),
        (
            {"dataset_type": 1},
            "dataset_type",
            "this dataset has the type 0 (image classification): send that, or leave it out",
        ),
        (
            {"sample_state": "ALL"},
            "sample_state",
            "must be __ALL__, __NONE__, __UNCHECK__, __ACCEPTED__, __REJECTED__, __UNREVIEWED__, "
            "__REVIEWED__, __AUTO_ANNOTATION__, __WORKFORCE_SAMPLED__, __WORKFORCE_SAMPLED_UNCHECK__, "
            "__WORKFORCE_SAMPLED_CHECKED__, __WORKFORCE_SAMPLED_ACCEPTED__ or "
            "__WORKFORCE_SAMPLED_REJECTED__; got 'ALL'",
        ),
        (
            {"export_params": []},
            "export_params",
            "input should be a valid dictionary or instance of ExportParams",
        ),
        (params(dest="DIR"), "export_params.dest", "there is no such field"),
        (params(export_dest="OBS"), "export_params.export_dest", "must be DIR or NEW_DATASET; got 'OBS'"),
        (
            params(export_dest="NEW_DATASET", export_new_dataset_work_path="/b/"),
            "export_params.export_new_dataset_name",
            "is needed where export_dest is NEW_DATASET",
        ),
        (
            params(export_dest="NEW_DATASET", export_new_dataset_name="new"),
            "export_params.export_new_dataset_work_path",
            "is needed where export_dest is NEW_DATASET",
        ),
        (
            params(export_new_dataset_name="new"),
            "export_params.export_new_dataset_name",
            "belongs to a new dataset: set export_dest to NEW_DATASET, or leave this out",
        ),
        (
            params(clear_hard_property=True, clear_difficult=False),
            "export_params.clear_difficult",
            "must not differ from clear_hard_property, which it is another name of: send one of them",
        ),
        (params(ratio_sample_usage=1), "export_params.ratio_sample_usage", "input should be a valid boolean"),
        (params(train_sample_ratio="1.5"), "export_params.train_sample_ratio", RATIO),
        (params(train_sample_ratio=-0.1), "export_params.train_sample_ratio", RATIO),
        (params(train_sample_ratio=True), "export_params.train_sample_ratio", RATIO),
        (params(train_sample_ratio="nan"), "export_params.train_sample_ratio", RATIO),
        (params(samples=[7]), "export_params.samples[0]", "input should be a valid string"),
        (
            params(samples=["a"] * 10_001),
            "export_params.samples",
            "list should have at most 10000 items after validation, not 10001",
        ),
        (
            params(search_conditions=[{}] * 21),
            "export_params.search_conditions",
            "list should have at most 20 items after validation, not 21",
        ),
        (condition(colour="red"), f"{IN_CONDITION}.colour", "there is no such field"),
        (condition(hard=1), f"{IN_CONDITION}.hard", "input should be a valid string"),
        (condition(hard="2"), f"{IN_CONDITION}.hard", "must be 0 or 1; got '2'"),
        (condition(score="0.8"), f"{IN_CONDITION}.score", SHARE),
        (condition(score=0.8), f"{IN_CONDITION}.score", SHARE),
        (condition(score="0.2-1.1"), f"{IN_CONDITION}.score", SHARE),
        (
            condition(coefficient="0.8-0.2"),
            f"{IN_CONDITION}.coefficient",
            "must have the smaller number first; got '0.8-0.2'",
        ),
        (
            condition(import_origin="main"),
            f"{IN_CONDITION}.import_origin",
            "must be the id of a site, a UUID in small letters; got 'main'",
        ),
        (condition(sample_dir="WO-1"), f"{IN_CONDITION}.sample_dir", "must end with a slash; got 'WO-1'"),
        (
            condition(sample_dir="a/b/"),
            f"{IN_CONDITION}.sample_dir",
            "must be a work order's name and a slash, such as 'WO-7/'; got 'a/b/'",
        ),
        (condition(sample_time="week"), f"{IN_CONDITION}.sample_time", TIME),
        (condition(sample_time=20190901), f"{IN_CONDITION}.sample_time", TIME),
        (
            condition(sample_time="20190901-20191002"),
            f"{IN_CONDITION}.sample_time",
            "must have at most 30 days between the first and the last; got '20190901-20191002'",
        ),
        (
            condition(sample_time="20190915-20190901"),
            f"{IN_CONDITION}.sample_time",
            "must have the earlier day first; got '20190915-20190901'",
        ),
        (
            condition(sample_time="20190230-20190301"),
            f"{IN_CONDITION}.sample_time",
            "must name days that exist; got '20190230-20190301'",
        ),
        (
            condition(label_list={"labels": [{"name": "a"}, {"name": "b"}]}),
            f"{IN_CONDITION}.label_list",
            "op is needed where there are several labels: OR or AND",
        ),
        (
            condition(label_list={"op": "and", "labels": []}),
            f"{IN_CONDITION}.label_list.op",
            "must be OR or AND; got 'and'",
        ),
        (
            condition(label_list={"labels": [{"property": {"task": None, "annotated-by": None}}]}),
            f"{IN_CONDITION}.label_list.labels[0]",
            "op is needed where there are several attributes: OR or AND",
        ),
        (
            condition(metadata={"props": {"a": None, "b": ["1"]}}),
            f"{IN_CONDITION}.metadata",
            "op is needed where there are several attributes: OR or AND",
        ),
        (
            condition(metadata={"props": {"a": "1"}}),
            f"{IN_CONDITION}.metadata.props.a",
            "input should be a valid list",
        ),
        (
            condition(metadata={"props": {"a": ["1"] * 101}}),
            f"{IN_CONDITION}.metadata.props.a",
            "list should have at most 100 items after validation, not 101",
        ),
        (
            condition(metadata={"op": "OR", "props": {f"a{number}": None for number in range(21)}}),
            f"{IN_CONDITION}.metadata.props",
            "dictionary should have at most 20 items after validation, not more",
        ),
        (
            condition(label_list={"op": "OR", "labels": [{"name": "a"}] * 51}),
            f"{IN_CONDITION}.label_list.labels",
            "list should have at most 50 items after validation, not 51",
        ),
    ],
)
def test_wrong_fields_are_refused(body: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(ParameterError) as refused:
        parsed(body)
    assert problems(refused.value) == {field: message}
    assert (refused.value.code, refused.value.status) == ("ModelArts.0104", 400)


@pytest.mark.parametrize(
    ("field", "pattern"), [("export_new_dataset_name", "a/b"), ("export_dataset_version_name", "v 1")]
)
def test_names_that_cannot_be_in_names_of_files_are_refused(field: str, pattern: str) -> None:
    with pytest.raises(ParameterError, match=f"export_params.{field}: string should match pattern"):
        parsed(params(**{field: pattern}))


NO_VIDEO, NO_DICOM = "photographs are no videos", "photographs have no DICOM attributes"


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (condition(frame_in_video=0), f"{IN_CONDITION}.frame_in_video", f"{NO_VIDEO}: leave this filter out"),
        (condition(time_in_video="1"), f"{IN_CONDITION}.time_in_video", f"{NO_VIDEO}: leave this filter out"),
        (condition(kvp="100"), f"{IN_CONDITION}.kvp", f"{NO_DICOM}: leave this filter out"),
        (
            condition(slice_thickness="5"),
            f"{IN_CONDITION}.slice_thickness",
            f"{NO_DICOM}: leave this filter out",
        ),
        (condition(study_date="2019"), f"{IN_CONDITION}.study_date", f"{NO_DICOM}: leave this filter out"),
        (
            condition(parent_sample_id="a"),
            f"{IN_CONDITION}.parent_sample_id",
            "photographs are not cut out of other samples: leave this filter out",
        ),
        (
            condition(metadata={"props": {"@modelarts:hard": ["1"]}}),
            f"{IN_CONDITION}.metadata.props",
            "@modelarts:hard is no attribute of photographs: use the filters hard and coefficient",
        ),
        (
            condition(label_list={"labels": [{"type": 200}]}),
            f"{IN_CONDITION}.label_list.labels[0].type",
            "the labels of this dataset have the type 0 (image classification); got 200",
        ),
        (
            condition(label_list={"labels": [{"property": {"@modelarts:color": None}}]}),
            f"{IN_CONDITION}.label_list.labels[0].property",
            "labels here have no attribute '@modelarts:color': use task or annotated-by",
        ),
        (
            {"version_format": "CarbonData"},
            "version_format",
            "CarbonData is a format of tables: use one of Default, CSV, YOLO, Parquet, WebDataset",
        ),
        (
            params(export_dataset_version_format="CarbonData"),
            "export_params.export_dataset_version_format",
            "CarbonData is a format of tables: use one of Default, CSV, YOLO, Parquet, WebDataset",
        ),
    ],
)
def test_what_cannot_apply_to_photographs_is_refused(body: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidExportParameter) as refused:
        parsed(body)
    assert problems(refused.value) == {field: message}
    assert (refused.value.code, refused.value.status) == ("ModelArts.4384", 400)


@pytest.mark.parametrize("state", request.SAMPLED_STATES)
def test_states_of_a_drawn_sample_are_refused_in_both_places(state: str) -> None:
    with pytest.raises(InvalidExportParameter) as refused:
        parsed({"sample_state": state, **params(sample_state=state)})
    message = (
        f"no samples are drawn here to check a team's work, so none is {state}: "
        "use __ACCEPTED__, __REJECTED__ or __UNCHECK__"
    )
    assert problems(refused.value) == {"sample_state": message, "export_params.sample_state": message}


def test_every_filter_that_does_not_apply_is_named() -> None:
    given: dict[str, Any] = dict.fromkeys(request.NOT_OF_PHOTOGRAPHS, "1")
    given["frame_in_video"] = 1
    with pytest.raises(InvalidExportParameter) as refused:
        parsed(condition(**given))
    assert {*problems(refused.value)} == {f"{IN_CONDITION}.{name}" for name in request.NOT_OF_PHOTOGRAPHS}


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, True), ({"clear_hard_property": False}, False), ({"clear_difficult": False}, False)],
)
def test_attributes_of_hard_samples_are_cleared_by_default(given: dict[str, bool], expected: bool) -> None:
    assert parsed(params(**given)).clear_hard_property is expected


@pytest.mark.parametrize(
    ("given", "expected"), [("1.00", 1.0), ("0.8", 0.8), (0.8, 0.8), (1, 1.0), (0, 0.0), ("0", 0.0)]
)
def test_a_ratio_is_a_text_or_a_number(given: str | float, expected: float) -> None:
    assert parsed(params(train_sample_ratio=given)).train_sample_ratio == expected


def test_thirty_days_may_lie_between_two_days() -> None:
    [only] = parsed(condition(sample_time="20190901-20191001")).conditions
    assert only.sample_time is not None


def test_every_field_of_the_body_is_described() -> None:
    schema = TypeAdapter(request.ExportTaskBody).json_schema()
    models = {"ExportTaskBody": schema, **schema["$defs"]}
    without = [
        f"{name}.{field}"
        for name, model in models.items()
        for field, described in model["properties"].items()
        if not described.get("description")
    ]
    assert without == []
    condition = models["SearchCondition"]["properties"]
    assert [condition[field]["anyOf"][0]["type"] for field in ("score", "sample_time")] == [
        "string",
        "string",
    ]


def test_each_error_has_its_code_and_status() -> None:
    found = {
        (each.code, each.status)
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, Refused) and each.code
    }
    assert found == {
        ("ModelArts.0104", 400),
        ("ModelArts.0210", 404),
        ("ModelArts.4312", 400),
        ("ModelArts.4351", 409),
        ("ModelArts.4352", 404),
        ("ModelArts.4353", 404),
        ("ModelArts.4358", 400),
        ("ModelArts.4358", 409),
        ("ModelArts.4359", 404),
        ("ModelArts.4384", 400),
        ("ModelArts.4409", 409),
    }
