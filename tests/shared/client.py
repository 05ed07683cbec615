"""A Python client that downloads files into the cache at CRDS_PATH, a few at a time, in orders drawn at random.

Usage: client.py NAMES.json SEED. It is told what to do on its input, a word a line: `pass` (everything once), `loop` (again and
again, until the next line), `done` (say so). The last line that it prints says how it went. What fails is tried again, as a
user does.
"""

import json
import random
import select
import sys
import time

import crds
from crds.client import api

CONTEXT = "roman_0001.pmap"
BATCH = 8
PATIENCE = 60


class Client:
    def __init__(self, names, seed):
        self.random = random.Random(seed)
        # Half of the files, so that mounts are the first to want the others.
        self.wanted = self.random.sample(names, len(names) // 2)
        self.downloads, self.failures, self.last = 0, 0, ""

    def batches(self):
        self.random.shuffle(self.wanted)
        for at in range(0, len(self.wanted), BATCH):
            yield self.wanted[at : at + BATCH]

    def download(self, batch):
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            try:
                _, count, _ = api.FileCacher(CONTEXT).get_local_files(list(batch))
                self.downloads += count
                return
            except Exception as error:
                self.failures += 1
                self.last = str(error).splitlines()[-1][-200:]
                time.sleep(0.1)
        raise SystemExit(f"client {crds.__version__} cannot get {batch}: {self.last}")

    def loop(self):
        while True:
            for batch in self.batches():
                self.download(batch)
                if select.select([sys.stdin], [], [], 0)[0]:
                    return


def say(text):
    print(text, flush=True)


def main():
    with open(sys.argv[1]) as names:
        client = Client(json.load(names), int(sys.argv[2]))
    # What it imports and asks first is not to give the mounts a start.
    api.get_download_metadata()
    api.FileCacher(CONTEXT).locate(client.wanted[0])
    say("ready")
    for line in sys.stdin:
        word = line.strip()
        if word == "pass":
            for batch in client.batches():
                client.download(batch)
        elif word == "loop":
            client.loop()
        elif word == "done":
            say("done")
    last = f"; last failure: {client.last}" if client.last else ""
    say(f"client {crds.__version__} at {len(client.wanted)} files: {client.downloads} downloads, {client.failures} failures{last}")


if __name__ == "__main__":
    main()
