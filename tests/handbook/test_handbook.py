"""Runs the handbook's blocks in order. Prints "N passed, 0 failed"; see run.sh.

Usage: test_handbook.py [NUMBER | FROM-TO]…
"""

import pathlib
import sys
import time
import traceback

import blocks
import check_service
import checks
import house


def chosen(arguments):
    if not arguments:
        return None
    numbers = set()
    for argument in arguments:
        first, _, last = argument.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def tried(name, run):
    started = time.monotonic()
    try:
        run()
    except Exception:
        print(f"FAILED  {name}")
        traceback.print_exc(file=sys.stdout)
        return False
    print(f"ok      {name} ({time.monotonic() - started:.1f} s)")
    return True


def main():
    here = pathlib.Path(__file__).parent
    pairs = blocks.load(here / "docs" / pathlib.Path(blocks.HANDBOOK).name)
    by_place = checks.all_checks()
    wanted = chosen(sys.argv[1:])
    results, pending = [], 0
    installation = house.House()
    try:
        results.append(tried("installation", installation.start))
        for block, row in pairs if results[0] else []:
            name = f"{block.index:2} {block.heading}, {block.number}: {row.run}"
            if wanted and block.index not in wanted:
                continue
            if row.run == "pending":
                print(f"pending {name}: {row.why}")
                pending += 1
                continue
            check = by_place[block.heading, block.number]
            run = checks.Run(installation, *row.what_runs(block), printed=block.text)
            results.append(tried(name, lambda: check(run)))
        if results[0] and not wanted:
            results.append(tried("upgrade", lambda: check_service.upgrade(installation)))
        if results[0]:
            results.append(tried("audit", installation.audit_clean))
        if not all(results):
            log = house.LOG.read_text(encoding="utf-8") if house.LOG.exists() else ""
            out = pathlib.Path("/srv/newapi.out")
            print("--- log ---", log[-3000:], out.read_text() if out.exists() else "", sep="\n")
    finally:
        installation.stop()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed, {pending} pending")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
