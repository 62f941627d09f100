"""What a PDF says, for tests."""

import base64
import re
import zlib


def pdf_text(content: bytes) -> str:
    """The text that a PDF of reportlab shows in Helvetica, in the order in which it is drawn."""
    shown = []
    for packed in re.findall(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        try:
            stream = zlib.decompress(base64.a85decode(packed.strip().removesuffix(b"~>")))
        except (ValueError, zlib.error):
            continue
        shown += re.findall(rb"\(((?:\\.|[^\\)])*)\) Tj", stream, re.DOTALL)
    text = b" ".join(shown)
    text = re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), text)
    return " ".join(re.sub(rb"\\(.)", rb"\1", text).decode("cp1252", "replace").split())
