"""Prints the metrics of a site server after some requests: server.py CRDS_FS DIRECTORY, with a cache in DIRECTORY/upstream."""

import subprocess
import sys
import urllib.error
import urllib.request

binary, work = sys.argv[1:]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
started = []


def start(*arguments):
    process = subprocess.Popen([binary, "serve", *arguments, "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)
    started.append(process)
    url = process.stdout.readline().split()[0]
    assert process.stdout.readline() == "ready\n"
    return url


def get(url, data=None):
    try:
        with opener.open(url, data, timeout=60) as reply:
            return reply.read().decode()
    except urllib.error.HTTPError as error:
        return str(error)


try:
    upstream = start(f"{work}/upstream")
    site = start(f"{work}/site", "--upstream", upstream)
    get(f"{site}/unchecked_get/references/roman/roman_wfi_gain_0001.json")
    get(f"{site}/unchecked_get/references/roman/roman_wfi_none_0001.json")
    get(f"{site}/json/", b'{"method": "get_build_context", "params": ["roman", "1.2"], "id": 1}')
    print(get(site.rsplit("/", 1)[0] + "/metrics"), end="")
finally:
    for process in reversed(started):
        process.terminate()
        process.wait(60)
