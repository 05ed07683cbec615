"""Nodes behind nginx and squid, with the files of contrib/."""

import os
import tempfile
import unittest
import urllib.error
import urllib.request

from institute import FILES, OBSERVATORY, Institute
from rig import HOST, Nginx, Node, Squid

MIB = 1 << 20
SIZE = int(os.environ.get("CRDS_FS_CACHES_MIB", "200")) * MIB
LARGE = "roman_wfi_large_0001.asdf"
# In several parts and slices, too.
MEDIUM = "roman_wfi_medium_0001.asdf"
MEDIUM_SIZE = 47 * MIB + 12_345
SMALL = {f"roman_wfi_flat_{number:04}.asdf": 20_000 + 100 * number for number in range(200)}


class Behind:
    """The tests of both."""

    cache_type = None
    # Whether servers may say "no-cache" of files.
    may_be_careless = False

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="crds-fs-caches-")
        cls.institute = Institute(cls.directory.name, {LARGE: SIZE, MEDIUM: MEDIUM_SIZE, **SMALL})

    @classmethod
    def tearDownClass(cls):
        cls.institute.stop()
        cls.directory.cleanup()

    def setUp(self):
        institute = self.institute
        institute.requests.clear()
        institute.direct.clear()
        institute.status = institute.direct_status = institute.stop_at = None
        institute.version, institute.sent, institute.is_careless = 1, 0, self.may_be_careless
        institute.stopped.clear()
        institute.go_on.clear()
        self.addCleanup(institute.go_on.set)
        self.cache = self.cache_type(institute)
        self.addCleanup(self.cache.close)

    def node(self, *sources, server=None):
        node = Node(*(sources or [self.cache.source()]), server=server or self.institute.server_url())
        self.addCleanup(node.close)
        return node

    def has(self, node, *names):
        for name in names:
            self.assertTrue(node.read(name) == self.institute.files[name], f"{name} has other bytes")

    def fetches(self, node, *names):
        status, said = node.fetch(*names)
        self.assertEqual(status, 0, said + self.cache.said())
        self.has(node, *names)

    def asked_once(self, *names, again=0):
        """The institute was asked for every byte of these files once, and nobody went around the cache; of whole slices, this
        many may be asked for again."""
        asked = sorted(self.institute.asked())
        self.assertEqual([entry for entry in self.institute.direct if entry[0] == "GET"], [])
        for name in names:
            parts = [entry for entry in asked if entry[0] == name]
            at = 0
            for _, start, length in sorted(set(parts)):
                self.assertEqual(start, at, f"{name}: {parts}")
                at += length
            self.assertEqual(at, len(self.institute.files[name]), f"{name}: {parts}")
        self.assertLessEqual(len(asked) - len(set(asked)), again, asked)
        self.assertEqual({entry[0] for entry in asked}, set(names))

    def test_the_second_node_costs_the_institute_nothing(self):
        names = [LARGE, MEDIUM, *SMALL]
        self.fetches(self.node(), *names)
        self.asked_once(*names)
        before = len(self.institute.requests)
        self.fetches(self.node(), *names)
        self.assertEqual(len(self.institute.requests), before)
        print(f"\ncaches: {before} requests for {len(names)} files of the first node, none of the second", flush=True)
        # Nor does one whose institute is out of reach.
        self.institute.status = self.institute.direct_status = 503
        self.fetches(self.node(), *names[:20])
        self.assertEqual(len(self.institute.requests), before)

    def test_two_nodes_at_a_time_cost_as_much_as_one(self):
        names = [MEDIUM, *list(SMALL)[:50]]
        nodes = [self.node(), self.node()]
        for node in nodes:
            node.start(*names)
        for node in nodes:
            status, said = node.wait()
            self.assertEqual(status, 0, said + self.cache.said())
            self.has(node, *names)
        self.asked_once(*names)

    def test_a_node_that_is_killed_and_goes_on(self):
        self.institute.stop_at = MEDIUM_SIZE // 3
        node = self.node()
        node.start(MEDIUM)
        self.assertTrue(self.institute.stopped.wait(60), self.cache.said())
        node.kill()
        self.institute.stop_at = None
        self.institute.go_on.set()
        self.fetches(node, MEDIUM)
        self.fetches(self.node(), MEDIUM)
        self.asked_once(MEDIUM, again=self.cache.cut_off())

    def test_wrong_bytes_in_the_cache_are_never_delivered(self):
        self.fetches(self.node(), MEDIUM)
        # A byte in the middle of the largest that it keeps.
        poisoned = self.cache.largest(MEDIUM, MEDIUM_SIZE)
        with open(poisoned, "r+b") as kept:
            kept.seek(MIB)
            byte = kept.read(1)[0]
            kept.seek(MIB)
            kept.write(bytes([byte ^ 1]))
        # The institute's own URLs come last, and give the right ones.
        node = self.node()
        self.fetches(node, MEDIUM)
        self.assertNotEqual([entry for entry in self.institute.direct if entry[0] == "GET"], [])
        # Without them it is an error.
        self.institute.direct_status = 503
        node = self.node()
        status, said = node.fetch(MEDIUM)
        self.assertEqual(status, 1, said)
        self.assertFalse(node.has(MEDIUM))
        # Taken out of the cache, the file comes through it again.
        self.cache.forget(MEDIUM)
        self.fetches(self.node(), MEDIUM)

    def test_errors_of_the_institute_are_not_kept(self):
        first, second = list(SMALL)[:2]
        self.fetches(self.node(), first)
        # Another way is another source.
        self.institute.status = 504
        node = self.node()
        status, said = node.fetch(second)
        self.assertEqual(status, 0, said)
        self.has(node, second)
        # Without one, what the cache has is served.
        self.institute.status = self.institute.direct_status = 404
        node = self.node()
        status, said = node.fetch(second)
        self.assertEqual(status, 1, said)
        self.assertIn(second, said)
        self.fetches(node, first)
        self.institute.direct.clear()
        # The rest comes through the cache when the institute is well again.
        self.institute.status = None
        self.fetches(self.node(), second)

    def status_of(self, path, method="GET", data=None):
        request = urllib.request.Request(f"http://{HOST}:{self.cache.port}{path}", method=method, data=data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as reply:
                reply.read()
                return reply.status
        except urllib.error.HTTPError as error:
            return error.code


class BehindNginx(Behind, unittest.TestCase):
    cache_type = Nginx
    may_be_careless = True

    def test_a_server_with_other_validators_goes_on_with_the_same_file(self):
        self.institute.stop_at = SIZE // 3
        node = self.node()
        node.start(LARGE)
        self.assertTrue(self.institute.stopped.wait(60), self.cache.said())
        node.kill()
        self.institute.stop_at = None
        self.institute.go_on.set()
        # What it asks for before it knows that the node is gone must come from the same server: one request whose slices have
        # other validators is an error to nginx.
        self.cache.finish()
        self.institute.version = 2
        self.assertLess(self.institute.bytes(), SIZE)
        self.fetches(node, LARGE)
        self.asked_once(LARGE, again=self.cache.cut_off())

    def test_nodes_without_a_way_to_the_institute(self):
        names = list(SMALL)[:5]
        for _ in range(2):
            self.fetches(self.node(server=self.cache.server()), *names)
        # Calls are passed on, and never kept.
        calls = [name for name, *_ in self.institute.asked("POST")]
        self.assertEqual(len(calls), 2, calls)
        self.asked_once(*names)

    def test_nothing_else_is_passed_on(self):
        name = next(iter(SMALL))
        path = f"/references/{OBSERVATORY}/{name}"
        self.assertEqual(self.status_of(path), 200)
        self.assertEqual(self.status_of(path, "HEAD"), 200)
        for other in ["/", f"/references/{OBSERVATORY}/wfi/{name}", f"/config/{OBSERVATORY}/server_config", f"{path}/..%2f..", "/tobs/json/"]:
            self.assertEqual(self.status_of(other), 404, other)
        self.assertEqual(self.status_of(path, "POST", b"x"), 403)
        self.assertEqual(self.status_of(path, "DELETE"), 403)
        self.asked_once(name)


class BehindSquid(Behind, unittest.TestCase):
    cache_type = Squid

    def test_nothing_else_is_passed_on(self):
        name = next(iter(SMALL))
        path = f"{FILES}references/{OBSERVATORY}/{name}"
        self.assertEqual(self.status_of(path), 200)
        self.assertEqual(self.status_of(path, "HEAD"), 200)
        for other in ["/", f"{FILES}references/{OBSERVATORY}/wfi/{name}", f"{FILES}config/{OBSERVATORY}/server_config"]:
            self.assertEqual(self.status_of(other), 403, other)
        self.assertEqual(self.status_of("/json/", "POST", b"x"), 403)
        self.assertEqual(self.status_of(path, "POST", b"x"), 403)
        self.asked_once(name)


if __name__ == "__main__":
    unittest.main()
