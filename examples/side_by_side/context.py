"""Seconds that the Python client takes to load all rules of a context, and how many there are."""
import os, sys, time

from crds.client import api
from crds.core import rmap

begin = time.perf_counter()
if os.environ["CRDS_SERVER_URL"].startswith("http://"):
    api.dump_mappings(sys.argv[1])
rules = rmap.get_cached_mapping(sys.argv[1]).mapping_names()
print(time.perf_counter() - begin, len(rules))
