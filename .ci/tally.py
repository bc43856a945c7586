"""Counts what a suite's log says: `tally.py SUITE KIND STATUS LOG ALLOWED`, for .ci/run.

Prints `PASSED FAILED SKIPPED` to standard output and, to standard error, what makes a suite fail
beyond its own counts: an exit status, no test at all, a skip that ALLOWED does not name. KIND says
what to look for: `tests` (C++ tests, vitest, unittest: any of them, several times), `rows` (lines
that begin with ok, FAILED or skipped), or `check` (the exit status is all there is).
"""

import re
import sys
from typing import List, NamedTuple, Tuple

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
NATIVE = re.compile(r"(\d+) passed, (\d+) failed$")
NATIVE_SKIP = re.compile(r"  skipped: (.*)")
VITEST = re.compile(r"\s*Tests\s+(.*) \(\d+\)$")
VITEST_SKIP = re.compile(r"\s*↓ (.*)")
UNITTEST = re.compile(r"Ran (\d+) tests? in ")
UNITTEST_END = re.compile(r"(?:OK|FAILED)(?: \((.*)\))?$")
UNITTEST_SKIP = re.compile(r".*\.\.\. skipped (['\"])(.*)\1$")
ROW = re.compile(r"  (ok|FAILED|FAIL|skipped)\s+(.*)")


class Count(NamedTuple):
    passed: int
    failed: int
    skips: List[str]


def count_tests(lines: List[str]) -> Count:
    passed = failed = unnamed = 0
    skips: List[str] = []
    ran = 0
    for line in lines:
        if match := NATIVE.match(line):
            passed, failed = passed + int(match[1]), failed + int(match[2])
        elif match := NATIVE_SKIP.match(line):
            skips.append(match[1])
            passed -= 1  # the runner counts it as passed
        elif match := VITEST.match(line):
            words = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", match[1])}
            passed, failed = passed + words.get("passed", 0), failed + words.get("failed", 0)
            unnamed += words.get("skipped", 0) + words.get("todo", 0)
        elif match := VITEST_SKIP.match(line):
            skips.append(match[1])
            unnamed -= 1
        elif match := UNITTEST.match(line):
            ran = int(match[1])
        elif ran and (match := UNITTEST_END.match(line)):
            words = {word: int(number) for word, number in re.findall(r"(\w+)=(\d+)", match[1] or "")}
            bad = sum(words.get(word, 0) for word in ("failures", "errors", "successes"))
            passed, failed = passed + ran - bad - words.get("skipped", 0), failed + bad
            unnamed, ran = unnamed + words.get("skipped", 0), 0
        elif match := UNITTEST_SKIP.match(line):
            skips.append(match[2])
            unnamed -= 1
    return Count(passed, failed, skips + ["a test that was not named"] * max(0, unnamed))


def count_rows(lines: List[str]) -> Count:
    rows = [match for match in map(ROW.match, lines) if match]
    passed = sum(1 for match in rows if match[1] == "ok")
    skips = [match[2] for match in rows if match[1] == "skipped"]
    return Count(passed, len(rows) - passed - len(skips), skips)


def count_check(lines: List[str]) -> Count:
    return Count(1, 0, [])


def allowed(path: str) -> List[Tuple[str, str]]:
    """(suite, skip) as regular expressions; a line is `SUITE: SKIP  # why`."""
    rules = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            text = line.split("  #")[0].strip()
            if text and not text.startswith("#"):
                suite, skip = text.split(": ", 1)
                rules.append((suite, skip))
    return rules


def main() -> None:
    suite, kind, status, log, allowed_skips = sys.argv[1:]
    with open(log, encoding="utf-8", errors="replace") as file:
        lines = [COLOUR.sub("", line.rstrip("\n")) for line in file]
    kinds = {"tests": count_tests, "rows": count_rows, "check": count_check}
    passed, failed, skips = kinds[kind](lines)
    faults = []
    if kind == "check" and status != "0":
        passed, failed = 0, 1
    if status != "0" and failed == 0:
        faults.append("ended with status %s, and no test says why" % status)
    if status == "0" and passed == 0 and failed == 0:
        faults.append("ran no test")
    rules = allowed(allowed_skips)
    for skip in skips:
        if not any(re.fullmatch(a, suite) and re.search(b, skip) for a, b in rules):
            faults.append("skipped, and .ci/allowed-skips does not say why: %s" % skip)
    for fault in faults:
        print("%s: %s" % (suite, fault), file=sys.stderr)
    print(passed, failed + len(faults), len(skips))


if __name__ == "__main__":
    main()
