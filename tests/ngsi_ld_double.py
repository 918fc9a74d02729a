"""An NGSI-LD broker on the desk, written from ETSI GS CIM 009 V1.7.1 and what Orion-LD and Stellio are known to do.

It merges what one batch says several times of one entity, as Orion-LD does. Its history keeps one instance for each
attribute and moment, as Stellio's does; what is upserted enters it too.
"""

from __future__ import annotations

import asyncio
import copy
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import aiohttp
import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    Json = dict[str, Any]

ERRORS = "https://uri.etsi.org/ngsi-ld/errors/"
LD = "application/ld+json"
BASE = "/ngsi-ld/v1"


class Problem(Exception):  # noqa: N818 - an answer
    """A ProblemDetails (RFC 7807)."""

    def __init__(self, status: int, word: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.body = {"type": ERRORS + word, "title": word, "detail": detail, "status": status}

    def response(self) -> web.Response:
        return web.json_response(self.body, status=self.status, content_type="application/problem+json")


class LdBroker:
    """A broker at a port of loopback."""

    def __init__(self) -> None:
        self.entities: dict[str, Json] = {}
        self.history: dict[tuple[str, str], dict[str, Json]] = {}  # id and attribute: moment to instance
        self.histories: set[str] = set()  # temporal entities that exist
        self.written: dict[tuple[str, str], str] = {}  # when each attribute was written last
        self.subscriptions: dict[str, Json] = {}
        self.now: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.poison: Callable[[Json], Problem | None] = lambda _: None
        self.silent: set[str] = set()  # ids that answers do not mention, once
        self.troubles: list[web.Response | str] = []
        self.always: Callable[[web.Request], web.Response | str | None] = lambda _: None
        self.tenants = {"", "city"}
        self.reachable = True  # whether it can fetch a context
        self.temporal = True
        self.queries = True
        self.most_bytes = 1 << 20
        self.token: str | None = None
        self.requests: list[tuple[str, str, dict[str, str], Any]] = []
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def upserts(self) -> list[list[Json]]:
        """The batches that carried readings."""
        return [
            body
            for _, path, _, body in self.requests
            if path.endswith("/upsert") and not any("lorawan-gateway" in one["id"] for one in body)
        ]

    async def start(self) -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def snapshot(self) -> dict[str, Json]:
        return copy.deepcopy(self.entities)

    # --- HTTP

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        content = await request.read()
        body = orjson.loads(content) if content else None
        self.requests.append((request.method, request.path, dict(request.headers), body))
        trouble = self.always(request)
        readings = request.path.endswith("/upsert") and b"lorawan-gateway" not in content
        if trouble is None and readings and self.troubles:
            trouble = self.troubles.pop(0)
        if isinstance(trouble, web.Response):
            return trouble
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if isinstance(trouble, str):
            if trouble == "lost":
                self._respond(request, content, body)
            if trouble == "hang":
                await asyncio.sleep(3600)
            request.transport.close()
            return web.Response()
        return self._respond(request, content, body)

    def _respond(self, request: web.Request, content: bytes, body: Any) -> web.Response:
        try:
            self._check(request, content, body)
            return self._work(request, body)
        except Problem as problem:
            return problem.response()

    def _check(self, request: web.Request, content: bytes, body: Any) -> None:
        if len(content) > self.most_bytes:
            raise Problem(413, "TooLarge", "the body is too large")
        if request.headers.get("NGSILD-Tenant", "") not in self.tenants:
            raise Problem(404, "NonexistentTenant", "no such tenant")
        link, kind = request.headers.get("Link"), request.headers.get("Content-Type", "").partition(";")[0]
        if link is not None:
            pattern = r'<https?://[^>]+>; rel="http://www\.w3\.org/ns/json-ld#context"; type="application/ld\+json"'
            if not re.fullmatch(pattern, link):
                raise Problem(400, "BadRequestData", "not a legal Link header")
        if (link is not None or kind == LD) and not self.reachable:
            raise Problem(503, "LdContextNotAvailable", "the context cannot be fetched")
        if body is None:
            return
        within = ["@context" in one for one in (body if isinstance(body, list) else [body])]
        if kind == LD and (link is not None or not all(within)):
            raise Problem(400, "BadRequestData", "application/ld+json wants @context in every entity, and no Link")
        if kind == "application/json" and any(within):
            raise Problem(400, "BadRequestData", "application/json has no @context in its body")
        if kind not in {LD, "application/json"}:
            raise Problem(415, "UnsupportedMediaType", kind)

    def _work(self, request: web.Request, body: Any) -> web.Response:
        path = request.rel_url.raw_path.removeprefix(BASE)
        match request.method, [unquote(part) for part in path.split("/")[1:]]:
            case "POST", ["entityOperations", "upsert"]:
                return self._upsert(body, replace=request.query.get("options") != "update")
            case "GET", ["entities"] if self.queries:
                return self._list(request)
            case method, ["subscriptions", *rest]:
                return self._see_to_subscriptions(method, rest, body)
            case "GET", ["entities", entity_id]:
                if entity_id not in self.entities:
                    raise Problem(404, "ResourceNotFound", entity_id)
                return web.json_response(self.entities[entity_id])
            case "POST", ["temporal", "entities"] if self.temporal:
                return self._create_history(body)
            case "POST", ["temporal", "entities", entity_id, "attrs"] if self.temporal:
                if entity_id not in self.histories:
                    raise Problem(404, "ResourceNotFound", entity_id)
                self._remember(entity_id, {name: value for name, value in body.items() if name != "@context"})
                return web.Response(status=204)
            case _, ["temporal", *_]:
                raise Problem(422, "OperationNotSupported", "no history here")
            case _:
                raise Problem(400, "InvalidRequest", "no such operation")

    # --- entities

    def _upsert(self, batch: Any, *, replace: bool) -> web.Response:
        if not isinstance(batch, list) or not batch:
            raise Problem(400, "BadRequestData", "an array of entities is wanted")
        merged: dict[str, Json] = {}
        for entity in batch:
            if not isinstance(entity, dict) or not isinstance(entity.get("id"), str):
                raise Problem(400, "BadRequestData", "No Entity::id")
            merged[entity["id"]] = {**merged.get(entity["id"], {}), **entity}
        created, updated, errors = [], [], []
        for entity_id, entity in merged.items():
            try:
                check_entity(entity)
                if (problem := self.poison(entity)) is not None:
                    raise problem
            except Problem as problem:
                errors.append({"entityId": entity_id, "error": problem.body})
                continue
            if entity_id in self.silent:
                self.silent.discard(entity_id)
                errors.append({"entityId": "No Entity::id", "error": Problem(400, "BadRequestData", "?").body})
                continue
            (updated if entity_id in self.entities else created).append(entity_id)
            there = {} if replace else self.entities.get(entity_id, {})
            types = list(dict.fromkeys([*_types(there), *_types(entity)]))  # an entity may have several (5.2.4)
            said = {key: one for key, one in entity.items() if key != "@context"}
            self.entities[entity_id] = {**there, **said, "type": types if len(types) > 1 else types[0]}
            moment = self.now().strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
            self.written.update({(entity_id, name): moment for name in entity})
            self.histories.add(entity_id)
            self._remember(entity_id, {name: [one] for name, one in entity.items() if isinstance(one, dict)})
        if errors:
            return web.json_response({"success": created + updated, "errors": errors}, status=207)
        return web.json_response(created, status=201) if created else web.Response(status=204)

    def _remember(self, entity_id: str, attributes: Json) -> None:
        for name, instances in attributes.items():
            if not isinstance(instances, list):
                raise Problem(400, "BadRequestData", f"{name}: an array of instances is wanted")
            for instance in instances:
                check_attribute(name, instance)
                if "observedAt" in instance:
                    self.history.setdefault((entity_id, name), {})[instance["observedAt"]] = instance

    def _create_history(self, entity: Json) -> web.Response:
        entity_id = entity["id"]
        created = entity_id not in self.histories
        self.histories.add(entity_id)
        self._remember(entity_id, {key: one for key, one in entity.items() if key not in {"id", "type", "@context"}})
        return web.Response(status=201 if created else 204)

    def _list(self, request: web.Request) -> web.Response:
        ids, types = request.query.get("id"), request.query.get("type", "").split(",")
        if types == [""]:
            raise Problem(400, "BadRequestData", "too broad: name a type")
        limit, offset = int(request.query.get("limit", 20)), int(request.query.get("offset", 0))
        wanted = None if ids is None else set(ids.split(","))
        found = [
            one for key, one in self.entities.items() if one["type"] in types and (wanted is None or key in wanted)
        ]
        if "q" in request.query:
            found = [one for one in found if request.query["q"] in one]
        if request.query.get("options") == "sysAttrs":
            found = [self._with_times(one) for one in found]
        if "attrs" in request.query:
            names = {"id", "type", *request.query["attrs"].split(",")}
            found = [{name: value for name, value in one.items() if name in names} for one in found]
        return web.json_response(found[offset : offset + limit])

    def _with_times(self, entity: Json) -> Json:
        return {
            name: {**value, "modifiedAt": self.written[entity["id"], name]} if isinstance(value, dict) else value
            for name, value in entity.items()
        }

    # --- subscriptions

    def _see_to_subscriptions(self, method: str, rest: list[str], body: Any) -> web.Response:
        match method, rest:
            case "GET", []:
                return web.json_response(list(self.subscriptions.values()))
            case "POST", []:
                return self._subscribe(body)
            case "DELETE", [number] if self.subscriptions.pop(number, None) is not None:
                return web.Response(status=204)
            case _:
                raise Problem(404, "ResourceNotFound", "no such subscription")

    def _subscribe(self, said: Json) -> web.Response:
        if said.get("type") != "Subscription" or "endpoint" not in said.get("notification", {}):
            raise Problem(400, "BadRequestData", "no subscription")
        number = f"urn:ngsi-ld:Subscription:{len(self.requests)}"
        self.subscriptions[number] = {"id": number, "status": "active", **said}
        return web.Response(status=201, headers={"Location": f"{BASE}/subscriptions/{number}"})

    async def tell(self, entity_id: str) -> list[int]:
        """Notify every subscriber of an entity now; the statuses that came back."""
        statuses = []
        for one in self.subscriptions.values():
            endpoint = one["notification"]["endpoint"]
            headers = {pair["key"]: pair["value"] for pair in endpoint.get("receiverInfo", ())}
            body = {
                "id": "urn:ngsi-ld:Notification:1", "type": "Notification", "subscriptionId": one["id"],
                "notifiedAt": "2026-11-23T08:15:02Z", "data": [self._with_times(self.entities[entity_id])],
            }  # fmt: skip
            async with (
                aiohttp.ClientSession() as session,
                session.post(endpoint["uri"], json=body, headers=headers) as response,
            ):
                statuses.append(response.status)
        return statuses


def _types(entity: Json) -> list[str]:
    types = entity.get("type", [])
    return types if isinstance(types, list) else [types]


def check_entity(entity: Json) -> None:
    if not urlsplit(entity["id"]).scheme or not re.fullmatch(r"[!-~]+", entity["id"]):
        raise Problem(400, "BadRequestData", f"{entity['id']} is no URI")
    if not isinstance(entity.get("type"), str):
        raise Problem(400, "BadRequestData", "an entity has a type")
    for name, attribute in entity.items():
        if name not in {"id", "type", "@context"}:
            check_attribute(name, attribute)


def check_attribute(name: str, attribute: Any) -> None:
    match attribute:
        case {"type": "Property", "value": value} if value is not None:
            pass
        case {"type": "Relationship", "object": str(target)} if urlsplit(target).scheme:
            pass
        case {"type": "GeoProperty", "value": {"type": "Point", "coordinates": [float() | int(), float() | int()]}}:
            pass
        case _:
            raise Problem(400, "BadRequestData", f"{name} is no attribute: {attribute}")
    if "observedAt" in attribute and not re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", attribute["observedAt"]):
        raise Problem(400, "BadRequestData", f"{name}: {attribute['observedAt']} is no date")
    if "observedAt" in attribute:
        datetime.fromisoformat(attribute["observedAt"])
