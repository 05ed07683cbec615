"""`crds-fs bestrefs --files` beside `crds bestrefs --files`: what is recommended, written, and said.

    python tests/clients/updates.py PROGRAM SHARED

PROGRAM is `crds-fs`; SHARED holds the rules of real contexts (`crds-cache`) and, for headers, the oracle's `vectors`.
Dataset files of HST, JWST and Roman are made, odd ones among them, and given to both programs. Prints what was compared,
and exits with 1 if anything differs.
"""

import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

os.environ["CRDS_FS"] = PROGRAM = os.path.abspath(sys.argv[1])
os.environ["CRDS_FS_SHARED_CACHE"] = str(Path(sys.argv[2]) / "crds-cache")
SHARED = Path(sys.argv[2]).resolve()
warnings.simplefilter("ignore")

import asdf
import numpy as np
import rig
from astropy.io import fits
from dataset_files import asdf_files, fits_files, fits_parts, geis_files

CACHE = SHARED / "crds-cache"
CONTEXTS = {"hst": ("hst_0480.pmap", "hst_0729.pmap"), "jwst": ("jwst_0402.pmap", "jwst_0541.pmap"),
            "roman": ("roman_0004.pmap", "roman_0005.pmap")}
FITS_KEYWORD = re.compile(r"[A-Z][A-Z0-9_-]{0,7}")
# The client, one file at a time in one process: a file that it cannot update would end it.
CLIENT = """
import gc, logging, os, shlex
from crds.bestrefs.bestrefs import BestrefsScript
from crds.core import log
gc.collect = lambda *_: 0
said = []
class Handler(logging.Handler):
    def emit(self, record):
        said.append(record.levelname + " " + record.getMessage())
log.THE_LOGGER.logger.addHandler(Handler())
options, files = arguments
result = []
for name in files:
    said.clear()
    log.reset()
    try:
        errors = BestrefsScript("crds.bestrefs " + options + " --files " + shlex.quote(name))()
        result.append([name, list(said), errors, None])
    except BaseException as error:
        result.append([name, list(said), None, repr(error)])
"""

failures = []


def differ(name, *what):
    failures.append(name)
    print(f"  DIFFERENT {name}:", *what)


# ------------------------------------------------------------------------------------------------- the files


def records(observatory, count):
    """Headers of the oracle's lookups, which hit many rules."""
    path = SHARED / "vectors" / f"{observatory}-pmap.jsonl.gz"
    with gzip.open(path, "rt") as lines:
        headers = [json.loads(line)["header"] for line in lines]
    headers = [header for header in headers if len(header) > 5]
    return random.Random(observatory).sample(headers, min(count, len(headers)))


def keywords():
    """FITS keywords of JWST's data-model names."""
    table = Path(__file__).resolve().parents[2] / "src/rules/values/data/jwst-keywords.tsv"
    rows = [line.split("\t")[:2] for line in table.read_text().splitlines() if not line.startswith("#")]
    pairs = {model: keyword for keyword, model in rows}
    assert pairs["META.INSTRUMENT.DETECTOR"] == "DETECTOR", "the table has another form now"
    return pairs


def write_fits(path, header, rng):
    """A dataset as astropy writes it, with data and sometimes more HDUs and references from earlier times."""
    primary = fits.PrimaryHDU(np.arange(rng.randrange(50), dtype="i2") if rng.random() < 0.3 else None)
    translate = keywords()
    for name, value in header.items():
        name = translate.get(name.upper(), name.upper())
        if FITS_KEYWORD.fullmatch(name) and not (isinstance(value, float) and value != value):
            try:
                primary.header[name] = (value, rng.choice(["", "a comment", "it's long " * 3]))
            except ValueError:  # not a value of FITS
                pass
    for name in rng.sample(["DARKFILE", "FLATFILE", "CRDS_CTX", "CRDS_VER", "R_FLAT", "R_DARK", "BPIXTAB"], 3):
        primary.header[name] = (rng.choice(["N/A", "jref$old_drk.fits", "crds://jwst_old.fits", ""]), "earlier")
    for text in rng.sample(["one", "two", "three"], rng.randrange(3)):
        primary.header["HISTORY"] = text
    others = [fits.ImageHDU(np.arange(rng.randrange(9)), name=f"E{number}") for number in range(rng.randrange(3))]
    fits.HDUList([primary, *others]).writeto(path, output_verify="silentfix", checksum=rng.random() < 0.2)


