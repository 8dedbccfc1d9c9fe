"""The report is one page that needs nothing else, says what the table says, and escapes what it is given."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import koopctl as kc
from koopctl import tables
from koopctl.comparison import compare
from koopctl.controllers.lqr import LQR
from koopctl.controllers.relinearized_mpc import RelinearizedMPC
from koopctl.envs import task as usual_task
from koopctl.errors import DataError
from koopctl.metrics import Interval
from koopctl.models.sampled_rnn import SampledRNN
from koopctl.report import write_report

EVIL = "<script>alert('x')</script> & \"$q$\""


class Page(HTMLParser):
    """Collects tags with their attributes and all text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def images(self) -> list[str]:
        prefix = "data:image/svg+xml;base64,"
        sources = [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith(prefix) for source in sources)
        return [base64.b64decode(source.removeprefix(prefix)).decode() for source in sources]


class Fails:
    """Raises at once, with words that are markup."""

    dt = 0.05

    def reset(self) -> None:
        pass

    def __call__(self, y, reference=None):
        raise ValueError(EVIL)


class Push(Fails):
    """A constant input."""

    def __call__(self, y, reference=None):
        return np.array([0.5]), {}


@pytest.fixture(scope="module")
def data():
    """Return the recipe's data, split."""
    return kc.collect("Pendulum-v1", episodes=100, steps=60, excitation="piecewise", seed=0).split(0.8, 0)


@pytest.fixture(scope="module")
def laws(data):
    """Return two laws on one model."""
    model, task = SampledRNN(150).fit(data[0]), usual_task("Pendulum-v1")
    return {"mpc": RelinearizedMPC(model, task), "lqr": LQR(model, task)}


@pytest.fixture(scope="module")
def table(laws):
    """Return a comparison with hostile names and words."""
    more = {EVIL: Push(), "fails": Fails()}
    return compare("Pendulum-v1", laws | more, [100, 101], steps=40, knows={EVIL: f"nothing {EVIL}"})


@pytest.fixture(scope="module")
def page(table, data, tmp_path_factory) -> Page:
    """Return the written page."""
    return Page(table.report(tmp_path_factory.mktemp("new") / "folder", held_out=data[1]))


def test_the_page_is_well_formed_and_alone(page: Page):
    """Every tag is closed; nothing is loaded from anywhere; no script."""
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.tags}
    loaded = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert loaded and all(str(value).startswith("data:") for value in loaded)
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None and "default-src 'none'" in policy


def test_user_strings_are_text(page: Page):
    """Names, knowledge and error words appear as they were written, and as nothing else."""
    assert page.text.count(EVIL) >= 4  # the row, what it knew, the failure's words, the runs
    assert f"ValueError: {EVIL}" in page.text and f"nothing {EVIL}" in page.text


def test_the_page_says_what_the_table_says(page: Page, table):
    """Every cell of the table, the task, the seeds, the rungs, the versions."""
    squeezed = page.text.replace(" ", "")
    for row in table.rows:
        for column in tables.columns(table):
            assert column.cell(row).replace(" ", "") in squeezed
    for words in ("theta: 1, thetadot: 0.1", "2 seeds", "100, 101", f"koopctl {kc.__version__}", "solved"):
        assert words in page.text
    assert "theta, thetadot" in page.text and "fails: 2 of 2 runs failed" in page.text


def test_every_plot_is_there_with_a_caption(page: Page):
    """Returns, response, phase, plans, latency, errors, one model's eigenvalues; each a complete SVG."""
    images = page.images()
    assert len(images) == 7 == sum(tag == "figcaption" for tag, _ in page.tags)
    for image in images:
        root = ElementTree.fromstring(image)
        assert root.tag.endswith("svg") and len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 20
        assert not re.search(r'(?:href|src)="https?:', image)
    assert all(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_without_held_out_data_there_are_no_prediction_errors(laws, tmp_path):
    """One law, one seed: a smaller page; a model may be shown under a name of one's own."""
    table = compare("Pendulum-v1", {"lqr": laws["lqr"]}, [100], steps=10)
    path = write_report(table, tmp_path, models={"my <model>": laws["lqr"].model})
    assert path == tmp_path / "report.html"
    page = Page(path)
    assert len(page.images()) == 5  # no plans, no prediction errors
    assert "my <model>: eigenvalues" in page.text and "seed 100" in page.text


def test_a_report_of_failures_only(tmp_path):
    """There is nothing to draw, and the page says why."""
    page = Page(compare("Pendulum-v1", {"fails": Fails()}, [100], steps=10).report(tmp_path))
    assert page.images() == [] and "Every run failed" in page.text and EVIL in page.text


def test_held_out_episodes_that_are_too_short(data, tmp_path):
    """A model with more delays than the episodes have steps cannot be scored, which is said in words."""
    model = SampledRNN(20, delays=12).fit(data[0])
    table = compare("Pendulum-v1", {"push": Push()}, [100], steps=10)
    short = kc.Rollouts([X[:9] for X in data[1].X], [U[:8] for U in data[1].U], 0.05, data[1].x_names, data[1].u_names)
    with pytest.raises(DataError, match="shorter than the models' delays"):
        write_report(table, tmp_path, models={"m": model}, held_out=short)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-162.34, "-162"), (9359.6, "9360"), (0.8725, "0.873"), (12.345, "12.3"), (0.04251, "0.0425"),
     (1e-4, "1.00e-04"), (123456.0, "1.23e+05"), (np.nan, "-"), (np.inf, "inf")],
)  # fmt: skip
def test_numbers_are_short(value: float, text: str):
    """Three digits where they matter, powers of ten where they must."""
    assert tables.number(value) == text


def test_intervals_without_width_are_left_out():
    """A single seed has no interval."""
    assert tables.interval(Interval(1.0)) == "1.00" == tables.interval(Interval(1.0, 1.0, 1.0))
    assert tables.interval(Interval(1.0, 0.5, 1.5)) == "1.00 [0.500, 1.50]"
