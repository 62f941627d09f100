"""Files that are no pictures for the workbench, by their first bytes: what each is, and how to get a slice out of it."""

_UNPACK = "Unpack it and upload the files, or zip them."
_EXPORT = "Export the slice as PNG or TIFF."
# The first bytes -> what follows "NAME is".
_STARTS = {
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive. {_UNPACK}",
    b"Rar!\x1a\x07": f"a RAR archive. {_UNPACK}",
    b"\x1f\x8b": f"compressed with gzip. {_UNPACK}",
    b"BZh": f"compressed with bzip2. {_UNPACK}",
    b"\xfd7zXZ\0": f"compressed with xz. {_UNPACK}",
    b"\x28\xb5\x2f\xfd": f"compressed with Zstandard. {_UNPACK}",
    b"%PDF": f"a PDF document. {_EXPORT}",
    b"NRRD000": f"a volume in NRRD format. {_EXPORT}",
    b"ObjectType =": f"a volume in MetaImage format. {_EXPORT}",
    b"\x89HDF": "an HDF5 file, such as weights of Keras or a dataset. Upload the CT slice itself.",
    b"8BPS": f"a Photoshop file. {_EXPORT}",
    b"\x76\x2f\x31\x01": f"an OpenEXR picture. {_EXPORT}",
}
_VIDEO = f"a video. {_EXPORT}"


def recognise(content: bytes) -> str:
    """What a file is, and what to do, to follow "NAME is"; empty for a kind that is not known."""
    for start, what in _STARTS.items():
        if content.startswith(start):
            return what
    if content[257:262] == b"ustar":
        return f"a tar archive. {_UNPACK}"
    if content[344:348] == b"ni1\0" or content[4:8] == b"ni2\0":
        return "the header of a NIfTI volume in two parts. Save it as one file (.nii or .nii.gz)."
    if content[4:8] == b"ftyp":
        return _of_media_container(content[8:12])
    if content[:4] == b"RIFF" and content[8:12] == b"AVI ":
        return _VIDEO
    return ""


def _of_media_container(brand: bytes) -> str:
    """HEIC, AVIF or a video, by the main brand of ISO/IEC 14496-12, section 4.3."""
    if brand in (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"):
        return "a HEIC picture, as phones take them. Send or export it as JPEG or PNG."
    if brand in (b"avif", b"avis"):
        return "an AVIF picture. Export it as JPEG or PNG."
    return _VIDEO
