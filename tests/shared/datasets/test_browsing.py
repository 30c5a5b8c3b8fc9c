"""Looking at datasets and versions in pages: what they show, at what cost, and whose they are."""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from google.cloud import firestore

from shared.datasets import browsing, comparing, filters, reading, samples, service
from shared.datasets import dataset as stored
from shared.datasets.dataset import Slice, Version
from shared.datasets.errors import ParameterError
from shared.datasets.samples import Label, Sample
from shared.gcp.documents import fields_of
from shared.gcp.objects import Objects
from shared.workorders.images import Image
from tests.subjects.documents_read import documents_read
from tests.subjects.small_dataset import Datasets
from tests.world import BUCKET, OTHER_SITE, SITE, THEIR_SITE, World

OURS = pytest.mark.ours_only("looks at what our Firestore reads")

HOSTILE = '<img src=x onerror=alert(1)> "\u202egnp.exe\u202c 🚧 ' + "x" * 60


@pytest.fixture
def datasets(world: World) -> Datasets:
    return Datasets(world)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return documents_read(monkeypatch)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of an object has given."""
    given: list[int] = []
    reading_of = Objects.read

    def counted(self: Objects, *asked: Any) -> bytes:
        content = reading_of(self, *asked)
        given.append(len(content))
        return content

    monkeypatch.setattr(Objects, "read", counted)
    return given


def url(path: str, **query: Any) -> str:
    return f"{path}?{urlencode(query)}"


def everything(datasets: Datasets, path: str, entries: str, **query: Any) -> list[dict[str, Any]]:
    """The entries on all pages."""
    found, marker = [], ""
    while True:
        page = datasets.got(url(path, **query, **({"marker": marker} if marker else {})))
        found += page[entries]
        if page["next_marker"] is None:
            return found
        assert page["next_marker"] != marker, "a page leads to itself"
        marker = page["next_marker"]


def current(datasets: Datasets, id: str) -> str:
    version: str = datasets.got(f"/{id}")["current_version_id"]
    return version


def made(datasets: Datasets, id: str, number: int, some: Iterator[Sample]) -> str:
    """Write a version of these samples, and return its id."""
    cloud = datasets.world.cloud
    bucket, name = cloud.settings.datasets_bucket, f"acme/{id}/made-{number}"
    content, slices, lines = b"", [], 0
    cuts = [(0, 0)]
    for line in samples.encode(some):
        content += line
        lines += 1
        if lines % reading.SLICE_SAMPLES == 0:
            cuts.append((len(content), lines))
    cuts.append((len(content), lines))
    at = cloud.objects.create(bucket, f"{name}.jsonl", content, reading.LINES_TYPE)
    for (start, before), (end, after) in pairwise(cuts):
        if end > start:
            slices.append(Slice(at, start, end, after - before, 0))
    index = cloud.objects.create(bucket, f"{name}.json", stored.write_index(slices), reading.INDEX_TYPE)
    fields = stored.version_fields(
        number, stored.numbered(number), lines, lines, [], index, datasets.world.suite.clock.now()
    )
    version = f"{number:032x}"
    cloud.db.document(stored.version_path(id, version)).create(
        {**fields, "created": firestore.SERVER_TIMESTAMP}
    )
    return version


def many(count: int, label: Callable[[int], str] = lambda _: "good") -> Iterator[Sample]:
    for number in range(count):
        order = f"{number // 4:08x}"
        yield Sample(
            id=f"{number:08x}-0000-4000-8000-000000000000",
            name=f"WO-{number // 4}_meter_{number:012x}.jpg",
            site_id=SITE,
            work_order=f"WO-{number // 4}",
            work_order_id=order,
            task_group="meter",
            added="2026-11-22T09:17:00.000000Z",
            image=Image(f"{number:08x}", "jpg", 1, 1000, "AAAAAA==", 640, 480),
            labels=(Label(label(number), "state"),),
        )


# --- samples


def test_the_samples_of_a_version_have_their_images_and_labels(datasets: Datasets) -> None:
    polygon = [[1.0, 2.0], [11.5, 2.0], [11.5, 22.0]]
    damage = {
        "value": "cracked",
        "confidence": 0.75,
        "regions": [{"label": HOSTILE, "box": [1, 2, 30, 4.5]}, {"label": "rust", "polygon": polygon}],
        "review": "pending",
        "labeler": "ada",
        "hard": True,
    }
    order = datasets.work_order(HOSTILE, [{"results": {"damage": damage}, "metadata": {"n": 1}}])
    id = datasets.create(dataset_type=1)
    version = current(datasets, id)
    page = datasets.got(f"/{id}/versions/{version}/samples")
    [sample] = page["samples"]
    [one] = order.work_items[0].input
    assert page["next_marker"] is None
    assert (sample["sample_id"], sample["work_order"], sample["work_order_id"]) == (one.id, HOSTILE, order.id)
    assert sample["image"] == {
        "file_name": f"{one.id}.jpg",
        "bytes": sample["image"]["bytes"],
        "width": 64,
        "height": 48,
    }
    assert [(each["name"], each["box"], each["polygon"]) for each in sample["labels"]] == [
        (HOSTILE, [1, 2, 30, 4.5], None),
        ("rust", [1.0, 2.0, 10.5, 20.0], polygon),
    ]
    assert {each["confidence"] for each in sample["labels"]} == {0.75}
    about = ("review", "labelers", "hard", "hard_coefficient", "metadata", "site_id", "task_group")
    assert [sample[name] for name in about] == [["pending"], ["ada"], True, 0.25, {"n": 1}, SITE, "meter"]


FILTERS: list[dict[str, Any]] = [
    {"search_conditions": [{"hard": "1"}, {"sample_dir": "WO-1/"}]},
    {},
    {"export_type": 0},
    {"export_type": 1},
    {"sample_state": "__NONE__"},
    {"sample_state": "__ACCEPTED__", "export_type": 0},
    {"search_conditions": [{"label_list": {"labels": [{"name": "bad"}]}}]},
    {"search_conditions": [{"score": "0.8-1"}], "export_type": 3},
    {"search_conditions": [{"import_origin": OTHER_SITE}]},
    {"search_conditions": [{"sample_time": "day", "metadata": {"props": {"floor": ["2"]}}}]},
]


@pytest.fixture
def varied(datasets: Datasets) -> str:
    good = {"state": {"value": "good", "confidence": 0.9, "review": "approved"}}
    bad = {"state": {"value": "bad", "confidence": 0.5, "hard": True}}
    datasets.work_order("WO-1", [{"results": good}, {}], metadata={"floor": 2})
    datasets.work_order("WO-2", [{"results": bad}, {"results": good}])
    datasets.work_order("WO-3", [{"results": bad}], site=datasets.world.other_site, metadata={"floor": 3})
    return datasets.create(task_names=["state"], site_ids=[SITE, OTHER_SITE])


@pytest.mark.parametrize(
    "asked", [FILTERS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in FILTERS[1:])], ids=str
)
def test_a_page_shows_what_an_export_with_the_same_filters_exports(
    datasets: Datasets, varied: str, asked: Mapping[str, Any]
) -> None:
    conditions = asked.get("search_conditions", [])
    rest = {name: value for name, value in asked.items() if name != "search_conditions"}
    task = datasets.exported(varied, **rest, export_params={"search_conditions": conditions})
    exported = sorted(line["id"] for line in datasets.manifest(task))
    query = {**rest, **({"search_conditions": json.dumps(conditions)} if conditions else {})}
    path = f"/{varied}/versions/{current(datasets, varied)}/samples"
    found = sorted(each["sample_id"] for each in everything(datasets, path, "samples", **query, limit=2))
    assert found == exported
    assert found or "__NONE__" not in asked.values(), "the filter finds something"


REFUSED = [
    ({"search_conditions": "{"}, "ModelArts.0104", "search_conditions"),
    ({"search_conditions": '"x"'}, "ModelArts.0104", "search_conditions"),
    ({"search_conditions": "[" * 5_000}, "ModelArts.0104", "search_conditions"),
    ({"search_conditions": '[{"hard": "2"}]'}, "ModelArts.0104", "search_conditions[0].hard"),
    ({"search_conditions": '[{"kvp": "2"}]'}, "ModelArts.4384", "search_conditions[0].kvp"),
    ({"sample_state": "good"}, "ModelArts.0104", "sample_state"),
    ({"sample_state": "__WORKFORCE_SAMPLED__"}, "ModelArts.4384", "sample_state"),
    ({"marker": "x"}, "ModelArts.0104", "marker"),
    ({"marker": "7.0"}, "ModelArts.0104", "marker"),
    ({"marker": "0.999999"}, "ModelArts.0104", "marker"),
    ({"marker": "0.1"}, "ModelArts.0104", "marker"),
    ({"limit": "101"}, "ModelArts.0104", "limit"),
    ({"sample_stat": "x"}, "ModelArts.0104", "sample_stat"),
]


def test_what_a_list_of_samples_does_not_know_is_refused(datasets: Datasets, varied: str) -> None:
    path = f"/{varied}/versions/{current(datasets, varied)}/samples"
    for query, code, field in REFUSED:
        answer = datasets.send("GET", url(path, **query))
        assert (answer.status, answer.body["error_msg"].split(":")[0]) == (400, field), (query, answer)
        assert answer.body["error_code"] == code, (query, answer)


def held(datasets: Datasets, id: str, version: str) -> Version:
    found = stored.get_version(datasets.world.cloud, id, version)
    assert found is not None
    return found


def all_pages(page: Callable[[str], tuple[list[Any], str | None]]) -> list[Any]:
    """The entries on all pages, each of which is asked for with the marker of the one before."""
    found, marker = page("")
    while marker is not None:
        some, marker = page(marker)
        found += some
    return found


def test_a_marker_in_the_midst_of_a_sample_is_refused(datasets: Datasets) -> None:
    """Also where an object within the sample begins."""
    id = datasets.create()
    version = held(datasets, id, made(datasets, id, 7, many(2)))
    for offset in (1, 60, 200, 300):
        with pytest.raises(ParameterError, match="marker: is none of this list"):
            browsing.page(datasets.world.cloud, version, filters.every, 10, f"0.{offset}")


def test_every_sample_is_on_one_page(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 4)
    id = datasets.create()
    version = held(datasets, id, made(datasets, id, 7, many(14)))
    expected = [each.id for each in many(14)]
    for size, block in ((3, 300), (5, 64 * 1024), (13, 700), (14, 700)):
        monkeypatch.setattr(browsing, "FIRST_BLOCK_BYTES", block)
        page = partial(browsing.page, datasets.world.cloud, version, filters.every, size)
        assert [each.id for each in all_pages(page)] == expected, (size, block)


def test_a_version_without_samples_has_an_empty_page(datasets: Datasets) -> None:
    id = datasets.create()
    answer = datasets.got(f"/{id}/versions/{current(datasets, id)}/samples")
    assert answer == {"samples": [], "next_marker": None}


@OURS
@pytest.mark.parametrize(
    ("count", "block"), [(400, 4_096), pytest.param(10_000, 64 * 1024, marks=pytest.mark.slow)]
)
def test_a_page_of_samples_costs_about_a_page(
    datasets: Datasets,
    read: list[str],
    fetched: list[int],
    count: int,
    block: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browsing, "FIRST_BLOCK_BYTES", block)
    id = datasets.create()
    version = made(datasets, id, 7, many(count))
    path = f"/{id}/versions/{version}/samples"
    first = datasets.got(url(path, limit=10))
    fetched.clear()
    read.clear()
    second = datasets.got(url(path, limit=10, marker=first["next_marker"]))
    assert [each["sample_id"] for each in second["samples"]] == [each.id for each in many(20)][10:]
    assert len(read) <= 10, read
    shown = 10 * len(next(samples.encode(many(1))))
    assert sum(fetched) < 3 * max(block, shown), fetched


@OURS
@pytest.mark.parametrize(("count", "most"), [(250, 100), pytest.param(10_000, 2_000, marks=pytest.mark.slow)])
def test_a_page_that_leaves_samples_out_looks_at_so_many(
    datasets: Datasets,
    read: list[str],
    fetched: list[int],
    count: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browsing, "MAX_LOOKED_AT", most)
    monkeypatch.setattr(browsing, "FIRST_BLOCK_BYTES", most * 20)
    id = datasets.create()
    version = made(datasets, id, 7, many(count, lambda number: "rare" if number == count - 1 else "good"))
    rare = json.dumps([{"label_list": {"labels": [{"name": "rare"}]}}])
    line = len(next(samples.encode(many(1))))
    marker, pages = "", []
    while marker is not None:
        fetched.clear()
        read.clear()
        path = f"/{id}/versions/{version}/samples"
        page = datasets.got(url(path, search_conditions=rare, marker=marker))
        assert sum(fetched) < 3 * most * line, fetched
        assert len(read) <= 10, read
        pages.append([each["sample_id"] for each in page["samples"]])
        marker = page["next_marker"]
    # The sample at which a page ends is looked at again by the next one.
    assert pages == [[]] * ((count - 1) // (most - 1)) + [[list(many(count))[-1].id]]


def test_long_samples_end_a_page(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browsing, "MAX_LOOKED_BYTES", 1_000)
    id = datasets.create()
    version = made(datasets, id, 7, many(8))
    page = datasets.got(f"/{id}/versions/{version}/samples")
    assert 0 < len(page["samples"]) < 8
    found = everything(datasets, f"/{id}/versions/{version}/samples", "samples")
    assert [each["sample_id"] for each in found] == [each.id for each in many(8)]


def test_another_customers_samples_and_changes_are_not_found(datasets: Datasets, varied: str) -> None:
    version = current(datasets, varied)
    datasets.world.stranger()
    theirs = Datasets(datasets.world, "globex")
    other = datasets.create("Other")
    own = theirs.create("Theirs", site_ids=[THEIR_SITE])
    for who, dataset, code in (
        (theirs, varied, "ModelArts.4352"),
        (datasets, other, "ModelArts.4353"),
        (theirs, own, "ModelArts.4353"),
    ):
        for path in (f"{version}/samples", f"{version}/diff/{version}/changes"):
            answer = who.send("GET", f"/{dataset}/versions/{path}")
            assert (answer.status, answer.body["error_code"]) == (404, code), (dataset, path)


# --- what changed


def changed(datasets: Datasets, id: str) -> tuple[str, str]:
    """Two versions: in the second one the fourth work order is missing, the sixth and one behind the last
    are new, and every third sample has another label."""
    first = (each for each in many(40) if each.work_order_id != f"{5:08x}")
    second = many(44, lambda number: "bad" if number % 3 == 0 else "good")
    kept = (each for each in second if each.work_order_id != f"{3:08x}")
    return made(datasets, id, 7, first), made(datasets, id, 8, kept)


@pytest.mark.slow
def test_every_change_is_on_one_page(datasets: Datasets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 6)
    monkeypatch.setattr(browsing, "FIRST_BLOCK_BYTES", 2_000)
    id, cloud = datasets.create(), datasets.world.cloud
    first, second = (held(datasets, id, each) for each in changed(datasets, id))
    for before, after in ((first, second), (second, first)):
        expected = list(comparing.changes(cloud, before, after))
        assert {each.kind for each in expected} == {"added", "removed", "relabelled"}
        for size, looked_at in ((5, 2_000), (3, 9), (100, 7), (100, 2_000)):
            monkeypatch.setattr(browsing, "MAX_LOOKED_AT", looked_at)
            found = all_pages(partial(comparing.page, cloud, before, after, size))
            assert found == expected, (size, looked_at)


def test_a_page_of_changes_says_what_their_lines_say(datasets: Datasets) -> None:
    id = datasets.create()
    first, second = changed(datasets, id)
    path = f"/{id}/versions/{first}/diff/{second}"
    lines = [orjson.loads(each) for each in datasets.send("GET", f"{path}/samples").body.splitlines()]
    found = everything(datasets, f"{path}/changes", "changes", limit=20)
    assert [(each["change"], each["sample"]["sample_id"]) for each in found] == [
        (each["change"], each["id"]) for each in lines
    ]
    for each, line in zip(found, lines, strict=True):
        names = [label["name"] for label in each["labels_before"]]
        assert names == [label["name"] for label in line.get("labels_before", [])]
        assert "labels" not in line or each["sample"]["labels"][0]["name"] == line["labels"][0]["name"]


@OURS
@pytest.mark.parametrize(("count", "most"), [(200, 50), pytest.param(10_000, 2_000, marks=pytest.mark.slow)])
def test_a_page_of_changes_is_bounded(
    datasets: Datasets,
    read: list[str],
    fetched: list[int],
    count: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(browsing, "MAX_LOOKED_AT", most)
    monkeypatch.setattr(browsing, "FIRST_BLOCK_BYTES", most * 20)
    id = datasets.create()
    first = made(datasets, id, 7, many(count))
    rare = many(count, lambda number: "bad" if number % (count // 10) == 0 else "good")
    second = made(datasets, id, 8, rare)
    line = len(next(samples.encode(many(1))))
    read.clear()
    fetched.clear()
    page = datasets.got(f"/{id}/versions/{first}/diff/{second}/changes")
    assert 0 < len(page["changes"]) < 10
    assert page["next_marker"] is not None
    assert len(read) <= 10, read
    assert sum(fetched) < 2 * 3 * most * line, fetched
    assert len(everything(datasets, f"/{id}/versions/{first}/diff/{second}/changes", "changes")) == 10


def test_a_marker_of_changes_that_is_none_is_refused(datasets: Datasets) -> None:
    id = datasets.create()
    first, second = changed(datasets, id)
    for marker in ("x", "0.0-0.0", "0.0-9.9-0", "0.1-0.0-0", "0-0-0", "0.0.0-0.0-1"):
        path = f"/{id}/versions/{first}/diff/{second}/changes"
        answer = datasets.send("GET", url(path, marker=marker))
        assert (answer.status, answer.body["error_msg"].split(":")[0]) == (400, "marker"), answer


# --- lists


def copies(world: World, id: str, count: int) -> None:
    """Write documents of that many datasets that are as this one but for their names."""
    template = fields_of(world.cloud.db.document(f"datasets/{id}").get())
    for start in range(0, count, 500):
        batch = world.cloud.db.batch()
        for number in range(start, min(count, start + 500)):
            reference = world.cloud.db.document(f"datasets/{number:032x}")
            fields = {**template, "name": f"Set-{number:05}", "created": firestore.SERVER_TIMESTAMP}
            batch.set(reference, fields)
        batch.commit()


@OURS
@pytest.mark.parametrize("asked", [{}, {"name_prefix": "Set-"}], ids=str)
@pytest.mark.parametrize("count", [45, pytest.param(10_000, marks=pytest.mark.slow)])
def test_a_page_of_datasets_reads_a_page_however_many_there_are(
    datasets: Datasets, read: list[str], count: int, asked: dict[str, str]
) -> None:
    copies(datasets.world, datasets.create("Set-0"), count)
    first = datasets.got(url("", limit=20, **asked))
    read.clear()
    second = datasets.got(url("", limit=20, marker=first["datasets"][-1]["dataset_id"], **asked))
    seen = {each["dataset_id"] for page in (first, second) for each in page["datasets"]}
    assert (len(second["datasets"]), len(seen), second["total_number"]) == (20, 40, count + 1)
    assert len(read) <= 20 + 10, read


def test_datasets_are_found_by_how_their_names_begin(datasets: Datasets) -> None:
    db = datasets.world.cloud.db
    template = fields_of(db.document(f"datasets/{datasets.create('Meters')}").get())
    for number, name in enumerate(("Doors", "Meters-2", "meters", "Mêtres", "Meters-3")):
        fields = {**template, "name": name, "deleted": name == "Meters-3"}
        db.document(f"datasets/{number:032x}").set(fields)

    def found(**query: Any) -> list[str]:
        page = datasets.got(url("", **query))
        assert page["total_number"] >= len(page["datasets"])
        return [each["dataset_name"] for each in page["datasets"]]

    assert found(name_prefix="Meters") == ["Meters", "Meters-2"]
    assert found(name_prefix="M") == ["Meters", "Meters-2", "Mêtres"]
    assert found(name_prefix="x") == []
    assert sorted(found(search_content="eter")) == ["Meters", "Meters-2", "meters"]
    assert found(search_content="eter", name_prefix="me") == ["meters"]
    first, second = found(search_content="eters", limit=1), found(search_content="eters", limit=1, offset=1)
    [last] = datasets.got(url("", search_content="eters", limit=1))["datasets"]
    third = found(search_content="eters", limit=1, marker=last["dataset_id"])
    assert second == third != first


@OURS
def test_a_search_reads_names_of_so_many_datasets(
    datasets: Datasets, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies(datasets.world, datasets.create("Set-0"), 60)
    monkeypatch.setattr(service, "MAX_SEARCHED", 20)
    read.clear()
    assert datasets.got(url("", search_content="et-", limit=5))["total_number"] == 20
    assert len(read) <= 20 + 5 + 10, read


def test_a_marker_of_another_customers_dataset_is_not_found(datasets: Datasets) -> None:
    id = datasets.create()
    datasets.world.stranger()
    for who, marker in ((Datasets(datasets.world, "globex"), id), (datasets, "nothing")):
        answer = who.send("GET", url("", marker=marker))
        assert (answer.status, answer.body["error_code"]) == (404, "ModelArts.4352"), answer


def test_versions_are_listed_by_pages(datasets: Datasets) -> None:
    id = datasets.create()
    for number in range(2, 6):
        made(datasets, id, number, many(number))
    names = [each["version_name"] for each in datasets.got(f"/{id}/versions")["versions"]]
    assert names == ["V005", "V004", "V003", "V002", "V001"]
    first = datasets.got(url(f"/{id}/versions", limit=2))["versions"]
    second = datasets.got(url(f"/{id}/versions", limit=2, marker=first[-1]["version_id"]))["versions"]
    assert [each["version_name"] for each in (*first, *second)] == names[:4]
    assert datasets.send("GET", url(f"/{id}/versions", marker="nothing")).status == 404


@OURS
@pytest.mark.slow
def test_a_list_of_tasks_under_way_reads_none_of_their_pieces(
    datasets: Datasets, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SLICE_SAMPLES", 1)
    for number in range(6):
        datasets.work_order(f"WO-{number}")
    id = datasets.create()
    task = datasets.begin(id, f"gs://{BUCKET}/there/")
    while not datasets.task(id, task)["finished_sample_count"]:
        assert datasets.world.step(), "the task writes"
    shown = datasets.task(id, task)
    assert 0 < shown["finished_sample_count"] < 6
    read.clear()
    [listed] = datasets.got(f"/{id}/export-tasks")["export_tasks"]
    assert listed["finished_sample_count"] == shown["finished_sample_count"]
    assert [path for path in read if "/pieces/" in path] == []
