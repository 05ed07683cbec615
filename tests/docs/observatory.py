"""A small cache with the names that README and docs use, the datasets of its archive, and dataset files.

Everything is made here, so that no real cache is needed. The rules are such as the Python client accepts.
"""

import hashlib
import json
from pathlib import Path

JWST_DATASET = "jw01234001001_02101_00001_mirimage"
ROMAN_DATASET = "R0000101001001001001_01101_0001.WFI16"

# observatory -> reference type -> (parameters of the match, parameters of the date)
PARAMETERS = {
    "jwst": (("META.INSTRUMENT.DETECTOR", "META.EXPOSURE.READPATT", "META.SUBARRAY.NAME"), ("META.OBSERVATION.DATE", "META.OBSERVATION.TIME")),
    "hst": (("DETECTOR",), ("DATE-OBS", "TIME-OBS")),
    "roman": (("ROMAN.META.INSTRUMENT.DETECTOR", "ROMAN.META.EXPOSURE.TYPE"), ("ROMAN.META.EXPOSURE.START_TIME",)),
}
PIPELINE = {"jwst": "META.INSTRUMENT.NAME", "hst": "INSTRUME", "roman": "ROMAN.META.INSTRUMENT.NAME"}

MIRI = ("MIRIMAGE", "FASTR1", "FULL")
WFI01, WFI16 = ("WFI01", "WFI_IMAGE"), ("WFI16", "WFI_IMAGE")

# rmap -> case -> date -> reference
RULES = {
    "jwst_miri_dark_0047.rmap": {MIRI: {"2021-01-01 00:00:00": "jwst_miri_dark_0023.fits"}},
    "jwst_miri_dark_0048.rmap": {
        MIRI: {"2021-01-01 00:00:00": "jwst_miri_dark_0023.fits", "2022-04-01 00:00:00": "jwst_miri_dark_0085.fits"},
        ("MIRIFULONG", "FASTR1", "FULL"): {"2021-01-01 00:00:00": "jwst_miri_dark_0086.fits"},
    },
    "jwst_miri_flat_0036.rmap": {MIRI: {"2021-01-01 00:00:00": "jwst_miri_flat_0023.fits"}},
    "jwst_miri_gain_0012.rmap": {MIRI: {"2021-01-01 00:00:00": "jwst_miri_gain_0019.fits"}},
    "jwst_nircam_dark_0030.rmap": {("NRCA1", "RAPID", "FULL"): {"2021-01-01 00:00:00": "jwst_nircam_dark_0330.fits"}},
    "hst_acs_darkfile_0363.rmap": {("WFC",): {"2002-03-01 00:00:00": "m3e1344jj_drk.fits"}},
    "hst_acs_darkfile_0364.rmap": {("WFC",): {"2002-03-01 00:00:00": "n5k1652jj_drk.fits"}},
    "hst_acs_biasfile_0345.rmap": {("WFC",): {"2002-03-01 00:00:00": "m4r1753rj_bia.fits"}},
    "roman_wfi_dark_0041.rmap": {WFI01: {"2020-01-01 00:00:00": "roman_wfi_dark_0453.asdf"}, WFI16: {"2020-01-01 00:00:00": "roman_wfi_dark_0469.asdf"}},
    "roman_wfi_flat_0022.rmap": {WFI01: {"2020-01-01 00:00:00": "roman_wfi_flat_0230.asdf"}, WFI16: {"2020-01-01 00:00:00": "roman_wfi_flat_0231.asdf"}},
}

# imap -> its rmaps
INSTRUMENTS = {
    "jwst_miri_0400.imap": ("jwst_miri_dark_0047.rmap", "jwst_miri_flat_0036.rmap"),
    "jwst_miri_0476.imap": ("jwst_miri_dark_0047.rmap", "jwst_miri_flat_0036.rmap", "jwst_miri_gain_0012.rmap"),
    "jwst_miri_0477.imap": ("jwst_miri_dark_0048.rmap", "jwst_miri_flat_0036.rmap", "jwst_miri_gain_0012.rmap"),
    "jwst_nircam_0310.imap": ("jwst_nircam_dark_0030.rmap",),
    "hst_acs_0421.imap": ("hst_acs_darkfile_0363.rmap", "hst_acs_biasfile_0345.rmap"),
    "hst_acs_0422.imap": ("hst_acs_darkfile_0364.rmap", "hst_acs_biasfile_0345.rmap"),
    "roman_wfi_0042.imap": ("roman_wfi_dark_0041.rmap", "roman_wfi_flat_0022.rmap"),
}

