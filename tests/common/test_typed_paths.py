"""Paths as they are pasted: quotes, file:// addresses and blanks go, what belongs to the path stays."""

import pytest

from kidney_core.common.typed_paths import clean_path, clean_paths, path_argument


@pytest.mark.parametrize(
    ("typed", "path"),
    [
        ("/data/ct", "/data/ct"),
        ("  /data/ct \n", "/data/ct"),
        ('"/data/ct kidney"', "/data/ct kidney"),
        ("'/data/ct'", "/data/ct"),
        ("“/data/ct”", "/data/ct"),
        ("' \"/data/ct\" '", "/data/ct"),
        ("file:///data/ct%20kidney", "/data/ct kidney"),
        ("FILE:///data/C%C3%A1lculo", "/data/Cálculo"),
        ("file://localhost/data/a#b?c", "/data/a#b?c"),
        ("file:/data/ct", "/data/ct"),
        ("file://nas/share/ct", "//nas/share/ct"),
        ("/data/it's", "/data/it's"),
        ("/data/100%20", "/data/100%20"),
        ("~/ct", "~/ct"),
        ("relative folder", "relative folder"),
        ("", ""),
        ('"', '"'),
        ('""', ""),
    ],
)
def test_what_is_no_part_of_a_path_goes(typed, path):
    assert clean_path(typed) == path


@pytest.mark.parametrize(
    ("typed", "paths"),
    [
        ("/a:/b", ["/a", "/b"]),
        ("file:///a%20b:file:///c", ["/a b", "/c"]),
        ("'/a':\"/b\"", ["/a", "/b"]),
        (" /a : ", ["/a"]),
        ("", []),
    ],
)
def test_several_paths_are_cleaned_one_by_one(typed, paths):
    assert clean_paths(typed) == paths


def test_an_argument_is_a_path(tmp_path):
    (tmp_path / "with blank").mkdir()
    assert path_argument((tmp_path / "with blank").as_uri()).is_dir()
