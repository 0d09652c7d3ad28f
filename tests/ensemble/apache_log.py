"""What Apache's servers complain of in their logs, without its numbers: what they say in ensembles
of their own kind is known (`apache-log.txt`), everything else is new."""

import pathlib
import re

KNOWN = pathlib.Path(__file__).resolve().parent / "apache-log.txt"
_LINE = re.compile(r"^\d\d:\d\d:\d\d[.,]\d+ (WARN|ERROR|FATAL) +\[.*?\]+(?:\(.*?\)\]*)* +([\w.$]+): (.*)$")
_EXCEPTION = re.compile(r"^(Caused by: )?[\w.$]+\.(\w+(Exception|Error))(: .*)?$")


def complaints(text):
    """The kinds of complaint in a log, each once."""
    found = set()
    for line in text.splitlines():
        if match := _LINE.match(line):
            level, who, what = match.groups()
            found.add(f"{level} {who.rpartition('.')[2]}: {plain(what)}")
        elif match := _EXCEPTION.match(line):
            found.add(f"{match[2]}{plain(match[4] or '')}")
    return found


def plain(text):
    """The words of a message, up to the first that holds a number or a path, eight at most."""
    words = []
    for word in text.split()[:8]:
        if re.search(r"\d|/", word):
            break
        words.append(word)
    return " ".join(words)


def known():
    lines = KNOWN.read_text().splitlines() if KNOWN.exists() else []
    return {line for line in lines if line and not line.startswith("#")}


def new_complaints(ensemble):
    """{complaint: the server that makes it} of all Apache servers, without what is known."""
    return {
        what: log.parent.name
        for member in ensemble
        for log in member.directory.glob("apache-*.log")
        for what in complaints(log.read_text(errors="replace")) - known()
        if "igest" not in what or ensemble.mismatches_are_faults and not member.is_excused
    }


def remember(ensemble):
    """Adds what these servers complain of to what is known."""
    head = "# What Apache's servers complain of in ensembles of their own kind (`mixed --control --remember`).\n"
    # A digest that does not match is never a matter of course.
    lines = sorted(known() | {what for what in new_complaints(ensemble) if "igest" not in what})
    KNOWN.write_text(head + "".join(f"{line}\n" for line in lines))
