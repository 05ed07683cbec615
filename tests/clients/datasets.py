"""Dataset files of every kind, read and updated by crds-fs and by the Python packages side by side.

    python tests/clients/datasets.py [PROGRAM]

PROGRAM is the example `dataset_header` (default: target/debug/examples/dataset_header). Needs astropy, asdf,
asdf-astropy, stdatamodels and crds. Prints what was compared, and exits with 1 if anything differs.
"""

import gc
import json
import logging
import os
import random
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("CRDS_PATH", tempfile.mkdtemp(prefix="crds-"))
os.environ.setdefault("CRDS_SERVER_URL", "https://crds-serverless-mode.stsci.edu")
warnings.simplefilter("ignore")

import asdf
import numpy as np
from astropy.io import fits
from crds import data_file
from crds.core import log
from dataset_files import asdf_files, fits_files, fits_parts, geis_files

log.set_verbose(-1)
logging.disable(logging.CRITICAL)
# The client collects garbage at every turn, which takes most of the time here.
gc.collect = lambda *_: 0

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = sys.argv[1] if len(sys.argv) > 1 else str(ROOT / "target/debug/examples/dataset_header")
UNDEFINED = "<undefined card value>"
CHANGES = {
    "CRDS_CTX": "hst_0729.pmap",
    "CRDS_VER": "crds-fs test",
    "DARKFILE": "jref$25e1531jj_drk.fits",
    "BIASFILE": "N/A",
    "R_EXTR1D": "crds://jwst_nirspec_extract1d_0004.json",
    "TSO_PHOTOMETRY": "crds://jwst_nircam_tsophot_0001.asdf",
    "PARS-SOURCECATALOGSTEP": "crds://jwst_nircam_pars-sourcecatalogstep_0001_with_a_name_that_is_too_long.asdf",
}


