"""What SECURITY.md says (point 14), beside the line of the table."""

from tests.conftest import ROOT


def test_security_policy_says_how_to_report_and_what_the_app_protects_against():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for heading in ("## Report", "## What the app protects against", "## What it does not protect against"):
        assert heading in text
