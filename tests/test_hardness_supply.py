"""The bill of materials is that of the lock file (point 14); the figures are printed."""

from tests.conftest import ROOT
from tests.hardness import supply


def test_every_package_is_pinned_and_on_the_bill_of_materials(tmp_path):
    figures = supply.measure(tmp_path)
    print(figures)
    assert figures["locked"] > 80
    assert figures["unpinned"] == figures["missing_from_bill"] == figures["only_in_bill"] == 0
    assert figures["is_of_this_version"]


def test_security_policy_says_how_to_report_what_is_promised_and_what_is_not():
    text = (ROOT / "SECURITY.md").read_text()
    for heading in ("## Report", "## What is promised", "## What is not defended against"):
        assert heading in text
