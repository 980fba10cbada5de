# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures, and exit code 77 when nothing could be tested here."""
import pathlib
import shutil
import tempfile

import pytest

import harness


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="full sizes, as in the figures to reach")
    parser.addoption("--pulls", type=int, default=5, help="how many pulls test_catchup.py makes")


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    count = lambda kind: len(reporter.stats.get(kind, [])) if reporter else 0
    ran = count("passed") + count("failed") + count("error")
    if exitstatus == 5 or (exitstatus == 0 and ran == 0):
        session.exitstatus = 77


def pytest_generate_tests(metafunc):
    if "binary" in metafunc.fixturenames:
        found = harness.servers()
        metafunc.parametrize("binary", [path for _, path in found], ids=[name for name, _ in found])


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True


@pytest.fixture
def full(request):
    return request.config.getoption("--full")


@pytest.fixture
def root(request):
    """A directory for one test, gone after it; of a failed test the logs are shown first."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="rdbeam-test-"))
    yield path
    if getattr(request.node, "failed", False):
        for log in sorted(path.glob("*/*.log")):
            text = log.read_text(errors="replace")
            print(f"---- {log.parent.name}/{log.name}\n{text[-4000:]}")
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def make(root, request):
    """make(name, module=..., options={...}, **config) starts a server of the tested build."""
    started = []
    default = request.getfixturevalue("binary") if "binary" in request.fixturenames else None

    def start(name, binary=None, run=True, ready=True, **kwargs):
        server = harness.Server(root, name, binary or default or harness.servers()[0][1], **kwargs)
        started.append(server)
        return server.start(ready) if run else server

    if not harness.servers():
        pytest.skip("no redis-server in PATH and no RDBEAM_SERVERS")
    yield start
    errors = []
    for server in reversed(started):
        try:
            server.stop()
        except AssertionError as error:
            errors.append(str(error))
    assert not errors, "\n".join(errors)


@pytest.fixture
def loads(make, root):
    """loads(dump, ...) starts a server without the module on a copy of an RDB file."""
    numbers = iter(range(100))

    def start(dump, **kwargs):
        name = f"loader{next(numbers)}"
        place = root / name
        place.mkdir()
        shutil.copyfile(dump, place / "dump.rdb")
        return make(name, module=False, **kwargs)

    return start