# pmap -> since when, what it says of itself, its imaps
CONTEXTS = {
    "jwst_1100.pmap": ("2023-06-15 00:00:00", "The first darks", ("jwst_miri_0400.imap",)),
    "jwst_1321.pmap": ("2025-01-10 00:00:00", "A gain", ("jwst_miri_0476.imap", "jwst_nircam_0310.imap")),
    "jwst_1322.pmap": ("2025-02-03 00:00:00", "New darks", ("jwst_miri_0477.imap", "jwst_nircam_0310.imap")),
    "hst_0728.pmap": ("2019-05-01 00:00:00", "Darks of April", ("hst_acs_0421.imap",)),
    "hst_0729.pmap": ("2019-06-01 00:00:00", "Darks of May", ("hst_acs_0422.imap",)),
    "roman_0042.pmap": ("2026-01-15 00:00:00", "The first rules", ("roman_wfi_0042.imap",)),
}

SIZES = {"jwst_miri_flat_0023.fits": 10_584_000, "jwst_miri_dark_0085.fits": 4_003_200}

JWST_CARDS = {
    "TELESCOP": "JWST", "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "EXP_TYPE": "MIR_IMAGE", "READPATT": "FASTR1",
    "SUBARRAY": "FULL", "FILTER": "F1000W", "BAND": "N/A", "DATE-OBS": "2023-01-01", "TIME-OBS": "12:00:00",
}
JWST_HEADER = {
    "META.INSTRUMENT.NAME": "MIRI", "META.INSTRUMENT.DETECTOR": "MIRIMAGE", "META.EXPOSURE.TYPE": "MIR_IMAGE",
    "META.EXPOSURE.READPATT": "FASTR1", "META.SUBARRAY.NAME": "FULL", "META.OBSERVATION.DATE": "2023-01-01",
    "META.OBSERVATION.TIME": "12:00:00",
}
ROMAN_HEADER = {
    "ROMAN.META.INSTRUMENT.NAME": "WFI", "ROMAN.META.INSTRUMENT.DETECTOR": "WFI16", "ROMAN.META.EXPOSURE.TYPE": "WFI_IMAGE",
    "ROMAN.META.EXPOSURE.START_TIME": "2027-01-01 00:00:00",
}
HST_HEADER = {"INSTRUME": "ACS", "DETECTOR": "WFC", "DATE-OBS": "2010-01-01", "TIME-OBS": "00:00:00"}


