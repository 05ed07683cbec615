"""Mounts whose files come from S3 alone, and from sources that die."""

import errno
import json
import os
import shutil
import tempfile
import time
import unittest

from rig import KEYS, LIMIT, SERVERLESS, SHARED, Between, Cache, Mount, S3, Served

MIB = 1 << 20
LARGE = int(os.environ.get("CRDS_FS_SOURCES_MIB", "192")) * MIB
DARK = "roman_wfi_dark_0001.asdf"
FILES = {DARK: 300_000, "roman_wfi_flat_0001.asdf": 5_000, "roman_wfi_mask_0001.asdf": 2 * MIB}


class SourcesTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix="crds-fs-sources-")
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)

    def cache(self, files=None, name="cache", observatory="roman"):
        root = os.path.join(self.root, name)
        return Cache(root, FILES if files is None else files, observatory)

    def mount(self, *arguments, environment=(), observatory=None):
        mount = Mount(*arguments, environment=environment, observatory=observatory)
        self.addCleanup(mount.close)
        return mount

    def s3(self):
        s3 = S3()
        self.addCleanup(s3.stop)
        return s3


class S3Alone(SourcesTest):
    """No CRDS server: catalogs, rules and references come from a bucket."""

    def environment(self, url, **more):
        return {"AWS_ENDPOINT_URL": url, "CRDS_SERVER_URL": SERVERLESS, **KEYS, **more}

    def test_three_observatories(self):
        s3 = self.s3()
        s3.bucket("crds")
        if os.path.isdir(SHARED):
            root = SHARED
            shown = ("roman", "hst_0427", "hst_acs", "hst_wfc3", "hst.", "jwst_0541", "jwst_miri")
            wanted = lambda path: path.startswith("references") or os.path.basename(path).startswith(shown)
            darks = {"roman": DARK, "hst": "v8q14451j_idc.fits", "jwst": None}
            rule_of = {"roman": "roman_0005.pmap", "hst": "hst_0427.pmap", "jwst": "jwst_0541.pmap"}
        else:
            print("sources: no rules in ../shared/crds-cache: those of a made cache do", flush=True)
            root, wanted, darks = os.path.join(self.root, "cache"), lambda path: True, {}
            rule_of = {name: f"{name}_0001.pmap" for name in ["hst", "jwst", "roman"]}
            for name in rule_of:
                darks[name] = f"{name}_wfi_dark_0001.asdf"
                self.cache({darks[name]: 300_000}, observatory=name)
        s3.upload("crds", "some/prefix", root, wanted=wanted)
        if root == SHARED:
            # A description of what is really there.
            served = Served(root)
            for name in rule_of:
                s3.put("crds", f"some/prefix/config/{name}/server_config", served.config(name))
            served.kill()
        mount = self.mount("--source", "s3://crds/some/prefix", environment=self.environment(s3.url))
        for observatory, dark in darks.items():
            rules = os.listdir(os.path.join(mount.path, "mappings", observatory))
            self.assertGreater(len(rules), 0)
            rule = rule_of[observatory]
            self.assertIn(rule, rules)
            for path in [f"mappings/{observatory}/{rule}", dark and f"references/{observatory}/{dark}"]:
                if path:
                    with open(os.path.join(root, path), "rb") as data:
                        self.assertEqual(mount.read(path), data.read(), path)
                    self.assertTrue(mount.told(path)["source"].startswith("s3://crds/some/prefix/"))
            latest = os.readlink(os.path.join(mount.path, "bestrefs", f"{observatory}-latest"))
            self.assertTrue(latest.endswith(".pmap"), latest)
        if root == SHARED:
            # Best references of what no archive has, by rules from the bucket.
            keys = "ROMAN.META.INSTRUMENT.NAME=WFI,ROMAN.META.INSTRUMENT.DETECTOR=WFI01,ROMAN.META.INSTRUMENT.OPTICAL_ELEMENT=F158,"
            keys += "ROMAN.META.EXPOSURE.TYPE=WFI_IMAGE,ROMAN.META.EXPOSURE.START_TIME=2027-01-01 00:00:00"
            dataset = os.path.join(mount.path, "bestrefs", "roman_0005.pmap", keys)
            self.assertTrue(os.readlink(os.path.join(dataset, "dark")).endswith(".asdf"))
            with open(os.path.join(dataset, "bestrefs.json")) as text:
                self.assertEqual(json.load(text)["computed_by"], "crds-fs")

    def test_uris_of_the_client(self):
        s3 = self.s3()
        s3.bucket("crds")
        cache = self.cache()
        s3.upload("crds", "p", cache.root)
        uris = {f"CRDS_{kind.upper().rstrip('S')}_URI": f"s3://crds/p/{kind}/roman" for kind in ["mappings", "references", "config"]}
        mount = self.mount(
            environment=self.environment(s3.url, CRDS_S3_ENABLED="1", **uris), observatory="roman"
        )
        for name in ["roman_0001.pmap", DARK]:
            kind = "mappings" if name.endswith("map") else "references"
            self.assertEqual(mount.read(f"{kind}/roman/{name}"), cache.files[name])

    def test_what_goes_wrong_has_its_number(self):
        s3 = self.s3()
        s3.bucket("crds")
        names = [f"roman_wfi_dark_{number:04}.asdf" for number in range(8)]
        cache = self.cache({name: 400_000 for name in names})
        s3.upload("crds", "p", cache.root)
        right = dict(cache.files)
        gone, short, flipped, busy, patient, cut, small = names[:7]
        path = lambda name: f"p/references/roman/{name}"
        s3.client.delete_object(Bucket="crds", Key=path(gone))
        s3.put("crds", path(short), right[short][:-1000])
        s3.put("crds", path(flipped), bytes([right[flipped][0] ^ 1]) + right[flipped][1:])
        between = Between(s3.url)
        self.addCleanup(between.stop)
        between.busy = {busy: 1000, patient: 2}
        between.cut = {cut: 100_000}
        mount = self.mount("--source", "s3://crds/p", environment=self.environment(between.url), observatory="roman")
        for name, number, told in [
            (gone, errno.ENODATA, "NoSuchKey"),
            (short, errno.EBADMSG, "399000 bytes where the catalog says 400000"),
            (flipped, errno.EBADMSG, "SHA-1"),
            (busy, errno.EREMOTEIO, "SlowDown"),
        ]:
            self.assertEqual(mount.errno(f"references/roman/{name}"), number, name)
            error = mount.told(f"references/roman/{name}")["error"]["message"]
            self.assertIn(told, error)
        for name in [patient, cut, small]:
            self.assertEqual(mount.read(f"references/roman/{name}"), right[name], name)
        # What was cut off went on where it stopped.
        ranges = [asked for name, asked in between.requests if name == cut]
        self.assertEqual(len(ranges), 2, ranges)
        self.assertIsNotNone(ranges[1])
        # Mended, it is there.
        between.busy = {}
        s3.put("crds", path(short), right[short])
        # Failures are remembered for a second.
        begun = time.monotonic()
        while mount.errno(f"references/roman/{short}") is not None:
            self.assertLess(time.monotonic() - begun, LIMIT, mount.log())
            time.sleep(0.05)
        self.assertEqual(mount.read(f"references/roman/{short}"), right[short])

    def test_missing_bucket(self):
        s3 = self.s3()
        mount = self.mount("--source", "s3://nobody/p", environment=self.environment(s3.url), observatory="roman")
        self.assertEqual(mount.errno(f"references/roman/{DARK}"), errno.ENODATA)
        self.assertIn("there is no bucket 'nobody'", mount.status())

    def test_keys(self):
        s3 = self.s3()
        s3.bucket("crds")
        cache = self.cache()
        s3.upload("crds", "p", cache.root)
        iam = s3.client_of("testing", "testing-secret", "iam")
        iam.create_user(UserName="reader")
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}}
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(policy))
        s3.ask_for_keys()
        keys = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        mount = self.mount("--source", "s3://crds/p", environment=self.environment(s3.url, **keys), observatory="roman")
        self.assertEqual(mount.read(f"references/roman/{DARK}"), cache.files[DARK])
        # As in the file that other programs have.
        home = os.path.join(self.root, "home")
        os.makedirs(os.path.join(home, ".aws"))
        with open(os.path.join(home, ".aws", "credentials"), "w") as profile:
            profile.write(f"[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n[work]\n")
            for name, value in keys.items():
                profile.write(f"{name.lower()} = {value}\n")
        told = self.environment(s3.url, HOME=home, AWS_PROFILE="work")
        told = {name: value for name, value in told.items() if name not in keys}
        mount = self.mount("--source", "s3://crds/p", environment=told, observatory="roman")
        self.assertEqual(mount.read(f"references/roman/{DARK}"), cache.files[DARK])
        self.assertNotIn(key["SecretAccessKey"], mount.status() + mount.log())
        for wrong in [{"AWS_ACCESS_KEY_ID": "nobody"}, {"AWS_SECRET_ACCESS_KEY": "wr0ng-s3cret"}]:
            mount = self.mount(
                "--source", "s3://crds/p", environment=self.environment(s3.url, **{**keys, **wrong}), observatory="roman"
            )
            self.assertEqual(mount.errno(f"references/roman/{DARK}"), errno.EACCES)
            said = mount.status() + mount.log()
            self.assertIn("credentials are not accepted", said)
            for secret in [key["SecretAccessKey"], "wr0ng-s3cret"]:
                self.assertNotIn(secret, said + json.dumps(mount.json("status.json")))

    def test_anonymous(self):
        s3 = self.s3()
        s3.bucket("public", public=True)
        s3.bucket("private")
        cache = self.cache()
        s3.upload("public", "p", cache.root, public=True)
        s3.upload("private", "p", cache.root)
        nobody = {"AWS_ENDPOINT_URL": s3.url, "CRDS_SERVER_URL": SERVERLESS}
        mount = self.mount("--source", "s3://public/p", environment=nobody, observatory="roman")
        self.assertEqual(mount.read(f"references/roman/{DARK}"), cache.files[DARK])
        mount = self.mount("--source", "s3://private/p", environment=nobody, observatory="roman")
        self.assertEqual(mount.errno(f"references/roman/{DARK}"), errno.EACCES)

    def test_a_large_object_comes_in_parts(self):
        s3 = self.s3()
        s3.bucket("crds")
        large = "roman_wfi_large_0001.asdf"
        cache = self.cache({large: LARGE})
        s3.upload("crds", "p", cache.root)
        between = Between(s3.url)
        self.addCleanup(between.stop)
        # The server copies the whole object for each part.
        mount = self.mount("--source", "s3://crds/p", "--streams", "2", environment=self.environment(between.url), observatory="roman")
        self.assertEqual(mount.read(f"references/roman/{large}"), cache.files[large])
        ranges = [asked for name, asked in between.requests if name == large]
        self.assertGreater(len(ranges), LARGE // (32 * MIB) - 1, ranges)
        self.assertNotIn(None, ranges)


def template(server):
    return f"{server.url}/{{obs}}/unchecked_get/{{kind}}/{{obs}}/{{name}}"


class Failover(SourcesTest):
    def serve(self, cache):
        served = Served(cache.root)
        self.addCleanup(served.kill)
        return served

    def test_a_source_dies_in_the_middle_and_comes_back(self):
        large, small = "roman_wfi_large_0001.asdf", [f"roman_wfi_flat_{number:04}.asdf" for number in range(600)]
        cache = self.cache({large: LARGE, **dict.fromkeys(small, 100)})
        first, second = self.serve(cache), self.serve(cache)
        # It dies when an eighth has gone through here, however fast that is.
        between = Between(first.url)
        self.addCleanup(between.stop)
        between.hold = {large: LARGE // 8}
        mount = self.mount(
            "--source", template(between), "--source", template(second),
            environment={"CRDS_SERVER_URL": SERVERLESS}, observatory="roman",
        )
        path = f"references/roman/{large}"
        reader = os.fork()
        if reader == 0:
            os._exit(0 if mount.errno(path) is None else 1)
        self.assertTrue(between.held.wait(LIMIT), mount.log())
        first.kill()
        between.go_on.set()
        self.assertEqual(os.waitpid(reader, 0)[1], 0, mount.log())
        self.assertEqual(mount.read(path), cache.files[large])
        here, there = mount.sources()[0], mount.sources()[1]
        self.assertEqual((here["state"], there["state"]), ("failing", "ready"), mount.sources())
        # The first connection that breaks off ends the others, each with at most a MiB that had not gone through yet.
        self.assertGreater(here["bytes"], LARGE // 8 - 8 * MIB)
        self.assertEqual(here["bytes"] + there["bytes"], LARGE, "each byte came once")
        self.assertIn(": failing since ", mount.status())
        print(f"\nsources: {here['bytes'] / MIB:.0f} MiB, and {there['bytes'] / MIB:.0f} MiB after the first had died\n{mount.status()}")
        # It is left alone, and tried again later: by the first file then.
        between.lead_to(self.serve(cache).url)
        asked = len(between.requests)
        begun = time.monotonic()
        for name in small:
            self.assertEqual(mount.read(f"references/roman/{name}"), cache.files[name])
            if mount.sources()[0]["state"] == "ready":
                break
            self.assertLess(time.monotonic() - begun, LIMIT, mount.sources())
            time.sleep(LIMIT / len(small))
        self.assertEqual(mount.sources()[0]["state"], "ready", mount.sources())
        self.assertIsNone(mount.sources()[0]["error"])
        self.assertEqual(between.requests[asked:], [(name, None)])
        print(mount.status())


if __name__ == "__main__":
    unittest.main()
