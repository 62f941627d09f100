"""Who may do what, by the claims of their log-in: $KIDNEY_ROLES names a TOML file such as

    claim = "kidney_roles"                      # a claim that holds a role or a list of them; may be left out
    researcher = ["a.mueller@hospital.example"] # trains, publishes, and all below
    diagnoser = ["*@hospital.example"]          # uploads slices, opens folders, and all below
    viewer = ["*"]                              # sees figures, jobs and simulated cases

Each person gets the highest role that matches; without one they have no access.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from kidney_core.common import settings
from kidney_core.common.errors import AccessError

VARIABLE = settings.ROLES.name
RESEARCHER, DIAGNOSER, VIEWER = "researcher", "diagnoser", "viewer"
ROLES = (RESEARCHER, DIAGNOSER, VIEWER)  # each may do what the later ones may
# Source: "valid e-mail address" of the HTML standard (one @, ASCII, no blanks or commas); its length: RFC 5321, 4.5.3.1.3.
_DOMAIN_PART = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ADDRESS = re.compile(rf"[a-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*", re.ASCII | re.IGNORECASE)
_MAX_ADDRESS = 254


@dataclass(frozen=True)
class Roles:
    """The settings: role -> e-mail addresses, "*@domain" or "*"; and the claim that holds roles, "" for none."""

    listed: Mapping[str, tuple[str, ...]]
    claim: str = ""

    def role_of(self, person: Mapping[str, Any]) -> str | None:
        """The highest role of a person, by the claims of their token; None without one."""
        claimed = person.get(self.claim, ()) if self.claim else ()
        claimed = [claimed] if isinstance(claimed, str) else claimed if isinstance(claimed, list | tuple) else ()
        email = person.get("email")
        # Anybody could claim an address that the provider has not verified.
        email = email.lower() if is_address(email) and person.get("email_verified") is not False else ""
        for role in ROLES:
            if role in claimed or any(_fits(email, pattern) for pattern in self.listed.get(role, ())):
                return role
        return None


def is_address(value: object) -> TypeGuard[str]:
    """Whether a value is one e-mail address and nothing else."""
    return isinstance(value, str) and len(value) <= _MAX_ADDRESS and _ADDRESS.fullmatch(value) is not None


def may(role: str | None, needed: str) -> bool:
    """Whether a role includes another."""
    return role in ROLES and ROLES.index(role) <= ROLES.index(needed)


def read_roles() -> Roles:
    """The settings of $KIDNEY_ROLES; without it everybody who logged in may view, and no more.

    Raises: AccessError for a file that cannot be read, since otherwise nobody would notice that it has no effect.
    """
    named = settings.ROLES.path()
    if named is None:
        return Roles({VIEWER: ("*",)})
    try:
        entries = tomllib.loads(named.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AccessError(
            f"The roles file “{named}” cannot be read ({error}). Correct it, or the path in {VARIABLE}."
        ) from error
    claim = entries.pop("claim", "")
    listed = {role: entries[role] for role in ROLES if role in entries}
    wrong = [key for key in entries if key not in ROLES]
    wrong += [
        role for role, each in listed.items() if not isinstance(each, list) or not all(isinstance(a, str) for a in each)
    ]
    if wrong or not isinstance(claim, str):
        raise AccessError(
            f"The roles file “{named}” has a wrong entry “{wrong[0] if wrong else 'claim'}”: it takes the name of a claim, and for "
            f"{', '.join(ROLES)} a list of e-mail addresses."
        )
    return Roles({role: tuple(address.strip().lower() for address in each) for role, each in listed.items()}, claim)


def _fits(email: str, pattern: str) -> bool:
    if pattern == "*":
        return True
    return bool(email) and (email.endswith(pattern[1:]) if pattern.startswith("*@") else email == pattern)
