"""What is said about logs and traces makes sense, or is told with its place."""

from __future__ import annotations

import pytest

from streamlb.config.telling import FIELDS
from streamlb.observe import access_json
from tests.unit.config.asking import WEB, config_of, lines_of, notes_of


def test_the_fields_are_those_that_lines_have() -> None:
    assert set(FIELDS) == access_json.FIELDS


def test_all_of_it() -> None:
    config = config_of(
        WEB
        + """
accessLog:
  filePath: /tmp/access.log
  format: json
  bufferingSize: 5000
  filters: {statusCodes: ["400-499", 500], retryAttempts: true, minDuration: 10ms}
  fields:
    defaultMode: keep
    names: {clientusername: drop, GzipRatio: drop}
    headers: {defaultMode: drop, names: {User-Agent: keep, Authorization: redact}}
    queryParameters: {defaultMode: redact, names: {page: keep}}
tracing: {serviceName: edge, sampleRate: 0.1, otlp: {http: {endpoint: "http://collector:4318/v1/traces"}}}
"""
    )
    assert config.access_log is not None
    assert config.access_log.filters.status_codes == ["400-499", "500"]
    assert config.access_log.filters.min_duration == 0.01
    assert config.access_log.fields.headers.names["User-Agent"] == "keep"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("accessLog: {filters: {statusCodes: [4xx]}}", "`4xx` is no status"),
        ("accessLog: {filters: {statusCodes: 599-400}}", "the range ends before it begins"),
        ("accessLog: {format: json, fields: {names: {RouterNam: drop}}}", "there is no field `RouterNam`"),
        ("accessLog: {fields: {headers: {names: {'a b': keep}}}}", "a field's name takes letters"),
        ("accessLog: {fields: {headers: {defaultMode: hide}}}", "hide"),
        ("accessLog: {format: xml}", "xml"),
        ("accessLog: {bufferingSize: -1}", "bufferingSize"),
        ("tracing: {otlp: {http: {endpoint: 'localhost:4318'}}}", "not a URL of a collector"),
        ("tracing: {otlp: {http: {headers: {'a b': c}}}}", "a field's name takes letters"),
        ("tracing: {sampleRate: 2}", "sampleRate"),
    ],
)
def test_what_cannot_be_meant(text: str, problem: str) -> None:
    [line] = lines_of(WEB + text)
    assert problem in line


@pytest.mark.parametrize(
    ("field", "problem"),
    [
        ("X-Request-Id", ""),
        ("traceId", ""),
        ("a b", "cannot be the name of a field"),
        ("Host", "has a meaning of its own"),
        ("X_Forwarded_For", "has a meaning of its own"),
        ("Content-Length", "has a meaning of its own"),
        ("traceparent", "has a meaning of its own"),
    ],
)
def test_the_field_of_request_ids(field: str, problem: str) -> None:
    text = f"entryPoints: {{web: {{address: ':80', http: {{requestId: '{field}'}}}}}}\n"
    lines = lines_of(text)
    assert len(lines) == bool(problem)
    assert all(problem in line for line in lines)


def test_what_has_no_effect_is_noted() -> None:
    [note] = notes_of(WEB + "accessLog: {fields: {defaultMode: drop}}")
    assert "the columns of `format: common` are fixed" in note
