"""How a page of the console is declared."""

from collections.abc import Callable
from dataclasses import dataclass

import flask


@dataclass(frozen=True)
class Page:
    """One method of one path.

    path     below `/console`, in Werkzeug's form
    handler  is called with the visit and what the path names; what the API refuses it may let pass: then a
             page says so
    public   whether it is for those who are not signed in, too
    files    whether its form has files, which come as the `parts` of the visit's form
    """

    method: str
    path: str
    handler: Callable[..., flask.Response]
    public: bool = False
    files: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"