def write_asdf(path, header, rng):
    tree = {"roman": {"meta": {}, "data": np.arange(rng.randrange(1, 2000))}}
    for name, value in header.items():
        words = name.lower().removeprefix("roman.").split(".")
        node = tree["roman"]
        for word in words[:-1]:
            node = node.setdefault(word, {})
            if not isinstance(node, dict):
                break
        else:
            node[words[-1]] = value
    if rng.random() < 0.5:
        tree["roman"]["meta"]["ref_file"] = {"dark": "N/A", "crds": {"context": "roman_0001.pmap"}}
    asdf.AsdfFile(tree).write_to(path)


def make(root):
    """A directory for each observatory and format, each with its files."""
    rng = random.Random(2)
    folders = {name: root / name for name in ("hst-fits", "jwst-fits", "roman-asdf", "hst-geis", "others")}
    for folder in folders.values():
        folder.mkdir()
    fits_files(folders["hst-fits"], random.Random(1))
    for path in folders["hst-fits"].glob("*jw*"):
        path.rename(folders["jwst-fits"] / path.name)
    asdf_files(folders["others"])
    for path in folders["others"].glob("roman_*.asdf"):
        path.rename(folders["roman-asdf"] / path.name)
    geis_files(folders["hst-geis"])
    for path in folders["others"].glob("params.yaml"):
        path.unlink()  # which the client does not take for a dataset
    for index, header in enumerate(records("hst", 80)):
        write_fits(folders["hst-fits"] / f"hst{index:03}_raw.fits", header, rng)
    for index, header in enumerate(records("jwst", 80)):
        write_fits(folders["jwst-fits"] / f"jw{index:03}_uncal.fits", header, rng)
    for index, header in enumerate(records("roman", 60)):
        write_asdf(folders["roman-asdf"] / f"r{index:03}_uncal.asdf", header, rng)
    for path in (SHARED / "vectors" / "files").iterdir():
        kind = {".fits": "jwst-fits" if path.name.startswith("jw") else "hst-fits", ".r0h": "hst-geis", ".r0d": "hst-geis",
                ".asdf": "roman-asdf"}.get(path.suffix)
        if kind is not None:
            shutil.copy(path, folders[kind])
            os.chmod(folders[kind] / path.name, 0o644)
    return folders


# ------------------------------------------------------------------------------------------------- the two programs


def ours(folder, *options, files=None):
    """The binary in this directory: status, standard output, standard error."""
    files = names(folder) if files is None else files
    ran = subprocess.run(
        [PROGRAM, "bestrefs", "--cache", CACHE, *options, "--files", *files], cwd=folder, capture_output=True, text=True,
        env=rig.environment(), timeout=rig.LIMIT)
    return ran.returncode, ran.stdout.splitlines(), ran.stderr.splitlines()


def theirs(folder, observatory, options, files=None):
    """The client in this directory: name, messages, number of errors, and what ended it, for each file."""
    code = f"import os\nos.chdir({str(folder)!r})\n{CLIENT}"
    return rig.python(code, options, names(folder) if files is None else files, CRDS_PATH=str(CACHE), CRDS_READONLY_CACHE="1",
                      CRDS_OBSERVATORY=observatory, CRDS_SERVER_URL="https://crds-serverless-mode.stsci.edu")


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith("d"))


def complaints(messages):
    """The errors about results, without what the logger puts around them."""
    words = (message.removeprefix("ERROR ") for message in messages if message.startswith("ERROR "))
    return [re.sub(r"^(CRDS - ERROR - )? *", "", text).strip() for text in words]


def our_complaints(lines):
    return [line.removeprefix("CRDS - ERROR -").strip() for line in lines if line.startswith("CRDS - ERROR -")]


# ------------------------------------------------------------------------------------------------- comparisons


