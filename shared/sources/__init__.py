"""What can be exported. Each module here that has a `SOURCE` is a source: put in the folder, it is known."""

import pkgutil
from importlib import import_module

from shared.sources.base import Source

DEFAULT = "work-orders-timeline"
"""What an export exports unless its config says otherwise."""


def _found() -> dict[str, Source]:
    modules = (import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    sources = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    return {
        source.name: source for source in sorted(sources, key=lambda each: (each.name != DEFAULT, each.name))
    }


SOURCES: dict[str, Source] = _found()
"""The sources by the name that an export's `export_type` gives, the default first."""
