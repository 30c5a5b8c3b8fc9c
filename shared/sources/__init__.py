"""The sources. Each module in this package that has a `SOURCE` is registered."""

import pkgutil
from importlib import import_module

from shared.sources.base import Source

DEFAULT = "work-orders-timeline"
"""The source of an export whose config names none."""


def _found() -> dict[str, Source]:
    modules = (import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    sources = [module.SOURCE for module in modules if hasattr(module, "SOURCE")]
    return {
        source.name: source for source in sorted(sources, key=lambda each: (each.name != DEFAULT, each.name))
    }


SOURCES: dict[str, Source] = _found()
"""The sources by their names, as in an export's `export_type`; the default is first."""
