"""The check before every page, upload and picture: who is there, how they reached the app, and what they may do.

Three ways. On a loopback address without log-in, the person at the machine may do everything. With log-in (an [auth]
section in .streamlit/secrets.toml, for st.login), roles decide, whatever the address. Behind a proxy that logs people in
(server.trustedUserHeaders names the header that holds their e-mail address), roles decide as well. On any other address
without either of the two nothing is shown, and `serve` does not even start.
"""

import ipaddress
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import streamlit as st

from kidney_core.app import markdown
from kidney_core.app.roles import DIAGNOSER, RESEARCHER, VIEWER, is_address, may, read_roles
from kidney_core.app.streamlit_internals import get_secrets_auth_section, is_authlib_installed
from kidney_core.common import allowed_paths
from kidney_core.common.errors import AccessError

__all__ = ["DIAGNOSER", "LOCAL", "RESEARCHER", "VIEWER", "Person", "allowed_roots", "check_start", "enter", "has_login"]
__all__ += ["Headers", "check_role", "identify", "is_allowed", "is_loopback", "require"]

LOOPBACK, LOGIN, PROXY = "loopback", "log-in", "proxy"
LOCAL = "local"  # the name of the person at the machine
LEAST_SECRET = 32  # letters of the key that signs the cookie which says who somebody is
_CREATE_SECRET = "python -c 'import secrets; print(secrets.token_hex(32))'"
_FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Forwarded")
_MAX_SUBJECT = 255  # letters of a provider's name for a person. Source: OpenID Connect Core 1.0, section 2
_PROVIDER_KEYS = ("client_id", "client_secret", "server_metadata_url")
Headers = Sequence[tuple[str, str]]  # of a request: name and value, each as often as it was sent


@dataclass(frozen=True)
class Person:
    """A user of the app.

    Attributes:
        name: what the audit log calls them: e-mail address or the provider's subject; LOCAL on one's own machine.
        role: of `roles`.
    """

    name: str
    role: str


def check_start() -> str:
    """The way by which people come in with these settings; one of LOOPBACK, LOGIN and PROXY.

    Raises: AccessError for settings with which the app must not be reached, with what to set.
    """
    login, headers = get_secrets_auth_section(), st.get_option("server.trustedUserHeaders") or {}
    if login and headers:
        raise AccessError(
            "There are both an [auth] section and server.trustedUserHeaders: the header would override the log-in. Remove one of them."
        )
    if login:
        _check_login(login)
        way = LOGIN
    elif headers:
        if "email" not in headers.values():
            raise AccessError(
                'server.trustedUserHeaders names no e-mail header. Set it to {"X-Forwarded-Email": "email"}.'
            )
        way = PROXY
    elif is_loopback(st.get_option("server.address")):
        return LOOPBACK
    else:
        raise AccessError(
            f"The app would be open to everybody who reaches “{st.get_option('server.address') or 'any address'}”. Let it listen "
            "on 127.0.0.1, or set up a log-in: an [auth] section in .streamlit/secrets.toml (docs.streamlit.io, st.login), or "
            "server.trustedUserHeaders behind a proxy that logs people in."
        )
    read_roles()
    allowed_paths.configured_roots()
    return way


