"""Makes fresh vectors with the Python client: vectors.py CACHE DIRECTORY SEED COUNT

CACHE is a CRDS cache with rules. DIRECTORY gets COUNT records of each kind in the form of ../shared/vectors: lookups on
the rules of the cache and on random little rmaps, and single functions. All follows from the seed and the cache.
"""

import datetime
import gzip
import json
import logging
import os
import random
import re
import sys
import warnings

CACHE, DIRECTORY, SEED, COUNT = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
for name in [name for name in os.environ if name.startswith("CRDS_")]:
    del os.environ[name]
os.environ["CRDS_PATH"] = CACHE
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from crds.core import heavy_client, rmap, selectors, timestamp, utils  # noqa: E402
from crds.roman import locate as roman  # noqa: E402

logging.disable(logging.CRITICAL)
rng = random.Random(SEED)
pick, some = rng.choice, rng.sample


def chance(share):
    return rng.random() < share


# --- the client's answers


def plain(value):
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return {"!object": type(value).__name__}


def answered(record, ask):
    try:
        record["result"] = plain(ask())
    except Exception as exc:
        record["error"] = re.sub(r"0x[0-9a-f]+", "0x*", str(exc))
        record["error_type"] = type(exc).__name__
        if isinstance(exc.__cause__ or exc, (SyntaxError, re.error, AttributeError)) and "'str' object" not in str(exc):
            record["compare"] = "error"
    return record


def lookup(context, observatory, level, header, types):
    record = {"context": context, "observatory": observatory, "level": level, "header": header, "reftypes": types}
    if level == "rmap_raw":
        return answered(record, lambda: rmap.get_cached_mapping(context).get_best_ref(header))
    given = roman.dataset_to_ref_header(header) if observatory == "roman" else header
    return answered(record, lambda: heavy_client.hv_best_references(context, given, types))


UNITS = {
    "condition": utils.condition_value,
    "date": timestamp.reformat_date,
    "element": selectors.MatchSelector.condition_key_element,
    "match": lambda pattern, value: selectors.matcher(pattern).match(value),
    "version": lambda text: list(selectors.VersionAfterSelector(("V",), {}, {}).condition_key(text)),
}


def unit(kind, **given):
    record = answered({"kind": kind, **given}, lambda: UNITS[kind](*given.values()))
    if "result" in record:
        record["out"] = record.pop("result")
    return record


# --- values


WORDS = ["A", "B", "C", "AB", "F1", "XY", "GENERIC", "T", "UNDEFINED", "NONE", "N/A", "*", ""]
ODD = [" a ", "any", "n/a (none)", "NOT APPLICABLE", "()", "true", "stra\xdfe", "\u0663", "it's", '"', "a\nb", "1:3", "A?"]
NUMBERS = ["1", "1.0", "01", "+1", "1.", "1e0", "-0", ".5", "2.5", "1_0", "1E16", "1e-5", "1e400", "nan", "4294967295"]
DATES = ["2000-01-01 00:00:00", "2005-03-04 05:06:07", "2010-06-07 08:09:10", "2020-01-01 00:00:00"]


def mutated(text):
    place = rng.randint(0, len(text))
    letter = pick(list(" \t:-/.,T019aM+_'\"|*?[]{}()#<>=\xe9\u0660\xa0"))
    return pick([text[:place] + letter + text[place:], text[:place] + text[place + 1 :], text.lower(), f" {text} ", text[::-1]])


def value():
    text = pick([pick(WORDS)] * 6 + [pick(ODD), pick(NUMBERS), element()])
    return mutated(text) if chance(0.05) else text


