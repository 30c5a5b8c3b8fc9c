"""What a query may be: one SELECT, made of what is listed here and in functions.py.

DuckDB's own parser makes the tree (json_serialize_sql:
https://duckdb.org/docs/stable/data/json/sql_to_and_from_json). Every node in it, every function, type and
table must be of a kind that is listed. So what a later version of DuckDB adds is refused until it is listed.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import duckdb

from shared.sandbox import functions
from shared.sandbox.child import RefusedInput

MAX_DEPTH = 250
"""How deep the expressions of a query may be nested."""

NODES = frozenset(["SELECT_NODE", "SET_OPERATION_NODE"])
TABLES = frozenset(["BASE_TABLE", "JOIN", "SUBQUERY", "EXPRESSION_LIST", "EMPTY", "TABLE_FUNCTION"])
MODIFIERS = frozenset(["ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "DISTINCT_MODIFIER"])
ORDERS = frozenset(["ORDER_DEFAULT", "ASCENDING", "DESCENDING"])
EXPRESSIONS = frozenset(
    [
        "BETWEEN",
        "CASE",
        "CAST",
        "COLLATE",
        "COLUMN_REF",
        "COMPARISON",
        "CONJUNCTION",
        "CONSTANT",
        "FUNCTION",
        "LAMBDA",
        "OPERATOR",
        "POSITIONAL_REFERENCE",
        "STAR",
        "SUBQUERY",
        "TYPE",
        "WINDOW",
    ]
)


def tables(connection: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The names of the tables that a query reads, each once. Raises RefusedInput for what is not allowed.

    The connection's `max_expression_depth` is MAX_DEPTH.
    """
    if "\0" in sql:
        raise RefusedInput("The query holds a NUL character. Remove it.")
    answer = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()
    assert answer is not None
    sys.setrecursionlimit(100 * MAX_DEPTH)
    tree = json.loads(answer[0])
    if tree["error"]:
        message = tree["error_message"]
        if tree["error_type"] == "not implemented":
            raise RefusedInput("Only a SELECT is allowed, without PIVOT. Write the query as one SELECT.")
        if "max_expression_depth" in message or "expression depth" in message:
            raise RefusedInput(
                f"The query is nested more than {MAX_DEPTH} levels deep. Write it with fewer levels."
            )
        raise RefusedInput(f"The query cannot be parsed: {message.rstrip('.')}.")
    if len(tree["statements"]) != 1:
        raise RefusedInput(f"The query has {len(tree['statements'])} statements. Write exactly one SELECT.")
    names: dict[str, None] = {}
    for name in _tables(tree["statements"][0], frozenset()):
        names[name] = None
    return list(names)


def _tables(tree: Any, scope: frozenset[str]) -> Iterator[str]:
    """Walk a tree, and answer the tables in it. `scope` holds the names that WITH has given."""
    if isinstance(tree, list):
        for branch in tree:
            yield from _tables(branch, scope)
    elif isinstance(tree, dict):
        kind = tree.get("type")
        if "class" in tree:
            _check_expression(tree)
        elif "cte_map" in tree or (isinstance(kind, str) and kind.endswith("_NODE")):
            if kind not in NODES:
                raise RefusedInput(_node_sentence(str(kind)))
            # A name is known to what follows it, and not to its own query: there it is a table.
            for entry in tree["cte_map"]["map"]:
                yield from _tables(entry["value"], scope)
                scope = scope | {_lower(entry["key"])}
            tree = {name: branch for name, branch in tree.items() if name != "cte_map"}
        elif "sample" in tree and "alias" in tree:
            yield from _table(tree, scope)
        elif isinstance(kind, str) and kind not in MODIFIERS and kind not in ORDERS:
            raise RefusedInput(f"{_words(kind)} is not allowed in a query. Write it without.")
        for name, branch in tree.items():
            if isinstance(branch, dict | list) and name != "sample":
                yield from _tables(branch, scope)


def _table(tree: dict[str, Any], scope: frozenset[str]) -> Iterator[str]:
    kind = tree["type"]
    if kind not in TABLES:
        raise RefusedInput(f"{_words(kind)} is not allowed as a table. Name a table there.")
    if kind == "TABLE_FUNCTION":
        name = tree["function"]["function_name"]
        if name.lower() != "unnest":
            raise RefusedInput(
                f"The function {name} is not allowed as a table. Name a table, or use unnest on a column."
            )
    if kind == "BASE_TABLE":
        name = tree["table_name"]
        if tree["schema_name"] or tree["catalog_name"] or len(tree["qualified_name"]["path"]) != 1:
            raise RefusedInput(
                f"The table {'.'.join(tree['qualified_name']['path'])} has a qualified name. "
                "Write its name alone, in double quotes if it holds a dot."
            )
        if tree["at_clause"]:
            raise RefusedInput("AT is not allowed behind a table. Write the query without it.")
        if _lower(name) not in scope:
            yield name


def _check_expression(tree: dict[str, Any]) -> None:
    kind = tree["class"]
    if kind not in EXPRESSIONS:
        if kind == "PARAMETER":
            raise RefusedInput("The query has a parameter (? or $1). Write the value in its place.")
        raise RefusedInput(f"{_words(kind)} is not allowed in a query. Write it without.")
    if tree.get("catalog") or tree.get("schema"):
        name = tree.get("function_name") or tree.get("type_name")
        raise RefusedInput(f"{tree.get('schema')}.{name} has a qualified name. Write its name alone.")
    if kind in ("FUNCTION", "WINDOW"):
        name = tree["function_name"]
        if name.lower() not in functions.FUNCTIONS:
            raise RefusedInput(
                f"The function {name} is not allowed. The documentation lists the functions that are."
            )
    if kind == "TYPE" and tree["type_name"].lower() not in functions.TYPES:
        raise RefusedInput(
            f"The type {tree['type_name']} is not allowed. The documentation lists the types that are."
        )
    if kind == "COLLATE" and not set(tree["collation"].lower().split(".")) <= functions.COLLATIONS:
        raise RefusedInput(f"The collation {tree['collation']} is not allowed. Use NOCASE or NOACCENT.")


def _node_sentence(kind: str) -> str:
    if "RECURSIVE" in kind:
        return "A recursive query is not allowed. Write it without WITH RECURSIVE."
    return "Only a SELECT is allowed, also inside WITH. Write the query as one SELECT."


def _words(kind: str) -> str:
    return kind.replace("_REF", "").replace("_", " ")


def _lower(name: str) -> str:
    """As DuckDB compares names: letters of ASCII alone."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)
