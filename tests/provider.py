"""The schema of Terraform's providers, and what in infra/terraform/ does not fit it.

Terraform asks the provider itself for its schema, and that is in no registry of packages. What is there are
the classes that HashiCorp made from it for Python, a module for each resource: what a class takes is what the
resource, or the nested block, takes. `make check` fetches those packages (requirements-provider.txt). Nothing
in them is run.
"""

import ast
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import hcl2

from infra.package import ROOT

PACKAGES = ROOT / ".venv" / "provider"
"""Where `make check` puts the packages, as they come."""

BLOCK = "__is_block__"
"""The key by which the parser tells a block from a map."""


@dataclass(frozen=True)
class Argument:
    """One argument of a block, or one kind of block in it."""

    required: bool = False
    many: bool | None = None
    """Whether it is a list, or a block that may stand more than once; None where either will do."""
    mapping: bool = False
    block: "Block | None" = None
    """What a nested block takes; None of an argument."""


@dataclass(frozen=True)
class Block:
    """What a resource, a data source or a nested block takes, and what a resource can be asked for."""

    arguments: Mapping[str, Argument] = field(default_factory=dict)
    attributes: frozenset[str] = frozenset()


def _plain(needs: str = "", takes: str = "", **blocks: Block) -> Block:
    return Block(
        {name: Argument(required=True) for name in needs.split()}
        | {name: Argument() for name in takes.split()}
        | {name: Argument(many=True, block=block) for name, block in blocks.items()}
    )


_CONDITION = _plain("condition error_message")
_OF_EVERY_RESOURCE = _plain(
    takes="for_each count depends_on provider",
    lifecycle=_plain(
        takes="create_before_destroy prevent_destroy ignore_changes replace_triggered_by",
        precondition=_CONDITION,
        postcondition=_CONDITION,
    ),
    provisioner=_plain("command", "interpreter environment working_dir when on_failure quiet"),
).arguments

_TERRAFORM_DATA = Block(
    _plain(takes="input triggers_replace").arguments, frozenset(["id", "input", "output", "triggers_replace"])
)

LANGUAGE = {
    "variable": _plain("description type", "default nullable sensitive ephemeral", validation=_CONDITION),
    "output": _plain("description value", "sensitive depends_on", precondition=_CONDITION),
    "import": _plain("to id", "for_each provider"),
    "moved": _plain("from to"),
    "removed": _plain("from", lifecycle=_plain("destroy")),
}
"""What blocks of Terraform's own language take; here a variable needs a type and a description.
https://developer.hashicorp.com/terraform/language"""


def versions() -> dict[str, str]:
    """The provider -> the version whose schema is here."""
    found = {}
    for package in PACKAGES.glob("*.whl"):
        with zipfile.ZipFile(package) as files:
            [metadata] = [name for name in files.namelist() if name.endswith("/METADATA")]
            said = re.search(r"hashicorp/(\w+) provider version (\S+)", files.read(metadata).decode())
        assert said, f"{package.name} does not say which provider it is of"
        found[said[1]] = said[2]
    return found


def schema(kind: str, *, data: bool = False) -> Block | None:
    """What a resource or data source takes, such as `google_compute_address`; None where there is no such."""
    if kind == "terraform_data":
        return None if data else _TERRAFORM_DATA
    provider, _, rest = kind.partition("_")
    return _read(provider, f"data_{kind}" if data else rest)


_TOP = re.compile(r"^class (\w+)\(\n    _cdktf_\w+\.Terraform(?:Resource|DataSource|Provider),\n", re.M)
_STRUCT = re.compile(
    r"^@jsii\.data_type\((?:.*\n)*?\)\nclass (\w+)[\s\S]*?:\n    def __init__(\([\s\S]*?\) -> None:)", re.M
)
_NESTED = re.compile(r"typing\.Union\['?(\w+)'?, typing\.Dict\[builtins\.str, typing\.Any\]\]")
_OF_EVERY = re.compile(r"_cdktf_\w+\.(?!IResolvable)")
"""In what a resource takes because each does."""
_PROPERTY = re.compile(r"^    @builtins\.property\n.*\n    def (\w+)\(self\)", re.M)


