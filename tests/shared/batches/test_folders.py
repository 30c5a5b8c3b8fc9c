"""Work orders are gathered from wherever their files lie; what is none of theirs is named, junk is not."""

import tracemalloc

import pytest

from shared.batches import archive, folders
from shared.batches.archive import STORED, Entry, decode, encode
from shared.batches.folders import IMAGE_LARGEST, JSON_LARGEST, MAX_FILES, MAX_PROBLEMS, Folder, slices
from shared.batches.problems import BadArchive
from tests.archives import GENEROUS, UTF8, File, taken, zipped

Found = list[tuple[str, str, str]]

X = b"x"


def line(path: str, at: int = 0, size: int = 5) -> bytes:
    return encode(Entry(path, path.encode(), at, at + 1000, size, size, 0, STORED))


def lines(paths: list[str]) -> list[bytes]:
    return [line(path, n * 1000) for n, path in enumerate(paths)]


def planned(paths: list[str]) -> tuple[dict[str, list[tuple[str, str]]], Found]:
    """Each work order's files with their problems, and the problems of none."""
    plan = folders.plan(lines(paths))
    orders = {
        name: [(entry.file, entry.problem) for entry in entries]
        for folder in plan.folders
        for name, entries in folders.read(folder.lines)
    }
    return orders, [(each.work_order, each.file, each.code) for each in plan.problems]


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        pytest.param(["a/1.jpg", "b/1.jpg"], {"a": ["1.jpg"], "b": ["1.jpg"]}, id="plain"),
        pytest.param(
            ["b/1.jpg", "a/1.jpg"], {"b": ["1.jpg"], "a": ["1.jpg"]}, id="in the order of the bytes"
        ),
        pytest.param(
            ["a/1.jpg", "b/1.jpg", "c/1.jpg", "b/metadata.json", "a/2.jpg"],
            {"a": ["1.jpg", "2.jpg"], "b": ["1.jpg", "metadata.json"], "c": ["1.jpg"]},
            id="scattered",
        ),
        pytest.param(
            ["all/", "all/a/", "all/a/1.jpg", "all/b/1.jpg"], {"a": ["1.jpg"], "b": ["1.jpg"]}, id="wrapped"
        ),
        pytest.param(["all/a/1.jpg"], {"a": ["1.jpg"]}, id="one, wrapped"),
        pytest.param(["a/1.jpg"], {"a": ["1.jpg"]}, id="one, not wrapped"),
        pytest.param(["a/metadata.json"], {"a": ["metadata.json"]}, id="no photographs"),
        pytest.param(
            ["all/a/1.jpg", "__MACOSX/all/a/._1.jpg", "all/.DS_Store", "all/a/Thumbs.db", ".DS_Store", "._x"],
            {"a": ["1.jpg"]},
            id="wrapped, with junk around",
        ),
        pytest.param(
            ["a/1.jpg", "a/__MACOSX/1.jpg", "a/._1.jpg", "a/thumbs.DB", "Desktop.ini", "a/x/.DS_Store"],
            {"a": ["1.jpg"]},
            id="junk at any depth",
        ),
        pytest.param(
            ["1.jpg/metadata.json", "b/1.jpg"], {"1.jpg": ["metadata.json"], "b": ["1.jpg"]}, id="dots"
        ),
        pytest.param(
            ["工单 7/写真.JPG", "हिन्दी/1.jpg"], {"工单 7": ["写真.JPG"], "हिन्दी": ["1.jpg"]}, id="scripts"
        ),
        pytest.param([f"{'x' * 128}/1.jpg"], {"x" * 128: ["1.jpg"]}, id="the longest name"),
    ],
)
def test_work_orders(paths: list[str], expected: dict[str, list[str]]) -> None:
    orders, problems = planned(paths)
    assert {name: [file for file, _ in files] for name, files in orders.items()} == expected
    assert list(orders) == list(expected), "in the order of their first files"
    assert {problem for files in orders.values() for _, problem in files} == {""}
    assert problems == []


