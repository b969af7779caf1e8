"""The app in a browser and the command line, over folders. Thin, and without torch.

One folder a subject: `dataset`, `train`, `models`, `preview`, `library`, `combine`; below them
`core` (folders, without Gradio) and `ui` (widgets), above them `web` (page, server) and `commands`.
"""

import os

from datasets_tools.telemetry import switch_off_telemetry


def seal_environment() -> None:
    """Drops stray GRADIO_* variables and switches off the reports of libraries.

    Such a variable, left over from another program, could bind all interfaces, open a tunnel,
    serve more folders or let visitors edit code; only arguments of our own command may do that.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_")]:
        del os.environ[name]
    switch_off_telemetry()


# Gradio reads its switches while it is imported, so they are set before anyone here imports it.
seal_environment()