def compare_answers(folder, lines, client):
    """Every answer of every file: what crds-fs says as JSON, and what the client says while it works."""
    mine = {line["id"]: line for line in map(json.loads, lines)}
    files = answers = refused = 0
    for name, messages, errors, _ in client:
        found = {kind.lower(): ref for kind, ref in bestrefs_found(messages)}
        failed = {re.search(r"type='(\w+)'", text)[1].lower() for text in complaints(messages) if "Bestref FAILED" in text}
        result = mine[name].get("result", {})
        several = any(not isinstance(answer, str) for answer in result.values())
        if several != any("'tuple' object" in text for text in complaints(messages)):
            differ(f"{folder.name}/{name}", "several files for one type", complaints(messages))
        if several or not found and not failed:
            refused += 1
            if result and not several:
                differ(f"{folder.name}/{name}", "only crds-fs answers; the client:", complaints(messages)[:1])
            continue
        files += 1
        said = {}
        for reftype, answer in result.items():
            if answer in ("NOT FOUND n/a", "NOT FOUND No match found."):
                said[reftype] = "n/a"
            elif not answer.startswith("NOT FOUND"):
                said[reftype] = answer.lower()
        answers += len(result)
        if said != found or set(result) - set(said) != failed:
            differ(f"{folder.name}/{name}", mine[name].get("error"), sorted(set(said.items()) ^ set(found.items()))[:4],
                   sorted((set(result) - set(said)) ^ failed)[:4])
    print(f"answers, {folder.name}: {files} files, {answers} types, {refused} files that the client does not answer")


def bestrefs_found(messages):
    """Types in upper case and files, as the client names them with --verbosity 30."""
    return re.findall(r"type='(\w+)' data='.*?' ::  Bestref FOUND: '(.*?)' :: (?:Would update|Updating)", "\n".join(messages))


def compare_differences(folder, observatory):
    """Old and new context: the client's lines."""
    old, new = CONTEXTS[observatory]
    status, lines, _ = ours(folder, "--context", old, "--compare", new)
    mine = [line for line in lines if "New best reference" in line]
    client = []
    for name, messages, _, _ in theirs(folder, observatory, f"--old-context {old} --new-context {new}"):
        if any("Failed processing" in text for text in messages):
            # Several files for one type, which the client does not get over.
            mine = [line for line in mine if f"data='{name}'" not in line]
            continue
        found = [re.search(r"instrument=.* ::  New best reference: .* --> .*(?= :: Would update)", text) for text in messages]
        client += [match[0] for match in found if match]
    for line in sorted(set(mine) ^ set(client))[:6]:
        print(f"    {'crds-fs' if line in mine else 'client'}: {line}")
    if mine != client:
        differ(f"{folder.name} {old} --> {new}", f"{len(mine)} lines, the client {len(client)}")
    affected = len({re.search(r"data='(.*?)'", line)[1] for line in client})
    print(f"comparison, {folder.name}: {len(client)} changes in {affected} files")


def without_version(cards):
    return [b"CRDS_VER" if card.startswith(b"CRDS_VER") else card for card in cards]


def compare_updates(folder, observatory):
    """The updated files, card for card, and the errors said."""
    new = CONTEXTS[observatory][1]
    work = {who: folder.parent / f"{folder.name}-{who}" for who in ("mine", "client")}
    for copy in work.values():
        shutil.copytree(folder, copy)
    answers = ours(folder, "--context", new, "--json")[1]
    status, _, lines = ours(work["mine"], "--context", new, "--update-bestrefs")
    client = theirs(work["client"], observatory, f"--new-context {new} --update-bestrefs --verbosity 30")
    compare_answers(folder, answers, client)
    counts = dict.fromkeys(("identical", "mended", "refused", "untouched", "fitsdiff"), 0)
    written = 0
    expected = []
    for name, messages, errors, ended in client:
        expected += complaints(messages)
        original, mine, theirs_ = (where / name for where in (folder, work["mine"], work["client"]))
        if mine.read_bytes() == original.read_bytes():
            counts["untouched"] += 1
            if ended is None and theirs_.read_bytes() != original.read_bytes():
                differ(f"{folder.name}/{name}", "only the client writes")
            continue
        old_cards, old_rest = fits_parts(original)
        my_cards, my_rest = fits_parts(mine)
        changed = check_bytes(f"{folder.name}/{name}", original, mine, old_cards, my_cards, old_rest == my_rest, counts)
        if ended is not None:  # astropy writes no file that has something wrong in it
            counts["refused"] += 1
            continue
        written += len(changed)
        cards, rest = fits_parts(theirs_)
        if without_version(cards) == without_version(my_cards):
            counts["identical" if rest == my_rest else "mended"] += 1
        elif same_header(mine, theirs_):
            counts["mended"] += 1
        else:
            odd = [pair for pair in zip(without_version(cards), without_version(my_cards)) if pair[0] != pair[1]]
            differ(f"{folder.name}/{name}", odd[:2])
    compare_messages(folder.name, status, lines, expected)
    print(f"updates, {folder.name}: {len(client)} files, {written} keywords; {counts['identical']} files byte for byte as the "
          f"client's, {counts['mended']} alike in all cards where astropy mends something else, {counts['refused']} right "
          f"that astropy refuses, {counts['untouched']} untouched by both; "
          f"fitsdiff compared {counts['fitsdiff']}")


