"""A text file of a logger: gaps and empty cells just work, anything else is named by line and column."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from koopctl.data.rollouts import Rollouts
from koopctl.errors import DataError, KoopctlError, UnknownNameError


def written(tmp_path, text, name="log.csv", encoding="utf-8"):
    """Write a file and return its path."""
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    return path


def read(path, **options) -> Rollouts:
    """Read the columns pos, vel and force."""
    return Rollouts.from_csv(path, **({"x": ["pos", "vel"], "u": ["force"]} | options))


def log(lines, head="t,pos,vel,force"):
    """Return a file's text."""
    return "\n".join([head, *lines]) + "\n"


def test_a_file_with_a_gap_just_works_and_says_what_it_dropped(tmp_path):
    """A pause in time and an empty cell: three episodes, both counted."""
    t = [0.0, 0.1, 0.2, 0.3, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8]
    lines = [f"{s:.1f},{i},{i + 0.5},{-i}" for i, s in enumerate(t)]
    lines[7] = "1.6,,7.5,-7"
    data = read(written(tmp_path, log(lines)), time="t")
    assert [x[:, 0].tolist() for x in data.X] == [[0, 1, 2, 3], [4, 5, 6], [8, 9]]
    assert [u[:, 0].tolist() for u in data.U] == [[0, -1, -2], [-4, -5], [-8]]
    assert (data.dt, data.x_names, data.u_names) == (0.1, ("pos", "vel"), ("force",))
    assert data.notes == (
        "1 step between time stamps was not dt (9 samples missing), 1 row of X held NaN: "
        "2 of 8 transitions were dropped, 1 episode was split into 3",
    )


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=False), min_size=8, max_size=8),
    st.sampled_from([",", ";", "\t", " "]),
    st.sampled_from(["nan", "NaN", "NAN", '""']),
)
def test_a_file_says_what_its_arrays_say(tmp_path_factory, values, delimiter, absent):
    """Written to the last digit and read again: the rollouts of the arrays themselves."""
    columns = np.array(values).reshape(4, 2)
    path = tmp_path_factory.mktemp("csv") / "log.csv"
    lines = [delimiter.join(absent if v != v else repr(float(v)) for v in row) for row in columns]
    path.write_text("\n".join([delimiter.join("xu"), *lines]))

    def made(how):
        try:
            data = how()
        except DataError as error:
            return str(error).replace("'x0'", "'x'").replace("'u0'", "'u'")
        return [x.tobytes() for x in (*data.X, *data.U)], data.notes

    from_file = made(lambda: Rollouts.from_csv(path, x="x", u="u", dt=0.1, delimiter=delimiter))
    assert from_file == made(lambda: Rollouts.from_table(None, columns[:, :1], columns[:, 1:], 0.1))


def test_columns_are_taken_by_name_in_the_order_asked_for(tmp_path):
    """Other columns may hold anything; a plant may have no inputs."""
    path = written(tmp_path, log(["a b,1,2,3", "c d,4,5,6"], "comment,pos,vel,force"))
    data = read(path, x=["force", "pos"], u="vel", dt=0.1)
    assert data.X[0].tolist() == [[3, 1], [6, 4]] and data.U[0].tolist() == [[2]]
    assert read(path, u=(), dt=0.1).nu == 0
    with pytest.raises(DataError, match="x names no column"):
        read(path, x=[], dt=0.1)
    with pytest.raises(DataError, match="x repeats pos"):
        read(path, x=["pos", "pos"], dt=0.1)


def test_a_column_that_does_not_exist_lists_the_names(tmp_path):
    """Misspelt, or cut at the wrong character."""
    path = written(tmp_path, log(["0,1,2,3", "1,4,5,6"]))
    with pytest.raises(UnknownNameError, match=r"column of log.csv 'velo'; did you mean 'vel'\? Known: t, pos, vel, f"):
        read(path, x=["velo"], dt=0.1)
    with pytest.raises(UnknownNameError, match="'time'"):
        read(path, time="time")
    with pytest.raises(UnknownNameError, match="Known: t,pos,vel,force"):
        read(path, dt=0.1, delimiter=";")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (log(["0,1,2,3", "1,4,off,6"]), "line 3, column 'vel' holds the text 'off'; expected a number"),
        (log(["0,1,2,3", "1,4,5,6", "2,NA,8,9"]), "line 4, column 'pos' holds the text 'NA'"),
        (log(["0,1,2,3", "noon,4,5,6"]), "line 3, column 't' holds the text 'noon'"),
        (log(["0,1,2,3", "1,4,5,inf"]), r"line 3, column 0 \('force'\) holds inf"),
        (log(["0,1,2,3", ",4,5,6"]), "line 3 has the time stamp nan"),
        (log(["0,1,2,3", "", "1,4,5,6", "1,7,8,9"]), "1 s of log.csv, line 5 repeats the one before"),
        (log(["0,1,2,3", "1,4,5"]), "line 3 has 3 cells, the first line names 4 columns"),
        (log(["0,1,2,3", "1,4,5,6,7"]), "line 3 has 5 cells"),
        (log([]), "has column names but no rows"),
        ("", "does not begin with a line of column names"),
        ("\n0,1,2,3\n", "does not begin with a line of column names"),
        (log(["0,1,2,3", "1,4,5,6"], "t,pos,pos,force"), "2 columns 'pos'"),
        (log(["0,1,2,3"]), "a transition needs two"),
        (log(["0,1,,3", "1,4,,6"]), r"no transition is left.*'vel' in 2 of 2 rows"),
        (log(["0,1,2,3", '1,"4,5,6']), "line 3 has 2 cells"),
    ],
)
def test_what_cannot_be_read_is_named_by_line_and_column(tmp_path, text, says):
    """Texts, infinite values, broken lines: koopctl's own error."""
    with pytest.raises(DataError, match=says):
        read(written(tmp_path, text), x=["pos"] if "pos,pos" in text else ["pos", "vel"], time="t")


