"""Bars: a run stops where it is asked to, whatever loses the exception."""

import contextlib
import signal
import threading

import pytest

from recipes.progress import bar

pytestmark = pytest.mark.once  # no network, so no backend


@pytest.fixture(autouse=True)
def ctrl_c():
    """Ctrl-C as in a terminal: a shell that starts tests in the background lets them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def lose(number):
    with contextlib.suppress(BaseException):  # as `keras.src.utils.python_utils.pythonify_logs` does
        signal.raise_signal(number)


def test_ctrl_c_that_keras_loses_ends_the_run_at_its_next_step():
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def run():
        with bar("fit", 3) as step:
            for number in range(3):
                step()
                steps.append(number)
                lose(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()
    assert steps == [0]
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_lost_behind_the_last_step_ends_the_run_with_its_bar():
    def run():
        with bar("fit", 1) as step:
            step()
            lose(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run()


def test_an_error_that_came_of_ctrl_c_does_not_hide_it():
    def run():
        with bar("fit", 1):
            lose(signal.SIGINT)
            raise ValueError("structures differ")

    with pytest.raises(KeyboardInterrupt):
        run()


def test_a_handler_that_notes_and_goes_on_is_called_once_a_signal():
    called = []
    before = signal.signal(signal.SIGTERM, lambda *_: called.append(1))
    try:
        with bar("outer", 1), bar("inner", 2) as step:
            signal.raise_signal(signal.SIGTERM)
            step()
            step()
        assert called == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_ctrl_c_ends_the_run_at_once_through_bars_within_bars():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), bar("outer", 1), bar("inner", 1):
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_that_leaves_its_signal_to_be_ignored_has_its_way():
    def end(*_):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once: nothing is to interrupt the clearing away
        raise SystemExit(143)

    def run():
        with bar("fit", 1) as step:
            lose(signal.SIGTERM)
            step()

    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(SystemExit):
            run()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_beside_the_main_thread_a_bar_works_without_signals():
    steps = []

    def work():
        with bar("thread", 1) as step:
            step()
            steps.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert steps == [1]