@pytest.mark.parametrize(
    ("paths", "expected", "none"),
    [
        pytest.param(["a/x/1.jpg"], [], [], id="a nested folder that wraps"),
        pytest.param(
            ["a/x/1.jpg", "a/2.jpg"], [("x/1.jpg", "NESTED_FOLDER"), ("2.jpg", "")], [], id="nested"
        ),
        pytest.param(["a/photos.zip"], [("photos.zip", "UNKNOWN_FILE")], [], id="a zip in it"),
        pytest.param(["a/notes.txt"], [("notes.txt", "UNKNOWN_FILE")], [], id="text"),
        pytest.param(["a/Metadata.json"], [("Metadata.json", "UNKNOWN_FILE")], [], id="capitals"),
        pytest.param(
            ["a/jpg", "a/.jpg"], [("jpg", "UNKNOWN_FILE"), (".jpg", "UNKNOWN_FILE")], [], id="no name"
        ),
        pytest.param(
            ["a/1.jpg", "a/2.jpg", "a/1.jpg"],
            [("1.jpg", "DUPLICATE_FILE"), ("2.jpg", ""), ("1.jpg", "DUPLICATE_FILE")],
            [],
            id="twice",
        ),
        pytest.param(
            ["a/1.jpg", "a/../1.jpg", "a/1\n.jpg", "a/\0.jpg"],
            [
                ("1.jpg", ""),
                ("../1.jpg", "UNSAFE_NAME"),
                ("1\n.jpg", "UNSAFE_NAME"),
                ("\0.jpg", "UNSAFE_NAME"),
            ],
            [],
            id="unsafe in a work order",
        ),
        pytest.param(
            [
                "a/1.jpg",
                "../1.jpg",
                "/a/1.jpg",
                "C:/a/1.jpg",
                "c:a/1.jpg",
                "\0/1.jpg",
                "\0/2.jpg",
            ],
            [("1.jpg", "")],
            [
                ("", "../1.jpg", "UNSAFE_NAME"),
                ("", "/a/1.jpg", "UNSAFE_NAME"),
                ("", "C:/a/1.jpg", "UNSAFE_NAME"),
                ("", "c:a/1.jpg", "UNSAFE_NAME"),
                ("\\u0000", "", "BAD_WORK_ORDER_NAME"),
            ],
            id="unsafe in none",
        ),
        pytest.param(
            ["a/1.jpg", "1.jpg", "notes.txt"],
            [("1.jpg", "")],
            [("", "1.jpg", "FILE_OUTSIDE_FOLDER"), ("", "notes.txt", "FILE_OUTSIDE_FOLDER")],
            id="outside",
        ),
        pytest.param(
            ["all/a/1.jpg", "all/notes.txt"],
            [("1.jpg", "")],
            [("", "all/notes.txt", "FILE_OUTSIDE_FOLDER")],
            id="outside, wrapped",
        ),
        pytest.param(
            ["all/a/1.jpg", "../evil.jpg", "all/../evil.jpg"],
            [("1.jpg", "")],
            [("", "../evil.jpg", "UNSAFE_NAME"), ("", "all/../evil.jpg", "UNSAFE_NAME")],
            id="an unsafe name does not unwrap",
        ),
        pytest.param(
            ["a/1.jpg", "b#/1.jpg", "b#/2.jpg", " c/1.jpg", "d /1.jpg", f"{'x' * 129}/1.jpg"],
            [("1.jpg", "")],
            [
                ("b#", "", "BAD_WORK_ORDER_NAME"),
                (" c", "", "BAD_WORK_ORDER_NAME"),
                ("d ", "", "BAD_WORK_ORDER_NAME"),
                ("x" * 129, "", "BAD_WORK_ORDER_NAME"),
            ],
            id="bad names of work orders",
        ),
        pytest.param(
            ["a/1.jpg", "b/", "a/", "c/x/", "../", "d/", "d/.DS_Store"],
            [("1.jpg", "")],
            [("b", "", "EMPTY_FOLDER"), ("c", "", "EMPTY_FOLDER"), ("d", "", "EMPTY_FOLDER")],
            id="empty folders",
        ),
        pytest.param(
            ["all/", "all/a/1.jpg", "all/b/"],
            [("1.jpg", "")],
            [("b", "", "EMPTY_FOLDER")],
            id="an empty folder, wrapped",
        ),
        pytest.param(
            ["all/a/1.jpg", "other/"],
            [("1.jpg", "")],
            [("other", "", "EMPTY_FOLDER")],
            id="an empty one beside",
        ),
        pytest.param(
            ["all/a/1.jpg", "b/../1.jpg"],
            [("1.jpg", "")],
            [("", "b/../1.jpg", "UNSAFE_NAME")],
            id="unsafe beside what wraps",
        ),
    ],
)
def test_what_is_wrong(paths: list[str], expected: list[tuple[str, str]], none: Found) -> None:
    orders, problems = planned(paths)
    if expected:
        assert orders == {"a": expected}
    else:
        assert orders == {"x": [("1.jpg", "")]}
    assert problems == none


