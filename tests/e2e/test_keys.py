"""Keys and accounts at the gateway: what is given out opens a workload there, and ends there when it is taken back."""

import httpx

from homeport.testing.system import System, eventually

PROGRAM = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
REVOKED_WITHIN_S = 10.0  # it takes some milliseconds; the machine may be busy


def call(system: System, credential: str) -> int:
    headers = {"Authorization": f"Bearer {credential}"}
    return httpx.post(f"{system.url}/default/agents/guarded", headers=headers, timeout=30).status_code


def test_a_key_and_a_token_of_an_account_end_at_the_gateway_when_they_are_taken_back(system: System) -> None:
    system.deploy("agents", "guarded", {"main.py": PROGRAM}, {"runtime": {"memory": 128}})
    account = system.api.post("/service_accounts", json={"name": "robot"}).json()
    at = f"/service_accounts/{account['client_id']}"
    key = system.api.post(f"{at}/api_keys", json={"name": "ci", "expires_in": "1w"}).json()
    other = system.api.post(f"{at}/api_keys", json={"name": "other"}).json()
    found = httpx.get(f"{system.url}/.well-known/openid-configuration").json()
    credentials = (account["client_id"], account["client_secret"])
    given = httpx.post(found["token_endpoint"], json={"grant_type": "client_credentials"}, auth=credentials)
    token = given.json()["access_token"]
    assert [call(system, one) for one in (key["apiKey"], other["apiKey"], token)] == [200, 200, 200]

    assert system.api.delete(f"{at}/api_keys/{key['id']}").status_code == 200
    eventually(lambda: call(system, key["apiKey"]) in (401, 403), "the key is refused", REVOKED_WITHIN_S)
    assert [call(system, one) for one in (other["apiKey"], token)] == [200, 200]

    assert system.api.delete(at).status_code == 200
    for credential in (other["apiKey"], token):
        eventually(lambda one=credential: call(system, one) in (401, 403), "it is refused", REVOKED_WITHIN_S)  # type: ignore[misc]
    system.remove("agents", "guarded")
