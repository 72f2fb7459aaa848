"""Makes audit.schema.json, by which other software reads an audit, from the models of an audit."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, TypeAdapter

from simulator.audit.bench_model import BenchAudit
from simulator.audit.model import PlanAudit, RunAudit

Audit = Annotated[RunAudit | BenchAudit | PlanAudit, Field(discriminator="form")]


def schema() -> str:
    """Return the JSON schema of `audit.json`, whichever of the three it is."""
    found = TypeAdapter[RunAudit | BenchAudit | PlanAudit](Audit).json_schema(mode="serialization")
    described = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "wardround audit", **found}
    return json.dumps(described, indent=1) + "\n"