def test_rows_need_a_rate(tmp_path):
    """Either a column of time or dt; both must agree."""
    path = written(tmp_path, log([f"{k / 100},1,2,3" for k in range(5)]))
    with pytest.raises(DataError, match="neither a time column nor dt"):
        read(path)
    assert read(path, dt=0.05).dt == 0.05
    assert read(path, time="t", dt=0.01).dt == 0.01
    with pytest.raises(DataError, match="but dt is 0.05 s"):
        read(path, time="t", dt=0.05)


def test_episodes_by_label(tmp_path):
    """Any text labels a run of rows; it must not come back."""
    lines = ["0,1,2,3,run a", "1,4,5,6,run a", "0,7,8,9,run b", "1,1,1,1,run b"]
    head = "t,pos,vel,force,run"
    data = read(written(tmp_path, log(lines, head)), time="t", episode="run")
    assert [x[:, 0].tolist() for x in data.X] == [[1, 4], [7, 1]] and data.notes == ()
    with pytest.raises(DataError, match="episode 'run a' comes back in log.csv, line 6"):
        read(written(tmp_path, log([*lines, lines[0]], head)), time="t", episode="run")


def test_files_as_programs_write_them(tmp_path):
    """A byte-order mark, line ends of Windows, quotes, blanks, a delimiter at the end, the degree sign in Latin-1."""
    plain = log(["0,1,2,3", "1,4,5,6"])
    wanted = read(written(tmp_path, plain), time="t").X[0]
    kinds = {
        "mark": ("\ufeff" + plain, "utf-8"),
        "windows": (plain.replace("\n", "\r\n"), "utf-8"),
        "blank lines": (plain.replace("\n", "\r\r\n"), "utf-8"),
        "quotes": (log(['"0","1","2","3"', '"1","4","5","6"'], '"t","pos","vel","force"'), "utf-8"),
        "blanks": (log(["0, 1, 2, 3", " 1,  4 ,5, 6 "], "t, pos , vel, force"), "utf-8"),
        "blanks and quotes": (log(['0, "1", 2, 3', '1, "4", "5", 6']), "utf-8"),
        "delimiter at every end": (plain.replace("\n", ",\n"), "utf-8"),
        "delimiter at some ends": (log(["0,1,2,3,", "1,4,5,6,"]), "utf-8"),
        "degrees": (log(["0,1,2,3,20", "1,4,5,6,21"], "t,pos,vel,force,T (°C)"), "latin-1"),
        "no end": (plain.rstrip(), "utf-8"),
    }
    for name, (text, encoding) in kinds.items():
        data = read(written(tmp_path, text, encoding=encoding), time="t")
        assert np.array_equal(data.X[0], wanted), name
    path = written(tmp_path, kinds["degrees"][0], encoding="latin-1")
    assert read(path, x="T (°C)", time="t").X[0].tolist() == [[20], [21]]


def test_a_blank_line_in_a_file_of_one_column_is_a_missing_value(tmp_path):
    """Nothing but the line tells that a sample was lost."""
    data = Rollouts.from_csv(written(tmp_path, "y\n1\n2\n\n4\n5\n"), x="y", u=(), dt=1.0)
    assert [x.ravel().tolist() for x in data.X] == [[1, 2], [4, 5]]


@pytest.mark.parametrize("delimiter", ["", ",,", None, 3])
def test_the_delimiter_is_one_character(tmp_path, delimiter):
    """The text shows what was given."""
    with pytest.raises(DataError, match="^delimiter is"):
        read(written(tmp_path, log(["0,1,2,3"])), delimiter=delimiter)


def test_a_file_that_does_not_exist(tmp_path):
    """As for any file."""
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere.csv", dt=0.1)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    """Bytes of an archive: one of koopctl's errors, whichever is met first."""
    path = Rollouts([np.zeros((3, 1))], [np.zeros((2, 1))], 0.1).save(tmp_path / "d.npz")
    with pytest.raises(KoopctlError):
        read(path, dt=0.1)


def test_a_cell_beyond_the_readers_limit_is_refused(tmp_path):
    """What csv itself refuses is said as koopctl says things."""
    text = log(["0,1,2," + "3" * (csv.field_size_limit() + 1)])
    with pytest.raises(DataError, match="cannot be read as cells"):
        read(written(tmp_path, text), dt=0.1)
