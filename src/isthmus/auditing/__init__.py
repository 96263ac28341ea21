"""Audits: what a model does where passages of several languages compete, in numbers, words and a page."""

from __future__ import annotations

from isthmus.auditing.audit_result import AuditResult
from isthmus.auditing.audits import audit, audit_model, audit_models
from isthmus.auditing.page import write_audit_report

__all__ = ["AuditResult", "audit", "audit_model", "audit_models", "write_audit_report"]
