"""`lightbox data slices` beside pydicom and nibabel, on the files that come with their packages.

    pip install pydicom==3.0.2 nibabel==5.4.2 nilearn==0.14.1 pillow
    python scripts/measure/medical.py target/release/lightbox

Every DICOM file that pydicom can decode: pixel_array, apply_modality_lut, apply_voi_lut, scaled to 8 bits and rounded; where a file has no
window, the one that the table names. Every NIfTI volume: as_closest_canonical, turned to the radiological convention. Counts
values that differ; pictures whose pixels were made square are left out.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut

LIGHTBOX = sys.argv[1]
warnings.simplefilter("ignore")


def slices(source, out, *options):
    """The report of a run, and the rows of its table."""
    run = subprocess.run(
        [LIGHTBOX, "data", "slices", source, "--out", out, "--json", *options], capture_output=True, text=True
    )
    report = json.loads(run.stdout) if run.stdout else {"pictures": 0, "bad": [{"kind": "error", "reason": run.stderr}]}
    table = pathlib.Path(out, "slices.jsonl")
    return report, [json.loads(line) for line in table.open()] if table.exists() else []


def windowed(values, window):
    """8 bits of values, for the window of a row (LINEAR_EXACT, which percentiles are)."""
    center, width = window["center"], window["width"]
    share = (values - center) / width + 0.5 if width else values > center
    return np.floor(np.clip(share, 0, 1) * 255 + 0.5)


def frames(ds):
    """What pydicom makes of each frame: 8 bits, or values where the file has no window."""
    pixels = ds.pixel_array
    for frame in pixels if int(ds.get("NumberOfFrames", 1) or 1) > 1 else pixels[None]:
        if ds.PhotometricInterpretation == "PALETTE COLOR":
            rgb = apply_color_lut(frame, ds)
            yield rgb >> 8 if rgb.dtype == np.uint16 else rgb
        elif ds.SamplesPerPixel == 3:
            yield frame >> max(ds.BitsStored - 8, 0)
        elif "WindowWidth" in ds or "VOILUTSequence" in ds:
            seen = apply_voi_lut(apply_modality_lut(frame, ds), ds).astype(float)
            if "VOILUTSequence" in ds:
                low, high = 0, 2 ** ds.VOILUTSequence[0].LUTDescriptor[2] - 1
            elif "ModalityLUTSequence" in ds:
                low, high = 0, 2 ** ds.ModalityLUTSequence[0].LUTDescriptor[2] - 1
            else:  # apply_windowing's output range
                bits, signed = ds.BitsStored, ds.PixelRepresentation
                low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
                slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
                low, high = low * slope + intercept, high * slope + intercept
            grey = np.floor(np.clip((seen - low) / (high - low), 0, 1) * 255 + 0.5)
            yield 255 - grey if ds.PhotometricInterpretation == "MONOCHROME1" else grey
        else:
            yield "values", apply_modality_lut(frame, ds).astype(float)


def compare(name, pairs, totals):
    worst = differ = values = 0
    for ours, theirs in pairs:
        difference = np.abs(ours.astype(int) - theirs.astype(int))
        worst, differ, values = max(worst, difference.max()), differ + (difference > 0).sum(), values + difference.size
    totals["files"] += 1
    totals["equal"] += int(worst == 0)
    totals["values"] += values
    totals["differ"] += int(differ)
    if worst:
        print(f"{name}: {differ} of {values} values differ, by up to {worst}")


def picture(out, row):
    return np.asarray(Image.open(pathlib.Path(out, row["image"])))


def dicom(totals):
    folder = pathlib.Path(pydicom.__file__).parent / "data"
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and (p.suffix == ".dcm" or "dicomdirtests" in str(p))):
        with tempfile.TemporaryDirectory() as temp:
            report, rows = slices(str(path), temp + "/out")
            name = path.relative_to(folder)
            try:
                ds = pydicom.dcmread(path, force=True)
                theirs = list(frames(ds))
            except Exception as error:
                totals["only ours" if rows else "neither"] += 1
                if rows:
                    print(f"{name}: pydicom cannot ({type(error).__name__})")
                continue
            if not rows:
                totals["only theirs"] += 1
                print(f"{name}: {report['bad'][0]['kind']}: {report['bad'][0]['reason']}")
                continue
            rows.sort(key=lambda row: row.get("frame", 0))
            pairs = []
            for row, frame in zip(rows, theirs, strict=True):
                if isinstance(frame, tuple):
                    frame = windowed(frame[1], row["window"])
                    frame = 255 - frame if ds.PhotometricInterpretation == "MONOCHROME1" else frame
                if not row["resampled"]:
                    pairs.append((picture(temp + "/out", row), frame))
            compare(name, pairs, totals)


def nifti(totals):
    # Found, not imported: nilearn wants packages that are not needed here.
    packages = [pathlib.Path(importlib.util.find_spec("nilearn").origin).parent / "datasets/data", pathlib.Path(nibabel.__file__).parent / "tests/data"]
    for path in sorted(p for folder in packages for p in folder.glob("*.nii*") if "dconn" not in p.name):
        volume = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata()
        volume = volume.reshape(*volume.shape[:3], -1)
        for number, axis in enumerate(["sagittal", "coronal", "axial"]):
            with tempfile.TemporaryDirectory() as temp:
                _, rows = slices(str(path), temp + "/out", "--axis", axis)
                pairs = []
                for row in (row for row in rows if not row["resampled"]):
                    at = row["slice"] if axis == "axial" else row["slices"] - 1 - row["slice"]
                    plane = volume[..., row.get("frame", 0)].take(at, axis=number).T[::-1, ::-1]
                    pairs.append((picture(temp + "/out", row), windowed(plane, row["window"])))
                compare(f"{path.name} {axis}", pairs, totals)


for of, run in [("DICOM", dicom), ("NIfTI", nifti)]:
    totals = dict.fromkeys(["files", "equal", "values", "differ", "only ours", "only theirs", "neither"], 0)
    run(totals)
    print(of, totals)
