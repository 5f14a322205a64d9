import tomllib

from hypothesis import given
from hypothesis import strategies as st

from drsync.config.toml_lines import find_lines, line_of

TEXT = """\
a = 1
b.c = [
  { x = 1 },  # not a table header
]
text = \"\"\"
[not.a.table]
d = 1
\"\"\"
[t]
'q' = "[[x]]"
[[rows]]
n = 1
[[rows]]
n = 2
[rows.sub]
m = 3
"""


def test_tables_keys_and_rows_are_found() -> None:
    tomllib.loads(TEXT)
    lines = find_lines(TEXT)

    assert lines["a",] == 1
    assert lines["b", "c"] == 2
    assert lines["t", "q"] == 10
    assert lines["rows", 0, "n"] == 12
    assert lines["rows", 1, "n"] == 14
    assert lines["rows", 1, "sub", "m"] == 16
    assert ("d",) not in lines


def test_what_has_no_line_gets_that_of_what_is_around_it() -> None:
    assert line_of(find_lines(TEXT), ("rows", 1, "missing")) == 13
    assert line_of(find_lines(TEXT), ("nowhere",)) == 0


@given(st.text(alphabet="ab=[]{}'\"#\n. 1", max_size=200))
def test_any_text_can_be_scanned(text: str) -> None:
    assert all(1 <= line <= text.count("\n") + 1 for line in find_lines(text).values())
