"""Bounds of requests and waits, each with its reason. The operator may change some of them in
DATA/config.toml."""

from dataclasses import dataclass

DISPLAY_NAME_LENGTH = 63  # public contract
EXTERNAL_ID_LENGTH = 64  # public contract
PAGE_LIMIT = 50  # public contract, default
PAGE_LIMIT_MAX = 200  # public contract, clamped
STOP_GRACE_S = 10  # from SIGTERM to SIGKILL of tasks that are stopped, where the caller says nothing
STOP_GRACE_S_MAX = 600  # longer is a plain cancel
DRAIN_S_MAX = 24 * 3600  # how long a stop of Homeport may wait for what is under way
HISTORY_PAGE_LIMIT = 1000
HISTORY_PAGE_LIMIT_MAX = 10_000
EXECUTION_PAGE_LIMIT = 20  # public contract
EXECUTION_PAGE_LIMIT_MAX = 100  # public contract
CURSOR_AGE_S = 24 * 3600  # public contract
QUERY_LENGTH = 200  # public contract

MIB = 1024 * 1024

# Defaults of DATA/config.toml's [limits] (homeport.configuration).
BODY_BYTES = 16 * MIB  # a JSON body: room for some 100 000 small tasks
UPLOAD_BYTES = 512 * MIB  # an uploaded archive
UNPACKED_BYTES = 2048 * MIB  # an archive's content, against bombs
UNPACKED_FILES = 100_000
BUILD_TIMEOUT_S = 15 * 60  # public contract: the SDK's image builder gives up then

VOLUME_MB = 100 * 1024  # one volume
WORKSPACE_VOLUMES_MB = 1024 * 1024  # all volumes of a workspace; more than what is written counts on no disk
EPHEMERAL_MB = 100 * 1024  # what begins empty and goes with its program, of one replica or attempt

# The most that an operator may make of them. Clients, who do not know the setting, pack no more.
UPLOAD_MB_MOST = 16 * 1024
UNPACKED_MB_MOST = 256 * 1024
UNPACKED_FILES_MOST = 200_000
VOLUME_MB_MOST = 1024 * 1024 * 1024

START_TIMEOUT_S = 120  # a program that does not listen by then has failed to start
DRAIN_TIMEOUT_S = 30  # a replaced replica may finish its requests
IDLE_TIMEOUT_S = 100  # public contract: a synchronous call without a byte
REQUEST_TIMEOUT_S = 15 * 60  # public contract: agent maximum runtime
WEBSOCKET_IDLE_S = 15 * 60  # people pause in conversations; without any limit dead ones would stay for ever
REVISIONS_KEPT = 5  # public contract
REVISIONS_MOST = 2 * REVISIONS_KEPT + 4  # kept besides what executions run: failed ones, and what traffic names
TASK_TIMEOUT_S = 3600  # where a job names none (the contract's example)
TASK_MEMORY_MB = 2048  # where a job names none (the contract's example)
MAX_RETRIES_DEFAULT = 0  # a job that asks for no retries gets none


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How long a call to a workload may take, in seconds: without a byte either way, in all, and, for WebSockets, which
    have no limit in all, without a byte. The operator's."""

    idle_s: float = IDLE_TIMEOUT_S
    total_s: float = REQUEST_TIMEOUT_S
    websocket_idle_s: float = WEBSOCKET_IDLE_S
