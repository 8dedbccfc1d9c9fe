"""The file format against damage, foreigners, the future and a full disk."""

from __future__ import annotations

import os
import pickle
import resource
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from koopctl import archive
from koopctl.archive import read_archive, write_archive
from koopctl.errors import DataError, FileFormatError

HEADER = {"dt": 0.1, "names": ["a", "b"], "none": None}
ARRAYS = {"X": np.arange(6.0).reshape(3, 2), "n": np.array(7), "empty": np.zeros((0, 4))}


@pytest.fixture
def file(tmp_path):
    """Return a small sound file."""
    return write_archive(tmp_path / "sound.npz", "test", HEADER, ARRAYS)


def same(left, right) -> bool:
    """Tell whether two sets of arrays are equal in names, types, shapes and bytes."""
    return left.keys() == right.keys() and all(
        left[k].dtype == right[k].dtype and left[k].shape == right[k].shape and left[k].tobytes() == right[k].tobytes()
        for k in left
    )


@settings(max_examples=25, deadline=None)
@given(
    hnp.arrays(st.sampled_from([np.float64, np.float32, np.int64, np.bool_]), hnp.array_shapes(min_dims=0, min_side=0)),
    st.dictionaries(st.text(), st.none() | st.text() | st.floats() | st.integers() | st.lists(st.booleans())),
)
def test_whatever_is_written_is_read(tmp_path_factory, array, header):
    """Any plain array, NaN and Fortran order included, and any JSON-able header come back as they were."""
    path = tmp_path_factory.mktemp("any") / "file.npz"
    arrays = {"a": array, "b": np.asfortranarray(array)}
    write_archive(path, "test", header, arrays)
    kind, read, back = read_archive(path, ("other", "test"))
    assert kind == "test" and repr(sorted(read.items())) == repr(sorted(header.items()))
    assert same(back, arrays)


def test_numpy_scalars_may_stand_in_the_header(tmp_path):
    """Parameters that came out of a search are numpy's; they are read back as Python's."""
    header = {"n": np.int64(3), "ridge": np.float64(1e-3), "flag": np.bool_(True)}
    _, read, _ = read_archive(write_archive(tmp_path / "a", "test", header, {}))
    assert read == {"n": 3, "ridge": 1e-3, "flag": True}


def test_the_ending_is_appended_and_folders_are_made(tmp_path):
    """`model.v1` is no ending of ours."""
    assert write_archive(tmp_path / "deep" / "model.v1", "test", {}, {}) == tmp_path / "deep" / "model.v1.npz"
    assert write_archive(tmp_path / "b.npz", "test", {}, {}) == tmp_path / "b.npz"


def test_the_file_is_as_readable_as_any_other(tmp_path):
    """The temporary file's private mode does not stick."""
    path = write_archive(tmp_path / "a.npz", "test", {}, {})
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_no_flipped_byte_goes_unnoticed(file):
    """Every byte flipped in turn: the file is refused, or the byte held nothing and all is read as it was."""
    sound, refused = file.read_bytes(), 0
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 0xFF
        file.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # zipfile's and numpy's, about what they see
                _, header, arrays = read_archive(file)
        except FileFormatError:
            refused += 1
        else:
            assert header == HEADER and same(arrays, ARRAYS), position
    assert refused > len(sound) / 2


def test_no_cut_goes_unnoticed(file):
    """A copy that broke off anywhere is refused."""
    sound = file.read_bytes()
    for length in range(0, len(sound), 13):
        file.write_bytes(sound[:length])
        with pytest.raises(FileFormatError):
            read_archive(file)


def test_a_changed_array_in_a_sound_zip_is_refused(file):
    """The checksum is over the contents: editing the .npz with numpy breaks it."""
    with np.load(file) as npz:
        parts = {name: npz[name] for name in npz.files}
    parts["X"][0, 0] += 1e-12
    np.savez(file, **parts)
    with pytest.raises(FileFormatError, match="checksum"):
        read_archive(file)
    del parts["X"]
    np.savez(file, **parts)
    with pytest.raises(FileFormatError, match="checksum"):
        read_archive(file)


def test_foreign_files_are_refused(tmp_path):
    """Somebody's arrays, one .npy, text, a pickle, nothing at all, a header that is none."""
    path = tmp_path / "foreign.npz"
    np.savez(path, X=np.ones(3))
    with pytest.raises(FileFormatError, match="not written by koopctl"):
        read_archive(path)
    for junk in (b"[]", b"{}", b"\xff\xfe", b'{"version": "new", "sha256": "", "kind": 1, "header": 2}'):
        np.savez(path, koopctl_header=np.frombuffer(junk, np.uint8))
        with pytest.raises(FileFormatError, match="header"):
            read_archive(path)
    with open(path, "wb") as stream:
        np.save(stream, np.ones(3))
    with pytest.raises(FileFormatError):
        read_archive(path)
    for content in (b"", b"t,x\n0,1\n", pickle.dumps({"X": [1, 2]})):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"foreign\.npz"):
            read_archive(path)


def test_no_pickle_is_ever_run(tmp_path):
    """An .npz whose array would run code when unpickled is refused before it does."""

    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "exploded"),))

    np.savez(tmp_path / "bomb.npz", koopctl_header=np.array([Bomb()], dtype=object))
    with pytest.raises(FileFormatError):
        read_archive(tmp_path / "bomb.npz")
    assert not (tmp_path / "exploded").exists()


def test_a_newer_version_is_refused_and_says_so(tmp_path, monkeypatch):
    """What a later koopctl writes asks for an upgrade."""
    with monkeypatch.context() as later:
        later.setattr(archive, "VERSION", archive.VERSION + 1)
        path = write_archive(tmp_path / "new.npz", "test", HEADER, ARRAYS)
        assert read_archive(path)[1] == HEADER
    with pytest.raises(FileFormatError, match="upgrade koopctl"):
        read_archive(path)


def test_another_kind_is_refused_by_name(file):
    """The text says what the file holds and what was wanted."""
    with pytest.raises(FileFormatError, match="holds test, expected model or law"):
        read_archive(file, ("model", "law"))
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_archive(file.parent / "other.npz")


@pytest.mark.parametrize(
    ("header", "arrays", "error"),
    [
        ({"law": object()}, {}, TypeError),
        ({}, {"X": np.array([1, None])}, DataError),
        ({}, {"X": np.zeros(300_000)}, OSError),
    ],
    ids=["header", "objects", "full disk"],
)
def test_a_failed_save_leaves_the_old_file_and_no_litter(file, header, arrays, error):
    """An unwritable header, Python objects, a write that stops midway."""
    before, (soft, hard) = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(error):
            write_archive(file, "test", header, arrays)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_a_folder_in_the_way_is_not_harmed(tmp_path):
    """The last step fails, the temporary file goes."""
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(OSError):
        write_archive(tmp_path / "taken.npz", "test", HEADER, ARRAYS)
    assert os.listdir(tmp_path) == ["taken.npz"]
