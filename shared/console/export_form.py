"""The form of an export's config: which fields it shows, and the body of the API's call that it makes.

Fields are named as the API names them, `connector_config.storage_uri` for example, so that what is wrong with
one is said at it. Which there are follows from the connector and the format that are chosen. What was typed
into those that are not shown is kept in the page, but for secrets, which no page shows again.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from shared.console.forms import Form
from shared.delivery.connectors import CONNECTORS
from shared.exports.config import ExportConfig, timezones
from shared.exports.schedules import INTERVALS, NAMED, local_instant
from shared.formats import FORMATS
from shared.sources import SOURCES
from shared.window import utc_second

PLACE = "connector_config."
"""What the names of a connector's fields begin with."""

EVERY = INTERVALS[-1]
"""The interval whose number stands in a field of its own, `minutes`."""

_EVERY = re.compile(r"every ([0-9]+) minutes")
_CLOCK = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}")

Values = dict[str, str]
"""What the form's fields hold. Lists have a line for each entry, and a checkbox that is ticked has `true`."""


@dataclass(frozen=True)
class Input:
    """A field of a connector: its name in `connector_config`, and how it is shown."""

    name: str
    label: str
    kind: Literal["text", "number", "lines", "textarea", "checkbox", "secret", "secret_text"] = "text"
    hint: str = ""
    required: bool = True

    @property
    def key(self) -> str:
        """Its name in the form."""
        return PLACE + self.name

    @property
    def secret(self) -> bool:
        """Whether its value is never shown again."""
        return self.kind.startswith("secret")


_IMAGES = Input(
    "export_images", "Images go along", "checkbox", "Those that the records refer to, each once.", False
)

INPUTS: dict[str, tuple[Input, ...]] = {
    "cloud_storage": (
        Input("storage_uri", "Bucket and folder", hint="Such as gs://your-bucket/folder/"),
        _IMAGES,
    ),
    "email": (
        Input(
            "emails", "Addresses", "lines", "One a line, at most 1,000. Each gets a link of its own by mail."
        ),
    ),
    "sftp": (
        Input("host", "Server", hint="Its name or address, such as sftp.example.com"),
        Input("port", "Port", "number", "22 where it is left out.", False),
        Input("username", "User name"),
        Input("host_key", "The server's public key", "textarea", "A line such as ssh-ed25519 AAAA…"),
        Input("path", "Directory", hint="From the root with a slash at its beginning, else from the home."),
        _IMAGES,
        Input("password", "Password", "secret", "Give this or a private key.", False),
        Input("private_key", "Private key", "secret_text", "In OpenSSH's or PEM's form.", False),
    ),
}
"""The fields of each connector, in the order in which they are shown."""

DEFAULTS: Values = {
    "interval": "daily",
    "timezone": "UTC",
    "at": "02:00",
    "connector_type": next(iter(CONNECTORS)),
    "export_type": next(iter(SOURCES)),
    "file_format": next(iter(FORMATS)),
    "date_format": "iso8601",
    "max_file_bytes": str(ExportConfig.model_fields["max_file_bytes"].default),
}
"""What an empty form begins with."""

_TEXTS = ("name", "export_type", "file_format", "timezone", "at", "connector_type")
_FLAGS = ("bom", "split")
_LISTS = ("site_ids", "notify")
_MOMENTS = ("start", "end")

FIELDS = (
    *_TEXTS,
    *_FLAGS,
    *_LISTS,
    *_MOMENTS,
    *("interval", "minutes", "date_format", "max_file_bytes", "other_site_ids"),
    *dict.fromkeys(each.key for inputs in INPUTS.values() for each in inputs),
)
"""Every field that the form can have."""

LABELS = {
    "name": "Name",
    "site_ids": "Sites",
    "export_type": "Source",
    "file_format": "Format",
    "date_format": "Dates",
    "bom": "Byte order mark",
    "split": "Several files where one has too many rows",
    "max_file_bytes": "Largest file",
    "interval": "How often",
    "timezone": "Time zone",
    "at": "At",
    "start": "First window begins",
    "end": "Last window ends",
    "notify": "Told of failures",
    "connector_type": "Connector",
    "connector_config": "Destination",
}
"""What the fields of a config are called."""


def label(field: str) -> str:
    """What a field of a config is called."""
    for inputs in INPUTS.values():
        for each in inputs:
            if field == each.key:
                return each.label
    return LABELS.get(field, field)


@dataclass(frozen=True)
class Kept:
    """An export's own moments, as a form carries them: what is not changed in the form stays as it is, also
    where its clock shows a time twice, or its time zone changes."""

    timezone: str = "UTC"
    start: str = ""
    end: str = ""

    @classmethod
    def of_form(cls, form: Form) -> "Kept":
        """As the form's hidden fields have them. Whatever a browser sends there is the person's own word."""
        zone = form.text("kept_timezone", "UTC")
        return cls(
            zone if zone in timezones() else "UTC",
            *(text if _is_moment(text := form.text(f"kept_{name}")) else "" for name in _MOMENTS),
        )

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> "Kept":
        """Those of a config, as the API answers it."""
        return cls(config["timezone"], config["start"] or "", config["end"] or "")

    def shown(self, name: str) -> str:
        """How the form shows one: on the clock of the time zone; with an offset where that shows another."""
        if not (moment := getattr(self, name)):
            return ""
        zone = ZoneInfo(self.timezone)
        at = datetime.fromisoformat(moment)
        local = at.astimezone(zone)
        text = local.strftime("%Y-%m-%dT%H:%M")
        return text if local_instant(local.date(), local.time(), zone) == at else utc_second(at)

    def sent(self, name: str, typed: str) -> str | None:
        """What a body has of a field into which this was typed."""
        if typed and typed == self.shown(name):
            return str(getattr(self, name))
        return typed or None


