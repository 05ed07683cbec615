"""Python clients with nothing but CRDS_SERVER_URL at a site server, beside the same clients at the server upstream.

The tests share the servers and run in the order of their names; the last ones take the server upstream away.
"""

import concurrent.futures
import hashlib
import multiprocessing
import os
import re
import sys
import time
import unittest

from rig import OBSERVATORY, Rig, tool

CLIENTS = int(os.environ.get("CRDS_FS_SITE_CLIENTS", "64"))
ALL_TYPES = os.environ.get("CRDS_FS_SITE_TYPES") == "all"
SMALL = ["apcorr", "distortion", "gain", "photom", "readnoise"]
LARGE = ["area", "dark", "flat", "mask"]
CONTEXT = "roman_0002.pmap"
IDS = ["R0000101001001001001_0001.WFI01", "R0000101001001001001_0001.WFI16"]
COMMANDS = [
    ("sync", ["sync", "--contexts", CONTEXT, "--fetch-references", "--check-files", "--check-sha1sum"]),
    ("list", ["list", "--mappings", "--references", "--contexts", CONTEXT]),
    ("headers", ["list", "--dataset-headers", *IDS, "--contexts", CONTEXT, "--json"]),
    ("bestrefs", ["bestrefs", "--roman", "--new-context", CONTEXT, "--datasets", *IDS, "--print-new-references"]),
]


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


def tree(root):
    """Digests by path of all rules and references in a cache."""
    found = {}
    for part in ("mappings", "references"):
        for directory, _, names in os.walk(os.path.join(root, part)):
            for name in names:
                path = os.path.join(directory, name)
                found[os.path.relpath(path, root)] = digest(path)
    return found


def client(url, path, header, reftypes, begin, results):
    """One client with a cache of its own: what it got, or why not. Runs in a process of its own."""
    os.environ.update(CRDS_PATH=path, CRDS_SERVER_URL=url, CRDS_OBSERVATORY=OBSERVATORY, no_proxy="*")
    # The client makes URLs of it, and `python -m unittest` is none.
    sys.argv = ["client"]
    try:
        import crds
        from crds.client import api
        from crds.core import log

        log.set_verbose(-3)
        api.set_crds_server(url)
        begin.wait()
        started = time.monotonic()
        paths = crds.getreferences(header, reftypes=reftypes, observatory=OBSERVATORY)
        took = time.monotonic() - started
        got = {reftype: [os.path.basename(path), digest(path)] for reftype, path in paths.items()}
        results.put((got, tree(path), took, None))
    except BaseException as error:
        results.put((None, None, 0, f"{type(error).__name__}: {error}"))


# The size, in bytes, below which a file comes in one request.
ONE_REQUEST = 4 << 20


