# SPDX-License-Identifier: Apache-2.0
"""What a log record says, as data: for handlers that write JSON."""

from __future__ import annotations

__all__ = ["facts"]


def facts(event: str, **known: object) -> dict[str, dict[str, object]]:
    """The `extra` of a record: `record.anya` is a dictionary with the event and what is known of it."""
    return {"anya": {"event": event, **known}}
