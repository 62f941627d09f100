"""The audit log finds what was done to it (point 11), beside the line of the table."""

import json
import signal
import stat
import time

import pytest

from kidney_core.app import audit_log
from kidney_core.common.errors import AuditError
from tests.app.test_pages import opened, texts
from tests.diagnosis.test_inference import made_checkpoint
from tests.hardness import audit


@pytest.mark.slow
def test_a_killed_writer_leaves_a_chain_that_goes_on(tmp_path):
    log = tmp_path / "audit.jsonl"
    for _ in range(5):
        writer = audit.start_writer(log, 100_000, "somebody")
        deadline = time.monotonic() + 60
        written = log.stat().st_size if log.exists() else 0
        while (not log.exists() or log.stat().st_size < written + 2000) and time.monotonic() < deadline:
            time.sleep(0.01)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        audit.write_one(log)
        audit_log.verify(log)


def test_a_line_that_a_power_cut_tore_is_cut_off_and_the_chain_goes_on(tmp_path):
    log = tmp_path / "audit.jsonl"
    audit.write_one(log)
    with log.open("ab") as file:
        file.write(b'{"time": "2026')
    assert audit_log.verify(log)[0] == 1
    audit.write_one(log)
    assert audit_log.verify(log)[0] == 2


def test_a_line_names_nobody_but_the_user_and_only_its_owner_reads_the_file(tmp_path):
    log = tmp_path / "audit.jsonl"
    audit.write_one(log)
    line = json.loads(log.read_text(encoding="utf-8"))
    assert set(line) == {"time", "kind", "user", "input", "model", "result", "number", "previous", "hash"}
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_append__error_no_folder_and_lost_log(tmp_path):
    with pytest.raises(AuditError, match="cannot be written .*No such file"):
        audit.write_one(tmp_path / "nowhere" / "audit.jsonl")
    log = tmp_path / "audit.jsonl"
    audit.write_one(log)
    log.unlink()
    with pytest.raises(AuditError, match="was emptied or replaced: 1 lines were written"):
        audit.write_one(log)


def test_the_command_says_whether_the_log_is_as_it_was_written(tmp_path, capsys):
    log = tmp_path / "audit.jsonl"
    audit.write_one(log)
    assert audit_log.main([str(log)]) == 0
    last = capsys.readouterr().out.split()[-1]
    audit.write_one(log)
    assert audit_log.main([str(log), "--expect", last]) == 0
    log.write_text(log.read_text(encoding="utf-8").replace("forger", "nobody"), encoding="utf-8")
    assert audit_log.main([str(log)]) == 1
    assert "line 1 is not as it was written" in capsys.readouterr().err


def test_nothing_is_written_unless_a_setting_names_the_file(monkeypatch, tmp_path):
    monkeypatch.delenv(audit_log.VARIABLE, raising=False)
    assert audit_log.configured() is None
    monkeypatch.setenv(audit_log.VARIABLE, str(tmp_path / "log"))
    assert audit_log.configured() == tmp_path / "log"


@pytest.mark.slow
def test_a_diagnosis_on_the_page_is_one_line_and_none_is_shown_where_it_cannot_be_written(monkeypatch, tmp_path):
    made_checkpoint(tmp_path / "checkpoints")
    log = tmp_path / "audit.jsonl"
    monkeypatch.setenv(audit_log.VARIABLE, str(log))
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.button(key="diagnosis_sample_Cyst").click().run()
    app.toggle(key="diagnosis_ask_all").set_value(True).run()  # the same question once more is no second line
    assert not app.exception, app.exception
    assert audit_log.verify(log)[0] == 1
    assert json.loads(log.read_text(encoding="utf-8"))["user"] == "local"
    monkeypatch.setenv(audit_log.VARIABLE, str(tmp_path / "nowhere" / "audit.jsonl"))
    app = opened("pages/1_Diagnosis.py", monkeypatch)
    app.button(key="diagnosis_sample_Stone").click().run()
    assert "cannot be written" in texts(app.error)
    assert not app.header
