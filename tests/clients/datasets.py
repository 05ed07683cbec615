"""Dataset files of every kind, read and updated by crds-fs and by the Python packages side by side.

    python tests/clients/datasets.py [PROGRAM]

PROGRAM is the example `dataset_header` (default: target/debug/examples/dataset_header). Needs astropy, asdf,
asdf-astropy, stdatamodels and crds. Prints what was compared, and exits with 1 if anything differs.
"""

import gc
import gzip
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
from astropy import units
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time
from crds import data_file
from crds.core import log

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


# ---------------------------------------------------------------------------------------------- FITS


def card(text):
    assert len(text) <= 80, text
    return text.encode("latin-1").ljust(80)


def raw_fits(cards, data=b"", end=b"END"):
    header = b"".join(card(c) for c in cards) + end.ljust(80)
    header += b" " * (-len(header) % 2880)
    return header + data + b"\0" * (-len(data) % 2880)


PRIMARY = ["SIMPLE  =                    T / standard", "BITPIX  =                    8", "NAXIS   =                    0"]
IMAGE = [
    "XTENSION= 'IMAGE   '", "BITPIX  =                   16", "NAXIS   =                    2",
    "NAXIS1  =                   10", "NAXIS2  =                   20", "PCOUNT  =                    0",
    "GCOUNT  =                    1",
]
INSTRUMENT = ["TELESCOP= 'HST     '", "INSTRUME= 'ACS     '"]
ODD_CARDS = [
    "LOWEREXP=               1.5e-3 / lower-case exponent", "DEXP    = 1.5D+03", "DLOW    = 1.5d3", "SPACED  = - 1 . 5",
    "SPACES  = + 15 E 3", "LEADING = 007", "MINUS   = -0", "PLUS    = +5", "POINT   = 5.", "DOT     = .5", "HUGE    = 1E400",
    "NANNY   = NaN", "WORD    = abc / comment", "WORDS   = some words here", "TRUTH   = T / yes", "TRUE    = TRUE",
    "FALSE   = F", "LOWERT  = t", "EMPTY   = ''", "BLANKS  = '    '", "TRAIL   = 'abc   '", "LEAD    = '   abc'",
    "QUOTE   = 'it''s'", "QUOTES  = 'a ''quoted'' word'", "QEND    = 'ends with'''", "SLASH   = 'a/b' / with a comment",
    "SLASHQ  = 'a / b'", "NOQUOTE = 'unterminated", "AFTER   = 'abc' def", "NOSPACE = 'abc'/comment", "NONE    =",
    "NONEC   = / only a comment", "CPLX    = (1, 2)", "CPLXF   = (1.5, -2.5E10)", "CPLXN   = ( -1 , 0 )", "CPLX0   = (0, -3.0)",
    "BIG     = 123456789012345678901234567890", "FLOAT17 = 0.1000000000000000055", "EXP16   = 1E16", "EXP15   = 1E15",
    "SMALL   = 0.0001", "SMALLER = 0.00001", "INTFLT  = 10.0", "NEGZERO = -0.0", "HIERARCH ESO DET CHIP = 'x' / a comment",
    "HIERARCH lower case key = 5", "HIERARCH NoSpace=7", "HIERARCH TIGHT ='abc'", "HIERARCH no equals",
    "DP1     = 'AXIS.1: 2' / a record", "DP1     = 'NAXES: 1'", "DP2     = 'NOT.A: record'", "DP3     = 'EXTVER: 1.0E2'",
    "COMMENT a comment", "COMMENT   with blanks before", "COMMENT", "COMMENT a comment", "COMMENT= 'not a value'",
    "HISTORY one", "HISTORY two", "HISTORY two", "        a card without a keyword", "", "NOVALUE", "NOVAL2  some text",
    "lowerkey= 5", "EARLY= 3", "TWO     = 1", "TWO     = 2", "DATE-OBS= '2020-01-01'", "UND_SCOR= 1",
    "LONG    = 'first part &'", "CONTINUE  'second part &'", "CONTINUE  'third' / comment", "LONGC   = 'abc&' / one",
    "CONTINUE  '&' / two", "CONTINUE  '' / three", "AMP     = 'only an ampersand&'", "LONGQ   = 'it''s a long&'",
    "CONTINUE  ' one, isn''t it'", "LONGN   = 5", "AFTERN  = 'x'",
]


