"""The directory of the settings, where logins are besides the database."""

from policy.stores.directory import Place, normal_dn
from policy.stores.existing import ExistingLogins, Search
from policy.stores.own_schema import OwnLogins
from policy.stores.person import Group, Person
from smtpeter.errors import UserError
from smtpeter.settings import Settings


def open_directory(settings: Settings) -> OwnLogins | ExistingLogins:
    """The logins of the directory; nothing is asked yet. Raises UserError for a name or a filter that is none."""
    try:
        normal_dn(settings.directory.base)
        return OwnLogins(_place(settings)) if settings.directory.layout == "smtpeter" else _existing(settings)
    except ValueError as error:
        raise UserError(f"settings: directory: {error}") from error


def _place(settings: Settings) -> Place:
    found = settings.directory
    return Place(
        urls=found.urls,
        starttls=found.starttls,
        ca=found.ca,
        bind_dn=found.bind_dn,
        bind_password_file=found.bind_password_file,
        base=found.base,
        timeout=found.timeout,
        connections=found.connections,
    )


def _existing(settings: Settings) -> ExistingLogins:
    found = settings.directory
    search = Search(
        filter=found.filter,
        member_of=found.member_of,
        group_filter=found.group_filter,
        group_base=found.group_base or found.base,
    )
    groups = (Group(dn=normal_dn(group.dn), options=group.options, account=group.account) for group in found.groups)
    person = Person(attributes=found.attributes, groups=tuple(groups), account=found.account)
    return ExistingLogins(_place(settings), search, person)