def compare_messages(name, status, lines, expected):
    said = our_complaints(lines)
    # A file that cannot be read is described in each program's own words.
    own_words = re.compile(r"Failed loading source (?!.*No instrument keyword)|Failed processing|cannot |^dataset '|^instrument=.*Unknown instrument|Failed reading ASDF history")
    mine = [text for text in said if not own_words.search(text)]
    client = [text for text in expected if not own_words.search(text)]
    if mine != client:
        odd = [pair for pair in zip(mine, client) if pair[0] != pair[1]]
        differ(f"messages of {name}", f"{len(mine)}, the client {len(client)}", odd[:2] or (mine[len(client):] + client[len(mine):])[:3])
    if status != (1 if said else 0) or bool(said) != bool(expected):
        differ(f"status of {name}", status, len(said), len(expected))
    print(f"messages, {name}: {len(client)} errors in the same words, {len(said) - len(mine)} in their own")


def check_bytes(name, original, mine, old_cards, my_cards, same_rest, counts):
    """Nothing but references changes: not a byte of another card, not a byte behind the header. The keywords written."""
    changed = {re.sub(rb"^HIERARCH |=.*", b"", card).strip().upper().decode() for card in my_cards if card not in old_cards}
    if not same_rest:
        differ(name, "bytes behind the primary header changed")

    def kept(cards):
        names_ = (re.sub(rb"^HIERARCH |=.*", b"", card).strip().upper().decode("latin-1") for card in cards)
        return [card for card, keyword in zip(cards, names_) if keyword not in changed and card.strip()]

    if kept(old_cards) != kept(my_cards):
        differ(name, "other cards changed")
    try:
        difference = fits.FITSDiff(str(original), str(mine), ignore_keywords=sorted(changed))
        hdus = [hdu for _, hdu, *_ in difference.diff_hdus]
    except Exception:  # fitsdiff does not read everything that is odd
        return changed
    counts["fitsdiff"] += 1
    for hdu in hdus:
        headers, data = hdu.diff_headers, hdu.diff_data
        # The count of cards is another one: new keywords are there.
        odd = [headers.diff_keywords, headers.diff_keyword_values, headers.diff_keyword_comments, headers.diff_duplicate_keywords,
               hdu.diff_extnames, hdu.diff_extension_types, data is not None and not data.identical]
        if any(part for part in odd if part != ((), ())):
            differ(name, "fitsdiff:", odd)
    if difference.diff_hdu_count:
        differ(name, "fitsdiff: HDUs", difference.diff_hdu_count)
    return changed


def same_header(mine, client):
    with fits.open(mine) as a, fits.open(client) as b:
        texts = [[(c.keyword, str(c.value)) for c in h[0].header.cards if c.keyword not in ("EXTEND", "CRDS_VER")] for h in (a, b)]
    return texts[0] == texts[1]