def listed(names: list[str]) -> tuple[dict[tuple[str, str], bytes], Found]:
    """What is made of an archive with an entry of each name; folders are those that end in a separator."""
    files = [
        File(name, mode=0o40755) if name[-1] in "/\\" or name == "." else File(name, X) for name in names
    ]
    found = taken(zipped(files))
    return found.files, found.problems


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["a\\1.jpg", "b\\", "b\\1.jpg"], id="backslashes"),
        pytest.param(["all\\a\\1.jpg", "all\\b\\1.jpg", "all\\.DS_Store"], id="backslashes, wrapped"),
        pytest.param(["all/a\\1.jpg", "all/b\\1.jpg"], id="both separators"),
        pytest.param(["./", "./a/", "./a/1.jpg", "./b/1.jpg"], id="from here"),
        pytest.param([".", "./a/1.jpg", "./b/1.jpg"], id="from here, without a slash"),
        pytest.param(["./", "./all/", "./all/a/1.jpg", "./all/b/1.jpg"], id="from here, wrapped"),
        pytest.param([".\\a\\1.jpg", ".\\b\\1.jpg"], id="from here, backslashes"),
        pytest.param(["a/./1.jpg", "././b/1.jpg"], id="steps that lead nowhere"),
        pytest.param(["a//1.jpg", "b//", "b///1.jpg"], id="empty steps"),
    ],
)
def test_separators_and_steps_that_every_unzip_reads(names: list[str]) -> None:
    assert listed(names) == ({("a", "1.jpg"): X, ("b", "1.jpg"): X}, [])


@pytest.mark.parametrize(
    "name",
    ["..\\1.jpg", "a\\..\\..\\1.jpg", "\\a\\1.jpg", "\\\\host\\a\\1.jpg", "C:\\a\\1.jpg", "./../1.jpg"],
)
def test_backslashes_lead_out_of_the_archive_no_more_than_slashes(name: str) -> None:
    files, problems = listed(["good/1.jpg", name])
    assert files == {("good", "1.jpg"): X}
    assert [code for _, _, code in problems] == ["UNSAFE_NAME"]


def test_two_ways_to_write_one_path_are_one_file_twice() -> None:
    _, problems = listed(["a/1.jpg", "a\\1.jpg", "./a/1.jpg"])
    assert problems == [("a", "1.jpg", "DUPLICATE_FILE")] * 3


JUNK = [
    *("Icon\r", ".localized", ".Spotlight-V100/Store-V2/x.db", ".Trashes/501/1.jpg", ".fseventsd/0001"),
    *(".TemporaryItems/folders.501/x", ".apdisk", ".VolumeIcon.icns", ".AppleDouble/1.jpg"),
    *("Network Trash Folder/x", "Temporary Items/x", ".DS_Store", "._1.jpg", "__MACOSX/1.jpg"),
    *("System Volume Information/IndexerVolumeGuid", "$RECYCLE.BIN/S-1-5/desktop.ini", "$Recycle.Bin/1.jpg"),
    *("Thumbs.db", "Thumbs.db:encryptable", "ehthumbs.db", "DESKTOP.INI", "~$list.xlsx"),
    *("1.jpg:Zone.Identifier", "@eaDir/1.jpg/SYNOPHOTO_THUMB_XL.jpg", "1.jpg@SynoEAStream", "#recycle/1.jpg"),
    *("@Recycle/1.jpg", ".@__thumb/default1.jpg", "~snapshot/x", "lost+found/x", ".Trash-1000/files/1.jpg"),
    *(".directory", ".nomedia", ".thumbnails/17.jpg", ".thumbdata3--1967290299", "LOST.DIR/17"),
    *(".trashed-1700000000-1.jpg", ".pending-1700000000-1.jpg", ".picasa.ini", "Picasa.ini"),
    *(".dropbox", ".stfolder/x", ".stversions/1.jpg"),
]


@pytest.mark.parametrize("junk", JUNK)
def test_what_systems_leave_behind_is_left_out_at_the_root_and_in_a_folder(junk: str) -> None:
    folder = junk.partition("/")[0]
    for around in ("", "all/"):
        names = [f"{around}{each}" for each in (junk, f"a/{junk}", "a/1.jpg", "b/1.jpg")]
        names += [f"{around}{folder}/", f"{around}a/{folder}/"] if "/" in junk else []
        assert listed(names) == ({("a", "1.jpg"): X, ("b", "1.jpg"): X}, []), around


@pytest.mark.parametrize(
    "name", ["Icon", "notes.txt", ".1.jpg", "thumbs.db.txt", "zone.identifier.txt", "recycle/1.jpg", ".jpg"]
)
def test_what_only_looks_like_junk_is_named(name: str) -> None:
    files, problems = listed([f"a/{name}", "b/1.jpg"])
    assert (("a", name) in files) != (len(problems) == 1), (files, problems)


