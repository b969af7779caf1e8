"""`output.webhook`: a message when a run has ended, and nothing that its address can break."""

import http.server
import json
import threading

import pytest

from trainer.commands import train
from trainer.config import ConfigError, layer_config
from trainer.runs import RunError, read_events, read_status
from trainer.runs.webhook import post_end
from trainer.training import loop


@pytest.fixture
def server():
    """A server that keeps what is posted; `answer` is its status, `location` where it leads."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            self.server.posted.append((self.path, json.loads(body)))
            self.send_response(self.server.answer)
            if self.server.location:
                self.send_header("location", self.server.location)
            self.end_headers()

        def log_message(self, *_args):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.posted, made.answer, made.location = [], 204, ""
    made.url = f"http://127.0.0.1:{made.server_address[1]}"
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_finished_run_is_reported_without_a_path(make_run, cache, server, tmp_path):
    run = make_run(f"output.webhook={server.url}/secret", "train.steps=2")
    assert train(run, cache) == "finished"
    ((path, message),) = server.posted
    assert path == "/secret"
    assert message == {
        "run": run.id, "state": "finished", "step": 2, "steps": 2, "message": "",
        "files": ["pico.safetensors"], "text": f"{run.id}: finished at step 2 of 2.",
        "content": f"{run.id}: finished at step 2 of 2.",
    }  # fmt: skip
    assert str(tmp_path) not in json.dumps(message)
    assert b"secret" not in (run.path / "pico.safetensors").read_bytes()


def test_a_failed_run_is_reported_and_one_that_does_not_start_is_not(
    make_run, cache, server, monkeypatch
):
    def fail(*_args):
        raise RunError("The sky is blue.")

    run = make_run(f"output.webhook={server.url}", "train.steps=2")
    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", fail)
        with pytest.raises(RunError, match="sky"):
            train(run, cache)
    assert [message["state"] for _, message in server.posted] == ["failed"]
    assert server.posted[0][1]["message"].startswith("The sky is blue.")
    assert train(run, cache) == "finished"
    with pytest.raises(RunError, match="is finished"):
        train(run, cache)
    assert [message["state"] for _, message in server.posted] == ["failed", "finished"]


def test_a_server_that_refuses_changes_nothing_about_the_run(make_run, cache, server, capsys):
    server.answer = 500
    run = make_run(f"output.webhook={server.url}/secret", "train.steps=2")
    assert train(run, cache) == "finished"
    said = capsys.readouterr().err
    assert "output.webhook: the server answered 500" in said
    assert "secret" not in said
    assert read_status(run.path).state == "finished"
    assert read_events(run.events_path)[-1]["event"] == "ended"


def test_the_message_goes_nowhere_else(make_run, server):
    run = make_run()
    server.answer, server.location = 302, f"{server.url}/other"
    assert post_end(run, f"{server.url}/here") == "the server answered 302"
    assert [path for path, _ in server.posted] == ["/here"]
    server.shutdown()
    server.server_close()
    assert "cannot be reached" in post_end(run, server.url, seconds=1)


@pytest.mark.parametrize(
    "address",
    ["hooks.example.org", "ftp://example.org", "file:///etc/passwd", "https://", "x" * 501],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(ConfigError, match=r"output\.webhook"):
        layer_config(assignments=[f"output.webhook={address}"])