def random_cards(rng, count):
    cards = []
    for index in range(count):
        key = f"K{index}"
        kind = rng.randrange(8)
        if kind == 0:
            value = f"{rng.uniform(-1e3, 1e3)!r}"
        elif kind == 1:
            value = f"{rng.uniform(1, 10) * 10.0 ** rng.randrange(-30, 30):E}"
        elif kind == 2:
            value = str(rng.randrange(-10**12, 10**12))
        elif kind == 3:
            value = rng.choice("TF")
        elif kind == 4:
            text = "".join(rng.choice("abcXYZ'/ &.:=09") for _ in range(rng.randrange(30)))
            value = "'" + text.replace("'", "''") + "'"
        elif kind == 5:
            value = "".join(rng.choice("aTF'/ &.:=09eED+-()") for _ in range(rng.randrange(20)))
        elif kind == 6:
            value = f"({rng.randrange(-9, 9)}, {rng.uniform(-9, 9)!r})"
        else:
            value = ""
        comment = rng.choice(["", " / a comment", " /x", " / it's"])
        cards.append(f"{key:8}= {value}{comment}"[:80])
    return cards


def fits_files(directory, rng):
    def write(name, content):
        (directory / name).write_bytes(content)

    extension = raw_fits(IMAGE + ["EXTNAME = 'SCI'", "ONLYEXT = 'x'", "TELESCOP= 'OTHER'"], bytes(range(200)) * 2)
    write("plain.fits", raw_fits(PRIMARY + INSTRUMENT))
    for index, odd in enumerate(ODD_CARDS):
        if not odd.startswith("CONTINUE"):
            write(f"odd{index:02}.fits", raw_fits(PRIMARY + INSTRUMENT + [odd, "LAST    = 1"]))
    write("odd_all.fits", raw_fits(PRIMARY + INSTRUMENT + [c for c in ODD_CARDS if c != "NOQUOTE = 'unterminated"]))
    write("extend_missing.fits", raw_fits(PRIMARY + INSTRUMENT) + extension)
    write("extend_false.fits", raw_fits(PRIMARY + ["EXTEND  =                    F"] + INSTRUMENT) + extension)
    write("extend_true.fits", raw_fits(PRIMARY + ["EXTEND  =                    T"] + INSTRUMENT) + extension)
    write("simple_false.fits", raw_fits(["SIMPLE  =                    F"] + PRIMARY[1:] + INSTRUMENT) + extension)
    image = PRIMARY[:1] + IMAGE[1:5] + ["EXTEND  =                    T"] + INSTRUMENT
    write("primary_image.fits", raw_fits(image, bytes(400)) + extension + extension)
    write("image_extend.fits", raw_fits(image[:5] + image[6:], bytes(400)) + extension)
    write("truncated_data.fits", (raw_fits(image, bytes(400)) + extension)[:-2880])
    write("truncated_header.fits", raw_fits(image, bytes(400)) + extension[:800])
    write("trailing_zeros.fits", raw_fits(PRIMARY + INSTRUMENT) + extension + b"\0" * 2880)
    write("trailing_blanks.fits", raw_fits(PRIMARY + INSTRUMENT) + extension + b" " * 2880)
    write("trailing_junk.fits", raw_fits(PRIMARY + INSTRUMENT) + extension + b"junk" * 100)
    write("end_junk.fits", raw_fits(PRIMARY + INSTRUMENT, end=b"END   \0"))
    write("end_name.fits", raw_fits(PRIMARY + INSTRUMENT + ["ENDTIME = 'late'", "END_X   = 1"]))
    write("non_ascii.fits", raw_fits(PRIMARY + INSTRUMENT + ["UMLAUT  = 'gr\xfcn'", "OTHER   = 1"]))
    write("blank_end.fits", raw_fits(PRIMARY + INSTRUMENT + ["COMMENT x"] + [""] * 40))
    write("full_block.fits", raw_fits(PRIMARY + INSTRUMENT + [f"FILL{i:02}  = {i}" for i in range(30)]))
    write("existing.fits", raw_fits(PRIMARY + INSTRUMENT + [
        "DARKFILE= 'jref$old_drk.fits'  / dark file name", "BIASFILE= 'N/A' /short", "CRDS_CTX= 'hst_0729.pmap' / same",
        "CRDS_VER= 5 / a number", "HIERARCH tso_photometry = 'old' / lower", "COMMENT at the end", "HISTORY at the end"]))
    groups = ["SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    3",
              "NAXIS1  =                    0", "NAXIS2  =                    4", "NAXIS3  =                    5",
              "GROUPS  =                    T", "PCOUNT  =                    2", "GCOUNT  =                    3"]
    write("groups.fits", raw_fits(groups + INSTRUMENT, bytes(2 * 3 * 22)) + extension)
    for seed in range(40):
        write(f"random{seed:02}.fits", raw_fits(PRIMARY + INSTRUMENT + random_cards(rng, 40)) + extension)
    made = {
        "tables.fits": [fits.BinTableHDU(Table({"a": [1, 2], "b": [["x"], ["yy"]]})), fits.TableHDU.from_columns(
            [fits.Column("c", "A4", array=np.array(["p", "q"]))])],
        "heap.fits": [fits.BinTableHDU.from_columns([fits.Column("v", "PJ()", array=np.array(
            [np.arange(3), np.arange(700)], dtype=object))]), fits.ImageHDU(np.arange(6.0), name="AFTER")],
        "scaled.fits": [fits.ImageHDU(np.arange(60, dtype=np.uint16).reshape(6, 10), name="U16")],
        "rice.fits": [fits.CompImageHDU(np.arange(400, dtype=np.int16).reshape(20, 20), name="SCI"), fits.ImageHDU(name="X")],
        "float_compressed.fits": [fits.CompImageHDU(np.random.default_rng(1).normal(size=(20, 20)).astype("f4"))],
        "blank_compressed.fits": [fits.CompImageHDU(np.arange(400, dtype=np.int32).reshape(20, 20),
                                                    fits.Header({"BLANK": -5, "FILTER": "F"}), compression_type="GZIP_1")],
    }
    for name, extensions in made.items():
        primary = fits.PrimaryHDU()
        primary.header.update({"TELESCOP": "HST", "INSTRUME": "ACS", "FILTER": "A", "GAIN": 2.5})
        primary.header["HISTORY"] = "made for a comparison"
        extensions[0].header["COMMENT"] = "in the extension"
        extensions[0].header["FILTER2"] = "B"
        fits.HDUList([primary, *extensions]).writeto(directory / name, checksum=name == "tables.fits")
    jwst = fits.PrimaryHDU(np.zeros((2, 3), "i2"))
    jwst.header.update({"TELESCOP": "JWST", "INSTRUME": "MIRI", "DATE": "2022-01-01", "FILENAME": "x.fits", "EXP_TYPE": "MIR_IMAGE",
                        "SUBARRAY": "UNDEFINED", "DESCRIP": "d", "CAL_VER": "1.2", "EFFEXPTM": 3.25, "R_DARK": "crds://old.fits"})
    fits.HDUList([jwst, fits.ImageHDU(np.ones(5))]).writeto(directory / "jwst_x_uncal.fits")
    shutil.copy(directory / "jwst_x_uncal.fits", directory / "jw123_uncal.fits")
    for name in ("rice.fits", "existing.fits", "jw123_uncal.fits"):
        write(f"gz_{name}", gzip.compress((directory / name).read_bytes()))