def test_folders_whose_names_cannot_be_a_work_orders_are_counted() -> None:
    names = ["a/1.jpg", "b#/1.jpg", "b#/2.jpg", " c/1.jpg", "d\n/1.jpg", "e?/", "../1.jpg", ".DS_Store"]
    plan = folders.plan(lines(names))
    assert plan.failed == 3, plan.problems


def test_two_spellings_of_one_letter_are_one_name() -> None:
    files = [
        File("wo/e\u0301.jpg", X),
        File("wo/\u00e9.jpg", X),
        File("e\u0301/1.jpg", X),
        File("\u00e9/2.jpg", X),
    ]
    found = taken(zipped(files))
    assert found.problems == [("wo", "\u00e9.jpg", "DUPLICATE_FILE")] * 2
    assert found.files == {("\u00e9", "1.jpg"): X, ("\u00e9", "2.jpg"): X}


def test_a_name_that_cannot_be_read_does_not_unwrap() -> None:
    for name in (b"\xff/1.jpg", b"other/" + b"x" * 2_000):
        found = taken(zipped([File("all/a/1.jpg", X), File(name, X, flags=UTF8)]))
        assert found.files == {("a", "1.jpg"): X}
        assert [(work_order, code) for work_order, _, code in found.problems] == [("", "UNREADABLE_NAME")]


@pytest.mark.parametrize(
    ("path", "size", "problem"),
    [
        ("a/1.jpg", 0, "EMPTY_FILE"),
        ("a/metadata.json", 0, "EMPTY_FILE"),
        ("a/1.jpg", IMAGE_LARGEST, ""),
        ("a/1.jpg", IMAGE_LARGEST + 1, "FILE_TOO_LARGE"),
        ("a/parameters.json", JSON_LARGEST, ""),
        ("a/parameters.json", JSON_LARGEST + 1, "FILE_TOO_LARGE"),
        ("a/film.mp4", IMAGE_LARGEST + 1, "UNKNOWN_FILE"),
    ],
)
def test_sizes(path: str, size: int, problem: str) -> None:
    [folder] = folders.plan([line(path, size=size)]).folders
    [(_, [entry])] = folders.read(folder.lines)
    assert entry.problem == problem
    assert folder.packed_bytes == (0 if problem else size), "what has a problem is not read"


def test_the_first_problem_of_a_file_stands() -> None:
    found = taken(
        zipped([File("a/1.exe", X, method=99), File("a/b/2.jpg", X, mode=0o120777), File("a/3.jpg", X)])
    )
    assert found.problems == [("a", "1.exe", "UNKNOWN_COMPRESSION"), ("a", "b/2.jpg", "SYMLINK")]
    assert found.files == {("a", "3.jpg"): X}


def test_the_code_page_of_a_folder_that_wraps_does_not_matter() -> None:
    names = [f"Données été/{each}/1.jpg".encode("cp850") for each in ("a", "b", "ñ")]
    plan = folders.plan(directory([*names, "Données été/a/é-1.jpg".encode("cp850")]))
    found = {folder.name: [entry.problem for entry in decode(folder.lines)] for folder in plan.folders}
    assert found == {"a": ["", "UNKNOWN_CODE_PAGE"], "b": [""]}
    [one] = plan.problems
    assert (one.work_order, one.code, plan.failed) == ("\\xa4", "UNKNOWN_CODE_PAGE", 1)


def test_a_folder_in_an_unknown_code_page_is_named_once_with_how_it_could_read() -> None:
    plan = folders.plan(directory([f"REPARACIÓN 17/{n}.jpg".encode("cp850") for n in range(3)]))
    [one] = plan.problems
    assert (one.work_order, one.file, plan.failed) == ("REPARACI\\xe0N 17", "", 1)
    could = "It would be “REPARACIÓN 17” in cp850, “REPARACIàN 17” in cp1252, “REPARACIαN 17” in cp437."
    assert could in one.message
    assert "code_page" in one.message
    [entry] = [archive.decode_one(each) for each in directory(["wo/é-1.jpg".encode("cp850")])]
    detail = folders.unknown_code_page(entry, wrapped=False, code_page="")
    assert detail.startswith("It would be “é-1.jpg” in cp850, “‚-1.jpg” in cp1252")
    assert folders.unknown_code_page(entry, wrapped=False, code_page="cp1252").startswith(
        "It is not in cp1252"
    )


