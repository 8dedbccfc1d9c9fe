"""The one file format: an .npz of plain arrays with a JSON header and a checksum; no pickle, written atomically."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from koopctl.errors import DataError, FileFormatError

VERSION = 1
_HEADER = "koopctl_header"


def write_archive(path: str | Path, kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write `arrays` and the JSON-able `header` to one .npz; an existing file is replaced only when all is written.

    Args:
        path: Where to write; `.npz` is appended when missing.
        kind: What the file holds, e.g. "rollouts"; checked on reading.
        header: JSON-able description.
        arrays: Numeric arrays by name.

    Returns:
        The path written.

    Raises:
        DataError: An array holds Python objects.
    """
    target = Path(path)
    if target.suffix != ".npz":
        target = target.with_name(target.name + ".npz")
    target.parent.mkdir(parents=True, exist_ok=True)
    plain: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain.items():
        if array.dtype.hasobject:
            raise DataError(f"{name} holds Python objects ({array.dtype}); a file holds plain numbers only.")
    full = {"kind": kind, "version": VERSION, "header": dict(header)}
    full["sha256"] = _digest(full, plain)
    text = np.frombuffer(_json(full), dtype=np.uint8)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **(plain | {_HEADER: text}))
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return target


def read_archive(
    path: str | Path, kinds: str | tuple[str, ...] | None = None
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read and verify a file of `write_archive`.

    Args:
        path: The file.
        kinds: Accepted kinds; None accepts all.

    Returns:
        `(kind, header, arrays)`.

    Raises:
        FileNotFoundError: There is no such file.
        FileFormatError: The file is foreign, corrupt, of another kind or of a newer version.
    """
    source = Path(path)
    if not source.is_file():
        raise FileNotFoundError(f"{source} does not exist; expected a .npz file written by koopctl.")
    full, arrays = _read_verified(source)
    accepted = (kinds,) if isinstance(kinds, str) else kinds
    if accepted is not None and full["kind"] not in accepted:
        raise FileFormatError(f"{source} holds {full['kind']}, expected {' or '.join(accepted)}; pass the right file.")
    return full["kind"], full["header"], arrays


def _read_verified(source: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    if not zipfile.is_zipfile(source):  # numpy would offer to unpickle it
        raise FileFormatError(f"{source} is not a readable .npz file; pass one that koopctl wrote, or write it again.")
    try:
        with np.load(source, allow_pickle=False) as npz:
            arrays = {name: npz[name] for name in npz.files}
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile) as error:
        raise FileFormatError(
            f"{source} is not a readable .npz file ({error}); restore it or write it again."
        ) from None
    except Exception as error:  # zlib.error, struct.error and RuntimeError surface from damaged zip members
        raise FileFormatError(f"{source} is damaged ({error}); restore it or write it again.") from None
    if _HEADER not in arrays:
        raise FileFormatError(
            f"{source} was not written by koopctl (no header); see Rollouts(X, U, dt) to wrap raw arrays."
        )
    try:
        full = json.loads(arrays.pop(_HEADER).tobytes())
        version, digest = int(full["version"]), full.pop("sha256")
        full["kind"], full["header"]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise FileFormatError(f"{source} has an unreadable header; restore it or write it again.") from None
    if version > VERSION:
        raise FileFormatError(
            f"{source} has format version {version}, this koopctl reads up to {VERSION}; upgrade koopctl."
        )
    if digest != _digest(full, arrays):
        raise FileFormatError(f"{source} does not match its checksum; it was changed or damaged after it was written.")
    return full, arrays


def _digest(full: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    checksum = hashlib.sha256(_json(full))
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        checksum.update(f"{name}|{array.dtype.str}|{array.shape}".encode())
        checksum.update(array.tobytes())  # C order, whatever the memory's order
    return checksum.hexdigest()


def _json(full: Mapping[str, Any]) -> bytes:
    return json.dumps(full, sort_keys=True, default=_plain).encode()


def _plain(value: object) -> object:
    """Write numpy's scalars, which parameters from a search often are, as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written to a file's header")


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
