"""Publish a message to a function's topic, as a dead letter that is to be tried again.

Every step can be done twice, so that doing it once too often does no harm.
"""

import argparse
import json

from infra.bundle import Bundle
from infra.commands import Problem, connect, say


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("function", metavar="FUNCTION", help="a function that a topic triggers")
    parser.add_argument("message", metavar="JSON", help="the message: a JSON object of ids")


def run(args: argparse.Namespace) -> None:
    """Do it."""
    topics = [each.name for each in Bundle.load().functions.values() if each.topic is not None]
    if args.function not in topics:
        raise Problem(f"{args.function} is no function that a topic triggers: those are {', '.join(topics)}")
    try:
        body = json.loads(args.message)
    except ValueError as wrong:
        raise Problem(f"the message is no JSON: {wrong}") from wrong
    if not isinstance(body, dict):
        raise Problem('the message must be a JSON object, as {"export": "…", "run": "…"}')
    try:
        connect().messages.publish(args.function, body)
    except ValueError as wrong:
        raise Problem(str(wrong)) from wrong
    say(f"Published to {args.function}.")
