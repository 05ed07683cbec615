"""The page about a mount, in a browser."""

import glob
import json
import os
import sys
import unittest
import urllib.error
import urllib.request

import html5lib

from browser import Browser
from scene import BIG, GONE, PMAP, Scene

PICTURES = os.environ["PAGE_PICTURES"]
AXE = glob.glob(os.path.join(sys.prefix, "lib/python*/site-packages/axe_playwright_python/axe.min.js"))[0]
ID = "R0000101001001001001_0001.WFI01"
# Each state is looked at like this.
LOOKS = [("light", 1200), ("dark", 1200), ("light", 400)]


def fetch(url):
    try:
        with urllib.request.urlopen(url) as reply:
            return reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


class PageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.scene = Scene()
        cls.addClassCleanup(cls.scene.close)
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)
        with open(AXE) as file:
            cls.axe = file.read()

    def look(self, name, url, expected):
        """Checks a state in every look, and takes its pictures."""
        errors = html5lib.HTMLParser(strict=False)
        errors.parse(fetch(url))
        self.assertEqual(errors.errors, [], f"{name}: the HTML is wrong")
        for scheme, width in LOOKS:
            tab = self.browser.page(url, width, scheme)
            for part in expected:
                tab.wait_for(f"document.body.innerText.includes({json.dumps(part)})")
            tab.picture(os.path.join(PICTURES, f"{name}-{scheme}-{width}.png"))
            tab.run(self.axe + "; 1")
            found = tab.run("axe.run(document, {resultTypes: ['violations']}).then(found => found.violations.map("
                            "one => one.id + ': ' + one.nodes.map(node => node.html + ' ' + node.failureSummary).join('; ')))")
            self.assertEqual(found, [], f"{name} {scheme} {width}")
            wide = tab.run("document.documentElement.scrollWidth")
            self.assertLessEqual(wide, width, f"{name}: wider than the window")
            complaints = [text for text in tab.complaints() if "status of 4" not in text]
            self.assertEqual(complaints, [], name)
            tab.close()

    def test_1_an_empty_store(self):
        url = self.scene.mount("empty", ["roman"])
        self.look("empty", url, ["No file is here yet", "Nothing has failed since it was mounted", "well"])

    def test_2_transfers_and_failures(self):
        self.scene.fill("busy")
        url = self.scene.mount("busy", ["roman", "hst", "jwst"])
        self.scene.touch("busy", "roman", "hst", "jwst")
        # So slowly that none arrives while it is looked at.
        self.scene.link.rate = 5_000
        self.addCleanup(setattr, self.scene.link, "rate", None)
        self.scene.open("busy", GONE, *BIG, BIG[0])
        tab = self.browser.page(url)
        tab.wait_for(f"document.querySelectorAll('#transfers progress').length === {len(BIG)}")
        tab.wait_for(f"document.getElementById('failures').innerText.includes('{GONE}')")
        # What the reader has opened stays open while the rest goes on.
        tab.run("document.querySelector('details summary').click()")
        before = tab.run("document.getElementById('read').innerText")
        tab.wait_for(f"document.getElementById('read').innerText !== '{before}'")
        self.assertTrue(tab.run("document.getElementById('hour-table').open"))
        tab.run("[...document.querySelectorAll('footer button')].find(button => button.textContent === 'Hold still').click()")
        self.assertEqual(tab.run("document.querySelector('footer button').getAttribute('aria-pressed')"), "true")
        tab.close()
        self.look("busy", url, [*BIG, GONE, "There is no catalog of hst", "What to do", "nircam"])

    def test_3_keyboard(self):
        url = self.scene.mount("keys", ["roman"])
        self.scene.await_catalog("keys")
        tab = self.browser.page(url)
        tab.press("Tab")
        self.assertEqual(tab.run("document.activeElement.className"), "skip")
        shown = tab.run("document.activeElement.getBoundingClientRect().left >= 0")
        self.assertTrue(shown, "the skip link is seen when it has the focus")
        tab.press("Enter")
        tab.wait_for("document.activeElement.id === 'content'")
        tab.close()
        tab = self.browser.page(url)
        tab.wait_for(f"document.body.innerText.includes('{PMAP}')")
        wanted = {"Overview", "Best references", "The same as a table", "Table of catalogs", "Hold still"}
        # More than there are: new contents may come meanwhile, and take the focus back to where their part begins.
        stops = []
        while not wanted <= set(stops) and len(stops) < 100:
            tab.press("Tab")
            stops.append(tab.run("document.activeElement.getAttribute('aria-label') || document.activeElement.innerText"))
            outline = tab.run("document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle")
            self.assertIn(outline, ("solid", True), stops)
        self.assertLessEqual(wanted, set(stops))
        tab.close()

    def test_4_best_references(self):
        url = self.scene.mount("asked", ["roman"])
        self.scene.await_catalog("asked")
        self.look("form", url + "bestrefs", ["Best references of a dataset"])
        self.look("found", url + f"bestrefs?context=roman-latest&dataset={ID}", [PMAP, "roman_wfi_dark_0001.asdf", "Why"])
        self.look("wrong", url + "bestrefs?context=roman&dataset=a/b", ["is not a dataset id", "is not a context"])
        self.look("unknown", url + "bestrefs?context=roman-latest&dataset=NOSUCH", ["There is no answer", "NOSUCH"])
        tab = self.browser.page(url + f"bestrefs?context=roman-latest&dataset={ID}")
        tab.run("document.querySelector('a[href=\"#why-dark\"]').click()")
        tab.wait_for("document.getElementById('why-dark').closest('details').open")
        tab.close()

    def test_5_without_scripts(self):
        url = self.scene.mount("plain", ["roman"])
        self.scene.await_catalog("plain")
        page = fetch(url)
        while PMAP not in page:
            page = fetch(url)
        self.assertIn('<noscript><meta http-equiv="refresh" content="10"></noscript>', page)
        self.assertNotIn("http-equiv", fetch(url + "?still"))
        tab = self.browser.page(url + "?still", scripts=False)
        text = tab.run("document.body.innerText")
        for part in ["Being fetched", "Store", "Catalogs", PMAP, "load anew every 10 seconds"]:
            self.assertIn(part, text)
        self.assertNotIn("Hold still", text)
        tab.close()

    def test_6_a_dead_mount(self):
        url = self.scene.mount("dead", ["roman"])
        tab = self.browser.page(url)
        self.scene.kill("dead")
        tab.wait_for("document.getElementById('state').innerText.includes('its process has died')")
        tab.close()
        self.look("dead", url, ["Needs attention", "crds-fs mount", "since"])
        tab = self.browser.page(url)
        self.scene.mounts["dead"].terminate()
        tab.wait_for("document.getElementById('read').innerText.includes('is not served any more')")
        tab.close()


if __name__ == "__main__":
    unittest.main()
