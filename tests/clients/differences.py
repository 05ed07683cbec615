"""Compares `crds-fs diff` with the Python client's: differences.py PROGRAM CACHE [SEED [COUNT]]

Pairs of contexts of the cache are drawn at random, neighbours and others, of all three levels and all observatories. For
each the client's difference tuples, with those of headers, are made from the JSON of `crds-fs diff`, and both must be the
same; so must the lists of new files (`crds diff --print-new-files`). A pair that the client cannot compare must fail here
too, unless the client lacks rules that are the same on both sides: those crds-fs does without, and says so. Fields of headers that differ always are left out on both sides, as `crds diff --brief` does.
"""

import glob
import json
import logging
import os
import random
import re
import subprocess
import sys
import warnings

PROGRAM, CACHE = sys.argv[1:3]
SEED = int(sys.argv[3]) if len(sys.argv) > 3 else 424242
COUNT = int(sys.argv[4]) if len(sys.argv) > 4 else 60
for name in [name for name in os.environ if name.startswith("CRDS_")]:
    del os.environ[name]
os.environ["CRDS_PATH"] = CACHE
os.environ["CRDS_IGNORE_MAPPING_CHECKSUM"] = "1"
warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)

from crds.core import rmap  # noqa: E402

logging.disable(logging.CRITICAL)
ROUTINE = re.compile(r"(header replaced|deleted header|header added) '(name|derived_from|sha1sum|row_keys)' = ")
rng = random.Random(SEED)


def pairs():
    """Pairs of mappings of one kind: half of them neighbours."""
    for observatory in ("hst", "jwst", "roman", "tobs"):
        families = {}
        for path in sorted(glob.glob(f"{CACHE}/mappings/{observatory}/*.?map")):
            name = os.path.basename(path)
            family = re.sub(r"(_\d+)?(\.\wmap)$", r"\2", name)
            families.setdefault(family, []).append(name)
        pmaps = [family for family in families if family.endswith(".pmap")]
        others = [family for family in sorted(families) if not family.endswith(".pmap")]
        for family in pmaps + rng.sample(others, min(len(others), COUNT // 2)):
            names = families[family]
            if len(names) < 2:
                continue
            count = COUNT if family.endswith(".pmap") else 2
            for turn in range(min(count, len(names) * 2)):
                at = rng.randrange(len(names) - 1)
                other = at + 1 if turn % 2 == 0 else rng.randrange(len(names))
                yield names[at], names[other]


def client(old, new):
    """The client's tuples and its new files."""
    was, now = rmap.get_cached_mapping(old), rmap.get_cached_mapping(new)
    found = was.difference(now, include_header_diffs=True)
    found = [tuple(one) for one in found if not ROUTINE.match(one[-1])]
    files = set(now.reference_names()) - set(was.reference_names())
    gone = set(was.reference_names()) - set(now.reference_names())
    return sorted(map(repr, found)), sorted(files), sorted(gone)


def own(old, new):
    """The same from crds-fs."""
    command = [PROGRAM, "diff", "--json", "--offline", "--cache", CACHE, old, new]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    told = json.loads(done.stdout)
    found = []
    for change in told["changes"]:
        keys = [tuple(value for _, value in level) for level in change["parameters"]]
        found.append(tuple(map(tuple, change["mappings"])) + tuple(keys) + (change["text"],))
    return sorted(map(repr, found)), told["references"]["added"], told["references"]["removed"]


def attempt(ask, *pair):
    try:
        return ask(*pair)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


compared = tuples = refused = incomplete = 0
for pair in pairs():
    theirs, ours = attempt(client, *pair), attempt(own, *pair)
    if isinstance(theirs, str) and isinstance(ours, str):
        refused += 1
        continue
    if isinstance(theirs, str) and theirs.startswith("FileNotFoundError:"):
        incomplete += 1
        continue
    if theirs != ours:
        print(f"differences: {pair[0]} {pair[1]} differ", file=sys.stderr)
        if isinstance(theirs, str) or isinstance(ours, str):
            print(str(theirs)[:2000], str(ours)[:2000], sep="\n", file=sys.stderr)
        else:
            for here, there, what in zip(ours, theirs, ("changes", "added", "removed")):
                print(what, "only here:", sorted(set(here) - set(there))[:5], file=sys.stderr)
                print(what, "only there:", sorted(set(there) - set(here))[:5], file=sys.stderr)
        sys.exit(1)
    compared += 1
    tuples += len(theirs[0])
print(f"differences: {compared} pairs, {tuples} changes, all as the client tells them; {refused} pairs that neither compares, "
      f"{incomplete} that the client does not for want of rules that are in both")
if not compared:
    sys.exit("differences: nothing was compared")
