"""Seconds that the Python client's own download takes: urlopen, temporary file, pass of SHA-1. Files come as JSON on stdin."""
import json, os, sys, time

task = json.load(sys.stdin)
os.environ.update(CRDS_PATH=task["out"], CRDS_SERVER_URL="https://127.0.0.1:1", CRDS_OBSERVATORY="jwst")
from crds.client import api


class Cacher(api.FileCacher):
    def get_url(self, name):
        return task["base"] + name


cacher = Cacher("jwst_0001.pmap")
cacher.info_map = {file["name"]: {"size": str(file["size"]), "sha1sum": file["sha1"]} for file in task["files"]}
begin = time.perf_counter()
for name in cacher.info_map:
    cacher.download_core(name, os.path.join(task["out"], name))
print(time.perf_counter() - begin)
