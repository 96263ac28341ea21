"""Audits: what a model does where passages of several languages compete, in numbers, words and a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus._lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.auditing.audit_result import AuditResult
    from isthmus.auditing.audits import audit, audit_model, audit_models
    from isthmus.auditing.page import write_audit_report

__all__ = ["AuditResult", "audit", "audit_model", "audit_models", "write_audit_report"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AuditResult": ".audit_result",
        "audit": ".audits",
        "audit_model": ".audits",
        "audit_models": ".audits",
        "write_audit_report": ".page",
    },
)
