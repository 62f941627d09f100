"""What the browser tests share."""

import urllib.parse

import pytest


@pytest.fixture
def page(browser):
    """A page of 1440 px that notes every request that leaves the machine."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.outside = []
    opened.on(
        "request",
        lambda request: (
            opened.outside.append(request.url)
            if urllib.parse.urlparse(request.url).hostname not in ("127.0.0.1", None)
            else None
        ),
    )
    yield opened
    context.close()
