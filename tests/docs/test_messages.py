"""What docs/troubleshooting.md quotes of crds-fs is what the source says, and metrics that pages name are there."""

import errno
import os
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/troubleshooting.md").read_text()
PAGES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]


def source() -> str:
    """The source, with texts that go over several lines in one."""
    texts = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.rs"))
    return re.sub(r"\\\n\s*", "", texts)


def quoted() -> list[str]:
    """The first cells of the tables whose head begins with `what crds-fs says`: the messages in them."""
    found, within = [], False
    for line in PAGE.splitlines():
        if line.startswith("| what crds-fs says"):
            within = True
        elif not line.startswith("|"):
            within = False
        elif within and not line.startswith("| ---"):
            found += re.findall(r"`([^`]+)`", line.split(" | ")[0])
    return found


class Messages(unittest.TestCase):
    def test_what_crds_fs_says_is_in_the_source(self):
        messages, code = quoted(), source()
        self.assertGreater(len(messages), 30)
        # What stands for a name or a number in the source is `...` on the page.
        parts = [part.strip(" '()") for message in messages for part in message.split("...")]
        self.assertEqual([part for part in parts if part not in code], [], "nowhere in the source")

    def test_numbers_of_errors_are_as_python_has_them(self):
        row = re.compile(r"\| `([^`]+)`, `(\w+): \[Errno (\d+)\]` \| `(E\w+)` \|")
        rows = row.findall(PAGE)
        self.assertEqual(len(rows), len(re.findall(r"`E[A-Z]+` \|", PAGE)))
        for text, exception, number, name in rows:
            error = OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
            self.assertEqual((text, exception, int(number)), (error.strerror, type(error).__name__, error.errno))

    def test_every_number_of_a_failed_open_is_explained(self):
        code = (ROOT / "src/tree/errno.rs").read_text().split("#[cfg(test)]")[0]
        given = set(re.findall(r"Errno::([A-Z]+)\b", code)) - {"EXIST", "NOTEMPTY", "NOTDIR", "ISDIR", "STALE", "OPNOTSUPP", "BADF", "NOSYS", "BUSY"}
        self.assertGreater(len(given), 12)
        names = {"ACCESS": "EACCES"}
        self.assertEqual([name for name in given if f"`{names.get(name, 'E' + name)}`" not in PAGE], [])

    def test_metrics_are_those_of_the_source(self):
        named = {name for page in PAGES for name in re.findall(r"\bcrds_fs_(\w+)", page.read_text())}
        self.assertGreater(len(named), 4)
        # The source has them without what all begin with, and counters also without their end.
        code = source()
        unknown = [name for name in named if f'"{name}"' not in code and f'"{name.removesuffix("_total")}"' not in code]
        self.assertEqual(unknown, [])


if __name__ == "__main__":
    unittest.main()
