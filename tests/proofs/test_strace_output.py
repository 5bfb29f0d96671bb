"""Calls of several processes are followed as they took effect, in whatever order strace saw them return."""

import pytest

from chunkstore.testing.disk_operations import TOP, Name, Naming, Trace, TraceError, Writing
from chunkstore.testing.strace_output import Reading, traced_calls


def quoted(text):
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'


def of(number, path):
    return f"{number}<{quoted(path)[1:-1]}>"


def followed(*lines):
    trace = Trace()
    Reading(trace, "/t", 99, 1).follow(traced_calls("\n".join(lines)))
    return trace.operations


MAKE = f"mkdir({quoted('/t/a')}, 0777"
LOOK = f"openat(AT_FDCWD, {quoted('/t/a')}, O_RDONLY|O_DIRECTORY) = 4{of('', '/t/a')}"
WRITE = f"openat(AT_FDCWD, {quoted('/t/a/f')}, O_WRONLY|O_CREAT|O_EXCL, 0666) = 5{of('', '/t/a/f')}"


def test_a_folder_may_be_opened_before_whoever_made_it_is_seen_to_return():
    made = Naming({Name(TOP, "a"): 1}, 1)
    assert followed(f"1 {MAKE} <unfinished ...>", f"2 {LOOK}", "1 <... mkdir resumed>) = 0") == [made]
    written = [made, Naming({Name(1, "f"): 2}, None)]
    assert followed(f"1 {MAKE} <unfinished ...>", f"2 {WRITE}", "1 <... mkdir resumed>) = 0") == written


def test_what_had_not_begun_does_not_explain_an_earlier_call():
    with pytest.raises(TraceError, match="not known to be there"):
        followed(f"2 {LOOK}", f"1 {MAKE}) = 0")
    with pytest.raises(TraceError, match="not known to be there"):
        followed(f"1 {MAKE} <unfinished ...>", f"2 {LOOK}", "1 <... mkdir resumed>) = -1 EEXIST (File exists)")


def test_a_name_may_be_given_anew_before_whoever_took_it_away_is_seen_to_return():
    remove = f"rmdir({quoted('/t/a')}"
    operations = followed(
        f"1 {MAKE}) = 0", f"1 {remove} <unfinished ...>", f"2 {MAKE}) = 0", "1 <... rmdir resumed>) = 0"
    )
    name = Name(TOP, "a")
    assert operations == [Naming({name: 1}, 1), Naming({name: None}, None), Naming({name: 2}, 2)]


def test_a_chain_of_calls_that_overlap_is_followed():
    rename = f"rename({quoted('/t/a')}, {quoted('/t/b')}"
    look = LOOK.replace(quoted("/t/a"), quoted("/t/b"))
    operations = followed(
        f"1 {MAKE} <unfinished ...>",
        f"2 {rename} <unfinished ...>",
        f"3 {look}",
        "2 <... rename resumed>) = 0",
        "1 <... mkdir resumed>) = 0",
    )
    a, b = Name(TOP, "a"), Name(TOP, "b")
    assert operations == [Naming({a: 1}, 1), Naming({a: None, b: 1}, None)]


def test_a_descriptor_may_be_given_again_before_its_close_is_seen_to_return():
    create = f"openat(AT_FDCWD, {quoted('/t/f')}, O_WRONLY|O_CREAT, 0666) = 4"
    unnamed = f"openat(AT_FDCWD, {quoted('/t')}, O_WRONLY|O_TMPFILE, 0666) = 4"
    operations = followed(
        "1 clone(child_stack=0x1, flags=CLONE_VM|CLONE_THREAD) = 2",
        f"1 {create}",
        f"1 close({of(4, '/t/f')} <unfinished ...>",
        f"2 {unnamed}",
        "1 <... close resumed>) = 0",
        f"2 write(4, {quoted('data')}, 4) = 4",
    )
    assert operations == [Naming({Name(TOP, "f"): 1}, None), Writing(2, 0, b"data")]


def test_what_was_never_there_cannot_be_taken_away():
    with pytest.raises(TraceError, match="not known"):
        followed(f"1 unlink({quoted('/t/f')}) = 0")
    with pytest.raises(TraceError, match="not known"):
        followed(f"1 rename({quoted('/t/f')}, {quoted('/t/g')}) = 0")