def date():
    year, month, day = rng.randint(1985, 2030), rng.randint(1, 13), rng.randint(1, 31)
    hour, minute, second = rng.randint(0, 24), rng.randint(0, 60), rng.randint(0, 60)
    name = "Jan Feb Mar Apr May June JUL aug Sep Oct Nov Dec Xyz".split()[month - 1]
    days = [f"{year}-{month:02}-{day:02}"] * 4 + [f"{month:02}/{day:02}/{year}", f"{day:02}/{month:02}/{year % 100:02}"]
    days += [f"{name} {day}, {year}", f"{day}-{name}-{year}", f"{year}{month:02}{day:02}:{hour:02}{minute:02}{second:02}"]
    times = [f"{hour:02}:{minute:02}:{second:02}"] * 4 + [f"{hour}:{minute}", f"{hour % 12}:{minute} PM", "", "noon"]
    times += [f"{hour:02}:{minute:02}:{second + rng.random()}", f"{hour:02}:{minute:02}:{second:02} UT"]
    return pick(days), pick(times)


def element(depth=0):
    relation = lambda: pick([">", "<", ">=", "<= "]) + pick(["1", "2.5", "-1", "1e1"])  # noqa: E731
    return pick([
        lambda: pick(WORDS), lambda: pick(WORDS), lambda: pick(ODD + NUMBERS), relation,
        lambda: "|".join(pick(WORDS + NUMBERS + ["A*"]) for _ in range(3)),
        lambda: pick(["A*", "*B*", "A?|C", "[AB]*", "[!A]*", "A[*", "[A-C]*|X", "[]A]*"]),
        lambda: pick(["{%s}", "(%s)", "#%s#", "(%s.*)"]) % pick(["A", "B", "AB"]),
        lambda: f"# {relation()} {pick(['and', 'OR'])} {relation()} #",
        lambda: pick(["BETWEEN 1 3", "between 2 1", "BETWEEN 1", "BETWEEN A 1"]),
        lambda: "NOT " + element(depth + 1) if depth < 2 else "NOTHING",
    ])()


def units():
    for _ in range(COUNT):
        kind = pick([*UNITS])
        if kind == "match":
            yield unit(kind, pattern=UNITS["element"](element()), value=UNITS["condition"](value()))
        elif kind == "date":
            text = pick([" ", " ", "T"]).join(date())
            yield unit(kind, **{"in": mutated(text) if chance(0.3) else text})
        elif kind == "version":
            text = pick(["1", "1.2", "1.2.3", "0.13.2rc1", "2.0.0.dev3+g1", "x", "1.2.3~"])
            yield unit(kind, **{"in": mutated(text) if chance(0.3) else text})
        else:
            yield unit(kind, **{"in": pick([value(), element(), rng.random() * 10 ** rng.randint(-9, 18), True, 5])})


# --- random little rmaps


PARAMS = {"UseAfter": ("DATE-OBS", "TIME-OBS"), "ClosestTime": ("DATE-OBS", "TIME-OBS"), "VersionAfter": ("V",)}
PARAMS |= {"SelectVersion": ("V",), "GeometricallyNearest": ("N",), "Bracket": ("N",)}


def choice():
    return pick(["a.fits", "b.fits", "c.fits", "d.fits"] * 3 + ["N/A", "OMIT", "temp_n/a", ("a.fits", "b.fits"), {"x": "a.fits"}])


def key(kind, params):
    if kind == "Match":
        elements = tuple(pick([pick(WORDS), pick(WORDS), element(), rng.randint(0, 3), ("A", "B")]) for _ in params)
        return elements[0] if len(elements) == 1 and isinstance(elements[0], str) else elements
    if kind in ("UseAfter", "ClosestTime"):
        return pick(DATES + ["1990-12-31 23:59:59", "2000-01-01T00:00:00"])
    if kind == "VersionAfter":
        return pick(["0.1", "1", "1.2", "1.2.3", "2.0.0", "1.10"])
    if kind == "SelectVersion":
        return pick(["<1", "<2.5", "<=4", "=3", "==3", "default", "< 3"])
    return pick([1, 2, 1.5, 10, -1, 16777217])


