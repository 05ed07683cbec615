"""A Python client that downloads files into the cache at CRDS_PATH, a few at a time, in an order drawn at random.

Usage: client.py NAMES.json SEED. The last line that it prints says how it went. What fails is tried again, as a user does.
"""

import json
import os
import random
import sys
import time

import crds
from crds.client import api

BATCH = 8
TRIES = 20


def main():
    with open(sys.argv[1]) as names:
        names = json.load(names)
    source = random.Random(int(sys.argv[2]))
    # Half of the files, so that mounts are the first to want the others.
    wanted = source.sample(names, len(names) // 2)
    begun, downloads, failures, last = time.monotonic(), 0, 0, ""
    for at in range(0, len(wanted), BATCH):
        batch = wanted[at : at + BATCH]
        for _ in range(TRIES):
            try:
                paths, count, _ = api.FileCacher("roman_0001.pmap").get_local_files(list(batch))
                downloads += count
                missing = [name for name in batch if not os.path.exists(paths[name])]
                if not missing:
                    break
                last = f"not there afterwards: {missing[0]}"
            except Exception as error:
                last = str(error).splitlines()[-1][-200:]
            failures += 1
            time.sleep(0.1)
        else:
            print(f"client {crds.__version__} cannot get {batch}: {last}")
            return 1
    print(
        f"client {crds.__version__}: {len(wanted)} files wanted, {downloads} downloaded, {failures} tried again, "
        f"{time.monotonic() - begun:.1f} s{'; last failure: ' + last if last else ''}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
