"""How sizes and lengths of time are said."""


def show_bytes(size: float) -> str:
    """Returns a size as a person would say it."""
    if size >= 1024**3:
        return f"{size / 1024**3:.1f} GB"
    if size >= 1024**2:
        return f"{size / 1024**2:.1f} MB"
    return f"{max(size, 0) / 1024:.0f} KB" if size >= 1024 else f"{size:.0f} bytes"


def show_share(share: float, digits: int = 0) -> str:
    """Returns a share as percent."""
    return f"{100 * share:.{digits}f} %"
