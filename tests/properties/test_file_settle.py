"""What holds for every writer, however it writes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faasd.interfaces import FileRow
from faasd.triggers.file_names import glob_regex, numbered, with_suffix
from faasd.triggers.file_settle import Hint, Identity, Pending, Seen, SettleRules, gone, judge

START = 1_750_000_000.0
steps = st.lists(
    st.tuples(
        st.floats(0.0, 5.0),  # How long until this look.
        st.booleans(),  # Whether the file was written to in between.
        st.sampled_from([Hint.NONE, Hint.CREATED, Hint.CLOSED]),
    ),
    max_size=30,
)


@given(steps, st.floats(0.0, 3.0), st.booleans(), st.floats(-7200.0, 7200.0))
def test_a_file_is_never_complete_within_settle_of_its_last_change(
    looks: list[tuple[float, bool, Hint]], settle_s: float, trusts_times: bool, skew_s: float
) -> None:
    """Neither hints nor, where times are not trusted, a server's wrong clock can hurry it."""
    rules = SettleRules(settle_s, False, trusts_times, True)
    skew_s = 0.0 if trusts_times else skew_s
    at_s, changed_s, size = 0.0, 0.0, 0
    before: Pending | None = None
    for delay_s, written, hint in looks:
        at_s += delay_s
        if written:
            changed_s, size = at_s, size + 1
        stamp_ns = round((START + changed_s + skew_s) * 1e9)
        seen = Seen(b"/in/a", Identity(1, 2, stamp_ns, size), stamp_ns, 1)
        before = judge(seen, before, hint, rules, now=START + at_s, monotonic_s=at_s)
        if before is None:
            assert at_s - changed_s >= settle_s - 1e-3
            return
        assert before.look_at_s is not None
        assert before.look_at_s > at_s


@given(st.floats(0.0, 3.0), st.booleans(), st.sampled_from(list(Hint)), st.integers(1, 3))
def test_a_file_that_nobody_touches_is_complete_in_the_end(
    settle_s: float, trusts_times: bool, hint: Hint, links: int
) -> None:
    """None missed: whatever was hinted once, following `look_at_s` ends."""
    rules = SettleRules(settle_s, False, trusts_times, True)
    stamp_ns = round(START * 1e9)
    seen = Seen(b"/in/a", Identity(1, 2, stamp_ns, 5), stamp_ns, links)
    at_s = 0.0
    pending = judge(seen, None, hint, rules, now=START, monotonic_s=at_s)
    for _ in range(5):
        if pending is None:
            return
        assert pending.look_at_s is not None
        at_s = pending.look_at_s
        pending = judge(seen, pending, Hint.NONE, rules, now=START + at_s, monotonic_s=at_s)
    assert pending is None


paths = st.sampled_from([b"/in/a", b"/in/s/a", b"/in/s/t/a", b"/out/a"])
directories = st.dictionaries(st.sampled_from([b"/in", b"/in/s", b"/in/s/t"]), st.integers(1, 2))


@given(paths, st.integers(1, 3), directories, st.sets(paths))
def test_nothing_is_gone_that_is_present_or_on_another_device(
    path: bytes, device: int, read: dict[bytes, int], present: set[bytes]
) -> None:
    """Forgetting a row wrongly means running its file twice."""
    row = FileRow("inbox", path, device, 1, 1, 1, "done", None, START)
    lost = gone([row], present=present, directories=read, unread=set(), devices={}, root=b"/in")
    if lost:
        assert path not in present
        assert path.startswith(b"/in/")
        assert device in read.values()


@given(st.text(st.characters(exclude_characters="/\0"), min_size=1))
def test_a_name_without_wildcards_matches_itself_alone(name: str) -> None:
    """Whatever regular expressions think of its characters."""
    plain = name.replace("*", "x").replace("?", "x").replace("[", "x")
    assert glob_regex(plain).fullmatch(plain)
    assert not glob_regex(plain).fullmatch(plain + "x")


@given(st.binary(min_size=1, max_size=255), st.integers(1, 99_999))
def test_every_made_up_name_fits(name: bytes, number: int) -> None:
    """File systems take 255 bytes and no more."""
    assert len(numbered(name, number)) <= 255
    assert len(with_suffix(name, b".error.json")) <= 255
