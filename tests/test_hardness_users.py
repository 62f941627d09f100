"""Who gets in, and what they may do there (point 7), beside the lines of the table."""

from types import SimpleNamespace

import pytest
import streamlit as st
from streamlit.runtime.context import StreamlitHeaders

from kidney_core.app import access, audit_log, roles, serve, streamlit_internals
from kidney_core.common import allowed_paths
from kidney_core.common.errors import AccessError
from tests.app.test_pages import PAGES, opened, texts
from tests.conftest import ROOT
from tests.hardness import users


@pytest.mark.browser
def test_a_diagnosis_is_one_line_that_names_the_user_and_hashes(browser, tmp_path):
    lines = users.measure_diagnosis(browser, tmp_path)
    assert [(line["kind"], line["user"]) for line in lines] == [("diagnosis", "reader@hospital.example")]
    assert audit_log.verify(tmp_path / "audit.jsonl")[0] == 1


SETTINGS = {"server.address": "0.0.0.0", "server.trustedUserHeaders": {}}
LOG_IN = {
    "redirect_uri": "http://x/oauth2callback",
    "cookie_secret": "k" * 64,
    "client_id": "a",
    "client_secret": "b",
    "server_metadata_url": "http://x",
}


@pytest.fixture
def settings(monkeypatch):
    """Settings of Streamlit and an [auth] section that a test may change."""
    changed = SimpleNamespace(options=dict(SETTINGS), login={})
    monkeypatch.setattr(st, "get_option", lambda name: changed.options[name])
    monkeypatch.setattr(access, "get_secrets_auth_section", lambda: changed.login)
    monkeypatch.setattr(access, "is_authlib_installed", lambda: True)
    return changed


def test_check_start_knows_three_ways(settings):
    settings.options["server.address"] = "127.0.0.1"
    assert access.check_start() == access.LOOPBACK
    settings.options["server.address"] = "0.0.0.0"
    settings.login = LOG_IN
    assert access.check_start() == access.LOGIN
    settings.login = {key: LOG_IN[key] for key in ("redirect_uri", "cookie_secret")} | {"hospital": LOG_IN}
    assert access.check_start() == access.LOGIN
    settings.login, settings.options["server.trustedUserHeaders"] = {}, {"X-Forwarded-Email": "email"}
    assert access.check_start() == access.PROXY


@pytest.mark.parametrize(
    ("login", "headers", "message"),
    [
        ({}, {}, "open to everybody who reaches “0.0.0.0”. Let it listen on 127.0.0.1, or set up a log-in"),
        ({}, {"X-Name": "name"}, "names no e-mail header"),
        (LOG_IN, {"X-Email": "email"}, "the header would override the log-in"),
        ({**LOG_IN, "cookie_secret": "short"}, {}, "cookie_secret is shorter than 32 characters"),
        ({**LOG_IN, "server_metadata_url": ""}, {}, "lacks auth.server_metadata_url"),
        ({"cookie_secret": "k" * 64, "redirect_uri": "x"}, {}, "lacks client_id"),
        ({"client_id": "a"}, {}, "lacks redirect_uri"),
    ],
)
def test_check_start__error_half_a_log_in(settings, login, headers, message):
    settings.login, settings.options["server.trustedUserHeaders"] = login, headers
    with pytest.raises(AccessError, match=message):
        access.check_start()


def test_check_start__error_roles_that_cannot_be_read(settings, monkeypatch, tmp_path):
    settings.login = LOG_IN
    monkeypatch.setenv(roles.VARIABLE, str(tmp_path / "nowhere.toml"))
    with pytest.raises(AccessError, match="roles file .* cannot be read"):
        access.check_start()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_is_loopback(address):
    assert access.is_loopback(address)


@pytest.mark.parametrize(
    "address", [None, "", "0.0.0.0", "::", "192.168.0.1", "localhost.evil.example", "127.0.0.1.nip.io", "0"]
)
def test_is_loopback__no(address):
    assert not access.is_loopback(address)


