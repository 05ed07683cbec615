"""The command blocks of a page of Markdown.

A block of commands is fenced as `sh` or `console`, or indented by four spaces; blocks that are fenced as anything else are
none. In `sh` every line is a command; in `console` lines that begin with `$ ` are, the others are their output, where a line
`...` stands for any lines, and `...` in a line for any text. A comment right above a block says how it is run:

    <!-- not run: REASON -->    it cannot be run here
    <!-- status N -->           it ends with this exit status
    <!-- runs on -->            it does not end: the following blocks are run beside it
    <!-- before: COMMANDS -->   is run before it
"""

import re
from dataclasses import dataclass, field

COMMENT = re.compile(r"<!-- (not run|before): (.+?) -->|<!-- status (\d+) -->|<!-- (runs on) -->", re.DOTALL)
NOT_COMMANDS = {"text", "ini", "json", "python", "rust", "yaml", "toml", "dockerfile", "promql"}


@dataclass
class Block:
    line: int
    text: str
    console: bool
    not_run: str | None = None
    before: str = ""
    status: int = 0
    runs_on: bool = False


@dataclass
class Step:
    """A command, and the output that is shown for it; None if none is."""

    command: str
    shown: list[str] | None = field(default=None)


class PageError(Exception):
    pass


def blocks(page: str) -> list[Block]:
    """The command blocks of a page, in order. Raises PageError for what is neither a command nor declared as none."""
    found = []
    lines = page.split("\n")
    at, comments, blank = 0, [], True
    while at < len(lines):
        line = lines[at]
        if line.startswith("<!-- "):
            end = next((i for i in range(at, len(lines)) if "-->" in lines[i]), at)
            comments.append("\n".join(lines[at : end + 1]))
            at, blank = end + 1, True
            continue
        elif line.lstrip().startswith("```"):
            indent, language = len(line) - len(line.lstrip()), line.strip().strip("`").strip()
            end = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == "```"), None)
            if end is None:
                raise PageError(f"line {at + 1}: the block has no end")
            text = "\n".join(inner[indent:] for inner in lines[at + 1 : end])
            if language in ("sh", "console"):
                found.append(block(at + 1, text, language == "console", comments))
            elif language not in NOT_COMMANDS:
                raise PageError(f"line {at + 1}: a block of '{language}': commands are sh or console, other text is one of {', '.join(sorted(NOT_COMMANDS))}")
            at, comments = end, []
        elif line.startswith("    ") and blank:
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            text = "\n".join(inner[4:] for inner in lines[at:end]).rstrip()
            found.append(block(at + 1, text, text.startswith("$ "), comments))
            at, comments = end - 1, []
        elif line.strip():
            comments = []
        blank = not lines[at].strip()
        at += 1
    return found


def block(line: int, text: str, console: bool, comments: list[str]) -> Block:
    made = Block(line, text, console)
    for comment in comments:
        match = COMMENT.fullmatch(comment.strip())
        if not match:
            continue
        if match[1] == "not run":
            made.not_run = match[2]
        elif match[1] == "before":
            made.before = match[2]
        elif match[3]:
            made.status = int(match[3])
        else:
            made.runs_on = True
    return made


def steps(made: Block) -> list[Step]:
    """The commands of a block, each with its output where some is shown."""
    if not made.console:
        return [Step(made.text)]
    found = []
    for line in made.text.split("\n"):
        if line.startswith("$ "):
            found.append(Step(line[2:]))
        elif found and line.startswith("> "):
            found[-1].command += "\n" + line[2:]
        elif not found:
            raise PageError(f"line {made.line}: output before the first command")
        else:
            found[-1].shown = [*(found[-1].shown or []), line.rstrip()]
    for step in found:
        # Empty lines set commands apart.
        while step.shown and not step.shown[-1]:
            step.shown.pop()
        step.shown = step.shown or None
    return found


def fits(shown: list[str], said: list[str]) -> bool:
    """Whether output is what is shown."""
    patterns = ["(?s:.*)" if line.strip() == "..." else re.escape(line).replace(r"\.\.\.", ".*") + "\n" for line in shown]
    return re.fullmatch("".join(patterns), "".join(line.rstrip() + "\n" for line in said)) is not None
