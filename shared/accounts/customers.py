"""Customers and sites: whom the data belongs to."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from google.cloud import firestore
from google.cloud.firestore_v1 import FieldFilter

from shared import audit_trail
from shared.accounts.limits import LIMITS, Limit
from shared.addresses import checked, once
from shared.cutting import shown
from shared.errors import Conflict, FieldProblem, Invalid, NotFound
from shared.gcp.documents import Snapshot, fields_of, read_together
from shared.gcp.unreadable import readable
from shared.ids import ACCOUNT, NAMED, NAMED_RULE, SLUG, SLUG_RULE

ParameterType = Literal["string", "number", "boolean"]


@dataclass(frozen=True)
class Customer:
    """Whom data belongs to. `account` is the email of the account that reaches their bucket; `limits` are the
    values that an operator has set, by their names."""

    id: str
    slug: str
    name: str
    account: str
    notify: tuple[str, ...] = ()
    limits: Mapping[str, int] = field(default_factory=dict)

    def limit(self, limit: Limit) -> int:
        """The customer's value of a limit."""
        return limit.of(self.limits)


@dataclass(frozen=True)
class Parameter:
    """A parameter that a site wants of each work order; without a type any value will do."""

    name: str
    type: ParameterType | None = None
    required: bool = True


@dataclass(frozen=True)
class Site:
    """Where work is done.

    task_groups   what photographs may show; those that are `required` make up the progress score
    parameters    the parameters that each work order must have
    analysis_url  where the site's own analyser answers, or None
    code_page     the code page of names in archives that are not UTF-8, or None
    """

    id: str
    customer: str
    name: str
    task_groups: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    analysis_url: str | None = None
    code_page: str | None = None


def account_of(slug: str, project: str) -> str:
    """The email of a customer's account; Invalid where the slug cannot be part of one."""
    if not SLUG.fullmatch(slug):
        raise Invalid.field("slug", f"{SLUG_RULE}; got {shown(slug)}")
    account = f"customer-{slug}-data-export@{project}.iam.gserviceaccount.com"
    if not ACCOUNT.fullmatch(account):
        raise Invalid.field("project", f"cannot be a part of an account's email; got {shown(project)}")
    return account


def _checked(id: str, known: bool) -> None:
    """Invalid where a new thing is not to be called so. What is there already goes on."""
    if not known and not NAMED.fullmatch(id):
        raise Invalid.field("id", f"{NAMED_RULE}; got {shown(id)}")


def add_customer(
    db: firestore.Client, *, id: str, slug: str, name: str, notify: Sequence[str] = ()
) -> Customer:
    """Onboard a customer; the slug is fixed from then on. Doing it twice is doing it once.

    Conflict where another customer has the slug, or this one has another: an account is one customer's.
    Invalid where an address of `notify` cannot be mailed, where the slug cannot be part of an account's name,
    or where a new customer's id is none.
    """
    notify, account = _addresses(notify), account_of(slug, db.project)
    for other in db.collection("customers").where(filter=FieldFilter("slug", "==", slug)).stream():
        if other.id != id:
            raise Conflict(f"the slug {slug} belongs to the customer {other.id}: choose another", other.id)
    known = db.document(f"customers/{id}").get()
    _checked(id, known.exists)
    if known.exists and known.get("slug") != slug:
        raise Conflict(f"the customer {id} has the slug {known.get('slug')}, which cannot be changed")
    customer = Customer(id, slug, name, account, tuple(notify))
    fields = {"slug": slug, "name": name, "account": customer.account, "notify": list(notify)}
    _set(db, f"customers/{id}", id, fields)
    return customer


def _addresses(notify: Sequence[str]) -> tuple[str, ...]:
    found, problems = [], []
    for number, address in enumerate(notify):
        try:
            found.append(checked(address))
        except ValueError as wrong:
            problems.append(FieldProblem(f"notify[{number}]", str(wrong)))
    if problems:
        raise Invalid(problems)
    return once(found)


def get_customer(db: firestore.Client, id: str) -> Customer:
    """The customer of that id, or NotFound."""
    return _there(db.document(f"customers/{id}").get())


