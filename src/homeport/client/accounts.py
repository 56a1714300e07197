"""Operations about who may do what and where things run: workspaces, service accounts with their keys, locations,
images.

The part of the client below `Homeport`; programs use that. Their bodies are the contract's: flat, and in snake case
for service accounts.
"""

from homeport.client.transport import Resource, Transport, part


class AccountOperations(Transport):
    """What needs no kind of `homeport.core.ids`."""

    def list_workspaces(self) -> list[Resource]:
        return self._array("/workspaces")

    def get_workspace(self, name: str) -> Resource:
        return self._json("GET", f"/workspaces/{part(name)}")

    def list_images(self) -> list[Resource]:
        """What was built, all of it."""
        return self._array("/images")

    def get_image(self, name: str) -> Resource:
        """`name` as specifications have it, `agent/hello`."""
        return self._json("GET", _image_path(name))

    def delete_image(self, name: str) -> Resource:
        """With a tag, `agent/hello:TAG`, only that."""
        return self._json("DELETE", _image_path(name))

    def delete_unused_images(self) -> Resource:
        """`deleted`, a number, and `message`."""
        return self._json("DELETE", "/images")

    def list_locations(self) -> list[Resource]:
        """The regions, with their hardware."""
        return self._array("/locations")

    def get_configuration(self) -> Resource:
        """The continents, countries and regions that this installation knows."""
        return self._json("GET", "/configuration")

    def list_accounts(self) -> list[Resource]:
        """The workspace's service accounts."""
        return self._array("/service_accounts")

    def create_account(self, body: Resource) -> Resource:
        """A new service account from `{name, description}`; only this answer has its `client_secret`."""
        return self._json("POST", "/service_accounts", body=body)

    def delete_account(self, client_id: str) -> Resource:
        """Remove a service account; its keys end with it."""
        return self._json("DELETE", f"/service_accounts/{part(client_id)}")

    def list_keys(self, client_id: str) -> list[Resource]:
        return self._array(f"/service_accounts/{part(client_id)}/api_keys")

    def create_key(self, client_id: str, body: Resource) -> Resource:
        """A new key from `{name, expires_in}`; only this answer has its value, `apiKey`."""
        return self._json("POST", f"/service_accounts/{part(client_id)}/api_keys", body=body)

    def revoke_key(self, client_id: str, key: str) -> None:
        """End a key at once. The contract's answer has no body."""
        self._call("DELETE", f"/service_accounts/{part(client_id)}/api_keys/{part(key)}")


def _image_path(name: str) -> str:
    kind, _, plain = name.partition("/")
    return f"/images/{part(kind)}/{part(plain)}"
