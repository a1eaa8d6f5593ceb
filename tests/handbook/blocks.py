#!/usr/bin/env python3
"""The handbook's code blocks, and the table that says how each of them is run.

    blocks.py check     fails when table, handbook and docs/handbook.md do not agree
    blocks.py write     writes docs/handbook.md from the table
    blocks.py missing   prints rows for blocks that the table does not have
"""

import dataclasses
import hashlib
import pathlib
import re
import sys
import textwrap
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
HANDBOOK = "docs/handbook/TROUBLESHOOTING.zh.md"
MODES = ("as printed", "counterpart", "pending")


@dataclasses.dataclass
class Block:
    """One code block: where it stands, and what stands in it."""

    index: int
    heading: str
    number: int
    language: str
    text: str

    @property
    def key(self):
        digest = hashlib.sha256(self.text.encode()).hexdigest()
        return self.heading, self.number, digest


@dataclasses.dataclass
class Row:
    """One row of the table."""

    heading: str
    number: int
    sha256: str
    run: str
    why: str = ""
    command: str = ""
    language: str = ""
    replace: list = dataclasses.field(default_factory=list)

    @property
    def key(self):
        return self.heading, self.number, self.sha256

    def problems(self):
        where = f"{self.heading} {self.number}"
        if self.run not in MODES:
            yield f"{where}: run is {self.run!r}, not one of {MODES}"
        differs = bool(self.command or self.replace)
        if differs != (self.run == "counterpart"):
            yield f"{where}: what is not as printed, and only that, has a command or a replacement"
        if self.run != "as printed" and not self.why:
            yield f"{where}: why not as printed?"

    def what_runs(self, block):
        """The commands in place of the block's, and their language."""
        text = self.command or block.text
        for printed, instead in self.replace:
            if printed not in text:
                raise ValueError(f"{self.heading} {self.number}: no {printed!r} to replace")
            text = text.replace(printed, instead)
        return text.replace("{{block}}", block.text), self.language or block.language


def extract(markdown):
    """All fenced blocks in order, also those inside lists."""
    blocks, heading, number = [], "", 0
    lines = iter(markdown.splitlines())
    for line in lines:
        if title := re.match(r"#+ (.*)", line):
            heading, number = title[1], 0
        if fence := re.match(r" *```(\w*)$", line):
            inside = []
            for line in lines:
                if line.strip() == "```":
                    break
                inside.append(line)
            else:
                raise ValueError(f"a block below {heading} does not end")
            number += 1
            text = textwrap.dedent("\n".join(inside)) + "\n"
            blocks.append(Block(len(blocks) + 1, heading, number, fence[1], text))
    return blocks


def load(handbook):
    """Pairs of block and row, or everything that does not agree."""
    blocks = extract(handbook.read_text(encoding="utf-8"))
    table = tomllib.loads((HERE / "blocks.toml").read_text(encoding="utf-8"))["block"]
    rows = [Row(**row) for row in table]
    by_key = {row.key: row for row in rows}
    problems = [problem for row in rows for problem in row.problems()]
    if len(by_key) != len(rows):
        problems.append("a row is there twice")
    keys = {block.key for block in blocks}
    problems += [f"block {b.index} ({b.heading} {b.number}) has no row" for b in blocks
                 if b.key not in by_key]
    problems += [f"the row {r.heading} {r.number} is for no block" for r in rows
                 if r.key not in keys]
    if problems:
        raise ValueError("\n".join(problems))
    return [(block, by_key[block.key]) for block in blocks]


HEAD = """\
# The handbook, block by block

<!-- Written by tests/handbook/blocks.py; the test fails when this is stale. -->

The operator's handbook ([TROUBLESHOOTING.zh.md](handbook/TROUBLESHOOTING.zh.md)) has {total}
code blocks. `tests/handbook/run.sh` runs each of them against a real installation, and checks what it does:
{counts}.

`/api` is open to nobody without a token: where a block calls it, `~/.curlrc` has
`header = "Authorization: Bearer …"` with root's access token. `psql` finds the server by `PGHOST`
and `PGDATABASE`.

| | under | run | |
|---|---|---|---|
"""


def document(pairs):
    """docs/handbook.md."""
    modes = [row.run for _, row in pairs]
    counts = ", ".join(f"{modes.count(mode)} {mode}" for mode in MODES if mode in modes)
    text = HEAD.format(total=len(pairs), counts=counts)
    for block, row in pairs:
        why = row.why.replace("|", "\\|").strip()
        text += f"| {block.index} | {block.heading}, {block.number} | {row.run} | {why} |\n"
    text += "\n## Counterparts\n"
    for block, row in pairs:
        if row.run == "counterpart":
            text += f"\n**{block.index}.** {row.why.strip()}\n"
            if row.command:
                text += f"\n```{row.language or block.language}\n{row.command.strip()}\n```\n"
            for printed, instead in row.replace:
                text += f"\n`{printed}` → `{instead}`\n"
    return text


def main(command):
    root = HERE.parents[1]
    handbook = root / HANDBOOK
    if command == "missing":
        known = (HERE / "blocks.toml").read_text(encoding="utf-8")
        for block in extract(handbook.read_text(encoding="utf-8")):
            if block.key[2] not in known:
                print(f'[[block]]\nheading = "{block.heading}"\nnumber = {block.number}')
                print(f'sha256 = "{block.key[2]}"\nrun = "as printed"\n')
        return
    text, place = document(load(handbook)), root / "docs/handbook.md"
    if command == "write":
        place.write_text(text, encoding="utf-8")
    elif not place.exists() or place.read_text(encoding="utf-8") != text:
        raise ValueError("docs/handbook.md is stale: run tests/handbook/blocks.py write")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ValueError as error:
        sys.exit(f"tests/handbook: {error}")
