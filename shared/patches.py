"""JSON merge patches. https://www.rfc-editor.org/rfc/rfc7396"""

from collections.abc import Mapping
from typing import Any


def merged(target: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """What a merge patch makes of a value: null removes a name, an object is merged into the one that is
    there, and anything else, also a list, takes the place of what is there."""
    after = dict(target) if isinstance(target, Mapping) else {}
    for name, value in patch.items():
        if value is None:
            after.pop(name, None)
        else:
            after[name] = merged(after.get(name), value) if isinstance(value, Mapping) else value
    return after
