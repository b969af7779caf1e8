"""Commands that are sent out and whose answers are files."""

import sys

import pytest

from app.core.jobs import (
    find_starter,
    forget_job,
    list_jobs,
    name_job,
    read_job,
    send_job,
    stamp_jobs,
    stop_job,
)
from app.core.workspace import Workspace, WorkspaceError
from tests.app.conftest import end_workers, wait_for
from trainer.runs import is_alive


@pytest.fixture
def sender(tmp_path):
    """A workspace whose commands are Python programs: `send(workspace, code)`."""
    made = Workspace(tmp_path / "workspace", (), (sys.executable, "-c"))
    made.prepare()
    yield made
    end_workers(made.root)


def send(workspace, code, **options):
    return send_job(workspace, name_job("test", code), [code], **options)


def end_of(workspace, code):
    job_id = name_job("test", code)
    wait_for(lambda: read_job(workspace, job_id).state not in {"none", "running"})
    return read_job(workspace, job_id)


def test_answer_is_the_json_that_was_printed_whatever_was_logged(sender):
    code = "import sys; print('a warning', file=sys.stderr); print('{\"fits\": true}')"
    send(sender, code)
    done = end_of(sender, code)
    assert (done.state, done.answer) == ("done", {"fits": True})


def test_same_question_is_asked_once_and_a_failed_one_again(sender, tmp_path):
    count = tmp_path / "count"
    for ending, asked in (("print(1)", 1), ("raise SystemExit(2)", 3)):
        count.write_text("")
        code = f"open({str(count)!r}, 'a').write('x'); {ending}"
        for _ in range(3):
            send(sender, code)
            end_of(sender, code)
        assert len(count.read_text()) == asked


def test_done_job_is_sent_again_where_that_is_wanted(sender, tmp_path):
    count = tmp_path / "count"
    code = f"open({str(count)!r}, 'a').write('x'); print(1)"
    for _ in range(2):
        send(sender, code, again=True)
        end_of(sender, code)
    assert count.read_text() == "xx"


def test_failure_is_told_by_the_commands_own_sentence(sender):
    code = "import sys; sys.exit('lorasmith: The disk is full.')"
    send(sender, code)
    assert end_of(sender, code).message == "The disk is full."


def test_failure_without_a_sentence_shows_the_last_line(sender):
    code = "raise ValueError('odd')"
    send(sender, code)
    assert "ValueError: odd" in end_of(sender, code).message


def test_progress_can_be_read_while_the_command_runs(sender):
    code = 'import time; print(\'{"event": "download", "done": 1}\', flush=True); time.sleep(900)'
    job_id = send(sender, code).id
    wait_for(lambda: read_job(sender, job_id).events)
    assert read_job(sender, job_id).events == ({"event": "download", "done": 1},)
    assert read_job(sender, job_id).state == "running"
    stop_job(sender, job_id)
    stopped = end_of(sender, code)
    assert (stopped.state, stopped.was_stopped) == ("failed", True)


def test_stopping_ends_the_process(sender):
    code = "import time; time.sleep(900)"
    job = send(sender, code)
    starter = find_starter(job.path)
    stop_job(sender, job.id)
    wait_for(lambda: not is_alive(starter))


def test_answer_is_forgotten_and_a_command_under_way_is_not(sender):
    busy = send(sender, "import time; time.sleep(900)")
    forget_job(sender, busy.id)
    assert read_job(sender, busy.id).state == "running"
    stop_job(sender, busy.id)
    send(sender, "print(1)")
    done = end_of(sender, "print(1)")
    for job_id in ("../runs", done.id):
        forget_job(sender, job_id)
    assert read_job(sender, done.id).state == "none"
    assert sender.runs_path.is_dir()


@pytest.mark.parametrize("job_id", ["../runs", "", None, "test-zz", "test-0123456789abcdef/.."])
def test_id_that_nobody_gave_out_is_nothing(sender, job_id):
    assert read_job(sender, job_id).state == "none"


def test_files_that_the_command_reads_are_there_when_it_starts(sender, tmp_path):
    code = f"print(open({str(sender.jobs_path)!r} + '/' + NAME + '/in.txt').read())"
    job_id = name_job("test", "x")
    code = code.replace("NAME", repr(job_id))
    send_job(sender, job_id, [code], lambda folder: (folder / "in.txt").write_text("7"))
    wait_for(lambda: read_job(sender, job_id).state == "done")
    assert read_job(sender, job_id).answer == 7


def test_stamp_changes_with_every_line_and_with_the_end(sender):
    code = "import time; print(1, flush=True); print(2)"
    marks = [stamp_jobs(sender, ["test"])]
    send(sender, code)
    end_of(sender, code)
    marks.append(stamp_jobs(sender, ["test"]))
    assert marks[0] != marks[1]
    assert marks[1] == stamp_jobs(sender, ["test"])


def test_old_answers_are_thrown_away(sender, monkeypatch):
    monkeypatch.setattr("app.core.jobs._MAX_JOBS", 2)
    for number in range(4):
        send(sender, f"print({number})")
        end_of(sender, f"print({number})")
    answers = [job.answer for job in list_jobs(sender, "test")]
    assert answers == [3, 2]


def test_command_that_cannot_be_started_is_said(tmp_path):
    broken = Workspace(tmp_path / "workspace", (), (str(tmp_path / "nowhere"),))
    broken.prepare()
    with pytest.raises(WorkspaceError, match="could not be started"):
        send(broken, "x")


def test_answer_that_is_cut_off_is_a_failure(sender):
    code = "print('{\"phases\": [')"
    send(sender, code)
    assert end_of(sender, code).state == "failed"
