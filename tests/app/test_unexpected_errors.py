"""An error that nobody foresaw: a number for the user, the place in the log, and no value anywhere."""

import logging
import re

import pytest
from streamlit.testing.v1 import AppTest

from kidney_core.app import unexpected_errors

PATIENT = "DOE^JANE"
REFERENCE = r"\d{4}-\d{4}"


@pytest.fixture(autouse=True)
def installed():
    unexpected_errors.install()


def raise_in_a_page():
    import streamlit as st

    from kidney_core.app import unexpected_errors

    unexpected_errors.install()
    patient = st.session_state.patient  # in a local variable

    def read(name):
        raise KeyError(f"no slice of {name}")

    try:
        read(patient)
    except KeyError as error:
        raise ValueError(f"cannot show {patient}") from error


def raise_in_a_fragment():
    import streamlit as st

    from kidney_core.app import unexpected_errors

    unexpected_errors.install()

    @st.fragment
    def panel():
        patient = st.session_state.patient
        if st.button("Go", key="go"):
            raise RuntimeError(patient)

    panel()


def raise_in_a_callback():
    import streamlit as st

    from kidney_core.app import unexpected_errors

    unexpected_errors.install()

    def clicked(patient):
        {}[patient]

    st.button("Go", key="go", on_click=clicked, args=(st.session_state.patient,))


def opened(page):
    app = AppTest.from_function(page)
    app.session_state["patient"] = PATIENT
    return app.run()


def check(app, caplog, capfd):
    """The page shows one sentence with a number, the log the place under the same number, and neither the patient."""
    assert len(app.exception) == 1
    shown = app.exception[0]
    assert shown.stack_trace == []
    assert re.search(rf"Please reload the page.*\*\*{REFERENCE}\*\*", shown.message)
    number = re.search(REFERENCE, shown.message).group()
    records = [record for record in caplog.records if number in record.getMessage()]
    assert [record.name for record in records] == ["kidney_core.app.unexpected_errors"]
    printed = capfd.readouterr()
    assert PATIENT not in shown.message + caplog.text + printed.out + printed.err
    return records[0].getMessage()


def test_an_error_on_a_page_is_a_number_and_its_chain_of_places(caplog, capfd):
    log = check(opened(raise_in_a_page), caplog, capfd)
    lines = [re.sub(r":\d+:", ":N:", re.sub(r"/\S*/", "", line)) for line in log.splitlines()]
    script = lines[4].strip().partition(":")[0]
    assert re.fullmatch(rf"unexpected error, reference {REFERENCE}", lines[0])
    assert lines[1] == "  ValueError"
    assert lines[4:] == [
        f"    {script}:N:<module>",
        f"    {script}:N:raise_in_a_page",
        "  caused by KeyError",
        f"    {script}:N:raise_in_a_page",
        f"    {script}:N:raise_in_a_page.<locals>.read",
    ]


def test_an_error_in_a_fragment_is_shown_the_same_way(caplog, capfd):
    app = opened(raise_in_a_fragment)
    assert not app.exception
    app.button(key="go").click().run()
    assert "panel" in check(app, caplog, capfd).splitlines()[-1]


def test_an_error_in_a_callback_is_shown_the_same_way(caplog, capfd):
    app = opened(raise_in_a_callback)
    app.button(key="go").click().run()
    assert "clicked" in check(app, caplog, capfd).splitlines()[-1]


def failed(work):
    try:
        work()
    except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
        return error
    raise AssertionError("no error")


def test_the_whole_chain_is_named_also_where_its_context_is_suppressed():
    def work():
        try:
            int(PATIENT)
        except ValueError:
            raise KeyError(PATIENT) from None

    log = unexpected_errors.describe(failed(work))
    here = rf"tests/app/test_unexpected_errors\.py:\d+:{re.escape(work.__qualname__)}"
    assert re.search(rf"  KeyError\n.*\n    {here}\n  raised while handling ValueError\n    {here}$", log)
    assert PATIENT not in log


def test_members_of_a_group_and_a_chain_that_ends_in_itself_are_named_once():
    first, second = ValueError(PATIENT), TypeError(PATIENT)
    first.__context__, second.__context__ = second, first
    log = unexpected_errors.describe(ExceptionGroup(PATIENT, [first, second]))
    assert log.splitlines()[1:] == ["  ExceptionGroup", "  grouped ValueError", "  raised while handling TypeError"]


def test_an_endless_recursion_is_shortened():
    def work():
        work()

    log = unexpected_errors.describe(failed(work))
    assert len(log.splitlines()) == unexpected_errors.MAX_FRAMES + 3
    assert re.search(r"\.\.\. \d+ more \.\.\.", log)


def test_an_error_keeps_its_number():
    error = ValueError()
    assert unexpected_errors.reference_of(error) == unexpected_errors.reference_of(error)
    assert unexpected_errors.reference_of(error) in unexpected_errors.sentence(error)


@pytest.mark.parametrize("name", ["streamlit.runtime.app_session", "uvicorn.error", "asyncio"])
def test_no_logger_of_the_server_writes_a_traceback_with_values(name):
    error = failed(lambda: {}[PATIENT])
    made = logging.getLogger(name).makeRecord(
        name, logging.ERROR, "file.py", 1, "lost: %r", (error,), (type(error), error, error.__traceback__)
    )
    written = logging.Formatter().format(made)
    assert PATIENT not in written
    assert f"unexpected error, reference {unexpected_errors.reference_of(error)}\n  KeyError\n" in written


def test_other_loggers_keep_their_tracebacks():
    error = failed(lambda: {}["key"])
    made = logging.getLogger("other").makeRecord(
        "other", logging.ERROR, "file.py", 1, "lost", (), (type(error), error, error.__traceback__)
    )
    assert "KeyError: 'key'" in logging.Formatter().format(made)


def test_installing_twice_changes_nothing():
    before = logging.getLogRecordFactory()
    unexpected_errors.install()
    assert logging.getLogRecordFactory() is before
