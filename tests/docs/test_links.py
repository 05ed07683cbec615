"""Links between the pages lead to files and headings that are there."""

import re
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "fuzz/README.md", *(ROOT / "docs").glob("*.md")]


def anchors(page: Path) -> set[str]:
    """The names of its headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


class Links(unittest.TestCase):
    def test_links_lead_somewhere(self):
        lost, count = [], 0
        for page in PAGES:
            for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
                if ":" in link:
                    continue
                count += 1
                path, _, anchor = link.partition("#")
                target = page.parent / path if path else page
                if not target.exists() or (anchor and anchor not in anchors(target)):
                    lost.append(f"{page.relative_to(ROOT)}: {link}")
        self.assertGreater(count, 30)
        self.assertEqual(lost, [])


if __name__ == "__main__":
    unittest.main()
