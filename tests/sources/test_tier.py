"""Mounts with a tier in a bucket."""

import concurrent.futures
import json
import os
import shutil
import time
import unittest

from rig import KEYS, LIMIT, SERVERLESS, Between, S3
from test_sources import DARK, MIB, SourcesTest

LARGE = "roman_wfi_large_0001.asdf"
FILES = {DARK: 300_000, "roman_wfi_flat_0001.asdf": 5_000, LARGE: 40 * MIB + 7}


class Tier(SourcesTest):
    """The files come from a directory, which is a source that describes itself."""

    def setUp(self):
        super().setUp()
        self.server = self.s3()
        self.server.bucket("tier")
        self.made = self.cache(FILES)

    def tiered(self, url=None, bucket="tier", **environment):
        told = {"AWS_ENDPOINT_URL": url or self.server.url, "CRDS_SERVER_URL": SERVERLESS, **KEYS, **environment}
        return self.mount(
            "--source", f"file://{self.made.root}", "--tier", f"s3://{bucket}/p", environment=told, observatory="roman"
        )

    def path(self, name):
        return f"{'mappings' if name.endswith('map') else 'references'}/roman/{name}"

    def read_all(self, mount):
        for name, data in self.made.files.items():
            self.assertEqual(mount.read(self.path(name)), data, name)

    def object(self, name):
        return self.server.client.get_object(Bucket="tier", Key=f"p/{self.path(name)}")["Body"].read()

    def failing(self, mount):
        begun = time.monotonic()
        while (tier := mount.tier())["state"] == "ready" and time.monotonic() - begun < LIMIT:
            time.sleep(0.05)
        return tier

    def between(self):
        between = Between(self.server.url)
        self.addCleanup(between.stop)
        return between

    def test_what_one_mount_fetches_the_next_has(self):
        mount = self.tiered()
        self.read_all(mount)
        tier = mount.settle(lambda tier: tier["written_files"] == len(self.made.files))
        self.assertEqual(tier["written_bytes"], sum(map(len, self.made.files.values())))
        for name, data in self.made.files.items():
            self.assertEqual(self.object(name), data, name)
        self.assertNotIn("Uploads", self.server.client.list_multipart_uploads(Bucket="tier"))
        print(f"\nsources: {mount.status()}")
        mount.umount()
        # Nothing of the source is there any more, but what it says of the catalog.
        for kind in ["mappings", "references"]:
            shutil.rmtree(os.path.join(self.made.root, kind))
        mount = self.tiered()
        self.read_all(mount)
        tier = mount.tier()
        self.assertEqual((tier["served_files"], tier["state"]), (len(self.made.files), "ready"), tier)
        self.assertTrue(mount.told(self.path(DARK))["source"].startswith("s3://tier/p/references/roman/"))

    def test_an_absent_file_costs_one_request(self):
        between = self.between()
        mount = self.tiered(between.url)
        names = list(self.made.files)
        self.read_all(mount)
        mount.settle(lambda tier: tier["written_files"] == len(names))
        asked = [name for method, name in between.methods if method == "GET"]
        # References may be in either layout as long as none is there.
        self.assertEqual(sorted(set(asked)), sorted(names))
        self.assertLessEqual(len(asked), 2 * len(names) - 1, asked)
        writes = [name for method, name in between.methods if method == "PUT"]
        self.assertEqual(writes.count(DARK), 1, between.methods)
        self.assertEqual(writes.count(LARGE), 3, "in parts")

    def test_two_write_at_once(self):
        mounts = [self.tiered() for _ in range(2)]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            list(pool.map(self.read_all, mounts))
        written = 0
        for mount in mounts:
            tier = mount.settle()
            self.assertEqual((tier["state"], tier["wrong_files"], tier["unwritten_files"]), ("ready", 0, 0), tier)
            written += tier["written_files"]
        # moto looks and writes in two steps.
        self.assertGreaterEqual(written, len(self.made.files))
        for name, data in self.made.files.items():
            self.assertEqual(self.object(name), data, name)

    def test_nothing_is_replaced(self):
        between = self.between()
        for name in [DARK, LARGE]:
            right = self.made.files[name]
            for data, field in [(right, "existing_files"), (bytes([right[0] ^ 1]) + right[1:], "wrong_files")]:
                key = f"p/{self.path(name)}"
                # It comes after it was looked for: in both layouts, and before and after its parts are written.
                between.absent = {name: 4 if name == LARGE else 2}
                self.server.put("tier", key, data)
                mount = self.tiered(between.url)
                self.assertEqual(mount.read(self.path(name)), right)
                between.absent = {}
                tier = mount.settle(lambda tier: tier["existing_files"] + tier["wrong_files"] > 0)
                self.assertEqual(tier[field], 1, f"{name} {tier}")
                self.assertEqual(self.object(name), data, name)
                log = mount.umount()
                self.assertEqual("remove it" in log, field == "wrong_files", log)
                self.server.client.delete_object(Bucket="tier", Key=key)

    def test_a_flipped_byte(self):
        right = self.made.files[DARK]
        self.server.put("tier", f"p/{self.path(DARK)}", right[:-1] + bytes([right[-1] ^ 1]))
        mount = self.tiered()
        self.assertEqual(mount.read(self.path(DARK)), right)
        source = mount.sources()[0]
        self.assertEqual((source["tier"], source["state"]), (True, "wrong"), source)
        self.assertIn(DARK, source["error"])
        self.assertEqual(mount.tier()["wrong_files"], 1)
        self.assertIn(f"remove s3://tier/p/{self.path(DARK)}", mount.log())

    def test_a_wrong_key(self):
        iam = self.server.client_of("testing", "testing-secret", "iam")
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        self.server.ask_for_keys()
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": "wr0ng-s3cret"}
        mount = self.tiered(**keys)
        self.read_all(mount)
        tier = mount.settle(lambda tier: tier["state"] != "ready")
        self.assertEqual(tier["state"], "read-only", tier)
        self.assertIn("credentials are not accepted", tier["error"])
        said = mount.status() + json.dumps(mount.json("status.json")) + mount.umount()
        self.assertEqual(said.count("the tier cannot be written to, and is only read from"), 1, said)
        for secret in ["wr0ng-s3cret", key["SecretAccessKey"]]:
            self.assertNotIn(secret, said)

    def test_a_missing_bucket(self):
        mount = self.tiered(bucket="nobody")
        self.read_all(mount)
        tier = self.failing(mount)
        self.assertEqual(tier["state"], "failing", tier)
        self.assertIn("there is no bucket 'nobody'", tier["error"])
        self.assertEqual(mount.sources()[0]["state"], "failing")
        self.assertIn("were not written to the tier", mount.umount())

    def test_slow_down(self):
        between = self.between()
        between.busy_writes = 1000
        mount = self.tiered(between.url)
        self.assertEqual(mount.read(self.path(DARK)), self.made.files[DARK])
        tier = self.failing(mount)
        self.assertEqual(tier["state"], "failing", tier)
        self.assertIn("SlowDown", tier["error"])
        # It is tried again.
        between.busy_writes = 0
        tier = mount.settle(lambda tier: tier["state"] == "ready")
        self.assertEqual((tier["written_files"], tier["unwritten_files"]), (1, 0), tier)
        self.assertEqual(self.object(DARK), self.made.files[DARK])


if __name__ == "__main__":
    unittest.main()
