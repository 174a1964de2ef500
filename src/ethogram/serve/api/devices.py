"""``/api/v1/devices``: the inventory, one device, and the labels, notes and feedback of users."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from ethogram.errors import UsageError
from ethogram.schema import DeviceDetail
from ethogram.serve.api.access import Editor, viewer
from ethogram.serve.api.context import Context, context_of
from ethogram.serve.api.models import (
    BehaviourDocument,
    DeviceDocument,
    DeviceItem,
    DeviceList,
    HourItem,
    LabelRequest,
    MergeRequest,
    NoteRequest,
    OverviewDocument,
    PeerList,
    SimilarityList,
    SplitRequest,
    Timeline,
)
from ethogram.serve.api.problem import PROBLEM_RESPONSES, ProblemError
from ethogram.serve.api.queries import DeviceFilter, all_devices
from ethogram.serve.api.replies import devices_csv, json_reply

__all__ = ["DeviceId", "Limit", "Offset", "Service", "document", "existing", "router"]

router = APIRouter(tags=["devices"], dependencies=[Depends(viewer)], responses=PROBLEM_RESPONSES)

Service = Annotated[Context, Depends(context_of)]
DeviceId = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Id of a device.", examples=["8c1f00aa52d3be97"])]
Offset = Annotated[int, Query(ge=0, le=1_000_000, description="Position of the first row.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Largest number of rows.")]


def _field(name: str) -> str:
    if name not in DeviceItem.model_fields:
        raise ValueError("there is no such field")
    return name


_Field = Annotated[str, AfterValidator(_field), Field(json_schema_extra={"enum": list(DeviceItem.model_fields)})]


def existing(context: Context, device: str) -> DeviceDetail:
    """A device; 404 if there is none of this id."""
    detail = context.store.device(device)
    if detail is None:
        raise ProblemError(404, f"There is no device {device!r}.")
    return detail


def _known(context: Service, device: DeviceId) -> str:
    return existing(context, device).row.id


KnownDevice = Annotated[str, Depends(_known)]
"""Id of a device that exists; 404 otherwise."""


def document(detail: DeviceDetail) -> DeviceDocument:
    """A device as the API gives it."""
    values = {name: getattr(detail, name) for name in DeviceDocument.model_fields if name != "device"}
    return DeviceDocument.model_validate({"device": detail.row, **values})


def _changed(context: Context, request: Request, device: str) -> Response:
    return json_reply(request, document(existing(context, device)))


@router.get("/overview", response_model=OverviewDocument, summary="Numbers of devices by kind, vendor and state")
def overview(request: Request, context: Service) -> Response:
    """Devices that are ignored or merged into others are not counted."""
    return json_reply(request, OverviewDocument.model_validate(context.store.overview()))


@router.get(
    "/devices", response_model=DeviceList, summary="List devices",
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)  # fmt: skip
def devices(
    request: Request, context: Service, wanted: Annotated[DeviceFilter, Depends()], offset: Offset = 0,
    limit: Limit = 100,
    fields: Annotated[list[_Field] | None, Query(description="Only these fields of each device.")] = None,
    form: Annotated[
        Literal["json", "csv"], Query(alias="format", description="CSV has all devices, without offset and limit.")
    ] = "json",
) -> Response:  # fmt: skip
    """Devices that are ignored are listed only with `state=ignored`."""
    if form == "csv":
        return devices_csv(all_devices(context.store, wanted))
    page = context.store.devices(**wanted.arguments(), offset=offset, limit=limit)
    # Rows have the fields of DeviceItem already; a thousand of them are not made into models for each request.
    wanted_fields = tuple(dict.fromkeys(fields or ()))
    rows = [{name: getattr(row, name) for name in wanted_fields} for row in page.rows] if fields else page.rows
    return json_reply(request, {"total": page.total, "offset": offset, "rows": rows})


@router.get("/devices/{device}", response_model=DeviceDocument, summary="One device")
def device(request: Request, context: Service, device: DeviceId) -> Response:
    """Ladder, evidence, names, history, labels and notes. The id of a merged device leads to the device it is in."""
    return json_reply(request, document(existing(context, device)))


@router.get("/devices/{device}/peers", response_model=PeerList, summary="Other ends of a device")
def peers(request: Request, context: Service, device: KnownDevice) -> Response:
    """By name in its latest week; of what has no name, by network in the latest hour of flows."""
    return json_reply(request, PeerList.model_validate({"rows": context.service.peers(device)}))


@router.get("/devices/{device}/timeline", response_model=Timeline, summary="Traffic of a device by hour and service")
def timeline(request: Request, context: Service, device: KnownDevice) -> Response:
    """Its latest week."""
    rows = [HourItem(hour=each.hour, service=each.name, octets=each.octets)
            for each in context.service.activity(device)]  # fmt: skip
    return json_reply(request, Timeline(rows=rows))


@router.get(
    "/devices/{device}/similarity", response_model=SimilarityList, summary="Similarity of a device to its own past"
)  # fmt: skip
def similarity(request: Request, context: Service, device: KnownDevice) -> Response:
    """Each epoch against the earlier ones: days, or hours while the device is young."""
    epoch_s, rows = context.service.similarity(device)
    return json_reply(request, SimilarityList.model_validate(
        {"epoch_s": epoch_s, "rows": [row._asdict() for row in rows]}
    ))  # fmt: skip


@router.get(
    "/devices/{device}/behaviour", response_model=BehaviourDocument, summary="How a device keeps to its own behaviour"
)  # fmt: skip
def behaviour(request: Request, context: Service, device: KnownDevice) -> Response:
    """Each day against the fingerprints that were exported before it, and what is outside, with its share."""
    return json_reply(request, BehaviourDocument.model_validate(context.service.behaviour(device)))


@router.put("/devices/{device}/label", response_model=DeviceDocument, summary="Label a device")
def put_label(request: Request, context: Service, access: Editor, device: KnownDevice, body: LabelRequest) -> Response:
    """A label stays above every verdict until it is replaced or removed."""
    context.store.label(device, body.value, access.user, kind=body.kind, vendor=body.vendor, model=body.model)
    return _changed(context, request, device)


@router.delete("/devices/{device}/label", response_model=DeviceDocument, summary="Remove the label of a device")
def delete_label(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """The statement about the device is shown again."""
    context.store.remove_label(device, access.user)
    return _changed(context, request, device)


@router.post("/devices/{device}/confirm", response_model=DeviceDocument, summary="Confirm the statement about a device")
def confirm(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """The confirmation is stored with user and time, and the device joins the library of the service."""
    context.store.confirm(device, access.user)
    return _changed(context, request, device)


@router.delete("/devices/{device}/feedback", response_model=DeviceDocument, summary="Withdraw the feedback on a device")
def withdraw(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """Withdraws the latest confirmation or rejection; a confirmed device leaves the library of the service."""
    context.store.withdraw(device, access.user)
    return _changed(context, request, device)


@router.post("/devices/{device}/reject", response_model=DeviceDocument, summary="Reject the statement about a device")
def reject(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """The device is unknown until something else is stated about it."""
    context.store.reject(device, access.user)
    return _changed(context, request, device)


@router.put("/devices/{device}/ignored", response_model=DeviceDocument, summary="Ignore a device")
def put_ignored(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """It is left out of lists and numbers."""
    context.store.ignore(device, access.user)
    return _changed(context, request, device)


@router.delete("/devices/{device}/ignored", response_model=DeviceDocument, summary="Stop ignoring a device")
def delete_ignored(request: Request, context: Service, access: Editor, device: KnownDevice) -> Response:
    """It appears in lists and numbers again."""
    context.store.ignore(device, access.user, ignored=False)
    return _changed(context, request, device)


@router.post("/devices/{device}/notes", response_model=DeviceDocument, status_code=200, summary="Add a note")
def add_note(request: Request, context: Service, access: Editor, device: KnownDevice, body: NoteRequest) -> Response:
    """Notes stay with user and time."""
    context.store.note(device, body.text, access.user)
    return _changed(context, request, device)


@router.post("/devices/{device}/merge", response_model=DeviceDocument, summary="Merge a device into another")
def merge(request: Request, context: Service, access: Editor, device: KnownDevice, body: MergeRequest) -> Response:
    """The answer is the device that it was merged into; the old id leads there."""
    if context.store.device(body.into) is None:
        raise UsageError(f"there is no device {body.into!r}")
    context.store.merge(device, body.into, access.user)
    return _changed(context, request, body.into)


@router.post("/devices/{device}/split", response_model=DeviceDocument, summary="Make a device of some keys of another")
def split(request: Request, context: Service, access: Editor, device: KnownDevice, body: SplitRequest) -> Response:
    """The answer is the new device. It stays apart, whatever names and addresses it shares later."""
    return _changed(context, request, context.store.split(device, body.keys, access.user))
