"""Point 7, users: the app is open to nobody who is not meant, with a real OpenID provider and a real browser."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from benchmarks.browser import free_port, running_app, settled, wait_for_answer
from tests.conftest import ROOT
from tests.hardness.table import Figures, Options

PAGES = ("", "Diagnosis", "Evaluation", "Training", "Dataset", "Teaching")
OPEN, LOGIN, ROLE, NOBODY, UNSAFE = "open", "log in", "role is missing", "no role", "open to everybody"
# What each answer of the gate says; a page that is open has drawn its links.
_SAID = {
    "Log in to use this app": LOGIN,
    "Your log-in has ended": LOGIN,
    "for this, and you (": ROLE,  # not “You need the role”, which the open Training page says to those who may not start jobs
    "have no role in this app": NOBODY,
    "would be open to everybody": UNSAFE,
}
USERS = {
    "researcher": {"email": "boss@hospital.example"},
    "diagnoser": {"email": "reader@hospital.example"},
    "viewer": {"email": "student@view.example"},
    "claimed": {"email": "c@elsewhere.example", "kidney_roles": ["researcher"]},
    "unverified": {"email": "boss@hospital.example", "email_verified": False},
    "stranger": {"email": "x@elsewhere.example"},
}
TOKEN_LASTS_S = 30
_READS = {"Diagnosis", "Dataset"}
# Which pages are open to whom: the three that differ, and Home.
EXPECTED = {
    user: {page: (NOBODY if user in ("unverified", "stranger") else ROLE if user == "viewer" and page in _READS else OPEN)
           for page in ("", "Diagnosis", "Training", "Dataset")}
    for user in USERS
}  # fmt: skip
_ROLES = """
claim = "kidney_roles"
researcher = ["Boss@hospital.example"]
diagnoser = ["*@hospital.example"]
viewer = ["*@view.example"]
"""


def measure_starts(_options: Options) -> Figures:
    """Start the app with settings that would open it to everybody; each must end by itself, with a remedy."""
    figures = {"starts": 0, "started": 0, "without_remedy": 0}
    for options, variables in (
        (["--server.address", "0.0.0.0"], {}),
        (["--server.address=::"], {}),
        ([], {"STREAMLIT_SERVER_ADDRESS": "192.0.2.7"}),
        (["--server.address", "0.0.0.0", "--server.trustedUserHeaders", '{"X-Name": "name"}'], {}),
        (["--server.address", "localhost.evil.example"], {}),
    ):
        figures["starts"] += 1
        command = [sys.executable, "-m", "kidney_core.app.serve", "--server.port", str(free_port()), *options]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        try:
            told = process.communicate(timeout=60)[1]
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            figures["started"] += 1
            continue
        figures["started"] += process.returncode == 0
        figures["without_remedy"] += "Let it listen" not in told and "Set it to" not in told
    return figures


def measure_log_in(options: Options) -> Figures:
    """Every page by deep link: without a log-in, as each user, and with forged cookies."""
    browser, workplace = options.browser, options.workplace
    (workplace / "roles.toml").write_text(_ROLES, encoding="utf-8")
    figures = {"deep_links": 0, "open_without_log_in": 0, "wrong_roles": 0, "forged_admitted": 0}
    with (
        provider(3600) as issuer,
        running_app(*secrets(workplace, issuer), KIDNEY_ROLES=f"{workplace}/roles.toml") as (app, _),
    ):
        with visitor(browser) as page:
            for name in PAGES:
                figures["deep_links"] += 1
                figures["open_without_log_in"] += state_of(page, f"{app}/{name}") != LOGIN
        for user, expected in EXPECTED.items():
            with visitor(browser) as page:
                log_in(page, f"{app}/Diagnosis", user)
                for name, wanted in expected.items():
                    figures["deep_links"] += 1
                    figures["wrong_roles"] += state_of(page, f"{app}/{name}") != wanted
                    if name == "Training" and wanted == OPEN:
                        figures["wrong_roles"] += can_start(page) != (user in ("researcher", "claimed"))
                if user == "researcher":
                    figures["forged_admitted"] += forged_is_admitted(page.context, app)
    return figures


def measure_ended_token(options: Options) -> Figures:
    """A log-in whose token ends while the page is open: the next click is denied, and so is opening it anew."""
    workplace = options.workplace
    (workplace / "roles.toml").write_text(_ROLES, encoding="utf-8")
    roles = f"{workplace}/roles.toml"
    figures = {"admitted": 0, "expired_admitted": 0}
    with (
        provider(TOKEN_LASTS_S) as issuer,
        running_app(*secrets(workplace, issuer), KIDNEY_ROLES=roles) as (app, _),
        visitor(options.browser) as page,
    ):
        log_in(page, app, "researcher")
        until = time.monotonic() + TOKEN_LASTS_S + 1
        figures["admitted"] += said(page) == OPEN
        time.sleep(max(0, until - time.monotonic()))
        page.get_by_test_id("stPageLink").filter(has_text="Evaluation").first.click()
        settled(page)
        figures["expired_admitted"] += said(page) != LOGIN  # in the open session
        figures["expired_admitted"] += state_of(page, app) != LOGIN
    return figures


def measure_streamlit_run(options: Options) -> Figures:
    """Started past `serve`, the pages themselves refuse."""
    figures = {"deep_links": 0, "open_pages": 0}
    command = ("streamlit", "run", str(ROOT / "streamlit_app.py"))
    with running_app("--server.address", "0.0.0.0", command=command) as (app, _), visitor(options.browser) as page:
        for name in PAGES:
            figures["deep_links"] += 1
            figures["open_pages"] += state_of(page, f"{app}/{name}") != UNSAFE
    return figures


def measure_diagnosis(browser: Browser, workplace: Path) -> list[dict]:
    """The lines of the audit log after one sample was read by a user who is logged in."""
    (workplace / "roles.toml").write_text(_ROLES, encoding="utf-8")
    log = workplace / "audit.jsonl"
    variables = {
        "KIDNEY_ROLES": f"{workplace}/roles.toml",
        "KIDNEY_AUDIT_LOG": str(log),
        "KIDNEY_CHECKPOINTS": str(ROOT / "checkpoints"),
    }
    with (
        provider(3600) as issuer,
        running_app(*secrets(workplace, issuer), **variables) as (app, _),
        visitor(browser) as page,
    ):
        log_in(page, app, "diagnoser")
        state_of(page, f"{app}/Diagnosis")
        page.get_by_role("button", name="Cyst").click()
        page.locator(".stage[data-shown]").wait_for(timeout=120_000)
        settled(page, seconds=120)
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


@contextmanager
def provider(token_max_age_s: int) -> Iterator[str]:
    """An OpenID provider of its own process on loopback (oidc-provider-mock); its address."""
    port = free_port()
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "oidc_provider_mock",
        "--port",
        str(port),
        "--token-max-age",
        str(token_max_age_s),
    ]
    for sub, claims in USERS.items():
        command += ["--user-claims", json.dumps({"sub": sub, **claims})]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_answer(f"{address}/.well-known/openid-configuration", process, "the OpenID provider")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=60)


def secrets(workplace: Path, issuer: str, cookie_secret: str = "k" * 64) -> tuple[str, str]:
    """Streamlit's option that names a file with a log-in by the provider."""
    path = workplace / "secrets.toml"
    path.write_text(
        f"""
[auth]
redirect_uri = "http://127.0.0.1:{{port}}/oauth2callback"
cookie_secret = "{cookie_secret}"
client_id = "workbench"
client_secret = "secret"
server_metadata_url = "{issuer}/.well-known/openid-configuration"
""",
        encoding="utf-8",
    )
    return "--secrets.files", str(path)