def compare_trees(folder):
    """ASDF files of Roman: the client recommends, and cannot write."""
    old, new = CONTEXTS["roman"]
    copy = folder.parent / f"{folder.name}-mine"
    shutil.copytree(folder, copy)
    answers = ours(folder, "--context", new, "--json")[1]
    status, _, lines = ours(copy, "--context", new, "--update-bestrefs")
    expected, files, values, refused = [], 0, 0, 0
    client = theirs(folder, "roman", f"--new-context {new} --verbosity 30")
    compare_answers(folder, answers, client)
    for name, messages, errors, _ in client:
        expected += complaints(messages)
        original, mine = (folder / name).read_bytes(), (copy / name).read_bytes()
        if original == mine:
            refused += 1
            continue
        found = bestrefs_found(messages)
        want = {kind.lower(): "N/A" if ref == "n/a" else f"crds://{ref}" for kind, ref in found}
        with asdf.open(folder / name) as a, asdf.open(copy / name) as b:
            before, after = flat(a.tree), flat(b.tree)
        place = ("roman", "meta", "ref_file")
        got = {key[3]: value for key, value in after.items() if key[:3] == place and len(key) == 4 and key[3] in want}
        extra = {key for key in set(after) ^ set(before) if key[:3] != place}
        other = {key for key in before if key[:3] != place and str(before[key]) != str(after.get(key))}
        context = after.get((*place, "crds", "context"))
        if got != want or extra or other or context != new:
            differ(f"{folder.name}/{name}", got, want, extra, other, context)
        block = original.find(b"\xd3BLK")
        index = original.find(b"#ASDF BLOCK INDEX")
        if block >= 0 and original[block : index if index >= 0 else None] not in mine:
            differ(f"{folder.name}/{name}", "blocks changed")
        files, values = files + 1, values + len(got)
    compare_messages(folder.name, status, lines, expected)
    print(f"updates, {folder.name}: {files} trees, {values} references as the client recommends them; {refused} untouched")


def flat(tree, path=()):
    if hasattr(tree, "items"):
        return {key: value for name, node in tree.items() for key, value in flat(node, (*path, name)).items()}
    return {path: np.asarray(tree).tolist() if hasattr(tree, "shape") else tree}


def compare_lines(folder):
    """GEIS headers: the client recommends, and cannot write. No line but those of references may change."""
    copy = folder.parent / f"{folder.name}-mine"
    shutil.copytree(folder, copy)
    new = CONTEXTS["hst"][1]
    _, answers, _ = ours(copy, "--context", new, "--update-bestrefs", "--json")
    files = values = 0
    client = theirs(folder, "hst", f"--new-context {new} --verbosity 30")
    compare_answers(folder, answers, client)
    for name, messages, _, _ in client:
        found = bestrefs_found(messages)
        want = {kind: "N/A" if ref == "n/a" else f"uref${ref}" for kind, ref in found}
        before, after = ((where / name).read_bytes().decode("latin-1").splitlines() for where in (folder, copy))
        cards = dict(re.match(r"(\w+) *= *'(.*?) *'", line).groups() for line in after if line not in before)
        if {key: value for key, value in cards.items() if not key.startswith("CRDS_")} != want or cards.get("CRDS_CTX") != new:
            differ(f"{folder.name}/{name}", cards, want)
        keep = [line for line in before if line.split("=")[0].strip() not in cards]
        if [line for line in after if line in keep] != keep:
            differ(f"{folder.name}/{name}", "other lines changed")
        data = Path(name).with_suffix(name[-4:-1] + "d")
        if (folder / data).read_bytes() != (copy / data).read_bytes():
            differ(f"{folder.name}/{data}", "data changed")
        files, values = files + 1, values + len(want)
    print(f"updates, {folder.name}: {files} headers, {values} references as the client recommends them")


def compare_refusals(folder):
    """What neither program can update stays as it is, and is said."""
    copy = folder.parent / f"{folder.name}-mine"
    shutil.copytree(folder, copy)
    new = CONTEXTS["jwst"][1]
    for name, messages, errors, ended in theirs(folder, "jwst", f"--new-context {new} --update-bestrefs"):
        status, _, lines = ours(copy, "--context", new, "--update-bestrefs", files=[name])
        if status != 1 or (copy / name).read_bytes() != (folder / name).read_bytes() or not (errors or ended):
            differ(f"{folder.name}/{name}", status, lines, errors, ended)
        print(f"  refused: {name}: {lines[0][:150]}; the client: {ended or complaints(messages)}")


def bad_references():
    """A context, and headers for which it recommends references that are designated bad."""
    bad = set((CACHE / "config/hst/bad_files.txt").read_text().split())
    found = {}
    with gzip.open(SHARED / "vectors/hst-pmap.jsonl.gz", "rt") as lines:
        for record in map(json.loads, lines):
            answers = (record.get("result") or {}).values()
            if bad.intersection(answer for answer in answers if isinstance(answer, str)):
                found.setdefault(record["context"], []).append(record["header"])
    return max(found.items(), key=lambda item: len(item[1]))


