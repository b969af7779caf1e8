"""Reports of libraries to their makers: switched off in one place, before any is imported.

ONNX Runtime writes a device id into the home folder and looks up a server as soon as it is
imported; its own function comes too late for that. Gradio and the hub's client count uses.
"""

import os

SWITCHES = {
    "ORT_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DISABLE_TELEMETRY": "1",  # what diffusers and gradio_client read, too
    "DO_NOT_TRACK": "1",  # a convention that further ones follow
}


def switch_off_telemetry() -> None:
    """Sets the variables of the environment that these libraries read when they are imported."""
    os.environ.update(SWITCHES)
