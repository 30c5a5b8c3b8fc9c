"""Which samples an export task exports, or a page shows. A request is compiled once into a test of samples,
which is then called for each of them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.datasets.request import (
    LABELLED,
    MAX_DAYS,
    UNLABELLED,
    Chosen,
    Days,
    Range,
    SearchCondition,
    SearchLabel,
    SearchLabels,
    SearchProp,
)
from shared.datasets.samples import Label, Sample, text_of

Test = Callable[[Sample], bool]
"""Whether a sample is chosen, or meets a filter."""

ACCEPTED, REJECTED, REVIEWED = "accepted", "rejected", "reviewed"
"""How far a review can be. What is accepted or rejected has been reviewed, too."""

REVIEW_WORDS: Mapping[str, str] = {
    "accepted": ACCEPTED,
    "approved": ACCEPTED,
    "rejected": REJECTED,
    "reviewed": REVIEWED,
    "checked": REVIEWED,
}
"""What an analyser's word of a result's review means, in small letters. After any other word, such as
`pending`, a review is still to be made."""


def matcher(request: Chosen, as_of: datetime) -> Test:
    """The test whether a sample is chosen. `as_of` is when the samples are read, with its time zone: days
    such as yesterday are counted from it.

    All that the request says must hold: its type, its sample states, its ids and its search conditions. Of
    the conditions one must hold. Where it says nothing, the test is `every`.
    """
    tests: list[Test] = []
    if request.samples is not None:
        tests.append(_one_of(request.samples))
    if request.export_type == LABELLED:
        tests.append(_labelled)
    elif request.export_type == UNLABELLED:
        tests.append(_unlabelled)
    tests += [STATES[state] for state in request.sample_states]
    conditions = [_condition(each, as_of) for each in request.conditions]
    # A condition with nothing in it says nothing. It must not let through what others hold back.
    if said := [_all(each) for each in conditions if each]:
        tests.append(_any(said))
    return _all(tests)


def every(_: Sample) -> bool:
    """The test of a request that leaves no sample out."""
    return True


def _all(tests: Sequence[Test]) -> Test:
    if not tests:
        return every
    if len(tests) == 1:
        return tests[0]
    return lambda sample: all(test(sample) for test in tests)


def _any(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda sample: any(test(sample) for test in tests)


def _one_of(ids: frozenset[str]) -> Test:
    return lambda sample: sample.id in ids


def _labelled(sample: Sample) -> bool:
    return bool(sample.labels)


def _unlabelled(sample: Sample) -> bool:
    return not sample.labels


def _accepted(sample: Sample) -> bool:
    return bool(sample.review) and all(_review(word) == ACCEPTED for word in sample.review)


def _rejected(sample: Sample) -> bool:
    return any(_review(word) == REJECTED for word in sample.review)


def _reviewed(sample: Sample) -> bool:
    return bool(sample.review) and all(_review(word) is not None for word in sample.review)


def _unchecked(sample: Sample) -> bool:
    return _labelled(sample) and not _accepted(sample) and not _rejected(sample)


def _unreviewed(sample: Sample) -> bool:
    return _labelled(sample) and not _reviewed(sample)


def _automatic(sample: Sample) -> bool:
    return _labelled(sample) and not any(label.human for label in sample.labels)


def _review(word: str) -> str | None:
    return REVIEW_WORDS.get(word.lower())


STATES: Mapping[str, Test] = {
    "__ALL__": _labelled,
    "__NONE__": _unlabelled,
    "__UNCHECK__": _unchecked,
    "__ACCEPTED__": _accepted,
    "__REJECTED__": _rejected,
    "__UNREVIEWED__": _unreviewed,
    "__REVIEWED__": _reviewed,
    "__AUTO_ANNOTATION__": _automatic,
}
"""What each sample state means."""


def _condition(condition: SearchCondition, as_of: datetime) -> list[Test]:
    """A test for each field that is given."""
    tests: list[Test] = []
    if condition.hard is not None:
        tests.append(_hard(condition.hard == "1"))
    if condition.import_origin is not None:
        tests.append(_site(condition.import_origin))
    if condition.sample_dir is not None:
        tests.append(_work_order(condition.sample_dir.removesuffix("/")))
    if condition.sample_name is not None:
        tests.append(_name(condition.sample_name))
    if condition.labeler is not None:
        tests.append(_labeler(condition.labeler))
    if condition.coefficient is not None:
        tests.append(_coefficient(condition.coefficient))
    if condition.score is not None:
        tests.append(_score(condition.score))
    if condition.sample_time is not None:
        tests.append(_time(condition.sample_time, as_of))
    if condition.metadata is not None and condition.metadata.props:
        tests.append(_metadata(condition.metadata))
    if condition.label_list is not None and condition.label_list.searched:
        tests.append(_labels(condition.label_list))
    return tests


def _hard(wanted: bool) -> Test:
    return lambda sample: sample.hard is wanted


def _site(id: str) -> Test:
    return lambda sample: sample.site_id == id


def _work_order(name: str) -> Test:
    return lambda sample: sample.work_order == name


def _name(name: str) -> Test:
    return lambda sample: sample.name == name


def _labeler(name: str) -> Test:
    return lambda sample: name in sample.labelers


def _coefficient(wanted: Range) -> Test:
    low, high = wanted
    return lambda sample: sample.hard_coefficient is not None and low <= sample.hard_coefficient <= high


def _score(wanted: Range) -> Test:
    low, high = wanted
    return lambda sample: any(
        label.confidence is not None and low <= label.confidence <= high for label in sample.labels
    )


def _time(wanted: str | Days, as_of: datetime) -> Test:
    if isinstance(wanted, Days):
        first, last = wanted
    else:
        last = as_of.astimezone(UTC).date()
        first = last - timedelta(MAX_DAYS if wanted == "month" else 1)
    # Dates in ISO 8601 are in order as texts, and samples have theirs in UTC.
    earliest, latest = first.isoformat(), last.isoformat()
    return lambda sample: earliest <= sample.added[: len(latest)] <= latest


def _metadata(search: SearchProp) -> Test:
    searched = [(name, frozenset(values or ())) for name, values in search.props.items()]
    combine = any if search.op == "OR" else all
    return lambda sample: combine(
        _has(sample.metadata[name], values) if sample.metadata and name in sample.metadata else False
        for name, values in searched
    )


def _has(value: Any, wanted: frozenset[str]) -> bool:
    """Whether an attribute has one of the values; whether it has any, where none is wanted."""
    values = value if isinstance(value, list) else [value]
    texts = [text_of(each) for each in values]
    return any(text in wanted if wanted else text is not None for text in texts)


def _labels(search: SearchLabels) -> Test:
    searched = [_label(each) for each in search.searched]
    combine = any if search.op == "OR" else all
    return lambda sample: combine(any(map(test, sample.labels)) for test in searched)


def _label(search: SearchLabel) -> Callable[[Label], bool]:
    name = search.name
    tests = [_PROPERTIES[attribute](values or ()) for attribute, values in (search.property or {}).items()]
    combine = any if search.op == "OR" else all
    if not tests:
        return lambda label: name is None or label.name == name
    return lambda label: (name is None or label.name == name) and combine(test(label) for test in tests)


def _of_task(values: Sequence[str]) -> Callable[[Label], bool]:
    wanted = frozenset(values)
    return lambda label: not wanted or label.task in wanted


def _annotated_by(values: Sequence[str]) -> Callable[[Label], bool]:
    wanted = frozenset(values)
    return lambda label: not wanted or label.annotated_by in wanted


_PROPERTIES = {"task": _of_task, "annotated-by": _annotated_by}
