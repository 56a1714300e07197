"""What a specification may ask for and this version cannot give, whatever the kind: it is refused, not kept in silence.

Called by the domain packages that read settings.
"""

from collections.abc import Mapping
from typing import Any

from homeport.core.errors import Invalid
from homeport.core.spec import read_list, read_object


def refuse_unserved(spec: Mapping[str, Any]) -> None:
    """Raises `Invalid` naming the field and the reason. What is there but empty asks for nothing."""
    if read_object(spec, "githubRunner", "spec.githubRunner").get("repositories"):
        raise Invalid("spec.githubRunner", "self-hosted runners are not served by this version")
    for index, name in enumerate(read_list(spec, "integrationConnections", "spec.integrationConnections", 100)):
        if not isinstance(name, str) or name.strip():
            rule = "must name an integration connection of this workspace; this version has none"
            raise Invalid(f"spec.integrationConnections[{index}]", rule, value=name)