def test_without_roots_nothing_may_be_named_where_others_reach_the_app(settings, monkeypatch, tmp_path):
    monkeypatch.delenv(allowed_paths.VARIABLE, raising=False)
    settings.login = LOG_IN
    assert access.allowed_roots() == ()
    monkeypatch.setenv(allowed_paths.VARIABLE, str(tmp_path))
    assert access.allowed_roots() == (tmp_path.resolve(),)
    settings.login, settings.options["server.address"] = {}, "127.0.0.1"
    monkeypatch.delenv(allowed_paths.VARIABLE)
    assert access.allowed_roots() is None


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example:8501"},
        {"Host": "127.0.0.1:8501", "X-Forwarded-For": "192.0.2.9"},
        {"Host": "app.hospital.example"},
        {"Host": "[127.0.0.1"},
    ],
)
def test_a_loopback_app_reached_by_another_name_or_through_a_proxy_is_closed(settings, monkeypatch, headers):
    settings.options["server.address"] = "127.0.0.1"
    sent(monkeypatch, ("Host", "127.0.0.1:8501"))
    assert access.require(access.RESEARCHER) == access.Person("local", "researcher")
    sent(monkeypatch, *headers.items())
    with pytest.raises(AccessError, match="has no log-in. Open it as http://127.0.0.1"):
        access.require(access.VIEWER)


def sent(monkeypatch, *headers):
    """Let the page have been opened by a request with these headers."""
    monkeypatch.setattr(access.st, "context", SimpleNamespace(headers=StreamlitHeaders(headers)))


def person(monkeypatch, **claims):
    monkeypatch.setattr(access.st, "user", SimpleNamespace(to_dict=lambda: claims))


def test_behind_a_proxy_the_header_names_the_person(settings, monkeypatch, tmp_path):
    settings.options["server.trustedUserHeaders"] = {"X-Forwarded-Email": "email"}
    (tmp_path / "roles.toml").write_text('diagnoser = ["a@b.example"]', encoding="utf-8")
    monkeypatch.setenv(roles.VARIABLE, str(tmp_path / "roles.toml"))
    person(monkeypatch, email="A@b.example")
    assert access.require(access.DIAGNOSER).role == "diagnoser"
    with pytest.raises(AccessError, match="need the role “researcher” for this, and you .* have “diagnoser”"):
        access.require(access.RESEARCHER)
    person(monkeypatch, email="other@b.example")
    with pytest.raises(AccessError, match="have no role"):
        access.require(access.VIEWER)
    person(monkeypatch, email=None)
    with pytest.raises(AccessError, match="did not pass on who you are"):
        access.require(access.VIEWER)


# What an attacker may add to the one address that the proxy knows, or send where it passes on none.
NO_ADDRESSES = [
    "boss@evil.example@b.example", "a@b.example@b.example", "@b.example", "a@", "a", " ", "a b@b.example", " a@b.example",
    "a@b.example ", "a@b.example\t", "a@b.example\r\nX: y", "a@b.example\x00", "x@evil.example,a@b.example",
    "x@evil.example;a@b.example", "<a@b.example>", '"a"@b.example', "a@-b.example", "a@b..example", "a@b.example.",
    "\u212aate@b.example", "\uff41@b.example", "a\u200b@b.example", "a@b.example\xa0", "a" * 250 + "@b.example",
]  # fmt: skip


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_what_is_not_one_address_names_nobody(settings, monkeypatch, tmp_path, address):
    (tmp_path / "roles.toml").write_text('researcher = ["*@b.example"]\nviewer = ["*"]', encoding="utf-8")
    monkeypatch.setenv(roles.VARIABLE, str(tmp_path / "roles.toml"))
    settings.options["server.trustedUserHeaders"] = {"X-Forwarded-Email": "email"}
    person(monkeypatch, email=address)
    with pytest.raises(AccessError, match="something else than one e-mail address"):
        access.require(access.VIEWER)
    assert roles.read_roles().role_of({"email": address}) == "viewer"  # as anybody who logged in
    settings.options["server.trustedUserHeaders"], settings.login = {}, LOG_IN
    person(monkeypatch, is_logged_in=True, email=address, exp=1e12)
    with pytest.raises(AccessError, match="something else than one e-mail address"):
        access.require(access.VIEWER)


@pytest.mark.parametrize(
    "address", ["a@b.example", "A.Mueller+ct@Hospital-1.example", "o'neil@b", "a" * 242 + "@b.example"]
)
def test_one_address_is_taken_as_it_is(address):
    assert roles.is_address(address)


