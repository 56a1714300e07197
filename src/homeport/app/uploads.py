"""Receive the archive of a revision: streamed to disk, checked, then one commit moves the revision on. Killed before
that commit, the revision still waits and the client's next try finds it so."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from homeport.app.context import Context
from homeport.app.governance import settle
from homeport.build.archive import UnpackLimits, check_archive, holds, keep_archive
from homeport.build.archive_logins import NAME, take_logins
from homeport.build.dockerfile import NAME as DOCKERFILE
from homeport.build.registries import SOURCE, seal_uploaded
from homeport.core.errors import Conflict, Invalid, NotFound
from homeport.core.ids import RevisionId, new_id
from homeport.core.limits import MIB
from homeport.core.logins import parse_docker_config
from homeport.core.space import full_disk_said
from homeport.identity.keys import UPLOAD_AUDIENCE
from homeport.store.contract import Transaction
from homeport.store.records import Event, Revision
from homeport.workloads.states import RevisionState, WorkloadStatus


async def receive_archive(context: Context, token: str, body: AsyncIterator[bytes]) -> None:
    """Store `body` as the source of the revision that `token` names and start its build.

    Raises `Unauthenticated` for a foreign or expired token, `NotFound` when the revision is gone, `Invalid` for
    something that is no zip archive or is too large, and for a Dockerfile without an engine, `Denied` where policies
    allow no region that can run what it is, `Conflict` when another archive came first, `DiskFull` without room for
    it.
    """
    claims = context.keys.verify(token, UPLOAD_AUDIENCE, context.clock.now())
    context.space.require()
    revision_id = RevisionId(claims.sub)
    part = context.data.uploads / f"{revision_id}.{new_id('part', 8)}"
    try:
        with full_disk_said(context.data.root):
            digest = await _write(part, body, context.configuration.limits.upload_mb)
            await asyncio.to_thread(check_archive, part, UnpackLimits.of(context.configuration.limits))
            logins = await asyncio.to_thread(_take_logins, part)
            if logins is not None:
                digest = await asyncio.to_thread(_digest, part)  # one that says nothing of the logins
            dockerfile = await asyncio.to_thread(holds, part, DOCKERFILE)
            await asyncio.to_thread(keep_archive, part, context.data.sources, digest)
        archive = _Archive(digest=digest, logins=logins, dockerfile=dockerfile)
        await context.store.write(lambda tx: _start_build(context, tx, revision_id, archive))
    finally:
        part.unlink(missing_ok=True)
    context.signals.builds.wake()


async def _write(part: Path, body: AsyncIterator[bytes], most_mb: int) -> str:
    digest = hashlib.sha256()
    size = 0
    with part.open("wb") as file:
        async for chunk in body:
            size += len(chunk)
            if size > most_mb * MIB:
                raise Invalid("archive", f"must have at most {most_mb} MiB")
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


def _take_logins(part: Path) -> str | None:
    """The text of `.docker/config.json`, once it is known to hold logins that can be used."""
    text = take_logins(part)
    if text is not None:
        parse_docker_config(text, NAME, source=SOURCE)
    return text


def _digest(part: Path) -> str:
    with part.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Archive:
    """logins: the text of its `.docker/config.json`. dockerfile: whether it has one at its top."""

    digest: str
    logins: str | None = field(repr=False)
    dockerfile: bool


def _start_build(context: Context, tx: Transaction, revision_id: RevisionId, archive: _Archive) -> None:
    revision = tx.revisions.get(revision_id)
    if revision is None:
        raise NotFound(f"There is no revision {revision_id!r} any more.", hint="Deploy again.")
    if revision.source_digest == archive.digest:
        return  # the client did not hear our answer to its first try
    if revision.state is not RevisionState.UPLOADING:
        raise Conflict(f"Revision {revision_id} has its archive already.", hint="Deploy again to change it.")
    now = context.clock.now()
    sealed = None if archive.logins is None else seal_uploaded(context.sealing, revision, archive.logins)
    placed = settle(context, tx, revision, archive.dockerfile)
    building = replace(
        placed, state=RevisionState.BUILDING, source_digest=archive.digest, source_logins=sealed, updated_at=now
    )
    tx.revisions.replace_if_state(building, RevisionState.UPLOADING)
    resource = tx.resources.by_uid(revision.resource_uid)
    if resource is None or resource.generation != revision.generation:
        return
    tx.resources.replace(replace(resource, status=WorkloadStatus.BUILDING), resource.generation)
    tx.events.add(
        Event(
            resource_uid=resource.uid,
            time=now,
            type="build",
            status=WorkloadStatus.BUILDING,
            message=f"Archive received; building{_where(building) if archive.dockerfile else ''}",
            reason="ArchiveReceived",
            revision=revision_id,
        )
    )


def _where(revision: Revision) -> str:
    return f" the image that its {DOCKERFILE} says, in region {revision.region} on {revision.flavor}"
