"""The sentences of the server: for browsers, and in the terminal."""

TAGLINE = "A style or a character from a handful of images, as a LoRA for Stable Diffusion."
CONNECTION_LOST = "Connection lost. The page asks again every second; it shows what was so at "
LOGIN_HEADING = "This Lorasmith asks for its password."
LOGIN_TOO_LONG = "This is longer than any password."
LOG_OUT = "Log out"
LOGIN_LABEL = "Password"
LOGIN_BUTTON = "Open"
WRONG_HOST = "This address is not one that Lorasmith answers to."
WRONG_ORIGIN = "Requests from other web sites are refused."
NO_LENGTH = "An upload must state its size."
UPLOAD_TOO_LARGE = "This upload is too large."
EVENT_TOO_LARGE = "This is more than the page ever sends."
EVENT_DAMAGED = "This is not what the page sends."
NO_ADDRESSES = "Files are uploaded, or named by a path; an address is not fetched."
NO_REVISION = "A text is saved with the revision that it was made from (If-Match)."
NOT_JSON = "A text is sent as JSON with the one entry “text”."
TEXT_TOO_LARGE = "This text is too long. Shorten it."
UPLOADS_FULL = "Too much has been uploaded and not taken in yet. Wait a minute and try again."


def login_wrong(seconds: int) -> str:
    return f"That was not the password. {_name_wait(seconds)}"


def login_wait(seconds: int) -> str:
    return f"There were wrong passwords from your address. {_name_wait(seconds)}"


def _name_wait(seconds: int) -> str:
    return f"Try again in {seconds} second{'s' if seconds != 1 else ''}."


def password_needed(host: str) -> str:
    return (
        f"With {host} other computers are let in, so a password is needed. "
        "Give one with --password, or stay on 127.0.0.1."
    )


def no_host_name(name: str) -> str:
    return (
        f"“{name}” is no host name. Give it as in the address of the page, such as gpu.example.org."
    )


def no_root_path(path: str) -> str:
    return f"“{path}” is no path. Give it as in the address of the page, such as /lorasmith."


def port_taken(host: str, port: int) -> str:
    return f"{host}:{port} is taken. Close what uses it, or choose another port with --port."


def serving(url: str, workspace: str) -> str:
    return (
        f"Lorasmith is at {url}  (Ctrl+C ends the app; a run goes on without it)\n"
        f"Datasets, runs and models are in {workspace}"
    )