def ours(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def theirs(path, observatory=None):
    observatory = observatory or data_file.get_observatory(str(path))
    header = data_file.get_free_header(str(path), (), None, observatory)
    return {key: UNDEFINED if "Undefined object at" in value else value for key, value in header.items()}


def same_header(mine, client):
    """Equal, names in the same order; classes of objects are compared as objects only."""
    def blur(value):
        return "an object" if value.startswith("SUPRESSED_NONSTD_TYPE") else value
    return [(k, blur(v)) for k, v in mine.items()] == [(k, blur(v)) for k, v in client.items()]


def differences(mine, client):
    for key in list(dict.fromkeys([*client, *mine])):
        if mine.get(key) != client.get(key):
            yield f"    {key}: crds-fs {mine.get(key)!r}, Python {client.get(key)!r}"
    if list(mine) != list(client):
        yield f"    order: crds-fs {list(mine)}\n           Python  {list(client)}"


def compare_headers(directory):
    counts, failures = {}, []
    paths = sorted(path for path in directory.iterdir() if path.suffix != ".r3d")
    for path, result in zip(paths, ours(*paths), strict=True):
        kind = path.suffix[1:]
        counts.setdefault(kind, [0, 0, 0])
        counts[kind][0] += 1
        try:
            client = theirs(path)
        except BaseException as error:  # whatever the client cannot read is not compared
            counts[kind][2] += 1
            print(f"  not read by Python: {path.name}: {str(error).splitlines()[0][:100] if str(error) else error!r}; "
                  f"by crds-fs: {result.get('error', 'read')[-100:]}")
            continue
        mine = result.get("header")
        if mine is not None and same_header(mine, client):
            counts[kind][1] += 1
        else:
            failures.append(path.name)
            print(f"  DIFFERENT {path.name}: {result.get('error', '')}")
            if mine is not None:
                print("\n".join(list(differences(mine, client))[:12]))
    for kind, (total, equal, refused) in counts.items():
        print(f"headers of {kind}: {total} files, {equal} equal, {refused} that Python cannot read")
    return failures


def settings(changes):
    return [word for keyword, value in changes.items() for word in ("--set", f"{keyword}={value}")]


def astropy_update(path):
    with fits.open(path, mode="update", do_not_scale_image_data=True, checksum=False) as hdus:
        for keyword, value in CHANGES.items():
            hdus[0].header[keyword] = value
        for hdu in hdus:
            hdu.data


def compare_fits_updates(directory, scratch):
    failures, identical, equal, refused = [], 0, 0, 0
    for path in sorted(directory.glob("*.fits")):
        mine, client = scratch / f"mine_{path.name}", scratch / f"client_{path.name}"
        shutil.copy(path, mine)
        shutil.copy(path, client)
        os.chmod(mine, 0o640)
        (result,) = ours(*settings(CHANGES), mine)
        problem = None
        if "error" in result:
            problem = result["error"]
        elif os.stat(mine).st_mode & 0o777 != 0o640:
            problem = "mode lost"
        else:
            old_cards, old_rest = fits_parts(path)
            new_cards, new_rest = fits_parts(mine)
            if old_rest != new_rest:
                problem = "data or other HDUs changed"
            header = fits.getheader(mine, 0)
            wrong = [k for k, v in CHANGES.items() if header[k] != v]
            kept = [c for c in old_cards if c not in new_cards]
            removed = [c for c in kept if c.split(b"=")[0].strip().upper().replace(b"HIERARCH ", b"").decode() not in CHANGES and c.strip()]
            if wrong or removed:
                problem = f"values {wrong}, lost {removed}"
            if ours(*settings(CHANGES), mine)[0].get("written") is not False:
                problem = "a second update wrote again"
        if problem:
            failures.append(path.name)
            print(f"  DIFFERENT {path.name}: {problem}")
            continue
        try:
            astropy_update(client)
        except BaseException:  # it refuses to write what is not standard, even elsewhere in the file
            refused += 1
            continue
        client_cards, client_rest = fits_parts(client)
        if (client_cards, client_rest) == (new_cards, new_rest):
            identical += 1
        else:
            # astropy also mends what it thinks is wrong elsewhere in the file; our cards must still read alike.
            theirs_, ours_ = fits.getheader(client, 0), fits.getheader(mine, 0)
            theirs_.remove("EXTEND", ignore_missing=True)
            ours_.remove("EXTEND", ignore_missing=True)
            if [(c.keyword, str(c.value)) for c in theirs_.cards] == [(c.keyword, str(c.value)) for c in ours_.cards]:
                equal += 1
            else:
                failures.append(path.name)
                print(f"  DIFFERENT {path.name} from astropy")
                for a, b in zip(client_cards, new_cards):
                    if a != b:
                        print(f"    astropy {a}\n    crds-fs {b}")
                        break
    print(f"updates of FITS: {identical} byte for byte as astropy's, {equal} alike in all cards, "
          f"{refused} right that astropy refuses")
    return failures


ROMAN_CHANGES = {
    "roman.meta.ref_file.crds.context": "roman_0041.pmap", "roman.meta.ref_file.crds.version": "crds-fs 0.1.0",
    "roman.meta.ref_file.dark": "crds://roman_wfi_dark_0001.asdf", "roman.meta.ref_file.epsf": "N/A",
    "roman.meta.ref_file.flat": "crds://roman_wfi_flat_0002.asdf",
}


def compare_asdf_updates(directory, scratch):
    failures, count, refused = [], 0, 0
    for path in sorted(directory.glob("roman_*.asdf")):
        mine = scratch / path.name
        shutil.copy(path, mine)
        (result,) = ours(*settings(ROMAN_CHANGES), mine)
        if "error" in result:
            refused += 1
            unchanged = mine.read_bytes() == path.read_bytes()
            print(f"  {'refused' if unchanged else 'DAMAGED'} {path.name}: {result['error'][-100:]}")
            failures += [] if unchanged else [path.name]
            continue
        problem = None
        old_bytes, new_bytes = path.read_bytes(), mine.read_bytes()
        block = old_bytes.find(b"\xd3BLK")
        if block >= 0:
            index = old_bytes.find(b"#ASDF BLOCK INDEX")
            blocks = old_bytes[block : index if index >= 0 else None]
            if blocks not in new_bytes:
                problem = "blocks changed"
        with asdf.open(path) as old, asdf.open(mine) as new:
            for dotted, value in ROMAN_CHANGES.items():
                node = new.tree
                for key in dotted.split("."):
                    node = node[key]
                if node != value:
                    problem = f"{dotted} is {node!r}"
            a, b = theirs(path, "roman"), theirs(mine, "roman")
            for dotted in ROMAN_CHANGES:
                a.pop(dotted.upper(), None)
                b.pop(dotted.upper(), None)
            if a != b:
                problem = f"other values changed: {list(differences(b, a))[:3]}"
            for key in ("data", "dq", "inline", "s"):
                if key in old.tree.get("roman", {}) and not np.array_equal(np.asarray(old["roman"][key]), np.asarray(new["roman"][key])):
                    problem = f"array {key} changed"
        at = new_bytes.find(b"#ASDF BLOCK INDEX")
        if at >= 0:
            import yaml
            offsets = yaml.safe_load(new_bytes[at:].decode())
            if any(new_bytes[offset : offset + 4] != b"\xd3BLK" for offset in offsets):
                problem = "the block index is wrong"
        if ours(*settings(ROMAN_CHANGES), mine)[0].get("written") is not False:
            problem = "a second update wrote again"
        count += 1
        if problem:
            failures.append(path.name)
            print(f"  DIFFERENT {path.name}: {problem}")
    print(f"updates of ASDF: {count} files as asdf reads them, {refused} refused untouched")
    return failures


def compare_geis_updates(directory, scratch):
    failures, count = [], 0
    changes = {"CRDS_CTX": "hst_0729.pmap", "DARKFILE": "uref$new.r3h", "MODE": "N/A"}
    for path in sorted(directory.glob("*.r3h")):
        mine = scratch / path.name
        shutil.copy(path, mine)
        (result,) = ours(*settings(changes), mine)
        old, new = theirs(path, "hst"), theirs(mine, "hst")
        count += 1
        if result.get("written") is not True or new != {**old, **changes}:
            failures.append(path.name)
            print(f"  DIFFERENT {path.name}: {result} {list(differences(new, {**old, **changes}))}")
    print(f"updates of GEIS: {count} files as the client reads them")
    return failures


def main():
    with tempfile.TemporaryDirectory(prefix="datasets-") as name:
        directory, scratch = Path(name) / "files", Path(name) / "scratch"
        directory.mkdir()
        scratch.mkdir()
        with open(os.devnull, "w") as quiet:
            sys.stderr, stderr = quiet, sys.stderr
            fits_files(directory, random.Random(1))
            asdf_files(directory)
            geis_files(directory)
            failures = compare_headers(directory)
            failures += compare_fits_updates(directory, scratch)
            failures += compare_asdf_updates(directory, scratch)
            failures += compare_geis_updates(directory, scratch)
            sys.stderr = stderr
        if len(sys.argv) > 2:
            shutil.copytree(name, sys.argv[2], dirs_exist_ok=True)
    print("all equal" if not failures else f"{len(failures)} differ: {' '.join(failures)}")
    return 1 if failures else 0


sys.exit(main())
