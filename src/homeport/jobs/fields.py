"""What becomes of each field of a job, of the older contract's too; see `homeport.core.fields`."""

from homeport.core.fields import METADATA, WORKLOAD, acts, no_effect, read_only, refused, registry

_TRIGGERS = "this version has no schedules for jobs: nothing starts by itself"
_NO_SERVER = "a job's tasks end, so nothing of them is scaled, probed or served"
_NO_MODEL = "it describes a hosted model, and this is a job"

JOB_FIELDS = registry(
    METADATA,
    WORKLOAD,
    (
        acts("spec.runtime.args", "follow the command, or the start command of the source"),
        acts("spec.runtime.command", "replaces the start command of the source"),
        acts("spec.runtime.cpu", "limit in cores, by the machine's control groups"),
        acts("spec.runtime.expires", "the job is deleted at this moment; a past one is 400"),
        acts("spec.runtime.ttl", "the job is deleted so long after its last deployment"),
        acts("spec.runtime.maxConcurrentTasks", "tasks of one execution that run at once"),
        acts("spec.runtime.maxRetries", "further attempts of a failed task"),
        acts("spec.runtime.timeout", "seconds that an attempt may take"),
        no_effect("spec.runtime.configuration", _NO_MODEL),
        no_effect("spec.runtime.diskPercent", "programs write to the disk of this machine, not to memory"),
        no_effect("spec.runtime.endpointName", _NO_MODEL),
        no_effect("spec.runtime.maxScale", _NO_SERVER),
        no_effect("spec.runtime.metricPort", _NO_SERVER),
        no_effect("spec.runtime.minScale", _NO_SERVER),
        no_effect("spec.runtime.model", _NO_MODEL),
        no_effect("spec.runtime.organization", _NO_MODEL),
        no_effect("spec.runtime.ports", _NO_SERVER),
        no_effect("spec.runtime.ports[].name", _NO_SERVER),
        no_effect("spec.runtime.ports[].protocol", _NO_SERVER),
        no_effect("spec.runtime.ports[].target", _NO_SERVER),
        no_effect("spec.runtime.startupProbe", _NO_SERVER),
        no_effect("spec.runtime.transport", _NO_SERVER),
        no_effect("spec.runtime.type", _NO_MODEL),
        no_effect("spec.revision.stickySessionTtl", _NO_SERVER),
        no_effect("spec.sandbox", "every task runs in a sandbox"),
        no_effect("spec.triggers", _TRIGGERS),
        no_effect("spec.triggers[].id", _TRIGGERS),
        no_effect("spec.triggers[].type", _TRIGGERS),
        no_effect("spec.triggers[].enabled", _TRIGGERS),
        no_effect("spec.triggers[].configuration", _TRIGGERS),
        no_effect("spec.triggers[].configuration.authenticationType", _TRIGGERS),
        no_effect("spec.triggers[].configuration.callbackUrl", _TRIGGERS),
        read_only("spec.triggers[].configuration.callbackSecret", "made by the server, which makes none for jobs"),
        no_effect("spec.triggers[].configuration.path", _TRIGGERS),
        no_effect("spec.triggers[].configuration.retry", _TRIGGERS),
        no_effect("spec.triggers[].configuration.schedule", _TRIGGERS),
        no_effect("spec.triggers[].configuration.tasks", _TRIGGERS),
        no_effect("spec.triggers[].configuration.timeout", _TRIGGERS),
        refused("spec.githubRunner", "400 with repositories: this version has no self-hosted runners"),
        refused("spec.githubRunner.repositories", "400: this version has no self-hosted runners"),
    ),
)