# ---------------------------------------------------------------------------------------------- ASDF and others

YAML_SCALARS = """
null1: ~
null2:
null3: null
yes: 1
on: true
b1: yes
b2: Off
b3: y
t1: tRue
i1: 0o17
i2: 010
i3: 0x1F
i4: -0b101
i5: 1_000
i6: 1:30
i7: +5
i8: 08
i9: 123456789012345678901234567890
f1: 1e5
f2: 1.0e5
f3: 1.0e+5
f4: .5
f5: 5.
f6: -.inf
f7: .nan
f8: 1:30.5
f9: 1.5e-7
f10: 685_230.15
d1: 2026-10-11
d2: 2026-1-1
d3: 2026-10-11 12:13:14
d4: 2026-10-11T12:13:07.29
d5: 2026-10-11t12:13:14.5Z
d6: 2026-10-11 12:13:14.25 +02:00
d7: "2026-10-11 12:13:14"
s1: 'it''s'
s2: "tab\\t and \\u00e9"
s3: plain text with spaces
s4: |
  two
  lines
s5: >
  folded
  text
s6: multi
  line plain
e1: {}
e2: []
e3: [1]
e4: [a, [b, {c: d}], ~, 1.5, yes]
e5: {x: {y: {}}}
1: integer key
2.5: float key
Upper: one
UPPER: two
nested: {A: 1, a: 2}
"""
TIMES = [
    ("iso", "2026-10-11 12:13:14.567"), ("isot", "2026-10-11T12:13:14.9996"), ("plain", "2026-10-11T12:13:14"),
    ("leap", "2016-12-31T23:59:59.4"), ("day", "2026-10-11"), ("minute", "2026-10-11T12:13"), ("old", "1975-06-07T08:09:10"),
]


