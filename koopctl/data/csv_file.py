"""A text file of named columns, read with the standard library: numbers, and where in the file they stand."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np

from koopctl.arrays import Array, index_of
from koopctl.errors import DataError


@dataclass(frozen=True)
class CsvFile:
    """Chosen columns of a text file.

    Attributes:
        path: The file.
        numbers: One row a record, one column a name asked for, (N, n); NaN where a cell is empty or says nan.
        labels: The label column, one text a record; None where none was asked for.
        lines: Line of the file that each record ends in.
    """

    path: Path
    numbers: Array
    labels: list[str] | None
    lines: Sequence[int]

    def place(self, row: int) -> str:
        """Say where record `row` is."""
        return f"{self.path.name}, line {self.lines[row]}"

    @classmethod
    def read(cls, path: str | Path, names: Sequence[str], label: str | None, delimiter: str) -> CsvFile:
        """Read columns by name; the first line of the file holds the names, blank lines are skipped.

        Args:
            path: The file; UTF-8, or else Latin-1.
            names: Columns of numbers.
            label: Column of texts.
            delimiter: What stands between two cells, one character.

        Raises:
            FileNotFoundError: There is no such file.
            UnknownNameError: A column does not exist; the message lists the names.
            DataError: A cell holds text, a line has too many or too few cells, or there are no records.
        """
        if not isinstance(delimiter, str) or len(delimiter) != 1:
            raise DataError(f"delimiter is {delimiter!r}; give the one character between two cells, e.g. ',' or ';'.")
        source = Path(path)
        values, labels, lines = array("d"), list[str](), array("q")
        with _opened(source) as stream:
            reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
            header = [cell.strip() for cell in next(reader, [])]
            columns = [_position(column, header, source) for column in names]
            labelled = None if label is None else _position(label, header, source)
            for cells in reader:
                if not cells and len(header) > 1:  # in a file of one column a blank line is a cell
                    continue
                if len(cells) != len(header):
                    cells = _fitted(cells, len(header), f"{source.name}, line {reader.line_num}")
                try:
                    values.extend([float(cells[column]) for column in columns])
                except ValueError:  # an empty cell, or text
                    where = f"{source.name}, line {reader.line_num}"
                    values.extend([_number(cells[column], header[column], where) for column in columns])
                lines.append(reader.line_num)
                if labelled is not None:
                    labels.append(cells[labelled].strip())
        if not lines:
            raise DataError(f"{source.name} has column names but no rows.")
        numbers = np.frombuffer(values, dtype=np.float64).reshape(len(lines), len(columns))
        return cls(source, numbers, None if labelled is None else labels, lines)


@contextmanager
def _opened(source: Path) -> Iterator[TextIO]:
    with open(source, "rb") as raw:
        head = raw.readline()
    try:
        head.decode("utf-8-sig")
        encoding = "utf-8-sig"
    except UnicodeDecodeError:  # units such as the degree sign, from an older program
        encoding = "latin-1"
    try:
        with open(source, newline="", encoding=encoding, errors="replace") as stream:
            yield stream
    except csv.Error as error:
        raise DataError(f"{source.name} cannot be read as cells ({error}); write it again as plain text.") from None


def _position(name: str, header: Sequence[str], source: Path) -> int:
    if not any(header):
        raise DataError(f"{source.name} does not begin with a line of column names; write one above the rows.")
    position = index_of(name, header, f"column of {source.name}")
    if header.count(name) > 1:
        raise DataError(f"{source.name} has {header.count(name)} columns '{name}'; give each a name of its own.")
    return position


def _fitted(cells: list[str], width: int, where: str) -> list[str]:
    """Return as many cells as there are names: a delimiter at the end of every line makes an empty one more."""
    if not cells:
        return [""] * width
    if len(cells) > width and not any(cells[width:]):
        return cells[:width]
    raise DataError(
        f"{where} has {len(cells)} cells, the first line names {width} columns; complete the line, or remove it where "
        "the file was cut off."
    )


def _number(cell: str, column: str, where: str) -> float:
    if not cell.strip():
        return float("nan")
    try:
        return float(cell)
    except ValueError:
        raise DataError(
            f"{where}, column '{column}' holds the text {cell!r}; expected a number, or an empty cell or nan where "
            "nothing was measured."
        ) from None
