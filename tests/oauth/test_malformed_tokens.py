"""A token that is none, however it looks, is inactive to whoever asks about it, and revoked already (RFC 7009 section 2.2)."""

import pytest

pytestmark = pytest.mark.both_databases
MALFORMED = ["", "\0", "gpo_\0", "gpr_\0x", "a\0.b.c", "..", "é", "x" * 20_000]


@pytest.mark.parametrize("token", MALFORMED)
def test_a_malformed_token_is_inactive(server_side, token):
    response = server_side.introspect(token)
    assert (response.status_code, response.json) == (200, {"active": False})


@pytest.mark.parametrize("token", MALFORMED[1:])
def test_revoking_a_malformed_token_is_done_already(program, token):
    assert program.revoke(token).status_code == 200