def compare_bad_files(root):
    """Contexts with bad rules, and recommendations of bad references: the same words, and the update all the same."""
    mirimage = {"TELESCOP": "JWST", "INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "DATE-OBS": "2022-01-01", "TIME-OBS": "00:00:00"}
    context, headers = bad_references()
    for observatory, context, headers in (("hst", context, headers), ("jwst", "jwst_0016.pmap", [mirimage])):
        folder, copy = root / f"{observatory}-bad", root / f"{observatory}-bad-mine"
        folder.mkdir()
        for index, header in enumerate(headers):
            write_fits(folder / f"bad{index}.fits", header, random.Random(index))
        shutil.copytree(folder, copy)
        status, _, lines = ours(copy, "--context", context, "--update-bestrefs")
        said = our_complaints(lines)
        client = theirs(folder, observatory, f"--new-context {context} --update-bestrefs")
        # In one run the client speaks of a context once; it was run for each file here.
        expected = list(dict.fromkeys(text for _, messages, _, _ in client for text in complaints(messages)))
        bad = [text for text in expected if "is bad" in text]
        if said != expected or not bad:
            differ(f"bad files of {observatory}", [pair for pair in zip(said, expected) if pair[0] != pair[1]][:2], len(said), len(expected))
        for name, _, _, ended in client:
            if ended is not None:  # astropy does not write it
                print(f"  not written by the client: {name}: {ended[:100]}")
                continue
            mine, theirs_ = (without_version(fits_parts(where / name)[0]) for where in (copy, folder))
            if mine != theirs_ and not same_header(copy / name, folder / name):
                differ(f"bad files of {observatory}", name, [pair for pair in zip(mine, theirs_) if pair[0] != pair[1]][:2])
        print(f"bad files, {observatory}: {len(client)} files, {len(bad)} errors about bad files in the same words")


def compare_runs(folder, observatory):
    """The command `crds bestrefs` itself on well-behaved files, all at once: exit status, and the same errors."""
    new = CONTEXTS[observatory][1]
    files = [name for name in names(folder) if name.endswith(("_raw.fits", "_uncal.fits"))][:30]
    for chosen in (files, [], ["nosuch.fits"]):
        if not chosen:
            # One without errors, if there is one.
            quiet = [name for name, _, errors, _ in theirs(folder, observatory, f"--new-context {new}", files) if errors == 0]
            chosen = quiet[:3]
        command = [Path(sys.executable).parent / "crds", "bestrefs", "--new-context", new, "--files", *chosen]
        ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=rig.LIMIT, env=rig.environment(
            CRDS_PATH=str(CACHE), CRDS_READONLY_CACHE="1", CRDS_OBSERVATORY=observatory,
            CRDS_SERVER_URL="https://crds-serverless-mode.stsci.edu"))
        # Without an update the client takes types without an answer for errors; crds-fs says so when it writes.
        copy = folder.parent / f"{folder.name}-run"
        shutil.copytree(folder, copy)
        status, _, lines = ours(copy, "--context", new, "--update-bestrefs", files=chosen)
        shutil.rmtree(copy)
        errors = [line for line in ran.stderr.splitlines() if "CRDS - ERROR" in line]
        print(f"runs, {folder.name}: {len(chosen)} files, {len(errors)} errors, exit status {ran.returncode} and {status}")
        if status != ran.returncode or len(errors) != len(our_complaints(lines)):
            differ(f"run of {folder.name}", lines[:2], errors[:2])


def main():
    with tempfile.TemporaryDirectory(prefix="updates-") as name:
        folders = make(Path(name))
        for observatory in ("hst", "jwst"):
            folder = folders[f"{observatory}-fits"]
            compare_differences(folder, observatory)
            compare_updates(folder, observatory)
            compare_runs(folder, observatory)
        compare_differences(folders["roman-asdf"], "roman")
        compare_trees(folders["roman-asdf"])
        compare_lines(folders["hst-geis"])
        compare_refusals(folders["others"])
        compare_bad_files(Path(name))
        if len(sys.argv) > 3:
            shutil.copytree(name, sys.argv[3], dirs_exist_ok=True)
    print("all equal" if not failures else f"{len(failures)} differ: {' '.join(failures)}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