def selector(levels):
    (kind, params), nested = levels[0], levels[1:]
    keys = [repr(key(kind, params)) for _ in range(rng.randint(1, 8))]
    entries = [f"{key} : {selector(nested) if nested and chance(0.9) else repr(choice())},\n" for key in dict.fromkeys(keys)]
    return f"{kind}({{\n{''.join(entries)}}})"


def expression(depth=0):
    simple = f"{pick('PQRZ')} {pick(['==', '!=', '<'])} {pick(['A', '1.0', 'UNDEFINED', 'T'])!r}"
    among = f"{pick('PQRZ')} {pick(['in', 'not in'])} {[pick(WORDS) for _ in range(3)]}"
    both = f"({expression(depth + 1)}) {pick(['and', 'or'])} not {expression(depth + 1)}" if depth < 2 else simple
    return pick([simple, simple, among, both])


def rmap_text(kind):
    chosen = pick([("Match", "UseAfter"), ("Match",), ("Match", pick([*PARAMS])), (pick([*PARAMS]), "Match")])
    levels = [(name, PARAMS.get(name) or tuple(some(["P", "Q", "R", "SUBARRAY"], rng.randint(1, 3)))) for name in chosen]
    header = {"mapping": "REFERENCE", "observatory": "HST", "instrument": "ACS", "filekind": kind, "name": "x"}
    header |= {"derived_from": "made by hand", "parkey": tuple(params for _, params in levels), "sha1sum": "@"}
    optional = {
        "rmap_relevance": f"({expression()})",
        "rmap_omit": f"({expression()})",
        "parkey_relevance": {pick("pqr"): f"({expression()})"},
        "comment_parkeys": (pick("PQR"),),
        "extra_keys": ("Z", "P"),
        "reffile_required": pick(["YES", "NO"]),
        "merge_overlaps": pick([True, "false"]),
        "substitutions": {pick("PQR"): {pick(["A", "B"]): pick(["N/A", "B|C", ("A", "B")])}},
        "hooks": {"precondition_header": "precondition_header_acs_biasfile_v2"},
    }
    header |= {field: optional[field] for field in some([*optional], pick([0, 0, 1, 2]))}
    lines = "".join(f"    {field!r} : {content!r},\n" for field, content in header.items())
    text = f"header = {{\n{lines}}}\n\nselector = {selector(levels)}\n"
    rest = "".join(line for line in text.splitlines(True) if "sha1sum" not in line)
    return text.replace("'@'", repr(utils.str_checksum(rest)))


