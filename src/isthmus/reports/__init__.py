"""Self-contained HTML pages of results."""

from __future__ import annotations

from isthmus.reports.audit_page import write_audit_report

__all__ = ["write_audit_report"]
