"""Show what a month costs, and which limit is met first.

It asks nobody: it counts with the sizes that are in the code, and with list prices, which are to be checked.
The usage is a month's. Work orders, photographs, jobs and datasets are those of each customer.
"""

import argparse
import dataclasses
from dataclasses import fields

from infra.commands import Listing, Problem, show, takes_json
from infra.estimate import limits, prices
from infra.estimate.limits import Met
from infra.estimate.prices import Cost
from infra.estimate.usage import Usage
from shared.exports.schedules import interval_problem

_HELP = {
    "customers": "how many customers there are",
    "work_orders": "work orders that each customer sends in a month",
    "images": "photographs that each customer sends in a month",
    "record_bytes": "bytes of a work order's record",
    "image_bytes": "bytes of a photograph",
    "sites": "sites of each customer",
    "exports": "exports of each customer, each of all its work orders with their images, all due at one time",
    "interval": "how often each export is due, as the API takes it: daily, hourly, `every 5 minutes`",
    "batch": "work orders in an archive",
    "imports": "import jobs of each customer in a month",
    "job_exports": "export jobs of each customer in a month",
    "items": "records of each job",
    "item_bytes": "bytes of each of these records",
    "datasets": "exports of a dataset by each customer in a month",
    "samples": "samples of each dataset",
    "requests": "further requests and pages of each customer in a month",
    "months": "for how many months all that is kept by now",
    "accounts": "the project's quota of service accounts",
    "elsewhere": "per cent of what is delivered that leaves Google",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    for each in fields(Usage):
        option, told = f"--{each.name.replace('_', '-')}", f"{_HELP[each.name]}; {each.default} unless said"
        if each.type is str:
            parser.add_argument(option, default=each.default, metavar="INTERVAL", help=told)
        else:
            parser.add_argument(option, type=_number, default=each.default, metavar="N", help=told)
    takes_json(parser)


def run(args: argparse.Namespace) -> None:
    """Do it."""
    usage = Usage(**{each.name: getattr(args, each.name) for each in fields(Usage)})
    if usage.interval == "once" or (wrong := interval_problem(usage.interval)):
        raise Problem(f"--interval {wrong if usage.interval != 'once' else 'must say how often'}")
    if not usage.batch:
        raise Problem("--batch must be at least 1: how many work orders an archive has")
    if not usage.sites:
        raise Problem("--sites must be at least 1: work orders are of a site")
    show(args.json, *listings(usage), **asked(usage))


def asked(usage: Usage) -> dict[str, object]:
    """What JSON says before the lists."""
    known = prices.load()
    return {"usage": dataclasses.asdict(usage), "region": known.region, "prices_of": known.date}


def listings(usage: Usage) -> list[Listing]:
    """The tables that the command shows: by function, what is kept and sent, all of it, and the limits."""
    functions, amounts = prices.of_functions(usage), prices.of_bytes(usage)
    whole = sum(each.dollars for each in functions), sum(each.dollars for each in amounts)
    return [
        Listing("functions", FUNCTION_COLUMNS, [_function(each) for each in functions]),
        Listing(
            "amounts",
            ("what", "number", "unit", "dollars"),
            [(each.name, _rounded(each.number), each.unit, _dollars(each.dollars)) for each in amounts],
        ),
        Listing(
            "total", ("of_functions", "of_amounts", "dollars"), [tuple(map(_dollars, (*whole, sum(whole))))]
        ),
        Listing("met_already", ("limit", "most", "needs", "unit", "from", "then"), _met(usage)),
        Listing(
            "limits",
            ("grows", "times", "to", "met", "first_limit", "most", "needs", "unit", "met_at", "from", "then"),
            [_limit(each) for each in limits.growth(usage)],
        ),
    ]


FUNCTION_COLUMNS = (
    *("function", "calls", "reads", "writes", "deletes", "class_a", "class_b", "messages", "message_bytes"),
    *("cpu_seconds", "gib_seconds", "dollars"),
)


def _function(cost: Cost) -> tuple[object, ...]:
    charged = cost.charges
    counts = (
        *(charged.calls, charged.reads, charged.writes, charged.deletes + charged.kept),
        *(charged.class_a, charged.class_b, charged.messages, cost.message_bytes),
        *(cost.cpu_seconds, cost.gib_seconds),
    )
    return (cost.function, *map(round, counts), _dollars(cost.dollars))


def _met(usage: Usage) -> list[tuple[object, ...]]:
    found = limits.met_already(usage)
    return [
        (each.name, _rounded(each.value), _rounded(each.used(usage)), each.unit, each.source, each.then)
        for each in found
    ]


def _limit(met: Met) -> tuple[object, ...]:
    limit = met.limit
    return (
        *(
            met.quantity,
            met.factor,
            met.number,
            "yes" if met.met else "no",
            limit.name,
            _rounded(limit.value),
        ),
        *(_rounded(met.used), limit.unit, met.at, limit.source, limit.then),
    )


def _dollars(dollars: float) -> str:
    return f"{dollars:.2f}"


def _rounded(number: float) -> int | float:
    return round(number) if number >= 10 else round(number, 3)


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > MAX_DIGITS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 of at most {MAX_DIGITS} digits")
    return int(text)


MAX_DIGITS = 12
