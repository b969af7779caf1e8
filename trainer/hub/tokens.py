"""The token for the hub: from the environment, the keyring, or an earlier login."""

import os

KEYRING_SERVICE, KEYRING_NAME = "lorasmith", "hub-token"


def find_token() -> str:
    """Returns the token to send to the hub, or an empty text where there is none.

    The first of HF_TOKEN, the keyring (`keyring set lorasmith hub-token`, with the extra
    `keyring`) and what `hf auth login` has left.
    """
    return os.environ.get("HF_TOKEN", "").strip() or _ask_keyring() or _read_login()


def _ask_keyring() -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return ""
    try:
        return keyring.get_password(KEYRING_SERVICE, KEYRING_NAME) or ""
    except KeyringError:
        return ""  # locked, or none on this machine: most models need no token


def _read_login() -> str:
    from huggingface_hub import get_token

    return get_token() or ""
