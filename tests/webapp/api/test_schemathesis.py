"""schemathesis makes requests from the OpenAPI description, good and bad ones: no 500, and every response as described."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")

from schemathesis.generation import GenerationMode  # noqa: E402

# a class that is not in the space is a string, as described, and refused all the same
NOT_MEANT = [schemathesis.checks.positive_data_acceptance]


def operations(site):
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", site.app)
    return [result.ok() for result in schema.get_all_operations()]


def try_out(operation, mode, headers, seen, examples):
    """Send what schemathesis makes up, and check each response against the description."""

    @settings(
        max_examples=examples, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case):
        response = case.call(headers=headers)
        seen.append(response.status_code)
        case.validate_response(response, headers=headers, excluded_checks=NOT_MEANT)

    send()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_requests_from_the_description(site, mode, examples=4):
    seen: list[int] = []
    found = operations(site)
    assert len(found) > 20
    for operation in found:
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue
        try_out(operation, mode, site.headers["owner"], seen, examples)
    assert len(seen) > len(found) and max(seen) < 500
    assert {GenerationMode.POSITIVE: 200, GenerationMode.NEGATIVE: 422}[mode] in seen


@pytest.mark.slow
@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.name.lower())
def test_many_requests_from_the_description(site, mode):
    test_requests_from_the_description(site, mode, examples=100)


def test_nobody_gets_anything(site):
    for operation in operations(site):
        response = getattr(site.browser, operation.method)(
            operation.path.replace("{user_id}", "1").replace("{token_id}", "0" * 16)
        )
        assert response.status_code in (400, 401, 422), operation.label
        assert set(json.loads(response.text)) == {"found", "expected", "fix"}
