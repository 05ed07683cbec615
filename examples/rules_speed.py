"""The Python client at the work that examples/rules_speed.rs measures: one line of JSON with the seconds of
loading and the headers per second of processor time.

Arguments: cache, vectors, observatory, context, and `all` or `query` (a single query, for timing the whole process).
"""

import gzip
import itertools
import json
import os
import sys
import time

cache, vectors, observatory, context, work = sys.argv[1:]
os.environ.update(
    CRDS_PATH=cache,
    CRDS_OBSERVATORY=observatory,
    CRDS_SERVER_URL="https://127.0.0.1:1",
    CRDS_IGNORE_MAPPING_CHECKSUM="1",
    CRDS_READONLY_CACHE="1",
    CRDS_VERBOSITY="-99",
)

import crds  # noqa: E402  (the environment decides about it)
from crds.core import rmap  # noqa: E402

with gzip.open(f"{vectors}/{observatory}-pmap.jsonl.gz") as lines:
    headers = [json.loads(line)["header"] for line in itertools.islice(lines, 1 if work == "query" else 1000)]


def ask():
    for header in headers:
        try:
            crds.getrecommendations(
                header, reftypes=[], context=context, observatory=observatory, ignore_cache=False, fast=True
            )
        except Exception:  # A failure is an answer too.
            pass


begin = time.perf_counter()
names = rmap.get_cached_mapping(context).mapping_names()
load = time.perf_counter() - begin
ask()
first = time.process_time()
if work == "all":
    ask()
print(json.dumps({"mappings": len(names), "load": load, "rate": len(headers) / max(time.process_time() - first, 1e-9)}))
