"""docs/configuration.md has every option of `crds-fs mount` and `crds-fs run` with its default, and every variable that crds-fs
reads, and no others. CRDS_FS is the program."""

import os
import re
import subprocess
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/configuration.md").read_text()
OPTIONS = PAGE[PAGE.index("## Options of") :].split("\n## ")[0]
# Keywords in the headers of datasets, and what only builds for debugging read.
NO_SETTINGS = {"CRDS_CTX", "CRDS_VER", "CRDS_FS_ABORT_AT"}
# The Python client's that are named as not read.
NOT_READ = set(re.findall(r"CRDS_[A-Z0-9_]+", PAGE[PAGE.index("\nNot read: ") : PAGE.index("## Other variables")]))


def option_help(command: str) -> dict[str, str]:
    """Long flags with their descriptions, as the program prints them."""
    said = subprocess.run([os.environ["CRDS_FS"], command, "--help"], capture_output=True, text=True, check=True).stdout
    said = said[said.index("\nOptions:") :]
    parts = re.split(r"^ +(?:-\w, )?--([a-z-]+)", said, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2]) if name != "help"}


def variables_of_source() -> set[str]:
    """The names of variables that stand in the source, without those in tests."""
    found = set()
    for path in (ROOT / "src").rglob("*.rs"):
        if "tests" not in path.relative_to(ROOT).parts and path.name != "tests.rs":
            code = path.read_text().split("#[cfg(test)]\nmod tests {")[0]
            found |= set(re.findall(r'"(CRDS_[A-Z0-9_]*[A-Z0-9])"', code))
    return found - NO_SETTINGS


def rows() -> dict[str, str]:
    """The row of each long flag in the table of options."""
    found = {}
    for row in OPTIONS.splitlines():
        if row.startswith("| `"):
            found |= {flag: row for flag in re.findall(r"--([a-z-]+)", row.split(" | ")[0])}
    return found


class Configuration(unittest.TestCase):
    def setUp(self):
        self.mount, self.run_ = option_help("mount"), option_help("run")

    def test_options_are_those_of_the_program(self):
        self.assertGreater(len(self.mount), 20)
        self.assertEqual(set(rows()), set(self.mount) | set(self.run_))

    def test_defaults_are_those_of_the_program(self):
        for name, text in self.mount.items():
            default = re.search(r"\[default: ([^]]+)\]", text)
            if default and name not in ("uid", "gid"):
                self.assertIn(default[1].split(";")[0], rows()[name], f"--{name}")

    def test_variables_are_those_of_the_source(self):
        own = {f"CRDS_FS_{name.upper().replace('-', '_')}" for name in self.mount}
        known = variables_of_source() | own
        self.assertGreater(len(known), 40)
        named = set(re.findall(r"CRDS_[A-Z0-9_]*[A-Z0-9]\b", PAGE)) - NOT_READ
        # `each also with _SINGLE`
        named |= {f"{name}_SINGLE" for name in ("CRDS_MAPPATH", "CRDS_REFPATH", "CRDS_CFGPATH", "CRDS_PICKLEPATH")}
        self.assertEqual(named - known, set(), "named, and not read")
        self.assertEqual(known - named, set(), "read, and not named")
        self.assertEqual(NOT_READ & known, set(), "named as not read, and read")


if __name__ == "__main__":
    unittest.main()