@contextmanager
def visitor(browser: Browser) -> Iterator[Page]:
    """A page of a browser that knows nobody yet."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.set_default_timeout(60_000)
    try:
        yield context.new_page()
    finally:
        context.close()


def log_in(page: Page, address: str, user: str) -> None:
    """Through the app's button, the provider's form and back."""
    state_of(page, address)
    page.get_by_role("button", name="Log in", exact=True).click()
    page.locator(f'button[name="sub"][value="{user}"]').first.click()
    page.wait_for_url("http://127.0.0.1:*/**")
    page.get_by_test_id("stApp").wait_for()
    settled(page)


def state_of(page: Page, address: str) -> str:
    """Open an address by itself, as from a bookmark, and say what the gate did."""
    page.goto(address)
    page.get_by_test_id("stApp").wait_for()
    settled(page)
    return said(page)


def said(page: Page) -> str:
    """What the page that is shown says; raises where it is none of what is known."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        text = page.locator("body").inner_text()
        for words, state in _SAID.items():
            if words in text:
                # Beside a refusal nothing of the page may be drawn.
                return state if page.get_by_test_id("stPageLink").count() == 0 else OPEN
        if page.get_by_test_id("stPageLink").count():
            return OPEN
        page.wait_for_timeout(200)
    raise RuntimeError(f"{page.url} shows {text[:200]!r}")


def can_start(page: Page) -> bool:
    """Whether the Training page that is open offers to start jobs; its links are drawn before its form."""
    form, refusal = page.get_by_text("Start 2 jobs"), page.get_by_text("You need the role")
    form.or_(refusal).first.wait_for()
    return form.count() > 0


def forged_is_admitted(context: BrowserContext, app: str) -> int:
    """How many of three forged cookies are let in: one letter of the payload, of the signature, and no signature."""
    cookies = context.cookies()
    admitted = 0
    for forge in (
        lambda value: _flip(value, 30),
        lambda value: _flip(value, len(value) - 5),
        lambda value: value.split(".")[0] + "..",
    ):
        fresh = context.browser.new_context()
        fresh.set_default_timeout(60_000)
        fresh.add_cookies(
            [{**each, "value": forge(each["value"])} if each["name"] == "_streamlit_user" else each for each in cookies]
        )
        admitted += state_of(fresh.new_page(), app) != LOGIN
        fresh.close()
    return admitted


def _flip(text: str, position: int) -> str:
    return text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