def asdf_files(directory):
    tree = {"roman": {"meta": {"telescope": "ROMAN", "instrument": {"name": "WFI"}}, "x": 1}}
    asdf.AsdfFile(tree).write_to(directory / "roman_small.asdf")
    big = {
        "roman": {
            "meta": {"telescope": "ROMAN", "instrument": {"name": "WFI", "detector": "WFI07"}, "ref_file": {
                "dark": "N/A", "crds": {"context": "roman_0001.pmap"}, "flat": "crds://old.asdf"},
                "times": {f"{name}_{scale}": Time(text, scale=scale) for name, text in TIMES for scale in ("utc", "tai", "tt")},
                "mjd": Time(60000.5, format="mjd"),  "complex": 1 + 2j, "quantity": 5 * units.s, "unit": units.m, "bool": True, "tuple": (1, "a", 2.5),
                "unicode": "größe ☃", "quotes": "it's \"quoted\"", "long": "word " * 60, "newline": "a\nb"},
            "data": np.arange(1000, dtype="f4"), "dq": np.zeros((10, 10), "u4"), "inline": np.array([1, 2, 3])},
        "table": Table({"a": [1, 2]}),
    }
    for name, options in {"plain": {}, "compressed": {"all_array_compression": "zlib"}, "padded": {"pad_blocks": True},
                          "inline": {"all_array_storage": "inline"}}.items():
        with asdf.AsdfFile(big) as file:
            file.add_history_entry("first entry")
            file.add_history_entry("it's the second: entry")
            file.write_to(directory / f"roman_{name}.asdf", **options)
    with asdf.AsdfFile({"meta": {"telescope": "JWST", "instrument": {"name": "MIRI"}, "filename": "x"}, "a": np.arange(5)}) as file:
        file.write_to(directory / "jw_model.asdf")
    stream = asdf.tags.core.Stream([4], np.float64)
    with open(directory / "roman_stream.asdf", "wb") as out:
        asdf.AsdfFile({"roman": {"meta": {"a": "b"}, "s": stream}}).write_to(out)
        out.write(np.arange(16.0).tobytes())
    head = "#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n%YAML 1.1\n%TAG ! tag:stsci.edu:asdf/\n--- !core/asdf-1.1.0\n"
    hand = {
        "scalars": YAML_SCALARS,
        "tags": "roman:\n  meta: !<asdf://stsci.edu/datamodels/roman/tags/x-1.0.0>\n    a: !<asdf://foo/b-1.0.0> text\n"
                "    b: !<asdf://foo/c-1.0.0> 5\n    l: !<asdf://foo/l-1.0.0> [1, 2]\n    m: [!<asdf://foo/m-1.0.0> {x: 1}]\n"
                "    s: !!str 7\n    f: !!float 7\n    n: ! 'x'\n    t: !<tag:stsci.edu:asdf/time/time-1.1.0> 2020-01-02T03:04:05.678\n",
        "aliases": "roman:\n  a: &x {k: 1, l: [1, 2]}\n  b: *x\n  c: [*x, &y text, *y]\n  meta:\n    ref_file: {}\n",
        "history_list": "history:\n- !core/history_entry-1.0.0 {description: d, time: 2020-01-02 03:04:05.678}\nroman: {a: 1}\n",
        "history_empty": "history: {extensions: []}\nroman: {a: 1}\n",
        "flow": "{roman: {meta: {ref_file: {dark: old, flat: N/A}}, x: 5}}\n",
        "flow_tree": "roman: {meta: {telescope: ROMAN,\n    instrument: {name: WFI}}}\n",
        "no_ref_file": "roman:\n  meta:\n    # a comment\n    telescope: ROMAN\n  last: 1\n",
        "null_leaf": "roman:\n  meta:\n    ref_file:\n      dark:\n      flat: ~\n      crds: {context: ''}\n",
        "crlf": "roman:\n  meta:\n    a: b\n".replace("\n", "\r\n"),
        "comments": "# top\nroman: # here\n  # there\n  meta:\n    ref_file: # refs\n      dark: old # value\n      # end\n  z: 1\n",
    }
    for name, text in hand.items():
        end = "...\r\n" if name == "crlf" else "...\n"
        top = head.replace("\n", "\r\n") if name == "crlf" else head
        (directory / f"roman_hand_{name}.asdf").write_bytes((top + text + end).encode())
    (directory / "no_tree.asdf").write_bytes(b"#ASDF 1.0.0\n#ASDF_STANDARD 1.5.0\n")
    values = {"META": {"instrument": {"name": "MIRI"}}, "n": 1, "x": 1.0, "big": 1e22, "t": True, "z": None, "l": [1, [2.5, "a"], {}],
              "e": {}, "uni": "é☃", "Case": 1, "CASE": 2, "esc": "a\n\t'\"\\"}
    (directory / "params.json").write_text(json.dumps(values))
    (directory / "params.yaml").write_text("meta: {instrument: {name: NIRCAM}, exposure: {type: NRC_IMAGE}}\n" + YAML_SCALARS)


def geis_files(directory):
    lines = [
        "SIMPLE  =                    F /", "BITPIX  =                   16 /", "INSTRUME= 'WFPC2   '           / instrument",
        "MODE    = 'FULL    '           / first", "MODE    = 'AREA    '           / second", "X = 1 = 2 = '3'",
        "EMPTY   = ''", "QUOTE   = '", "               / a comment", "NOEQUALS", " = no key", "HISTORY one", "HISTORY",
        "HISTORY = two", "COMMENT a = b", "DARKFILE= 'uref$old.r3h'       / dark", "END",
    ]
    for name, width, end in (("padded", 80, "\n"), ("short", 0, "\n"), ("crlf", 80, "\r\n")):
        text = "".join(line.ljust(width) + end for line in lines)
        (directory / f"{name}.r3h").write_bytes(text.encode())
        (directory / f"{name}.r3d").write_bytes(b"pixels")


# ---------------------------------------------------------------------------------------------- comparison


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


def fits_parts(path):
    """Cards of the primary, and everything behind it byte for byte."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    end = 0
    while not content[end : end + 80].startswith(b"END "):
        end += 80
    size = end + 80 + -(end + 80) % 2880
    return [content[at : at + 80] for at in range(0, end, 80)], content[size:]


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
