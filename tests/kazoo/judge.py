"""Compares pytest's report with the list of the tests that may fail.

    judge.py report.xml list.txt [--subset]

The list: a line `test id: reason` for each, `#` for remarks. A failure not listed is an error; so is, unless only a
subset ran, a listed test that passes or did not run: the list is the truth.
"""

import pathlib
import sys
import xml.etree.ElementTree


def main(report, listed, subset):
    if not pathlib.Path(report).exists():
        print("pytest left no report")
        return 1
    outcome = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if outcome.get(name) != "failed":
            outcome[name] = result
    allowed = {}
    for line in pathlib.Path(listed).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, reason = line.partition(": ")
            allowed[name] = reason
    failed = {name for name, result in outcome.items() if result == "failed"}
    wrong = [f"FAILED  {name}" for name in sorted(failed - set(allowed))]
    if not subset:
        for name in sorted(set(allowed) - failed):
            wrong.append(f"LISTED  {name} may fail, but: {outcome.get(name, 'did not run')}")
    counts = {kind: sum(result == kind for result in outcome.values()) for kind in ("passed", "failed", "skipped")}
    print("\n".join(wrong + [f"kazoo: {len(outcome)} tests: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())]))
    print(f"kazoo: {len(failed & set(allowed))} of the failures are listed with a reason, {len(wrong)} surprises")
    return 1 if wrong or not outcome else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], "--subset" in sys.argv))
