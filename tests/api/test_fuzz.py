"""Schemathesis against our own OpenAPI document: no 500, no status, type or shape that is not documented."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.api.node import ADMIN, running_node

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXAMPLES = os.environ.get("ORDERWIRE_FUZZ_EXAMPLES", "5")  # of each operation


@pytest.mark.slow
async def test_nothing_undocumented_is_answered(tmp_path: Path) -> None:
    nowhere = SecretStr("http://127.0.0.1:9")  # made-up destinations must reach nobody
    async with running_node(tmp_path, egress_proxy=nowhere) as node:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "schemathesis"),
            *("run", f"http://127.0.0.1:{node.port}/openapi.json"),
            *("--header", f"Authorization: Bearer {ADMIN}"),
            *("--checks", CHECKS, "--phases", "fuzzing", "--max-examples", EXAMPLES),
            *("--exclude-path", "/v1/live"),  # it does not end
            *("--seed", "1", "--request-timeout", "10", "--no-color"),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-8000:]
