"""The Python client of CRDS on a mount: serverless, connected, and on the cache that is left behind.

The tests share one mount and run in the order of their names: what one fetches the next ones find.
"""

import ast
import hashlib
import os
import stat
import unittest

from rig import Rig, python, tool

GETREFERENCES = """
import crds
observatory, context, header, reftypes = arguments
result = crds.getreferences(header, reftypes=reftypes, context=context, observatory=observatory)
"""

RECOMMEND = """
import crds
result = [crds.getrecommendations(header, reftypes=reftypes, context=context, observatory=observatory)
          for observatory, context, header, reftypes in arguments]
"""

CONTEXT_NAMES = """
from crds.core import rmap
result = {}
for observatory, context in arguments:
    loaded = rmap.get_cached_mapping(context)
    result[context] = sorted(loaded.mapping_names())
"""


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha1").hexdigest()


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig()
        cls.addClassCleanup(cls.rig.close)

    def cases(self):
        for observatory in self.rig.observatories:
            for context, header, reftypes in observatory.cases:
                yield observatory.name, context, header, reftypes

    def original(self, observatory, name):
        part = "mappings" if name.endswith("map") else "references"
        return os.path.join(self.rig.cache, part, observatory, name)

    def check_references(self, **variables):
        """Every reference that the client names is below its CRDS_PATH, opens, and is the right one."""
        checked = 0
        for observatory, context, header, reftypes in self.cases():
            with self.subTest(context=context, reftypes=reftypes):
                paths = python(GETREFERENCES, observatory, context, header, reftypes, **variables)
                self.assertEqual(sorted(paths), sorted(reftypes))
                for reftype, path in paths.items():
                    self.assertNotIn("NOT FOUND", path, reftype)
                    self.assertEqual(os.path.commonpath([path, self.rig.mount]), self.rig.mount)
                    self.assertEqual(digest(path), digest(self.original(observatory, os.path.basename(path))), path)
                    checked += 1
        self.assertGreater(checked, 0)

    def test_1_serverless_references_open(self):
        self.check_references(CRDS_PATH=self.rig.mount)

    def test_2_serverless_recommendations_are_those_of_the_cache(self):
        cases = list(self.cases())
        there = python(RECOMMEND, *cases, CRDS_PATH=self.rig.mount)
        here = python(RECOMMEND, *cases, CRDS_PATH=self.rig.cache, CRDS_READONLY_CACHE="1")
        self.assertEqual(there, here)

    def test_3_whole_contexts_load(self):
        contexts = [(observatory.name, context) for observatory in self.rig.observatories for context in observatory.contexts]
        names = python(CONTEXT_NAMES, *contexts, CRDS_PATH=self.rig.mount)
        for observatory, context in contexts:
            self.assertIn(context, names[context])
            for name in names[context]:
                self.assertTrue(os.path.exists(self.original(observatory, name)), name)

    def test_4_lists_of_cached_mappings_are_whole(self):
        for observatory in self.rig.observatories:
            with self.subTest(observatory=observatory.name):
                listed = tool("list", "--cached-mappings", f"--{observatory.name}",
                              CRDS_PATH=self.rig.mount, CRDS_OBSERVATORY=observatory.name,
                              CRDS_SERVER_URL="https://crds-serverless-mode.stsci.edu").stdout.split()
                held = os.listdir(os.path.join(self.rig.cache, "mappings", observatory.name))
                self.assertEqual(sorted(name for name in listed if name.endswith("map")),
                                 sorted(name for name in held if name.endswith("map")))

    def test_5_a_connected_client_rewrites_the_configuration(self):
        for observatory, context, header, reftypes in self.cases():
            with self.subTest(context=context):
                config = os.path.join(self.rig.mount, "config", observatory)
                messages = []
                paths = python(GETREFERENCES, observatory, context, header, reftypes, messages=messages,
                               CRDS_PATH=self.rig.mount, CRDS_OBSERVATORY=observatory, CRDS_VERBOSITY="60",
                               CRDS_SERVER_URL=self.rig.urls[observatory])
                for path in paths.values():
                    self.assertEqual(digest(path), digest(self.original(observatory, os.path.basename(path))))
                for name in ("server_config", "bad_files.txt"):
                    update = f"CACHE updating: '{os.path.join(config, name)}'"
                    self.assertTrue(any(update in message for message in messages), update)
                troubles = [message for message in messages if "ERROR" in message or "Errno" in message]
                self.assertEqual(troubles, [])
                # What is shown is the mount's own description, which is current whatever a client writes.
                with open(os.path.join(config, "server_config"), encoding="utf-8") as file:
                    shown = ast.literal_eval(file.read())
                self.assertEqual(shown["observatory"], observatory)
                strays = [name for name in os.listdir(config)
                          if name not in ("server_config", "bad_files.txt", "ref_cache_subdir_mode")]
                self.assertEqual(strays, [])

    def test_6_files_were_fetched_once_and_only_when_opened(self):
        # The rules of a context come in the background.
        self.rig.settle()
        for name, count in self.rig.counters()["files"].items():
            size = os.stat(self.original(*name.split("/"))).st_size
            self.assertEqual(count["bytes"], size, name)

    def test_7_reorganizing_is_refused_and_downloads_nothing(self):
        def fetched():
            return {name for name in self.rig.counters()["files"] if not name.endswith("map")}

        before = fetched()
        for observatory in self.rig.observatories:
            with self.subTest(observatory=observatory.name):
                references = os.path.join(self.rig.mount, "references", observatory.name)
                listed = [name for name in os.listdir(references) if os.path.isfile(os.path.join(references, name))]
                ran = tool("sync", f"--{observatory.name}", "--organize=instrument", check=False,
                           CRDS_PATH=self.rig.mount, CRDS_OBSERVATORY=observatory.name,
                           CRDS_SERVER_URL=self.rig.urls[observatory.name])
                self.assertGreaterEqual(ran.stderr.count("Operation not permitted"), len(listed), ran.stderr[-2000:])
                if listed:
                    self.assertNotEqual(ran.returncode, 0)
                with open(os.path.join(self.rig.mount, "config", observatory.name, "ref_cache_subdir_mode"), encoding="utf-8") as file:
                    self.assertEqual(file.read().strip(), "flat")
                for name in listed:
                    self.assertTrue(os.path.isfile(os.path.join(references, name)), name)
        self.assertEqual(fetched(), before)

    def test_8_what_is_left_behind_is_an_ordinary_cache(self):
        self.rig.umount()
        self.check_references(CRDS_PATH=self.rig.mount)
        for part in ("mappings", "references"):
            for folder, _, names in os.walk(os.path.join(self.rig.mount, part)):
                for name in names:
                    path = os.path.join(folder, name)
                    self.assertTrue(stat.S_ISREG(os.lstat(path).st_mode), path)
                    self.assertEqual(digest(path), digest(self.original(os.path.basename(folder), name)), path)


if __name__ == "__main__":
    unittest.main()
