"""A message to an address of the person's choice when a run has ended (`output.webhook`)."""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any

from trainer.runs.folder import RunFolder
from trainer.runs.status import read_status

_SECONDS = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Refuses to go on to another address, which nobody chose."""

    def redirect_request(self, *_args: Any, **_options: Any) -> None:
        """Returns nothing, so that the answer itself is the error."""


def describe_end(run: RunFolder) -> dict[str, Any]:
    """Returns the message about a run that has ended: names and numbers, no path.

    `text` and `content` are the same sentence, where Slack and Discord look for it.
    """
    status = read_status(run.path)
    sentence = f"{run.id}: {status.state} at step {status.step} of {status.steps}."
    files = [path.name for path in run.list_exports()]
    return {
        "run": run.id, "state": status.state, "step": status.step, "steps": status.steps,
        "message": status.message, "files": files, "text": sentence, "content": sentence,
    }  # fmt: skip


def post_end(run: RunFolder, address: str, seconds: float = _SECONDS) -> str:
    """Posts the message about a run that has ended.

    Args:
        run: The run.
        address: Where to, http or https.
        seconds: How long to wait for an answer.

    Returns:
        Why it did not arrive, without the address, which may be a secret; "" where it did.
    """
    body = json.dumps(describe_end(run)).encode()
    headers = {"content-type": "application/json", "user-agent": "lorasmith"}
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        request = urllib.request.Request(address, body, headers, method="POST")
        with opener.open(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as error:
        return f"the server answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"the server cannot be reached ({type(reason).__name__})"
