"""The child that fills in a template. Started by velocity.py as a program, never imported.

airspeed parses the template; what it does to values is replaced here. Its own way to a name is Python's
getattr, which leads from any value to everything. Here a name is a key of a map, a call is one of METHODS.
"""

# ruff: noqa: E402
import json
import sys

CONFIG = json.loads(sys.argv[1])
sys.path[:] = CONFIG["path"]

from collections.abc import Callable, Sequence
from typing import Any

import airspeed

from shared.sandbox import child, jail
from shared.sandbox.methods import METHODS

MAX_INTEGER_BITS = 4_096
MAX_NESTING = 50
"""How deep a value may be nested that is written as text."""


class RowError(Exception):
    """A row's values do not fit the template, or the row went over a limit; its text says so."""


class Row:
    """What the row at hand has used of its limits."""

    steps = 0
    characters = 0
    depth = 0

    def step(self) -> None:
        """Count a turn of a loop, a reference, a directive, a piece of text, or an item that is written."""
        self.steps += 1
        if self.steps > CONFIG["steps"]:
            raise RowError(f"it takes more than {CONFIG['steps']:,} steps; use fewer or shorter loops")

    def text(self, size: int, whole: int = 0) -> None:
        """Count text that is made, put out or not; `whole` is the size of what it is part of."""
        if max(size, whole) > CONFIG["output"]:
            raise RowError(f"it makes a text of more than {CONFIG['output']:,} bytes; make it shorter")
        self.characters += size
        if self.characters > 16 * CONFIG["output"]:
            raise RowError(f"its texts have more than {16 * CONFIG['output']:,} bytes together; make fewer")


row = Row()


class Stream(airspeed.StoppableStream):  # type: ignore[misc]
    """Text that is being made, of a bounded length."""

    def write(self, text: str) -> None:
        """Add text, unless #stop came before it."""
        if not self.stop:
            row.text(len(text), self.tell() + len(text))
            super().write(text)


# Values


def text_of(value: Any) -> str:
    """A value as Velocity writes it: true, 5, [1, 2], {a=1}."""
    if isinstance(value, str):
        return value
    pieces: list[str] = []
    _write(value, 0, pieces.append)
    return "".join(pieces)


def _write(value: Any, depth: int, put: Callable[[str], None]) -> None:
    if depth > MAX_NESTING:
        raise RowError(f"it writes a value nested more than {MAX_NESTING} levels deep; write its parts")
    if isinstance(value, list | range):
        put("[")
        for number, item in enumerate(value):
            row.step()
            put(", " if number else "")
            _write(item, depth + 1, put)
        put("]")
    elif isinstance(value, dict):
        put("{")
        for number, (key, item) in enumerate(value.items()):
            row.step()
            put(f"{', ' if number else ''}{_atom(key)}=")
            _write(item, depth + 1, put)
        put("}")
    else:
        text = _atom(value)
        row.text(len(text))
        put(text)


