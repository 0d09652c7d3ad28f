"""Compares pytest's report with the list of the tests that may fail.

    judge.py surprises report.xml list.txt                      the pytest ids of failures not listed
    judge.py verdict report.xml list.txt again.xml [--subset]   exit 0 if there is no surprise

The list: a line `test: reason` for each, `#` for remarks. A failure not listed is a surprise,
unless it passed in the second report; so is, unless only a subset ran, a listed test that passes or
did not run: the list is the truth.
"""

import pathlib
import sys
import xml.etree.ElementTree


def main(what, report, listed, again=None, subset=False):
    outcome, allowed = outcomes(report), reasons(listed)
    surprises = sorted(name for name, result in outcome.items() if result == "failed" and name not in allowed)
    if what == "surprises":
        print("\n".join(map(pytest_id, surprises)), end="\n" if surprises else "")
        return 0
    if not outcome:
        print("kazoo: pytest left no report")
        return 1
    second = outcomes(again)
    for name in surprises:
        if second.get(name) == "passed":
            print(f"SECOND  {name} passed when tried once more")
            outcome[name] = "passed"
    wrong = [f"FAILED  {name}" for name in surprises if outcome[name] == "failed"]
    if not subset:
        for name in sorted(allowed):
            if outcome.get(name) != "failed":
                wrong.append(f"LISTED  {name} may fail, but: {outcome.get(name, 'did not run')}")
    counts = {kind: sum(result == kind for result in outcome.values()) for kind in ("passed", "failed", "skipped")}
    print("".join(f"{line}\n" for line in wrong), end="")
    print(
        f"kazoo: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped of {len(outcome)}; "
        f"{counts['failed'] - sum(line.startswith('FAILED') for line in wrong)} failures have a reason, "
        f"{len(wrong)} surprises"
    )
    return 1 if wrong else 0


def outcomes(report):
    """{test: passed, failed or skipped}, empty where there is no report."""
    found = {}
    if report is None or not pathlib.Path(report).exists():
        return found
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        kinds = {child.tag for child in case}
        result = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        if found.get(name) != "failed":
            found[name] = result
    return found


def reasons(listed):
    lines = [line for line in pathlib.Path(listed).read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split(": ", 1) for line in lines)


def pytest_id(name):
    """kazoo.tests.test_x.Class::test → kazoo/tests/test_x.py::Class::test"""
    module, _, test = name.partition("::")
    parts = module.split(".")
    return "::".join(["/".join(parts[:3]) + ".py", *parts[3:], test])


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--subset"]
    sys.exit(main(*arguments, subset="--subset" in sys.argv))
