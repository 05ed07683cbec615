"""python3 -m unittest discover tests/docs"""

import unittest

import pages


class Pages(unittest.TestCase):
    def test_blocks_are_told_from_other_text(self):
        page = "# A\n\n    one\n    two\n\n    three\n\ntext\n    continued\n\n```sh\nfour\n```\n\n```text\nnone\n```\n\n* item\n\n  ```console\n  $ five\n  six\n  ```\n"
        found = pages.blocks(page)
        self.assertEqual([made.text for made in found], ["one\ntwo\n\nthree", "four", "$ five\nsix"])
        self.assertEqual([made.line for made in found], [3, 11, 21])

    def test_comments_belong_to_the_block_below(self):
        page = "<!-- not run: no sudo -->\n    one\n\n<!-- status 3 -->\n<!-- before: a\nb -->\n\n    two\n\n    $ three\n\ntext\n\n<!-- runs on -->\n\n    four\n"
        one, two, four = pages.blocks(page)
        self.assertEqual((one.not_run, two.status, two.before), ("no sudo", 3, "a\nb"))
        self.assertEqual((four.runs_on, four.status), (True, 0))

    def test_a_fence_that_says_nothing_is_refused(self):
        for page in ["```\nls\n```\n", "```bash\nls\n```\n", "```sh\nls\n"]:
            with self.assertRaises(pages.PageError):
                pages.blocks(page)

    def test_output_is_compared_where_it_is_shown(self):
        one, two = pages.steps(pages.blocks("    $ a\n    $ b\n    > c\n    x ... z\n    ...\n    end\n")[0])
        self.assertEqual((one.command, one.shown, two.command), ("a", None, "b\nc"))
        self.assertTrue(pages.fits(two.shown, ["x y z", "end"]))
        self.assertTrue(pages.fits(two.shown, ["x y z", "1", "2 ", "end"]))
        self.assertFalse(pages.fits(two.shown, ["x y", "end"]))
        self.assertFalse(pages.fits(two.shown, ["x y z", "end", "more"]))


if __name__ == "__main__":
    unittest.main()
