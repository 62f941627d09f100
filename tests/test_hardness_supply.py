"""What SECURITY.md says (point 14), beside the line of the table."""

from tests.conftest import ROOT


def test_security_policy_says_how_to_report_what_is_promised_and_what_is_not():
    text = (ROOT / "SECURITY.md").read_text()
    for heading in ("## Report", "## What is promised", "## What is not defended against"):
        assert heading in text
