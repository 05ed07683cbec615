"""Dataset files of every kind for comparisons: regular ones, and what is odd and all the same met in archives."""

import gzip
import json
import shutil

import asdf
import numpy as np
from astropy import units
from astropy.io import fits
from astropy.table import Table
from astropy.time import Time


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


def fits_parts(path):
    """Cards of the primary, and everything behind it byte for byte."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    end = 0
    while not content[end : end + 80].startswith(b"END "):
        end += 80
    size = end + 80 + -(end + 80) % 2880
    return [content[at : at + 80] for at in range(0, end, 80)], content[size:]
