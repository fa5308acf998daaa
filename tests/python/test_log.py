# SPDX-License-Identifier: Apache-2.0
"""Log records: what handlers of the service may do without anybody else noticing, and what they are given."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from models.make_models import MODELS
from prometheus_client.parser import text_string_to_metric_families
from python.failures import QUICK as AT_ONCE
from python.failures import X as TWO
from python.failures import failing_once
from python.rollouts import LOST, QUICK, ask_poison, asked, load_versions, work_until
from python.support import HUNG, run_python, until

import anya_engine as anya
from anya_engine import _log, testing


class Keeping(logging.Handler):
    """Keeps records; lets them wait, or fails, when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()
        self.blocks = False
        self.error: Exception | None = None
        self.kept: list[tuple[logging.LogRecord, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Called by the thread of the log alone."""
        if self.blocks:
            self.entered.set()
            assert self.leave.wait(HUNG)
        if self.error is not None:
            raise self.error
        self.kept.append((record, context.get()))

    def messages(self) -> list[str]:
        """What was said."""
        return [record.getMessage() for record, _ in self.kept]


context: contextvars.ContextVar[str] = contextvars.ContextVar("context", default="nothing")


@pytest.fixture
def handler() -> Iterator[Keeping]:
    """A handler of the engine's logger, at INFO."""
    assert _log.flush(HUNG)
    logger, handler = logging.getLogger("anya_engine"), Keeping()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    handler.blocks = False
    handler.leave.set()
    assert _log.flush(HUNG)
    logger.removeHandler(handler)
    logger.setLevel(level)


def value(engine: anya.Engine, name: str, **labels: str) -> float:
    """One sample of a scrape."""
    families = text_string_to_metric_families(engine.metrics_text().decode())
    (found,) = (
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return found


def test_a_call_that_returns_has_been_logged(engine: anya.Engine, handler: Keeping) -> None:
    """A service finds the record of its own call handled: where it was said, by which thread, in which context."""
    before = context.set("the service's")
    engine.load("m", MODELS["version_1"]())
    context.reset(before)
    record, seen = handler.kept[-1]
    assert record.getMessage().startswith("loaded model=m version=1")
    assert (record.funcName, record.threadName, seen) == ("announce", "MainThread", "the service's")
    assert record.filename == "_model_table.py"
    assert record.anya["event"] == "loaded"  # type: ignore[attr-defined]


def test_the_service_decides_what_is_said(engine: anya.Engine, handler: Keeping) -> None:
    """Levels, `logging.disable` and filters of the service's logger hold as they do for any logger."""
    logger = logging.getLogger("anya_engine")
    logger.setLevel(logging.ERROR)
    engine.load("m", MODELS["version_1"]())
    logger.setLevel(logging.INFO)
    logging.disable(logging.INFO)
    engine.load("m", MODELS["version_1"]())
    logging.disable(logging.NOTSET)
    assert handler.kept == []
    refuse_all = logging.Filter("somebody else")
    logger.addFilter(refuse_all)
    engine.load("m", MODELS["version_1"]())
    logger.removeFilter(refuse_all)
    engine.load("m", MODELS["version_1"]())
    assert [words.split()[2] for words in handler.messages() if words.startswith("loaded")] == ["version=4"]


def test_a_canary_is_rolled_back_while_a_handler_blocks(poisoned: anya.Engine, handler: Keeping) -> None:
    """A handler that does not return holds up no step of a rollout; the backlog shows in a scrape; nothing is lost."""
    handler.blocks = True
    poisoned.deploy("p", "2", anya.Canary(steps=(20, 50), **QUICK))
    assert handler.entered.wait(HUNG)
    turns = iter(range(1_000_000))
    work_until(lambda: poisoned.status("p").state != "progressing", lambda n: ask_poison(poisoned, (1, LOST)[n % 2], n))
    assert poisoned.status("p").state == "rolled_back"
    assert all(ask_poison(poisoned, LOST, next(turns)) for _ in range(20))
    assert value(poisoned, "anya_log_records_waiting") >= 2
    assert value(poisoned, "anya_metrics_source_up", source="rollouts") == 1
    assert handler.kept == []
    handler.blocks = False
    handler.leave.set()
    assert _log.flush(HUNG)
    moves = [message.split("move=")[1].split()[0] for message in handler.messages() if "move=" in message]
    assert (moves[0], moves[-1]) == ("start", "rollback")
    assert value(poisoned, "anya_log_records_waiting") == 0


def test_retries_and_breakers_go_on_while_a_handler_blocks(
    guarded: Callable[..., anya.Engine], handler: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that fail are tried again and answered, however they were asked; a breaker opens, probes and closes."""
    breaker = anya.BreakerPolicy(minimum_calls=6, window=8, open_duration=0.001, probes=2)
    engine = guarded(retry=AT_ONCE, breaker=breaker)
    before = len(handler.kept)
    handler.blocks = True
    for ask in (
        lambda: engine.infer("m", TWO),
        lambda: engine.submit("m", TWO).result(HUNG),
        lambda: asyncio.run(engine.infer_async("m", TWO)),
    ):
        failing_once(engine, monkeypatch)
        assert (ask()["y"] == TWO + TWO).all()
    assert handler.entered.wait(HUNG)
    with testing.inject(engine, "m", error=anya.ExecutionError):
        until(lambda: fails(engine) and engine.status("m").circuits["1"].state != "closed", "opening")
    until(lambda: not fails(engine) and engine.status("m").circuits["1"].state == "closed", "closing")
    assert len(handler.kept) == before


def fails(engine: anya.Engine) -> bool:
    """Whether a request to `m` does."""
    try:
        engine.infer("m", TWO)
    except anya.AnyaError:
        return True
    return False


def test_a_handler_that_raises_is_visible_and_stops_nothing(
    engine: anya.Engine, handler: Keeping, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loads and rollouts are as ever; each record is counted as lost, the handler's traceback is on stderr."""
    before = value(engine, "anya_log_records_dropped_total", reason="error")
    handler.error = ZeroDivisionError("the handler's")
    load_versions(engine, 1, 2)
    engine.deploy("m", "2", anya.BlueGreen())
    assert asked(engine) == 2
    assert value(engine, "anya_log_records_dropped_total", reason="error") == before + 5  # audit says unsigned, twice
    assert "ZeroDivisionError: the handler's" in capsys.readouterr().err
    handler.error = None
    engine.rollback("m")
    assert "move=rollback" in handler.messages()[-1]


def test_what_finds_no_room_is_counted_and_said(engine: anya.Engine, handler: Keeping) -> None:
    """Records beyond the bound are dropped at once; the others keep their order; one record says how many went."""
    log = _log.Log("anya_engine")
    handler.blocks = True
    before = value(engine, "anya_log_records_dropped_total", reason="full")
    log.info("first")
    assert handler.entered.wait(HUNG)
    for number in range(_log.LIMIT + 7):
        log.info("record %d", number)
    assert value(engine, "anya_log_records_dropped_total", reason="full") == before + 7
    assert value(engine, "anya_log_records_waiting") == _log.LIMIT + 1
    handler.blocks = False
    handler.leave.set()
    assert _log.flush(HUNG)
    until(lambda: len(handler.kept) == _log.LIMIT + 2, "the record of what was dropped")
    said = ["first", *(f"record {number}" for number in range(_log.LIMIT)), "log records dropped count=7"]
    assert handler.messages() == said
    log.info("as before")
    assert handler.messages()[-1] == "as before"


def test_each_drop_is_counted_by_one_engine(engine: anya.Engine, handler: Keeping) -> None:
    """Engines of one process share the log: over all of them every lost record counts once, and stays."""
    handler.error = ZeroDivisionError()
    with anya.Engine() as other:
        before = value(engine, "anya_log_records_dropped_total", reason="error")
        theirs = value(other, "anya_log_records_dropped_total", reason="error")
        _log.Log("anya_engine").info("lost")
        for _ in range(2):
            assert value(engine, "anya_log_records_dropped_total", reason="error") == before + 1
            assert value(other, "anya_log_records_dropped_total", reason="error") == theirs


def test_records_arrive_before_the_process_ends() -> None:
    """What service threads said last is handled; a handler that blocks for ever costs the end two seconds."""
    said = run_python(
        """
        import logging, time
        from anya_engine._log import Log
        class Slow(logging.Handler):
            def emit(self, record):
                time.sleep(0.01)
                print(record.getMessage())
        logging.getLogger("anya_engine").addHandler(Slow())
        log = Log("anya_engine")
        thread = threading.Thread(target=lambda: [log.warning("%d", n) for n in range(20)], name="anya-x")
        thread.start()
        thread.join()
        """
    )
    assert said.stdout.split() == [str(number) for number in range(20)], said.stderr
    ended = run_python(
        """
        import logging
        from anya_engine._log import Log
        class Blocking(logging.Handler):
            def createLock(self):  # logging's own end waits for a handler's lock, with or without an engine
                self.lock = None
            def emit(self, record):
                threading.Event().wait()
        logging.getLogger("anya_engine").addHandler(Blocking())
        Log("anya_engine").warning("never handled")
        print("the end")
        """,
        seconds=HUNG,
    )
    assert (ended.returncode, ended.stdout) == (0, "the end\n"), ended.stderr


def test_a_forked_child_logs_for_itself() -> None:
    """A child's records are handled in the child, those that waited in the parent in the parent alone."""
    done = run_python(
        """
        import logging
        from anya_engine import _log, testing
        go, parent = threading.Event(), os.getpid()
        class Handler(logging.Handler):
            def createLock(self):  # one that a fork cannot find locked
                self.lock = None
            def emit(self, record):
                if os.getpid() == parent:
                    go.wait()
                print("child" if os.getpid() != parent else "parent", record.getMessage(), flush=True)
        logging.getLogger("anya_engine").addHandler(Handler())
        log = _log.Log("anya_engine")
        log.warning("one")
        log.warning("two")
        child = os.fork()
        if child == 0:
            log.warning("three")
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        go.set()
        """
    )
    assert done.stdout.splitlines() == ["child three", "parent one", "parent two"], done.stderr
