"""What one write does to one document: pure functions of the stored fields and the request.

Semantics: https://cloud.google.com/firestore/docs/reference/rpc/google.firestore.v1#write
"""

import math
from typing import Any

from infra.local.firestore.errors import invalid
from infra.local.firestore.messages import Document, Value
from infra.local.firestore.values import assign, encode, field_paths, lookup, parse_path, remove

_MOST, _LEAST = 2**63 - 1, -(2**63)


def target(write: Any) -> str:
    """The full name of the document that a write is about."""
    kind = write.WhichOneof("operation")
    if kind == "update":
        return str(write.update.name)
    if kind == "delete":
        return str(write.delete)
    if kind == "transform":
        return str(write.transform.document)
    raise invalid("a write needs one of update, delete and transform")


def apply(write: Any, current: Any, stamp: Any) -> tuple[Any, list[Any]]:
    """The document after a write, and the results of its transforms.

    `current` is the Document now, or None; `stamp` is the Timestamp for REQUEST_TIME. The answer is a new
    Document with only its fields set, or None after a delete.
    """
    kind = write.WhichOneof("operation")
    if kind != "update" and (write.HasField("update_mask") or write.update_transforms):
        raise invalid("update_mask and update_transforms go with update only")
    if kind == "delete":
        return None, []
    after = Document()
    if kind == "transform":
        transforms = write.transform.field_transforms
        if not transforms:
            raise invalid("a transform needs at least one field")
        if current is not None:
            after.CopyFrom(current)
    else:
        transforms = write.update_transforms
        if not write.HasField("update_mask"):
            after.MergeFrom(Document(fields=write.update.fields))
        else:
            if current is not None:
                after.CopyFrom(current)
            _merge(after.fields, write.update.fields, list(field_paths(write.update_mask)))
    return after, [_transform(after.fields, t, stamp) for t in transforms]


def _merge(fields: Any, given: Any, paths: list[tuple[str, ...]]) -> None:
    for one, other in zip(sorted(paths), sorted(paths)[1:], strict=False):
        if other[: len(one)] == one:
            raise invalid(
                f"the update_mask holds {'.'.join(one)} and {'.'.join(other)}, one within the other"
            )
    for path in paths:
        value = lookup(given, path)
        if value is None:
            remove(fields, path)
        else:
            assign(fields, path, value)


def _transform(fields: Any, transform: Any, stamp: Any) -> Any:
    path = parse_path(transform.field_path)
    kind = transform.WhichOneof("transform_type")
    current = lookup(fields, path)
    if kind == "set_to_server_value":
        if transform.set_to_server_value != 1:
            raise invalid("the only server value is REQUEST_TIME")
        result = Value(timestamp_value=stamp)
    elif kind in ("increment", "maximum", "minimum"):
        result = _arithmetic(kind, current, getattr(transform, kind))
    elif kind in ("append_missing_elements", "remove_all_from_array"):
        assign(fields, path, _array(kind, current, getattr(transform, kind)))
        return Value(null_value=0)
    else:
        raise invalid(f"the transform of {transform.field_path} says nothing to do")
    assign(fields, path, result)
    return result


def _number(value: Any) -> float | int | None:
    kind = None if value is None else value.WhichOneof("value_type")
    if kind == "integer_value":
        return int(value.integer_value)
    return float(value.double_value) if kind == "double_value" else None


def _arithmetic(kind: str, current: Any, operand: Any) -> Any:
    given, now = _number(operand), _number(current)
    if given is None:
        raise invalid(f"{kind} needs an integer or a double")
    if now is None:
        return operand
    if kind == "increment":
        if isinstance(given, int) and isinstance(now, int):
            return Value(integer_value=max(_LEAST, min(_MOST, now + given)))
        return Value(double_value=float(now) + float(given))
    for number in (now, given):
        if math.isnan(number):
            return Value(double_value=math.nan)
    wins = given > now if kind == "maximum" else given < now
    return Value.FromString((operand if wins else current).SerializeToString())


def _array(kind: str, current: Any, elements: Any) -> Any:
    after = Value()
    after.array_value.SetInParent()
    if current is not None and current.WhichOneof("value_type") == "array_value":
        after.CopyFrom(current)
    values = after.array_value.values
    if kind == "append_missing_elements":
        seen = {encode(v) for v in values}
        for element in elements.values:
            key = encode(element)
            if key not in seen:
                seen.add(key)
                values.add().CopyFrom(element)
    else:
        gone = {encode(v) for v in elements.values}
        kept = [v for v in values if encode(v) not in gone]
        after = Value()
        after.array_value.SetInParent()
        after.array_value.values.extend(kept)
    return after