def customer_and_site(db: firestore.Client, id: str, site: str) -> tuple[Customer, Site | None]:
    """The customer of that id, or NotFound; and the customer's site of that id, None where there is none."""
    found = read_together(db, [db.document(f"customers/{id}"), db.document(f"sites/{site}")])
    return _there(found[0]), _theirs(db, found[1:], id).get(site)


def _there(snapshot: Snapshot) -> Customer:
    if not snapshot.exists:
        raise NotFound(f"there is no customer {snapshot.id}")
    return customer_of(snapshot)


def customer_of(snapshot: Snapshot) -> Customer:
    """The customer of a document."""
    fields = fields_of(snapshot)
    return Customer(
        id=snapshot.id,
        slug=fields["slug"],
        name=fields["name"],
        account=fields["account"],
        notify=tuple(fields.get("notify", ())),
        limits={name: fields[name] for name in LIMITS if name in fields},
    )


def add_site(
    db: firestore.Client,
    *,
    id: str,
    customer: str,
    name: str,
    task_groups: Sequence[str] = (),
    required: Sequence[str] = (),
    parameters: Sequence[Parameter] = (),
    analysis_url: str | None = None,
    code_page: str | None = None,
) -> Site:
    """Give a customer a site. Doing it twice is doing it once. Conflict where another customer has it,
    Invalid where a new site's id is none.

    ValueError for a parameter's type that there is not.
    """
    for parameter in parameters:
        if parameter.type not in (None, *get_args(ParameterType)):
            raise ValueError(f"{parameter.name}: there is no type {parameter.type!r}")
    known = db.document(f"sites/{id}").get()
    _checked(id, known.exists)
    if known.exists and known.get("customer") != customer:
        owner = known.get("customer")
        raise Conflict(f"the site {id} belongs to the customer {owner}: choose another id", owner)
    fields = {
        "customer": customer,
        "name": name,
        "task_groups": list(task_groups),
        "required": list(required),
        "parameters": [asdict(parameter) for parameter in parameters],
        "analysis_url": analysis_url,
        "code_page": code_page,
    }
    _set(db, f"sites/{id}", customer, fields)
    return Site(
        id, customer, name, tuple(task_groups), tuple(required), tuple(parameters), analysis_url, code_page
    )


def _set(db: firestore.Client, path: str, customer: str, fields: dict[str, Any]) -> None:
    batch = db.batch()
    batch.set(db.document(path), fields, merge=True)
    audit_trail.note(db, batch, customer, path, sorted(fields))
    batch.commit()


def get_site(db: firestore.Client, id: str, customer: str) -> Site:
    """A customer's site of that id, or NotFound: another's looks as if it were not."""
    try:
        return sites_of(db, [id], customer)[id]
    except KeyError:
        raise NotFound(f"there is no site {id} of yours") from None


def all_customers(db: firestore.Client) -> list[Customer]:
    """All customers, by their ids."""
    return list(readable(db, db.collection("customers").order_by("__name__").stream(), customer_of))


def all_sites(db: firestore.Client, customer: str) -> list[Site]:
    """All sites of a customer, by their ids."""
    theirs = db.collection("sites").where(filter=FieldFilter("customer", "==", customer))
    return list(readable(db, theirs.order_by("__name__").stream(), site_of))


def sites_of(db: firestore.Client, ids: Sequence[str], customer: str) -> dict[str, Site]:
    """Those of the sites that exist and belong to the customer; another's look as if they were not. An id may
    be any text."""
    named = db.get_all([db.document(f"sites/{id}") for id in ids if NAMED.fullmatch(id)])
    return _theirs(db, named, customer)


def _theirs(db: firestore.Client, found: Iterable[Snapshot], customer: str) -> dict[str, Site]:
    theirs = [each for each in found if (each.to_dict() or {}).get("customer") == customer]
    return {site.id: site for site in readable(db, theirs, site_of)}


def site_of(snapshot: Snapshot) -> Site:
    """The site of a document."""
    fields = fields_of(snapshot)
    return Site(
        id=snapshot.id,
        customer=fields["customer"],
        name=fields["name"],
        task_groups=tuple(fields.get("task_groups", ())),
        required=tuple(fields.get("required", ())),
        parameters=tuple(Parameter(**each) for each in fields.get("parameters", ())),
        analysis_url=fields.get("analysis_url"),
        code_page=fields.get("code_page"),
    )
