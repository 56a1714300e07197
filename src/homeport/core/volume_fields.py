"""What becomes of each field of a volume; see `homeport.core.fields`."""

from homeport.core.fields import METADATA, acts, read_only, refused, registry

VOLUME_FIELDS = registry(
    METADATA,
    (
        acts("spec.region", "where it is, by name or alias; absent: this machine. It cannot change"),
        acts("spec.size", "MB; absent: 1024. It may grow, and 400 where it would shrink"),
        refused("spec.template", "400: this version has no volume templates"),
        read_only("state", "what has it"),
        read_only("state.attachedTo", "`kind:name` of the workload that has it; absent where it is free"),
        read_only("events", "what happened to it, oldest first"),
        read_only("events[].time", "when"),
        read_only("events[].type", "`volume`"),
        read_only("events[].status", "the status then"),
        read_only("events[].message", "what happened, in words"),
        read_only("status", "`DEPLOYED`, or `DELETING` while it goes"),
        read_only("terminatedAt", "when its deletion was asked for"),
    ),
)