@pytest.mark.parametrize("subject", ["", " ", "a\nb", "x" * 256, 7, "local"])
def test_a_subject_that_names_nobody_is_denied(settings, monkeypatch, subject):
    settings.login = LOG_IN
    person(monkeypatch, is_logged_in=True, exp=1e12, sub="248289761001")
    assert access.require(access.VIEWER).name == "248289761001"
    person(monkeypatch, is_logged_in=True, exp=1e12, sub=subject)
    with pytest.raises(AccessError, match="did not pass on who you are"):
        access.require(access.VIEWER)


@pytest.mark.parametrize(
    "headers",
    [
        [("X-Forwarded-Email", "a@b.example"), ("X-Forwarded-Email", "boss@b.example")],
        [("X-Forwarded-Email", "a@b.example"), ("x-forwarded-email", "a@b.example")],
        [("X-Forwarded-Email", ""), ("X-Forwarded-Email", "a@b.example")],
        [("X-Forwarded-Email", "a@b.example"), ("X-Email", "boss@b.example")],  # two names of one claim
        [("X-Forwarded-Email", "a@b.example"), ("X-Roles", "viewer"), ("X-Roles", "researcher")],
    ],
)
def test_a_person_who_is_named_twice_is_denied(settings, monkeypatch, headers):
    trusted = {"X-Forwarded-Email": "email", "X-Email": "email", "X-Roles": "kidney_roles"}
    settings.options["server.trustedUserHeaders"] = trusted
    person(monkeypatch, email="a@b.example")
    sent(monkeypatch, ("X-Forwarded-Email", "a@b.example"), ("X-Roles", "viewer"), ("Cookie", "a"), ("Cookie", "b"))
    assert access.require(access.VIEWER).name == "a@b.example"
    sent(monkeypatch, *headers)
    with pytest.raises(AccessError, match="more than once. The administrator must let it remove x-"):
        access.require(access.VIEWER)


@pytest.mark.parametrize("ends", [0, None, True, "9999999999", float("nan")])
def test_a_token_without_an_end_to_come_is_denied(settings, monkeypatch, ends):
    settings.login = LOG_IN
    person(monkeypatch, is_logged_in=True, email="a@b.example", exp=ends)
    with pytest.raises(AccessError, match="log-in has ended"):
        access.require(access.VIEWER)


def test_roles_are_the_highest_that_fits():
    found = roles.Roles({"researcher": ("a@b.example",), "diagnoser": ("*@b.example",), "viewer": ("*",)}, "job")
    assert found.role_of({"email": "a@b.example"}) == "researcher"
    assert found.role_of({"email": "a@b.example", "email_verified": False}) == "viewer"
    assert found.role_of({"email": "x@b.example"}) == "diagnoser"
    assert found.role_of({"email": "x@evil-b.example"}) == "viewer"
    assert found.role_of({"sub": "7", "job": "researcher"}) == "researcher"
    assert found.role_of({"sub": "7", "job": ["researchers", 5]}) == "viewer"
    assert roles.Roles({}, "").role_of({"email": "a@b.example", "": "researcher"}) is None
    assert roles.may("researcher", "viewer")
    assert not roles.may("viewer", "diagnoser")
    assert not roles.may(None, "viewer")


def test_read_roles__error_wrong_entry(monkeypatch, tmp_path):
    monkeypatch.delenv(roles.VARIABLE, raising=False)
    assert roles.read_roles().role_of({"email": "a@b.example"}) == "viewer"
    path = tmp_path / "roles.toml"
    monkeypatch.setenv(roles.VARIABLE, str(path))
    for text in ('admin = ["a"]', 'viewer = "a"', "viewer = [1]", "claim = 1"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(AccessError, match="has a wrong entry"):
            roles.read_roles()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_every_page_stops_before_it_draws_where_nobody_is_logged_in(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(access, "get_secrets_auth_section", lambda: LOG_IN)
    monkeypatch.setattr(access, "is_authlib_installed", lambda: True)
    app = opened(page, monkeypatch)
    assert "Log in to use this app" in texts(app.info)
    assert "Not a medical device" not in texts(app.caption)
    assert [button.label for button in app.button] == ["Log in"]


def test_serve_reads_options_as_streamlit_does():
    for arguments in (["--server.address", "0.0.0.0"], ["--server.address=0.0.0.0"]):
        with pytest.raises(AccessError, match="“0.0.0.0”"):
            serve.main.__wrapped__(arguments)
    streamlit_internals.read_options(serve.app_script(), serve.own_settings())
