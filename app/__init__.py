"""The window: a browser app and a command line over folders. Thin, and without torch.

What lives here: `server` (host, password, launch), `security`, `login` and `media` (the doors),
`workspace` (where files lie, and how names become paths), `form` (config model to widgets),
`markup` (HTML that is escaped by default), `text` (every sentence), `views` (folder to what a page
shows), `actions` (what a button does), `pages` (the four tabs) and `cli` (the command).
"""

from app.core.environment import seal_environment

# Gradio reads its switches while it is imported, so they are set before anyone here imports it.
seal_environment()
