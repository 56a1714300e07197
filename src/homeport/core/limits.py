"""Bounds of requests and waits, each with its reason. Settings may lower or raise those that operators care about."""

NAME_LENGTH = 49  # contract §1.8
DISPLAY_NAME_LENGTH = 63  # contract §1.8
EXTERNAL_ID_LENGTH = 64  # contract §1.8
PAGE_LIMIT = 50  # contract §1.4, default
PAGE_LIMIT_MAX = 200  # contract §1.4, clamped
EXECUTION_PAGE_LIMIT = 20  # contract §1.4
EXECUTION_PAGE_LIMIT_MAX = 100  # contract §1.4
CURSOR_AGE_S = 24 * 3600  # contract §1.4
QUERY_LENGTH = 200  # contract §1.4

BODY_BYTES = 16 * 1024 * 1024  # a JSON body: room for some 100 000 small tasks
UPLOAD_BYTES = 512 * 1024 * 1024  # an uploaded archive
UNPACKED_BYTES = 2 * 1024 * 1024 * 1024  # an archive's content, against bombs
UNPACKED_FILES = 100_000
BUILD_TIMEOUT_S = 15 * 60  # contract §3.3: the SDK's image builder gives up then
START_TIMEOUT_S = 120  # a program that does not listen by then has failed to start
DRAIN_TIMEOUT_S = 30  # a replaced replica may finish its requests
IDLE_TIMEOUT_S = 100  # contract §3.4: a synchronous call without a byte
REQUEST_TIMEOUT_S = 15 * 60  # contract §3.4: agent maximum runtime
WEBSOCKET_IDLE_S = 15 * 60  # design §3
REVISIONS_KEPT = 5  # contract §3.2
TASK_TIMEOUT_S = 3600  # where a job names none (the contract's example)
TASK_MEMORY_MB = 2048  # where a job names none (the contract's example)
MAX_RETRIES_DEFAULT = 0  # a job that asks for no retries gets none
