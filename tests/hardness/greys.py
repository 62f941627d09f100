"""Point 4: every kind of image keeps its greys, its orientation and its Hounsfield units."""

from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from kidney_core.imaging import slices
from tests.hardness import files
from tests.hardness.table import Figures, Options

_RAMP_8 = np.tile(np.arange(256, dtype=np.uint8), (64, 1))  # (64, 256)
_RAMP_12 = np.tile(np.arange(0, 4096, 4, dtype=np.uint16), (64, 1))  # (64, 1024)
_TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: np.rot90(a),
    7: lambda a: a[::-1, ::-1].T,
    8: lambda a: np.rot90(a, -1),
}  # how a picture is stored that its EXIF orientation turns upright


def ramps() -> dict[str, bytes]:
    """Ramps of growing brightness in every kind of file that has another way to hold greys."""
    grey, deep = Image.fromarray(_RAMP_8), Image.fromarray(_RAMP_12)
    big_endian = Image.frombytes("I;16B", deep.size, _RAMP_12.astype(">u2").tobytes())
    opaque = np.dstack([_RAMP_8] * 3 + [np.full_like(_RAMP_8, 255)])
    inner = np.tile(np.arange(8, 248, dtype=np.uint8), (64, 1))  # JPEG errs by a few greys at both ends
    stored = _RAMP_12
    no_hu = {"RescaleSlope": None, "RescaleIntercept": None}
    return {
        "PNG of 16 bits": files.picture(deep, "PNG"),
        "TIFF of 16 bits": files.picture(deep, "TIFF"),
        "TIFF of 16 bits, big-endian": files.picture(big_endian, "TIFF"),
        "TIFF of 32 bits": files.picture(Image.fromarray(_RAMP_12.astype(np.int32)), "TIFF"),
        "TIFF of floats": files.picture(Image.fromarray(_RAMP_12.astype(np.float32)), "TIFF"),
        "PNG of a palette": files.picture(grey.convert("P"), "PNG"),
        "PNG with alpha": files.picture(Image.fromarray(opaque), "PNG"),
        "PNG of grey with alpha": files.picture(grey.convert("LA"), "PNG"),
        "TIFF in CMYK": files.picture(grey.convert("CMYK"), "TIFF"),
        "JPEG in CMYK": files.picture(Image.fromarray(inner).convert("CMYK"), "JPEG", quality=95),
        "JPEG": files.picture(Image.fromarray(inner), "JPEG", quality=95),
        "MONOCHROME2": files.ct(stored, **no_hu),
        "MONOCHROME1": files.ct(stored[:, ::-1].copy(), PhotometricInterpretation="MONOCHROME1", **no_hu),
    }


def measure_clipping(_options: Options) -> Figures:
    """The largest share of pixels at black or white, where a ramp has less than one in a hundred there."""
    worst, out_of_order = 0.0, []
    for name, content in ramps().items():
        shown = slices.read_slice(content, name=name).network_grey8()
        worst = max(worst, float(((shown == 0) | (shown == 255)).mean()))
        slack = 6 if name.startswith("JPEG") else 0
        steps = np.diff(shown.astype(int), axis=1)
        if steps.min() < -slack or shown[:, -1].min() < 240 or shown[:, 0].max() > 15:
            out_of_order.append(name)
    return {
        "clipped_frac": worst,
        "out_of_order": len(out_of_order),
        "kinds": len(ramps()),
        **({"which": ", ".join(out_of_order)} if out_of_order else {}),
    }


def measure_orientations(_options: Options) -> Figures:
    """Pictures stored in all eight EXIF orientations, as PNG, TIFF and JPEG: equal to the upright one."""
    upright = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(upright).resize((8, 6)).resize((64, 48), Image.Resampling.BICUBIC))
    identical = 0
    for orientation, turn in _TURNS.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        same = True
        for kind, pixels, slack in (("PNG", upright, 0), ("TIFF", upright, 0), ("JPEG", smooth, 8)):
            stored = Image.fromarray(np.ascontiguousarray(turn(pixels)))
            shown = slices.read_slice(files.picture(stored, kind, exif=exif), name="a").grey8()
            same = same and shown.shape == pixels.shape and int(np.abs(shown.astype(int) - pixels).max()) <= slack
        identical += same
    return {"identical": identical, "of": len(_TURNS)}


def measure_hounsfield(_options: Options) -> Figures:
    """Hounsfield units beside pydicom's stored values times slope plus intercept, without the padding."""
    worst, n_files = 0.0, 0
    for name, content in _scans().items():
        dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
        stored = dataset.pixel_array
        reference = stored * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
        counts = stored != dataset.get("PixelPaddingValue", np.inf)
        read = slices.read_slice(content, name=name)
        if read.unit != "HU":
            raise ValueError(f"{name} must give Hounsfield units, got {read.unit}")
        worst = max(worst, float(np.abs(read.pixels - reference)[counts].max()))
        n_files += 1
    return {"max_abs_err": worst, "files": n_files}


def _scans() -> dict[str, bytes]:
    """Scans stored in every way that gives Hounsfield units, and pydicom's own."""
    rng = np.random.default_rng(1)
    hu = rng.integers(-1024, 3072, (64, 80))
    padded = hu.copy()
    padded[:8] = -2000
    found = {
        "signed": files.ct(hu.astype(np.int16), RescaleIntercept=0),
        "unsigned": files.ct((hu + 1024).astype(np.uint16)),
        "steps of 2": files.ct(hu.astype(np.int16), RescaleSlope=2, RescaleIntercept=-24),
        "steps of a half": files.ct((hu + 1024).astype(np.uint16), RescaleSlope="0.5", RescaleIntercept="-512.5"),
        "12 bits": files.ct((hu + 1024).astype(np.uint16), BitsStored=12, HighBit=11),
        "inverted": files.ct((hu + 1024).astype(np.uint16), PhotometricInterpretation="MONOCHROME1"),
        "padded": files.ct(padded.astype(np.int16), RescaleIntercept=0, PixelPaddingValue=-2000),
    }
    found |= {syntax.name: files.ct(files.ramp(), syntax) for syntax in files.LOSSLESS}
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    return found | {name: (folder / name).read_bytes() for name in ("CT_small.dcm",)}
