"""What plays, video and sound: decoded once, frame by frame, and never held as a whole."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """Return a time as people write it: ``0:05.3``, ``12:40``, ``1:02:03``."""
    tenths = round(seconds * 10)
    if tenths < 600:
        return f"0:{tenths // 10:02}.{tenths % 10}"
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
