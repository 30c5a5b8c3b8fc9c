"""Add a site to a customer, or change one.

Given again, it replaces what it said before; an option that is left out is empty. With --analysis-url it
prints the secret by which the analyser knows us: give it to whoever runs the analyser.
"""

import argparse
from typing import get_args

from infra.commands import Problem, connect, document_id, say, settings
from shared.accounts.customers import Parameter, ParameterType, Site, add_site, get_customer
from shared.analysis import analyser
from shared.batches import code_pages


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("id", metavar="ID", type=document_id, help="the site's id, a UUID as a rule")
    parser.add_argument("--customer", required=True, type=document_id, help="whose it is; never changes")
    parser.add_argument("--name", required=True, help="what people call the site")
    parser.add_argument(
        "--task-group", nargs="+", default=[], metavar="NAME", help="what photographs may show"
    )
    parser.add_argument(
        "--required",
        nargs="+",
        default=[],
        metavar="NAME",
        help="those task groups that make up the progress",
    )
    parser.add_argument(
        "--parameter",
        nargs="+",
        default=[],
        type=_parameter,
        metavar="NAME[:TYPE][?]",
        help=f"what is told of each work order; TYPE is {', '.join(get_args(ParameterType))}, without one "
        "anything will do; with ? it may be left out",
    )
    parser.add_argument("--analysis-url", metavar="URL", help="where the site's own analyser answers")
    parser.add_argument(
        "--code-page",
        type=_code_page,
        metavar="PAGE",
        help="the code page of names in archives that are not UTF-8, as cp850; without one they are refused",
    )


def run(args: argparse.Namespace) -> None:
    """Do it."""
    for name in args.required:
        if name not in args.task_group:
            raise Problem(f"--required {name}: is not among the task groups")
    cloud = connect()
    get_customer(cloud.db, args.customer)
    secret = None
    if args.analysis_url:
        try:
            secret = analyser.secret(settings(), Site(args.id, args.customer, args.name))
        except LookupError as missing:
            raise Problem(str(missing.args[0])) from missing
    site = add_site(
        cloud.db,
        id=args.id,
        customer=args.customer,
        name=args.name,
        task_groups=args.task_group,
        required=args.required,
        parameters=args.parameter,
        analysis_url=args.analysis_url,
        code_page=args.code_page,
    )
    say(f"The site {site.id} of {site.customer} is there: {site.name}.")
    if secret:
        say(f"The secret of its analyser: {secret}")


def _code_page(text: str) -> str:
    try:
        return code_pages.canonical(text)
    except ValueError as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _parameter(text: str) -> Parameter:
    name, _, kind = text.removesuffix("?").partition(":")
    types = get_args(ParameterType)
    if not name or (kind and kind not in types) or text.removesuffix("?").endswith(":"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not NAME, NAME:TYPE or either with a ?; types: {types}"
        )
    return Parameter(
        name, next((each for each in types if each == kind), None), required=not text.endswith("?")
    )