def fuzz():
    os.makedirs("fuzz", exist_ok=True)
    names = ["P", "Q", "R", "SUBARRAY", "Z", "V", "N", "NAXIS1", "NAXIS2", "CCDAMP", "XCORNER", "YCORNER", "APERTURE"]
    for number in range(COUNT // 10):
        context = f"fuzz/hst_acs_fuzz{number}.rmap"
        with open(context, "w", encoding="utf-8") as file:
            file.write(rmap_text(f"FUZZ{number}"))
        for _ in range(10):
            header = {name: value() for name in names if chance(0.8)}
            header |= {"V": pick(["0.1", "1.2.3", "3", "x"]), "N": pick([1, 2.75, "-5", "nan", "x"]), "DETECTOR": pick(["WFC", "HRC"])}
            header["DATE-OBS"], header["TIME-OBS"] = date() if chance(0.2) else pick(DATES).split()
            if chance(0.3):
                yield lookup(context, "hst", "rmap_raw", {name: utils.condition_value(text) for name, text in header.items()}, None)
            else:
                yield lookup(context, "hst", "rmap", header, [f"fuzz{number}"])


# --- the rules of the cache


def drawn(choice, header):
    """Draws the values that lead through a selector."""
    while isinstance(choice, selectors.Selector) and choice._raw_selections:
        params, (key, nested) = choice._parameters, pick(choice._raw_selections)
        if isinstance(choice, selectors.MatchSelector):
            for name, element in zip(params, key if isinstance(key, tuple) else (key,)):
                header[name] = pick(selectors.glob_list(element) or [""]) if isinstance(element, str) else element
        else:
            try:
                key = str(datetime.datetime.fromisoformat(key) + datetime.timedelta(seconds=pick([0, 1, -1, 10**7])))
            except (ValueError, TypeError):
                pass
            header.update(zip(params, str(key).split(" ")))
        choice = nested


def real_header(rules):
    rmaps = [*rules.selections.normal_values()] if hasattr(rules, "selections") else [rules]
    header = {}
    for one in some(rmaps, min(len(rmaps), 2)):
        drawn(one.selector, header)
        for name, values in one._rmap_valid_values.items():
            if name not in header and values and chance(0.7):
                header[name] = pick(values)
    for name in [*header]:
        if chance(0.06):
            header[name] = pick([value(), mutated(str(header[name])), "UNDEFINED", "N/A", "ANY", 1, 2.5, True])
        if chance(0.02):
            del header[name]
        elif chance(0.03) and ("DATE" in name or "TIME" in name):
            header[name] = pick(date())
    return header


def spelt(header, observatory):
    """The header in another order, with other names for the same parameters."""
    fits = {"META.INSTRUMENT.NAME": "INSTRUME", "META.INSTRUMENT.DETECTOR": "DETECTOR", "META.EXPOSURE.TYPE": "EXP_TYPE"}
    fits |= {"META.OBSERVATION.DATE": "DATE-OBS", "META.INSTRUMENT.FILTER": "FILTER", "META.SUBARRAY.NAME": "SUBARRAY"}
    result = {}
    for name, text in some([*header.items()], len(header)):
        names = [name]
        if observatory == "jwst" and name in fits and chance(0.4):
            names = pick([[fits[name]], [fits[name], name], [name, fits[name]]])
        if observatory == "roman" and chance(0.5):
            names = pick([[name[6:]], [name[6:], name], [name.lower(), name]])
        for number, name in enumerate(names):
            result[name.lower() if chance(0.05) else name] = value() if number else text
    return result


def real():
    observatories = {"hst": 8, "jwst": 8, "roman": 2, "tobs": 1}
    made = 0
    while made < COUNT:
        observatory = rng.choices([*observatories], [*observatories.values()])[0]
        level = pick(["pmap", "pmap", "imap", "rmap"])
        names = sorted(name for name in os.listdir(f"{CACHE}/mappings/{observatory}") if name.endswith(level))
        try:
            context = rmap.get_cached_mapping(pick(names))
            instrument = pick(sorted(context.selections.normal_keys())) if level == "pmap" else None
            rules = context.selections[instrument] if instrument else context
            kinds = [context.filekind] if level == "rmap" else sorted(rules.selections.keys())
            real_header(rules)
        except Exception:  # Rules that are not in the cache, or broken.
            continue
        for _ in range(25):
            header = real_header(rules)
            types = some(kinds, min(len(kinds), rng.randint(0, 4))) if level != "rmap" and chance(0.6) else None
            if instrument:
                name = pick([context.instrument_key] * 8 + ["INSTRUME", "META.INSTRUMENT.NAME", "INSTRUMENT"])
                header[name] = pick([instrument.upper()] * 20 + [value()])
            yield lookup(context.filename, observatory, level, spelt(header, observatory), kinds if level == "rmap" else types)
            made += 1


CACHE = os.path.abspath(CACHE)
os.environ["CRDS_PATH"] = CACHE
os.makedirs(DIRECTORY, exist_ok=True)
os.chdir(DIRECTORY)
for file, records in (("unit", units), ("fuzz", fuzz), ("real", real)):
    with gzip.open(f"{file}.jsonl.gz", "wt", compresslevel=1, encoding="utf-8") as out:
        for record in records():
            out.write(json.dumps(record) + "\n")