def _is_moment(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def on_a_clock(value: str) -> bool:
    """Whether a browser's own field for a date and a time can show this value."""
    return not value or bool(_CLOCK.fullmatch(value))


def of_form(form: Form) -> Values:
    """What was typed, but for secrets."""
    values = {name: form.whole(name) for name in FIELDS}
    values["site_ids"] = "\n".join([*form.values("site_ids"), *form.lines("other_site_ids")])
    values["other_site_ids"] = ""
    hidden = {each.key for inputs in INPUTS.values() for each in inputs if each.secret}
    return {name: value for name, value in values.items() if name not in hidden}


def of_config(config: Mapping[str, Any]) -> Values:
    """What the form shows of a config, as the API answers it."""
    kept = Kept.of_config(config)
    every = _EVERY.fullmatch(config["interval"])
    values = {name: config[name] for name in (*_TEXTS, "date_format")}
    values |= {name: "true" if config[name] else "" for name in _FLAGS}
    values |= {name: "\n".join(config[name]) for name in _LISTS}
    values |= {name: kept.shown(name) for name in _MOMENTS}
    values |= {
        "interval": EVERY if every else config["interval"],
        "minutes": every[1] if every else "",
        "max_file_bytes": str(config["max_file_bytes"]),
    }
    for each in INPUTS[config["connector_type"]]:
        value = config["connector_config"].get(each.name)
        if each.kind == "lines":
            values[each.key] = "\n".join(value)
        elif each.kind == "checkbox":
            values[each.key] = "true" if value else ""
        elif not each.secret:
            values[each.key] = "" if value is None else str(value)
    return values


def whole(values: Values) -> Values:
    """The values of every field, with what the form begins with where there are none."""
    return {**dict.fromkeys(FIELDS, ""), **DEFAULTS, **values}


def body(values: Values, form: Form, kept: Kept, *, edits: bool) -> dict[str, Any]:
    """The body of the call that makes an export of these values, or that edits one so.

    An edit names each field, as it is to be what the form shows: null puts one back to its default. A secret
    that is not given stays as it is.
    """
    made: dict[str, Any] = {name: values[name].strip() for name in _TEXTS}
    every = values["interval"] == EVERY
    made["interval"] = f"every {values['minutes'].strip()} minutes" if every else values["interval"]
    made |= {name: _lines(values[name]) for name in _LISTS}
    made |= {name: kept.sent(name, values[name].strip()) for name in _MOMENTS}
    format = FORMATS.get(values["file_format"])
    made["date_format"] = values["date_format"] if format is None or format.has_date_format else None
    made["bom"] = bool(values["bom"]) if format is None or format.has_bom else None
    made["split"] = bool(values["split"])
    made["max_file_bytes"] = _number(values["max_file_bytes"])
    made["connector_config"] = {
        each.name: sent
        for each in INPUTS.get(values["connector_type"], ())
        if (sent := _sent(each, values, form)) is not None or (edits and not each.secret)
    }
    return made if edits else {name: value for name, value in made.items() if value is not None}


def _sent(input: Input, values: Values, form: Form) -> Any:
    if input.secret:
        return form.whole(input.key) or None
    value = values[input.key]
    if input.kind == "checkbox":
        return bool(value)
    if input.kind == "lines":
        return _lines(value)
    if input.kind == "number":
        return _number(value)
    return value.strip()


def _lines(text: str) -> list[str]:
    return [each.strip() for each in text.replace(",", "\n").splitlines() if each.strip()]


def _number(text: str) -> int | str | None:
    """A number; text that is none stays as it is, and the API says so."""
    text = text.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else text or None


@dataclass(frozen=True)
class Difference:
    """A field of a config that differs between two of them: its name, and both values as text."""

    field: str
    before: str
    after: str

    @property
    def label(self) -> str:
        """What the field is called."""
        return label(self.field)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Difference]:
    """The fields in which two configs differ, as the API answers them."""
    one, other = _flat(before), _flat(after)
    names = list(dict.fromkeys([*one, *other]))
    return [
        Difference(name, one.get(name, ""), other.get(name, ""))
        for name in names
        if one.get(name, "") != other.get(name, "")
    ]


def flat(config: Mapping[str, Any]) -> Mapping[str, str]:
    """The fields of a config as text, those of its connector beside the others."""
    return _flat({name: value for name, value in config.items() if name in ExportConfig.model_fields})


def _flat(config: Mapping[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            found |= {f"{name}.{inner}": _text(each) for inner, each in value.items()}
        else:
            found[name] = _text(value)
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


INTERVAL_CHOICES = [*((each, each.capitalize()) for each in NAMED), (EVERY, EVERY.capitalize())]
"""The intervals to choose from, with their labels."""