def write(root: Path) -> None:
    """Writes the cache below `root`, and datasets.json."""
    for name, text in rules().items():
        place(root, "mappings", name).write_text(text)
    for name in references():
        size = SIZES.get(name, 20_160)
        path = place(root, "references", name)
        path.write_bytes(fits({}, size) if name.endswith(".fits") else (name + "\n").encode() * (size // (len(name) + 1)))
    for observatory in PIPELINE:
        config = root / "config" / observatory
        config.mkdir(parents=True)
        (config / "server_config").write_text(repr(server_config(observatory)) + "\n")
        (config / "ref_cache_subdir_mode").write_text("flat")
    archive = {
        JWST_DATASET.upper().replace("_MIRIMAGE", ".MIRIMAGE"): {"header": JWST_HEADER},
        ROMAN_DATASET: {"header": ROMAN_HEADER},
    }
    (root / "datasets.json").write_text(json.dumps(archive))


def write_datasets(home: Path) -> None:
    """Writes the dataset files and headers that commands in the docs name, as in a working directory."""
    (home / f"{JWST_DATASET}_uncal.fits").write_bytes(fits(JWST_CARDS))
    (home / f"{JWST_DATASET}_rate.fits").write_bytes(fits(JWST_CARDS))
    used = {"CRDS_CTX": "jwst_1321.pmap", "R_DARK": "crds://jwst_miri_dark_0023.fits", "R_FLAT": "crds://jwst_miri_flat_0023.fits"}
    (home / f"{JWST_DATASET}_cal.fits").write_bytes(fits(JWST_CARDS | used))
    (home / "headers.jsonl").write_text(json.dumps({"id": "J9AB01XYQ", "header": HST_HEADER}) + "\n")


def place(root: Path, area: str, name: str) -> Path:
    path = root / area / observatory_of(name) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def observatory_of(name: str) -> str:
    observatory = name.split("_")[0]
    return observatory if observatory in PIPELINE else "hst"


def references() -> list[str]:
    return sorted({name for cases in RULES.values() for dates in cases.values() for name in dates.values()})


def rules() -> dict[str, str]:
    """The texts of all mappings, by name."""
    texts = {}
    for name, cases in RULES.items():
        observatory, instrument, kind, _ = name.split("_")
        selector = [
            f"    {case!r} : UseAfter({{\n" + "".join(f"        '{date}' : '{file}',\n" for date, file in dates.items()) + "    }),\n"
            for case, dates in cases.items()
        ]
        fields = {"classes": ("Match", "UseAfter"), "filekind": kind.upper(), "instrument": instrument.upper(), "mapping": "REFERENCE"}
        texts[name] = mapping(name, fields, PARAMETERS[observatory], "Match({\n" + "".join(selector) + "})")
    for name, rmaps in INSTRUMENTS.items():
        observatory, instrument, _ = name.split("_")
        types = {rmap.split("_")[2].upper() if observatory != "hst" else rmap.split("_")[2]: rmap for rmap in rmaps}
        texts[name] = mapping(name, {"instrument": instrument.upper(), "mapping": "INSTRUMENT"}, ("REFTYPE",), selector_of(types))
    for name, (_, _, imaps) in CONTEXTS.items():
        instruments = {imap.split("_")[1].upper(): imap for imap in imaps}
        texts[name] = mapping(name, {"mapping": "PIPELINE"}, (PIPELINE[observatory_of(name)],), selector_of(instruments))
    return texts


def selector_of(entries: dict[str, str]) -> str:
    return "{\n" + "".join(f"    '{key}' : '{file}',\n" for key, file in sorted(entries.items())) + "}"


def mapping(name: str, fields: dict, parkey: tuple, selector: str) -> str:
    """The text of a mapping, with the SHA-1 of the text without the line of the sum."""
    fields = fields | {"derived_from": "made for the docs", "name": name, "observatory": observatory_of(name).upper(), "parkey": parkey}
    lines = [f"    '{key}' : {value!r},\n" for key, value in sorted(fields.items())]
    text = ["header = {\n", *lines, "}\n\nselector = ", selector, "\n"]
    total = hashlib.sha1("".join(text).encode()).hexdigest()
    return "".join([*text[: 1 + len(lines)], f"    'sha1sum' : '{total}',\n", *text[1 + len(lines) :]])


def server_config(observatory: str) -> dict:
    history = [[since, name, why] for name, (since, why, _) in CONTEXTS.items() if observatory_of(name) == observatory]
    history.sort(reverse=True)
    latest = history[0][1]
    return {
        "observatory": observatory, "latest_context": latest, "operational_context": latest, "edit_context": latest,
        "versions_context": "", "build_context": latest, "context_history": history,
        "mappings": [name for name in rules() if observatory_of(name) == observatory],
        "bad_files_list": [], "force_remote_mode": 0, "download_metadata": {}, "last_synced": "2026-06-01 00:00:00.000000",
    }


def fits(cards: dict[str, str], size: int = 2880) -> bytes:
    """A FITS file of one header with these cards, and zeros up to `size`, which is a multiple of 2880."""
    pixels = size - 2880
    lines = ["SIMPLE  =                    T", "BITPIX  =                    8", f"NAXIS   = {1 if pixels else 0:>20}"]
    lines += [f"NAXIS1  = {pixels:>20}"] if pixels else []
    lines += [f"{key:<8}= '{value:<8}'" for key, value in cards.items()] + ["END"]
    return "".join(f"{line:<80}" for line in lines).ljust(2880).encode().ljust(size, b"\0")