def _atom(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _item(value: Any, index: Any) -> Any:
    """`$value[index]`: null where it is not there."""
    if isinstance(value, dict):
        return value.get(index) if isinstance(index, str | int | float) else None
    if isinstance(value, list | range) and isinstance(index, int):
        return value[index] if -len(value) <= index < len(value) else None
    return None


# Operators


def _bounded(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise RowError(f"it computes an integer of more than {MAX_INTEGER_BITS:,} bits; compute smaller ones")
    return value


def _arithmetic(sign: str, compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(left: Any, right: Any) -> Any:
        if left is None or right is None:
            return None
        if not (_number(left) and _number(right)):
            raise RowError(f"{sign} needs two numbers")
        return _bounded(compute(left, right))

    return apply


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, str) or isinstance(right, str):
        made = text_of(left) + text_of(right)
        row.text(len(made))
        return made
    return _add(left, right)


def _divided(left: Any, right: Any) -> Any:
    if right == 0:
        return None
    if isinstance(left, float) or isinstance(right, float):
        return left / right
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


def _remainder(left: Any, right: Any) -> Any:
    if right == 0:
        return None
    size = abs(left) % abs(right)
    return -size if left < 0 else size


def _equal(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    if type(left) is type(right) or (_number(left) and _number(right)):
        return bool(left == right)
    return text_of(left) == text_of(right)


def _ordered(sign: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def apply(left: Any, right: Any) -> bool:
        if left is None or right is None:
            return False
        if (_number(left) and _number(right)) or (isinstance(left, str) and isinstance(right, str)):
            return compare(left, right)
        raise RowError(f"{sign} needs two numbers or two texts")

    return apply


_add = _arithmetic("+", lambda a, b: a + b)
_less, _more = _ordered("<", lambda a, b: a < b), _ordered(">", lambda a, b: a > b)
_at_most, _at_least = _ordered("<=", lambda a, b: a <= b), _ordered(">=", lambda a, b: a >= b)

OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    ">": _more,
    "gt": _more,
    ">=": _at_least,
    "ge": _at_least,
    "<": _less,
    "lt": _less,
    "<=": _at_most,
    "le": _at_most,
    "==": _equal,
    "eq": _equal,
    "!=": lambda a, b: not _equal(a, b),
    "ne": lambda a, b: not _equal(a, b),
    "||": lambda a, b: bool(a) or bool(b),
    "or": lambda a, b: bool(a) or bool(b),
    "&&": lambda a, b: bool(a) and bool(b),
    "and": lambda a, b: bool(a) and bool(b),
    "+": _plus,
    "-": _arithmetic("-", lambda a, b: a - b),
    "*": _arithmetic("*", lambda a, b: a * b),
    "/": _arithmetic("/", _divided),
    "%": _arithmetic("%", _remainder),
}


# airspeed's elements


def _refuse_name(element: Any, name: str) -> None:
    if "__" in name:
        raise child.RefusedInput(
            f"Line {_line(element)} of the template: the name {name} holds two underscores in a row, "
            "which is not allowed. Rename it."
        )


def _line(element: Any) -> int:
    return 1 + int(element.full_text().count("\n", 0, element.start))


def _parse_name(self: Any) -> None:
    airspeed_parse_name(self)
    _refuse_name(self, self.name)
    if self.parameters is not None and self.name not in METHODS:
        raise child.RefusedInput(
            f"Line {_line(self)} of the template: the method {self.name} is not allowed. "
            "The documentation lists the methods that are."
        )


def _name(self: Any, current: Any, loader: Any, top: Any) -> Any:
    row.step()
    if self.parameters is not None:
        arguments = self.parameters.calculate(top, loader)
        if current is None or isinstance(current, airspeed.LocalNamespace):
            return None
        return _call(self.name, current, arguments)
    if isinstance(current, airspeed.LocalNamespace):
        try:
            result = current[self.name]
        except KeyError:
            return None
    else:
        result = current.get(self.name) if isinstance(current, dict) else None
    if isinstance(result, airspeed._FunctionDefinition):
        stream = Stream()
        result.execute_function(stream, top, [], loader)
        result = stream.getvalue()
    if self.index is not None:
        result = _item(result, self.index.calculate(top, loader))
    return result


def _call(name: str, current: Any, arguments: Sequence[Any]) -> Any:
    try:
        made = METHODS[name](current, arguments, CONFIG["output"])
    except (LookupError, TypeError, ValueError, AttributeError):
        raise RowError(f"the method {name} does not fit the value or what it is given") from None
    if isinstance(made, str):
        row.text(len(made))
    elif isinstance(made, list):
        row.text(sum(len(item) if isinstance(item, str) else 1 for item in made))
    return made


def _subexpression(self: Any, current: Any, loader: Any, top: Any) -> Any:
    if not isinstance(self.expression, airspeed.ArrayIndex):
        return self.expression.calculate(current, loader, top)
    result = _item(current, self.expression.calculate(top, loader))
    if self.subexpression:
        result = self.subexpression.calculate(result, loader, top)
    return result


def _reference(self: Any, stream: Any, namespace: Any, loader: Any) -> None:
    value = self.expression.calculate(namespace, loader) if self.expression is not None else None
    if value is None and self.alternate is not None:
        value = self.alternate.calculate(namespace, loader)
    if value is None:
        value = "" if self.silent and self.expression is not None else self.my_text()
    stream.write(text_of(value))


def _interpolated(self: Any, namespace: Any, loader: Any) -> str:
    stream = Stream()
    self.block.evaluate(stream, namespace, loader)
    return str(stream.getvalue())


def _range(self: Any, namespace: Any, loader: Any) -> range:
    first, last = self.value1.calculate(namespace, loader), self.value2.calculate(namespace, loader)
    if not (isinstance(first, int) and isinstance(last, int) and max(abs(first), abs(last)) < 2**31):
        raise RowError("a range needs two integers of less than 2^31")
    return range(first, last - 1, -1) if last < first else range(first, last + 1)


def _foreach(self: Any, stream: Any, namespace: Any, loader: Any) -> None:
    found = self.value.calculate(namespace, loader)
    if isinstance(found, dict):
        found = list(found.values())
    if found is None:
        return
    if not isinstance(found, list | range):
        raise RowError("#foreach needs a list or a map")
    size = len(found)
    for number, item in enumerate(found):
        row.step()
        local = airspeed.LocalNamespace(namespace)
        local["velocityCount"] = number + 1
        local["velocityHasNext"] = number + 1 < size
        local["foreach"] = {
            "count": number + 1,
            "index": number,
            "hasNext": number + 1 < size,
            "first": number == 0,
            "last": number + 1 == size,
        }
        local[self.loop_var_name] = item
        self.block.evaluate(stream, local, loader)


def _set(self: Any, stream: Any, namespace: Any, loader: Any) -> None:
    value = self.value.calculate(namespace, loader)
    *path, last = self.terms
    if not path:
        namespace.set_inherited(last, value)
        return
    try:
        place = namespace[path[0]]
        for term in path[1:]:
            place = place.get(term) if isinstance(place, dict) else None
    except KeyError:
        place = None
    if not isinstance(place, dict):
        raise RowError(f"#set cannot set ${'.'.join(self.terms)}: ${'.'.join(path)} is not a map")
    place[last] = value


def _execute(self: Any, stream: Any, namespace: Any, arguments: Sequence[Any], loader: Any) -> None:
    if len(arguments) != len(self.arg_names):
        raise RowError(
            f"{self.function_name} takes {len(self.arg_names)} arguments, and is given {len(arguments)}"
        )
    row.depth += 1
    if row.depth > CONFIG["depth"]:
        raise RowError(f"its macros call each other more than {CONFIG['depth']} levels deep; use a loop")
    local = airspeed.LocalNamespace(namespace)
    local.update(zip(self.arg_names, arguments, strict=True))
    self.block.evaluate(stream, local, loader)
    row.depth -= 1


def _macro(self: Any, stream: Any, namespace: Any, loader: Any) -> None:
    row.step()
    try:
        macro = namespace["#" + self.macro_name]
    except KeyError:
        raise RowError(f"there is no macro {self.macro_name}; define it with #macro before its use") from None
    macro.execute_function(
        stream, namespace, [argument.calculate(namespace, loader) for argument in self.args], loader
    )


def _block(self: Any, stream: Any, namespace: Any, loader: Any) -> None:
    for element in self.children:
        row.step()
        element.evaluate(stream, namespace, loader)


def _refuse_directive(self: Any) -> None:
    self.identity_match(self.START)
    word = self.my_text()
    raise child.RefusedInput(
        f"Line {_line(self)} of the template: {word} is not allowed. Write what it would bring in its place."
    )


airspeed_parse_name = airspeed.NameOrCall.parse


def _replace_what_airspeed_does() -> None:
    airspeed.NameOrCall.parse = _parse_name
    airspeed.NameOrCall.calculate = _name
    airspeed.SubExpression.calculate = _subexpression
    airspeed.FormalReference.evaluate_raw = _reference
    airspeed.InterpolatedStringLiteral.calculate = _interpolated
    airspeed.Range.calculate = _range
    airspeed.ForeachDirective.evaluate_raw = _foreach
    airspeed.SetDirective.evaluate_raw = _set
    airspeed._FunctionDefinition.execute_function = _execute
    airspeed.MacroCall.evaluate_raw = _macro
    airspeed.Block.evaluate_raw = _block
    airspeed.BinaryOperator.OPERATORS = OPERATORS
    for directive in (airspeed.EvaluateDirective, airspeed.IncludeDirective, airspeed.ParseDirective):
        directive.parse = _refuse_directive
    for element, names in (
        (airspeed.SetDirective, lambda made: made.terms),
        (airspeed.ForeachDirective, lambda made: [made.loop_var_name]),
        (airspeed.MacroDefinition, lambda made: [made.function_name, *made.arg_names]),
        (airspeed.DefineDefinition, lambda made: [made.function_name, *made.arg_names]),
    ):
        element.parse = _checking_names(element.parse, names)


def _checking_names(
    parse: Callable[[Any], None], names: Callable[[Any], Sequence[str]]
) -> Callable[[Any], None]:
    def checked(self: Any) -> None:
        parse(self)
        for name in names(self):
            _refuse_name(self, name)

    return checked


def run() -> None:
    """Parse the template, then fill it in for each batch of rows that the parent sends."""
    _replace_what_airspeed_does()
    airspeed.Template("$a #foreach($b in [1..2])$b#end").merge({"a": 1})
    jail.enter(CONFIG["memory"], CONFIG["cpu_seconds"])
    _, body = child.receive()
    template = parsed(body.decode())
    child.send(b"T")
    while True:
        _, body = child.receive()
        for values in json.loads(body):
            kind, made = rendered(template, values)
            child.send(kind, made)


def parsed(text: str) -> Any:
    """The template. Raises RefusedInput where it cannot be parsed."""
    template = airspeed.Template(text)
    try:
        template.ensure_compiled()
    except airspeed.TemplateSyntaxError as error:
        _, _, reason = str(error).partition(": ")
        reason = reason.removesuffix(", got:  ...").rstrip(" .")
        raise child.RefusedInput(
            f"The template cannot be parsed at line {error.line}, column {error.column}: {reason}. "
            "Correct it there."
        ) from None
    except RecursionError:
        raise child.RefusedInput("The template is nested too deeply. Write it with fewer levels.") from None
    except (airspeed.NoMatch, KeyError, ValueError):
        raise child.RefusedInput("The template cannot be parsed. Check its directives.") from None
    return template


def rendered(template: Any, values: dict[str, Any]) -> tuple[bytes, bytes]:
    """One row's text, as frame `t`, or what is wrong with it, as frame `p`."""
    global row
    row = Row()
    stream = Stream()
    try:
        template.merge_to({**values, CONFIG["row"]: values}, stream)
        made = stream.getvalue().encode()
    except airspeed.TemplateExecutionError as error:
        return b"p", _sentence(template, error).encode()
    except UnicodeEncodeError:
        return b"p", b"The row makes half of a surrogate pair. Correct its text."
    if len(made) > CONFIG["output"]:
        return b"p", f"The row makes more than {CONFIG['output']:,} bytes. Make its text shorter.".encode()
    return b"t", made


def _sentence(template: Any, error: Any) -> str:
    cause = error.__cause__
    place = ""
    if error.element.full_text() == template.content:
        place = f"Line {_line(error.element)} of the template: "
    if isinstance(cause, RowError):
        reason = str(cause)
    elif isinstance(cause, MemoryError):
        reason = "it needs too much memory; make shorter texts and lists"
    elif isinstance(cause, RecursionError):
        reason = "it is nested too deeply; use fewer levels"
    else:
        reason = "it cannot be evaluated with this row's values"
    return f"{place}{reason}." if place else f"In the template, {reason}."


child.main(run)
