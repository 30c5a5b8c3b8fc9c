"""What a form of the console sends."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import flask

from shared.errors import Invalid, Refused
from shared.http import forms
from shared.http.forms import Part

CSRF, ONCE = "csrf", "once"
"""The hidden fields that each form begins with: a proof that it is of a page of ours, and a value that makes
what is sent twice be done once."""


_ITEM = re.compile(r"\[\d+\]")
# Which entry of a list it is, in the name of a field.


@dataclass(frozen=True)
class Form:
    """The fields of a form as text. A field that was sent several times, as checkboxes are, has several
    values.

    csrf, once  the hidden fields; empty where they were not sent
    parts       of a form that has files: the parts behind those two, while they arrive
    """

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    csrf: str = ""
    once: str = ""
    parts: Iterator[Part] | None = None

    def text(self, name: str, default: str = "") -> str:
        """The field's last value without spaces around it, or the default where it was not sent."""
        values = self.fields.get(name)
        return values[-1].strip() if values else default

    def whole(self, name: str) -> str:
        """The field's last value as it was sent, for what may begin or end with a space."""
        return (self.fields.get(name) or ("",))[-1]

    def values(self, name: str) -> list[str]:
        """All values of a field that are not empty."""
        return [each.strip() for each in self.fields.get(name, ()) if each.strip()]

    def lines(self, name: str) -> list[str]:
        """The lines of a field, or what stands between its commas, without empty ones."""
        return [each.strip() for each in self.whole(name).replace(",", "\n").splitlines() if each.strip()]

    def has(self, name: str) -> bool:
        """Whether a field was sent with a value: a checkbox that is ticked, a button that was pressed."""
        return bool(self.text(name))


@dataclass(frozen=True)
class Problems:
    """What is wrong with a form: by field, and what is wrong with nothing that it shows."""

    fields: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, refused: Refused | None, shown: Iterable[str], inside: str = "") -> "Problems":
        """What the API says, at the fields that the form shows: the entries of a list at the list, and what
        is `inside` another field, as `params.`, at its own name. Nothing is wrong where nothing was refused.
        """
        if not isinstance(refused, Invalid):
            return cls() if refused is None else cls({}, (str(refused),))
        fields: dict[str, str] = {}
        others = []
        known = set(shown)
        for problem in refused.problems:
            key = _ITEM.sub("", problem.field).removeprefix(inside)
            if key in known:
                fields[key] = "; ".join(filter(None, (fields.get(key), problem.message)))
            else:
                others.append(f"{problem.field}: {problem.message}")
        if refused.more:
            others.append(f"{refused.more:,} more fields are wrong")
        return cls(fields, tuple(others))


def read(request: flask.Request) -> Form:
    """A form without files, which is read whole. Invalid and TooLarge as of `shared.http.forms.parts`."""
    fields: dict[str, tuple[str, ...]] = {}
    for part in forms.parts(request, forms.FORM_BYTES):
        fields[part.name] = (*fields.get(part.name, ()), part.text())
    csrf, once = (fields.pop(name, ("",))[-1] for name in (CSRF, ONCE))
    return Form(fields, csrf, once)


def begun(request: flask.Request) -> Form:
    """A form that has files: of it the two hidden fields, with which it must begin, are read."""
    parts = forms.parts(request)
    hidden = {CSRF: "", ONCE: ""}
    for name in hidden:
        part = next(parts, None)
        if part is None or part.name != name:
            break
        hidden[name] = part.text()
    return Form({}, hidden[CSRF], hidden[ONCE], parts)
