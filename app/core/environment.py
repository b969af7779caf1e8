"""The environment variables that change what Gradio does, fixed in one place."""

import os


def seal_environment() -> None:
    """Drops stray GRADIO_* variables and switches off every call home.

    Such a variable, left over from another program, could bind all interfaces, open a tunnel,
    serve more folders or let visitors edit code; only arguments of our own command may do that.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