def is_loopback(address: str | None) -> bool:
    """Whether a server on that address is reached from its own machine only; None and a name are not."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address((address or "").strip("[]")).is_loopback
    except ValueError:
        return False


def enter(needed: str = VIEWER) -> Person:
    """Let a person with that role pass; anybody else sees why not, or where to log in, and the page ends."""
    try:
        return require(needed)
    except _NotLoggedIn as denied:
        st.title("Kidney CT workbench", anchor=False)
        st.info(markdown.text(denied))
        for name in _providers(get_secrets_auth_section()):
            if st.button(
                "Log in" if name is None else f"Log in with {markdown.text(name)}",
                key=f"access_login_{name}",
                type="primary",
            ):
                st.login(name)
    except AccessError as denied:
        st.error(markdown.text(denied))
        if has_login() and st.user.to_dict().get("is_logged_in") is True and st.button("Log out", key="access_leave"):
            st.logout()
    st.stop()


def require(needed: str) -> Person:
    """The person, for an action that takes a role; asked again at each action, since a token may have ended meanwhile.

    Raises: AccessError.
    """
    headers = st.context.headers
    return check_role(
        identify(st.user.to_dict(), [(name, each) for name in headers for each in headers.get_all(name)]), needed
    )


def check_role(person: Person, needed: str) -> Person:
    """The person, who has that role. Raises: AccessError."""
    if not may(person.role, needed):
        raise AccessError(
            f"You need the role “{needed}” for this, and you ({person.name}) have “{person.role}”. Ask the administrator."
        )
    return person


def identify(claims: Mapping[str, Any], headers: Headers) -> Person:
    """Who sent a request: the one answer to this for pages, uploads and pictures.

    Args:
        claims: of their log-in, as in `st.user`.
        headers: of the request.

    Raises: AccessError for nobody, for somebody without a role, and where it is not certain who it is.
    """
    way = check_start()
    if way == LOOPBACK:
        _check_own_machine(headers)
        return Person(LOCAL, RESEARCHER)
    if way == PROXY:
        _check_told_once(headers)
    elif claims.get("is_logged_in") is not True:
        raise _NotLoggedIn("Log in to use this app.")
    else:
        ends = claims.get("exp")
        if isinstance(ends, bool) or not isinstance(ends, int | float) or not ends > time.time():  # NaN is no time
            raise _NotLoggedIn("Your log-in has ended. Log in again.")
    name = _name(claims, way)
    role = read_roles().role_of(claims)
    if role is None:
        raise AccessError(f"You ({name}) have no role in this app. Ask the administrator for one.")
    return Person(name, role)


def is_allowed(needed: str) -> bool:
    """Whether the person may do what takes a role, for showing what they can use."""
    try:
        require(needed)
    except AccessError:
        return False
    return True


def allowed_roots() -> tuple[Path, ...] | None:
    """Where folders may be named: anywhere (None) only on one's own machine, else inside the configured roots.

    Raises: AccessError, PathError.
    """
    configured = allowed_paths.configured_roots()
    return () if configured is None and check_start() != LOOPBACK else configured


class _NotLoggedIn(AccessError):
    """Nobody is logged in, or no longer."""


def _name(claims: Mapping[str, Any], way: str) -> str:
    """What to call a person: their e-mail address, or the provider's subject where there is none. Raises: AccessError."""
    email, subject = claims.get("email"), claims.get("sub") if way == LOGIN else None
    if email:
        if not is_address(email):
            raise AccessError("The log-in passed on something else than one e-mail address. Tell the administrator.")
        return email
    if not isinstance(subject, str) or not _is_name(subject):
        raise AccessError("The log-in did not pass on who you are. Tell the administrator.")
    return subject


def _is_name(subject: str) -> bool:
    return subject.isprintable() and 0 < len(subject.strip()) <= _MAX_SUBJECT and subject != LOCAL


def _check_told_once(headers: Headers) -> None:
    """Raise AccessError where a header that says who somebody is was sent twice: one of them may come from the visitor."""
    trusted = st.get_option("server.trustedUserHeaders")
    for claim in set(trusted.values()):
        named = {name.lower() for name, each in trusted.items() if each == claim}
        if sum(name.lower() in named for name, _ in headers) > 1:
            raise AccessError(
                f"The proxy passed on your “{claim}” more than once. The administrator must let it remove "
                f"{' and '.join(sorted(named))} from incoming requests."
            )


def _check_own_machine(headers: Headers) -> None:
    """Raise AccessError for a request by another host name or through a proxy: it does not come from this machine.

    The name matters without a proxy too: a page elsewhere may point its own name at 127.0.0.1 (DNS rebinding).
    """
    sent = {name.lower(): value for name, value in headers}
    host = sent.get("host")
    try:
        named = urlsplit(f"//{host}").hostname if host else "localhost"  # a page under test has no headers
    except ValueError:
        named = None
    if not is_loopback(named) or any(sent.get(name.lower()) for name in _FORWARDED):
        raise AccessError(
            f"This app was reached as “{host}” or through a proxy, and has no log-in. Open it as http://127.0.0.1, or let the "
            "proxy log people in and pass on their e-mail addresses (server.trustedUserHeaders)."
        )


def has_login() -> bool:
    """Whether people log in by st.login."""
    return bool(get_secrets_auth_section())


def _providers(login: Mapping[str, Any]) -> list[str | None]:
    """The providers of an [auth] section by name; None for the one without."""
    named: list[str | None] = [
        name for name, section in login.items() if isinstance(section, Mapping) and name != "client_kwargs"
    ]
    return [None, *named] if "client_id" in login else named


def _check_login(login: Mapping[str, Any]) -> None:
    """Raise AccessError for an [auth] section with which nobody can log in, or anybody."""
    if not is_authlib_installed():
        raise AccessError("Logging in needs the package Authlib. Run pip install Authlib.")
    providers = _providers(login)
    missing = [key for key in ("redirect_uri", "cookie_secret") if not login.get(key)]
    for name in providers:
        section = login if name is None else login[name]
        missing += [f"{name or 'auth'}.{key}" for key in _PROVIDER_KEYS if not section.get(key)]
    if missing or not providers:
        raise AccessError(
            f"The [auth] section lacks {missing[0] if missing else 'client_id'}. Complete .streamlit/secrets.toml."
        )
    if len(str(login["cookie_secret"])) < LEAST_SECRET:
        raise AccessError(
            f"cookie_secret is shorter than {LEAST_SECRET} characters: anybody who guesses it can log in as anyone. Create one with: {_CREATE_SECRET}"
        )