def test_a_folder_whose_name_cannot_be_read_is_counted() -> None:
    content = zipped([File(b"\xff/1.jpg", X, flags=UTF8), File("wo/1.jpg", X)])
    plan = folders.plan(archive.directory(lambda start, end: content[start:end], len(content), GENEROUS))
    assert ([each.code for each in plan.problems], plan.failed) == (["UNREADABLE_NAME"], 1)


def directory(names: list[bytes]) -> list[bytes]:
    content = zipped([File(name, X) for name in names])
    return list(archive.directory(lambda start, end: content[start:end], len(content), GENEROUS))


def test_a_work_order_of_too_many_files_is_one_line() -> None:
    for count, problem in ((MAX_FILES, ""), (MAX_FILES + 1, "TOO_MANY_FILES")):
        [first, second] = folders.plan(lines([*(f"a/{n}.jpg" for n in range(count)), "b/1.jpg"])).folders
        [(name, entries)] = folders.read(first.lines)
        assert name == "a"
        assert {entry.problem for entry in entries} == {problem}
        assert first.files == len(entries) == (1 if problem else count)
        assert first.packed_bytes == (0 if problem else 5 * count)
        assert second == Folder("b", second.lines, 1, 5)


def test_a_million_problems_are_counted_and_a_thousand_listed() -> None:
    paths = [f"{n}.jpg" for n in range(MAX_PROBLEMS + 500)] + [f"empty {n}/" for n in range(MAX_PROBLEMS + 7)]
    plan = folders.plan(lines(paths))
    codes = [problem.code for problem in plan.problems]
    assert codes == ["FILE_OUTSIDE_FOLDER"] * MAX_PROBLEMS + ["MORE_ERRORS"] + ["EMPTY_FOLDER"] * MAX_PROBLEMS
    assert "500 more" in plan.problems[MAX_PROBLEMS].message
    assert "7 more folders" in plan.problems[-1].message
    assert list(plan.folders) == []


@pytest.mark.parametrize("paths", [[], ["__MACOSX/a/._1.jpg", ".DS_Store"]])
def test_nothing_but_junk_is_empty(paths: list[str]) -> None:
    with pytest.raises(BadArchive) as error:
        folders.plan(lines(paths))
    assert error.value.code == "ARCHIVE_EMPTY"


@pytest.mark.slow
def test_memory_follows_the_names_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """About 170 bytes a file and its name; as objects they would take a thousand."""
    count = 10_000
    content = zipped(
        [File(f"work-order-{n // 10:07}/task_group-{n % 10}.jpg", X, STORED) for n in range(count)]
    )
    monkeypatch.setattr(archive, "BLOCK", 1 << 16)
    tracemalloc.start()
    plan = folders.plan(archive.directory(lambda start, end: content[start:end], len(content), GENEROUS))
    files = sum(folder.files for folder in plan.folders)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert files == count
    assert peak < count * 300, f"{peak / count:.0f} bytes a file"


# Slices.


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        pytest.param([], [], id="none"),
        pytest.param([(1, 1), (1, 1), (1, 1)], [2, 1], id="so many folders"),
        pytest.param([(5, 1), (5, 1), (1, 1)], [2, 1], id="exactly so many files"),
        pytest.param([(5, 1), (6, 1)], [1, 1], id="a file too many"),
        pytest.param([(1, 50), (1, 51)], [1, 1], id="a byte too many"),
        pytest.param([(1, 50), (1, 50)], [2], id="exactly so many bytes"),
        pytest.param([(1, 1), (99, 1), (1, 1), (1, 1)], [1, 1, 2], id="one larger than all"),
        pytest.param([(1, 999)], [1], id="only one larger"),
    ],
)
def test_slices_are_whole_folders_in_order(sizes: list[tuple[int, int]], expected: list[int]) -> None:
    orders = [Folder(f"wo-{n}", b"", files, packed) for n, (files, packed) in enumerate(sizes)]
    found = list(slices(iter(orders), files=10, packed_bytes=100, folders_most=2))
    assert [len(each) for each in found] == expected
    assert [folder for each in found for folder in each] == orders


def test_a_slice_of_a_plan_is_a_range_of_its_bytes() -> None:
    orders = list(folders.plan(lines(["all/a/1.jpg", "all/b/1.jpg", "all/b/2.jpg", "all/c/1.jpg"])).folders)
    plan = b"".join(order.lines for order in orders)
    start = len(orders[0].lines)
    [(name, entries)] = folders.read(plan[start : start + len(orders[1].lines)])
    assert (name, [entry.file for entry in entries]) == ("b", ["1.jpg", "2.jpg"])
    assert [entry.path for entry in entries] == ["all/b/1.jpg", "all/b/2.jpg"]