class Site(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig()
        cls.addClassCleanup(cls.rig.close)
        # Loaded once, and then there in every process that is forked.
        os.environ.update(CRDS_PATH=cls.rig.path("none"), CRDS_OBSERVATORY=OBSERVATORY, CRDS_SERVER_URL=cls.rig.site.url)
        import crds.client.api
        import crds.core.heavy_client  # noqa: F401

        cls.header = {
            "ROMAN.META.INSTRUMENT.NAME": "WFI",
            "ROMAN.META.INSTRUMENT.DETECTOR": "WFI01",
            "ROMAN.META.EXPOSURE.TYPE": "WFI_IMAGE",
            "ROMAN.META.EXPOSURE.START_TIME": "2027-01-01 00:00:00",
        }
        cls.reftypes = sorted(SMALL + LARGE) if ALL_TYPES else SMALL

    def clients(self, count, url, name):
        """The results of so many clients that begin at the same moment."""
        # Clients that make the same directory at the same moment fail.
        os.makedirs(self.rig.path(name), exist_ok=True)
        context = multiprocessing.get_context("fork")
        begin, results = context.Barrier(count), context.Queue()
        processes = [
            context.Process(
                target=client, args=(url, self.rig.path(name, str(number)), self.header, self.reftypes, begin, results)
            )
            for number in range(count)
        ]
        for process in processes:
            process.start()
        got = [results.get(timeout=300) for _ in processes]
        for process in processes:
            process.join(60)
        failures = [failure for *_, failure in got if failure]
        self.assertEqual(failures, [], self.rig.path("site.log"))
        return got

    def commands(self, version, place, server):
        """What the commands of a client say, one after the other over one cache, and the cache that they leave."""
        path = self.rig.path(f"tools-{version}-{place}")
        said = {}
        for name, arguments in COMMANDS:
            out, err = tool(version, server.url, path, *arguments)
            text = (out + err).replace(server.url, "URL").replace(path, "CACHE")
            # Times, rates and the identity of the process are its own.
            text = re.sub(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?", "TIME", text)
            text = re.sub(r"[\d.,]+ *[KMG]? *(files|seconds|bytes)(/second| per second| / second)?", "N", text)
            said[name] = sorted(line for line in text.splitlines() if "elapsed" not in line and "per second" not in line)
        return said, tree(path)

    def test_1_cold_clients_cost_one_download_each_file(self):
        before = self.rig.upstream.downloads()
        self.assertEqual(before, {})
        started = time.monotonic()
        at_site = self.clients(CLIENTS, self.rig.site.url, "cold")
        took = time.monotonic() - started
        upstream = self.rig.upstream.downloads()
        self.assertGreater(len(upstream), len(self.reftypes) + 8, upstream)
        # Large files come in several ranged requests, no two of which ask for the same bytes.
        asked = self.rig.upstream.counters()["files"]
        given = self.rig.site.counters()["files"]
        for name, gets in upstream.items():
            size = given[name]["bytes"] / CLIENTS
            with self.subTest(name):
                if size < ONE_REQUEST:
                    self.assertEqual(gets, 1)
                self.assertLess(asked[name]["bytes"], 1.02 * size)
        [expected] = self.clients(1, self.rig.upstream.url, "direct")
        self.assertEqual(sorted(expected[0]), sorted(self.reftypes))
        for got, files, _, _ in at_site:
            self.assertEqual(got, expected[0])
            self.assertEqual(files, expected[1])
        waits = sorted(wait for *_, wait, _ in at_site)
        served = sum(count["bytes"] for count in self.rig.site.counters()["files"].values())
        print(
            f"\n{CLIENTS} clients, {len(upstream)} files each: {took:.1f} s in all, one client {waits[len(waits) // 2]:.1f} s (median), "
            f"{waits[-1]:.1f} s (last); {served / 1e6:.0f} MB served, {served / 1e6 / took:.0f} MB/s"
        )

    def test_2_tools_say_and_do_the_same(self):
        servers = {"site": self.rig.site, "upstream": self.rig.upstream}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            running = {
                (version, place): pool.submit(self.commands, version, place, server)
                for version in ("14", "13")
                for place, server in servers.items()
            }
            results = {key: done.result() for key, done in running.items()}
        for version in ("14", "13"):
            (site, site_files), (upstream, upstream_files) = results[version, "site"], results[version, "upstream"]
            with self.subTest(version=version):
                for name, _ in COMMANDS:
                    self.assertEqual(site[name], upstream[name], name)
                self.assertEqual(site_files, upstream_files)
                self.assertGreater(len([name for name in site_files if name.startswith("references")]), 8)
                for name, word in (("list", "roman_wfi_dark_0001.asdf"), ("headers", "WFI16"), ("bestrefs", "WFI16")):
                    self.assertIn(word, "\n".join(site[name]).upper() if word.isupper() else "\n".join(site[name]))

    def test_3_without_upstream_all_that_is_here_is_served(self):
        [before] = self.clients(1, self.rig.site.url, "before")
        self.rig.upstream.close()
        for number, when in enumerate(("while it runs", "after a restart")):
            with self.subTest(when=when):
                if number:
                    self.rig.site.close()
                    self.rig.site = self.rig.start_site()
                for got, files, _, _ in self.clients(4, self.rig.site.url, f"offline-{number}"):
                    self.assertEqual((got, files), (before[0], before[1]))
                path = self.rig.path(f"offline-sync-{number}")
                tool("14", self.rig.site.url, path, "sync", "--contexts", CONTEXT, "--fetch-references")
                self.assertEqual(tree(path), tree(self.rig.path("tools-14-site")))


if __name__ == "__main__":
    unittest.main()