@cache
def _read(provider: str, module: str) -> Block | None:
    [package] = PACKAGES.glob(f"cdktf_cdktf_provider_{provider}-*.whl")
    with zipfile.ZipFile(package) as files:
        path = f"cdktf_cdktf_provider_{provider}/{module}/__init__.py"
        if path not in files.namelist():
            return None
        source = files.read(path).decode()
    top = _TOP.search(source)
    assert top, f"{path} has no class of a resource"
    structs = dict(_STRUCT.findall(source))

    def block(name: str) -> dict[str, Argument]:
        [constructor] = ast.parse(f"def __init__{structs[name]} ...").body
        assert isinstance(constructor, ast.FunctionDef)
        taken = zip(constructor.args.kwonlyargs, constructor.args.kw_defaults, strict=True)
        return {
            # Words of Python's own have a line at their end.
            parameter.arg.rstrip("_"): argument(ast.unparse(parameter.annotation), required=default is None)
            for parameter, default in taken
            if parameter.annotation and not _OF_EVERY.search(ast.unparse(parameter.annotation))
        }

    def argument(annotation: str, *, required: bool) -> Argument:
        nested = _NESTED.search(annotation)
        return Argument(
            required=required,
            many="typing.Sequence[" in annotation,
            mapping="typing.Mapping[" in annotation,
            block=Block(block(nested[1])) if nested else None,
        )

    own = source[top.start() : source.index("\n@jsii.data_type(", top.start())]
    return Block(block(f"{top[1]}Config"), frozenset(_PROPERTY.findall(own)))


def problems(text: str) -> list[str]:
    """What in the text of a file of Terraform's does not fit: a line for each, with the way to it."""
    return [
        problem
        for kind, entries in _items(hcl2.loads(text))
        for entry in entries
        for problem in _of_an_entry(kind, entry)
    ]


def _of_an_entry(kind: str, entry: Any) -> Iterator[str]:
    if kind in ("resource", "data"):
        for type_, named in _items(entry):
            found = schema(type_, data=kind == "data")
            for name, body in _items(named):
                at = f"data.{type_}.{name}" if kind == "data" else f"{type_}.{name}"
                if found is None:
                    yield f"{at}: the provider has no such {'data source' if kind == 'data' else kind}"
                else:
                    yield from _of_a_block(at, body, {**found.arguments, **_OF_EVERY_RESOURCE})
    elif kind == "provider":
        for name, body in _items(entry):
            yield from _of_a_block(f"provider.{name}", body, (_read(name, "provider") or Block()).arguments)
    elif kind in ("variable", "output"):
        for name, body in _items(entry):
            yield from _of_a_block(f"{kind}.{name}", body, LANGUAGE[kind].arguments)
    elif kind in LANGUAGE:
        yield from _of_a_block(kind, entry, LANGUAGE[kind].arguments)
    elif kind not in ("locals", "terraform"):
        yield f"{kind}: is no block of Terraform's language"


def _items(body: Any) -> Iterator[tuple[str, Any]]:
    return ((key.strip('"'), value) for key, value in body.items() if not key.startswith("__"))


def _of_a_block(at: str, body: Any, takes: Mapping[str, Argument]) -> Iterator[str]:
    given: list[tuple[str, Any]] = []
    for name, value in _items(body):
        if name == "dynamic":
            for name, made in (each for block in value for each in _items(block)):
                said = {key for key, _ in _items(made)} - {"iterator"}
                if said != {"for_each", "content"}:
                    yield f"{at}.{name}: a dynamic block takes for_each and content, and has {sorted(said)}"
                given.append((name, made.get("content", [])))
        elif name == "provisioner":
            given += [(name, [made]) for block in value for _, made in _items(block)]
        else:
            given.append((name, value))
    for name, value in given:
        argument = takes.get(name)
        blocks = isinstance(value, list) and bool(value) and all(BLOCK in each for each in value)
        if argument is None:
            yield f"{at}: takes no `{name}`"
        elif blocks and not argument.block:
            yield f"{at}.{name}: is a block, and should be an argument"
        elif argument.block and not blocks:
            yield f"{at}.{name}: is an argument, and should be a block"
        elif argument.block:
            if argument.many is False and len(value) > 1:
                yield f"{at}.{name}: stands {len(value)} times, and may stand once"
            for each in value:
                yield from _of_a_block(f"{at}.{name}", each, argument.block.arguments)
        elif not _may_be(argument, value):
            yield f"{at}.{name}: cannot be {value}"
    for name, argument in takes.items():
        if argument.required and name not in {name for name, _ in given}:
            yield f"{at}: needs `{name}`"


def _may_be(argument: Argument, value: Any) -> bool:
    # What an expression comes to is not known here.
    if argument.many is None or str(value).startswith("${") or value == "null":
        return True
    return isinstance(value, list) == argument.many and isinstance(value, dict) == argument.mapping
