"""`python -m infra <command>`: what operators do. The modules of `infra/commands/` are the commands."""

import argparse
import importlib
import pkgutil
import sys
import uuid
from collections.abc import Sequence
from typing import NoReturn

from infra import command_line

with command_line.packages():
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    from infra import commands
    from infra.commands import Problem
    from shared import audit_trail
    from shared.audit_trail import OPERATOR, Actor
    from shared.errors import WaybillError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Problem(f"{self.prog}: {message}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status: 0, or 1 where it could not, as a sentence on stderr says."""
    try:
        args = _parser().parse_args(arguments)
        with audit_trail.acting(Actor(OPERATOR, args.command, uuid.uuid4().hex)):
            return int(args.run(args) or 0)
    except SystemExit as ended:  # after --help
        return int(ended.code or 0)
    except (Problem, WaybillError, GoogleAPIError, GoogleAuthError) as wrong:
        sys.stderr.write(" ".join(str(wrong).split()) + "\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m infra", description="What operators of Waybill do.")
    each = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in pkgutil.iter_modules(commands.__path__):
        command = importlib.import_module(f"infra.commands.{module.name}")
        text = command.__doc__ or ""
        own = each.add_parser(
            module.name.replace("_", "-"),
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.arguments(own)
        own.set_defaults(run=command.run, command=own.prog.split()[-1])
    return parser


if __name__ == "__main__":
    command_line.run(main)
