"""An Orion on the desk: the NGSI-v2 broker as it was seen to answer, held to 56 recorded exchanges.

`Entities` is its database and its rules; `Orion` puts HTTP before it, with what goes wrong between a gateway and a
broker: an overload, a database that is away, an answer that comes too late or never, a proxy with pages of its own, a
restart from an old snapshot. What a subscriber was told is in `told`, in order: that is the history.

Subscriptions, and when an attribute was written (`dateModified`), follow the NGSI-v2 specification (2018.09.15,
sections "Subscription payload datamodel" and "Builtin metadata"); no recorded exchange has them.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import aiohttp
import orjson
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Json = dict[str, Any]

MOST_BYTES = 1_048_576
OPTIONS = {"append", "forcedUpdate", "overrideMetadata", "flowControl", "upsert", "keyValues", "count"}
ACTIONS = {"append", "appendStrict", "update", "replace", "delete"}
FORBIDDEN = re.compile("[<>\"'=;()]")
IN_NAMES = re.compile("[^\\x21-\\x7e]|[&?/#<>\"'=;()]")
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:(\.\d{1,3})?([+-]\d\d:?\d\d)|(?:\.\d{1,6})?Z?)")
WRONG_ACTION = "invalid update action type: right ones are: append, appendStric, delete, replace, update"
TWO_PLACES = (
    "You cannot use more than one geo location attribute when creating an entity. "
    "Use ignoreType metadata if you want to add additional informative locations."
)
NOT_THERE = "The requested entity has not been found. Check type and id"
UNRESTRICTED = {"TextUnrestricted", "DateTime", "ISO8601", "geo:json"}


class Refused(Exception):  # noqa: N818 - an answer
    """What Orion says no with."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "description": description}


def bad(description: str) -> Refused:
    return Refused(400, "BadRequest", description)


Key = tuple[str, str, str, str]  # tenant, service path, id, type


@dataclass
class Entities:
    """The entities of one Orion, and what its one subscriber was told of them."""

    kept: dict[Key, Json] = field(default_factory=dict)
    told: list[Json] = field(default_factory=list)
    creates: int = 0
    written: dict[tuple[Key, str], str] = field(default_factory=dict)  # when each attribute was written last
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    on_change: Callable[[Key, set[str]], None] = lambda _key, _names: None

    def update(self, tenant: str, path: str, said: Json, options: set[str]) -> None:
        """`POST /v2/op/update`: what is wrong with the request refuses it, what is wrong with an entity only that."""
        entities = said.get("entities")
        if not isinstance(entities, list) or not entities:
            raise bad("empty entities vector")
        if said.get("actionType") not in ACTIONS:
            raise bad(WRONG_ACTION)
        checked = [check_entity(entity) for entity in entities]
        troubles = []
        for entity in checked:
            try:
                self._apply(tenant, path, entity, said["actionType"], options)
            except Refused as trouble:
                troubles.append(trouble)
        if troubles:
            raise troubles[0]

    def _apply(self, tenant: str, path: str, entity: Json, action: str, options: set[str]) -> None:
        key = (tenant, path, entity["id"], entity["type"])
        there = self.kept.get(key)
        attributes = {name: value for name, value in entity.items() if name not in {"id", "type"}}
        if there is None and action in {"update", "replace", "delete"}:
            raise Refused(404, "NotFound", f"do not exist: {entity['id']}/{entity['type']} - [entity itself]")
        after = {} if there is None or action == "replace" else dict(there)
        if action == "delete":
            self._delete(key, attributes)
            return
        if action == "appendStrict" and any(name in after for name in attributes):
            raise Refused(422, "Unprocessable", "one or more of the attributes in the request already exist")
        if action == "update" and any(name not in after for name in attributes):
            raise Refused(422, "Unprocessable", "one or more of the attributes in the request do not exist")
        for name, attribute in attributes.items():
            after[name] = _operated(attribute, after.get(name), override="overrideMetadata" in options)
        if sum(one["type"] == "geo:json" and "ignoreType" not in one["metadata"] for one in after.values()) > 1:
            raise Refused(413, "NoResourcesAvailable", TWO_PLACES)
        changed = there is None or after != there
        self.kept[key] = after
        moment = self.now().strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        self.written.update({(key, name): moment for name in attributes})
        self.on_change(key, {name for name in attributes if there is None or after[name] != there.get(name)})
        if changed or "forcedUpdate" in options:
            self.told.append(rendered(key, after))

    def _delete(self, key: Key, attributes: Json) -> None:
        if not attributes:
            del self.kept[key]
        for name in attributes:
            self.kept[key].pop(name, None)

    def found(self, tenant: str, path: str, entity_id: str | None = None, type_: str | None = None) -> Iterator[Key]:
        for key in self.kept:
            if key[:2] == (tenant, path) and entity_id in {None, key[2]} and type_ in {None, key[3]}:
                yield key

    def state(self, entity_id: str) -> Json:
        """The attributes of an entity, whichever tenant and type; for tests."""
        (found,) = [value for key, value in self.kept.items() if key[2] == entity_id]
        return found


def rendered(key: Key, attributes: Json) -> Json:
    return {"id": key[2], "type": key[3], **attributes}  # an attribute is replaced, never changed


def _operated(attribute: Json, there: Json | None, *, override: bool) -> Json:
    value = attribute["value"]
    before = None if there is None else there["value"]
    if isinstance(value, dict) and set(value) == {"$inc"}:
        value = (before or 0) + value["$inc"]
    elif isinstance(value, dict) and set(value) == {"$max"}:
        value = value["$max"] if before is None else max(before, value["$max"])
    metadata = dict(attribute["metadata"])
    if there is not None and not override:
        metadata = {**there["metadata"], **metadata}
    return {"type": attribute["type"], "value": value, "metadata": metadata}


# --- what Orion takes -----------------------------------------------------------------------------------------------


def check_entity(entity: Any) -> Json:
    if not isinstance(entity, dict) or not isinstance(entity.get("id"), str):
        raise bad("entity without id")
    _check_name(entity["id"], "entity id")
    type_ = entity.get("type", "Thing")
    _check_name(type_, "entity type")
    checked: Json = {"id": entity["id"], "type": type_}
    for name, attribute in entity.items():
        if name in {"id", "type"}:
            continue
        _check_name(name, "attribute name")
        checked[name] = _check_attribute(attribute)
    return checked


@lru_cache(10_000)
def _check_name(name: Any, what: str) -> None:
    if not isinstance(name, str) or not name or IN_NAMES.search(name):
        raise bad(f"Invalid characters in {what}")
    if len(name) > 256:
        raise bad(f"{what} length: {len(name)}, max length supported: 256")


def _check_attribute(attribute: Any) -> Json:
    if not isinstance(attribute, dict):
        raise bad("attribute must be a JSON object, unless keyValues option is used")
    value = attribute.get("value")
    type_ = attribute.get("type", _type_of(value))
    _check_name(type_, "attribute type")
    value = _check_value(type_, value, "attribute value")
    metadata = {}
    for name, item in attribute.get("metadata", {}).items():
        _check_name(name, "metadata name")
        item_type = item.get("type", _type_of(item.get("value")))
        item_value = _check_value(item_type, item.get("value"), "metadata value")
        metadata[name] = {"type": item_type, "value": item_value}
    return {"type": type_, "value": value, "metadata": metadata}


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "Boolean"
        case int() | float():
            return "Number"
        case str():
            return "Text"
        case None:
            return "None"
        case _:
            return "StructuredValue"


def _check_value(type_: str, value: Any, where: str) -> Any:
    if type_ in {"DateTime", "ISO8601"} and isinstance(value, str):
        return read_date(value, where)
    if type_ in {"DateTime", "ISO8601"} and isinstance(value, dict) and set(value) == {"$max"}:
        return {"$max": read_date(value["$max"], where)}
    if type_ not in UNRESTRICTED:
        _check_texts(value, where)
    if type_ == "geo:json" and not _is_place(value):
        raise bad("error parsing location attribute")
    return _as_doubles(value)


def _is_place(value: Any) -> bool:
    match value:
        case {"type": "Point", "coordinates": [int() | float() as east, int() | float() as north]}:
            return -180 <= east <= 180 and -90 <= north <= 90
        case _:
            return False


def _check_texts(value: Any, where: str) -> None:
    match value:
        case str() if FORBIDDEN.search(value):
            raise bad(f"Invalid characters in {where}")
        case list():
            for item in value:
                _check_texts(item, where)
        case dict():
            for name, item in value.items():
                _check_texts(name, where)
                _check_texts(item, where)
        case _:
            pass


def _as_doubles(value: Any) -> Any:
    match value:
        case bool():
            return value
        case int():
            return int(float(value))
        case list():
            return [_as_doubles(item) for item in value]
        case dict():
            return {name: _as_doubles(item) for name, item in value.items()}
        case _:
            return value


@lru_cache(10_000)
def read_date(text: str, where: str) -> str:
    if not DATE.fullmatch(text):
        raise bad(f"date has invalid format in {where}")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise bad(f"date has invalid format in {where}") from None
    moment = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


# --- HTTP -----------------------------------------------------------------------------------------------------------


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0

    @property
    def entities(self) -> list[Json]:
        return orjson.loads(self.body)["entities"] if self.path == "/v2/op/update" else []


Trouble = web.Response | str
"""An answer of a proxy, or "hang", "drop", "late", "lost": see `Orion.trouble`."""


class Orion:
    """An Orion at a port of loopback; the port stays the same over `stop` and `start`."""

    def __init__(self) -> None:
        self.entities = Entities()
        self.seen: list[Seen] = []
        self.troubles: list[Trouble] = []
        self.always: Callable[[web.Request], Trouble | None] = lambda _: None
        self.token: str | None = None  # the one that the proxy before it lets in
        self.database = True
        self.queries = True  # whether POST /v2/op/query is let through
        self.most_bytes = MOST_BYTES
        self.port = 0
        self.most_in_flight: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}
        self._runner: web.AppRunner | None = None
        self._waiting: list[Callable[[], None]] = []
        self.subscriptions: dict[str, Json] = {}
        self.notified: list[tuple[str, int]] = []  # address, and the status that came back
        self._telling: set[asyncio.Task[None]] = set()
        self._next_number = 0
        self.entities.on_change = self._tell

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def told(self) -> list[Json]:
        return self.entities.told

    @property
    def updates(self) -> list[Seen]:
        return [seen for seen in self.seen if seen.path == "/v2/op/update"]

    def trouble(self, *troubles: Trouble) -> None:
        """What becomes of the next updates that carry readings (those with a correlator), one each.

        A response is what a proxy answers instead of Orion. "hang" never answers and does nothing; "drop" closes the
        connection and does nothing; "lost" does the work and closes the connection; "late" answers nothing, and does
        the work when `catch_up` is called.
        """
        self.troubles += troubles

    async def start(self, host: str = "127.0.0.1") -> None:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def snapshot(self) -> dict[Key, Json]:
        return copy.deepcopy(self.entities.kept)

    def restore(self, snapshot: dict[Key, Json]) -> None:
        self.entities.kept = copy.deepcopy(snapshot)

    def catch_up(self) -> None:
        """Carry out what came "late"."""
        for work in self._waiting:
            work()
        self._waiting.clear()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        chunked = request.headers.get("Transfer-Encoding", "") == "chunked"
        body = await request.read()
        seen = Seen(request.method, request.path, dict(request.headers), body)
        self.seen.append(seen)
        keys = {str(one.get("id")) for one in _entities_in(seen)}
        for key in keys:
            self._in_flight[key] = self._in_flight.get(key, 0) + 1
            self.most_in_flight[key] = max(self.most_in_flight.get(key, 0), self._in_flight[key])
        try:
            response = await self._respond(request, body, chunked=chunked)
        finally:
            for key in keys:
                self._in_flight[key] -= 1
        seen.status = response.status
        return response

    async def _respond(self, request: web.Request, body: bytes, *, chunked: bool) -> web.StreamResponse:
        trouble = self.always(request)
        if trouble is None and "Fiware-Correlator" in request.headers and self.troubles:
            trouble = self.troubles.pop(0)
        if isinstance(trouble, web.Response):
            return trouble
        if self.token is not None and request.headers.get("X-Auth-Token") != self.token:
            return web.json_response({"message": "invalid token"}, status=401)
        if isinstance(trouble, str):
            if trouble == "late":
                self._waiting.append(lambda: self._work_quietly(request, body))
            if trouble == "lost":
                self._work_quietly(request, body)
            if trouble in {"hang", "late"}:
                await asyncio.sleep(3600)
            request.transport.close()
            return web.Response()
        try:
            return self._work(request, body, chunked=chunked)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers=_echo(request))

    def _work_quietly(self, request: web.Request, body: bytes) -> None:
        with contextlib.suppress(Refused):
            self._work(request, body, chunked=False)

    def _work(self, request: web.Request, body: bytes, *, chunked: bool) -> web.Response:
        if request.path == "/version":
            return web.json_response({"orion": {"version": "4.7.0-next"}})
        if request.method in {"POST", "PUT", "PATCH"}:
            self._check_body(request, body, chunked=chunked)
        tenant, path = _tenant(request), _service_path(request)
        options = _options(request)
        match request.method, request.path.split("/")[1:]:
            case "POST", ["v2", "op", "update"]:
                said = _parsed(body)
                self._need_database()
                self.entities.update(tenant, path, said, options)
                return web.Response(status=204, headers=_echo(request))
            case "POST", ["v2", "op", "query"] if self.queries:
                return self._list(request, self._queried(tenant, path, _parsed(body)))
            case "POST", ["v2", "entities"]:
                return self._create(tenant, path, _parsed(body), options)
            case "GET", ["v2", "entities"]:
                return self._list(request, self._filtered(request, tenant, path))
            case "GET", ["v2", "entities", entity_id]:
                return self._one(tenant, path, entity_id, request.query.get("type"))
            case "PATCH", ["v2", "entities", entity_id, "attrs"]:
                self._one(tenant, path, entity_id, request.query.get("type"))
                raise NotImplementedError
            case method, ["v2", "subscriptions", *rest]:
                return self._see_to_subscriptions(method, rest, body)
            case _:
                raise bad("Service not found. Check your URL as probably it is wrong.")

    def _see_to_subscriptions(self, method: str, rest: list[str], body: bytes) -> web.Response:
        match method, rest:
            case "GET", []:
                return web.json_response(list(self.subscriptions.values()))
            case "POST", []:
                return self._subscribe(_parsed(body))
            case "DELETE", [number] if self.subscriptions.pop(number, None) is not None:
                return web.Response(status=204)
            case _:
                raise Refused(404, "NotFound", "The requested subscription has not been found. Check id")

    def _check_body(self, request: web.Request, body: bytes, *, chunked: bool) -> None:
        if chunked or not body:
            raise Refused(411, "ContentLengthRequired", "Zero/No Content-Length in PUT/POST/PATCH request")
        if len(body) > self.most_bytes:
            words = f"payload size: {len(body)}, max size supported: {self.most_bytes}"
            raise Refused(413, "RequestEntityTooLarge", words)
        if not request.path.startswith("/v2/"):
            raise bad("Service not found. Check your URL as probably it is wrong.")
        kind = request.headers.get("Content-Type", "").partition(";")[0]
        if kind != "application/json":
            raise Refused(415, "UnsupportedMediaType", f"not supported content type: {kind}")

    def _need_database(self) -> None:
        if not self.database:
            raise Refused(500, "InternalServerError", "Database Error (no reachable servers)")

    def _create(self, tenant: str, path: str, said: Json, options: set[str]) -> web.Response:
        self._need_database()
        entity = check_entity(said)
        there = next(self.entities.found(tenant, path, entity["id"], entity["type"]), None)
        if there is not None and "upsert" not in options:
            raise Refused(422, "Unprocessable", "Already Exists")
        self.entities.update(tenant, path, {"actionType": "append", "entities": [said]}, set())
        where = f"/v2/entities/{entity['id']}?type={entity['type']}"
        return web.Response(status=201 if there is None else 204, headers={"Location": where})

    def _queried(self, tenant: str, path: str, said: Json) -> list[Json]:
        wanted = [(one.get("id"), one.get("type")) for one in said.get("entities", [{}])]
        keys = [key for one in wanted for key in self._keys(tenant, path, *one)]
        return [rendered(key, self.entities.kept[key]) for key in dict.fromkeys(keys)]

    def _keys(self, tenant: str, path: str, entity_id: str | None, type_: str | None) -> list[Key]:
        if entity_id is not None and type_ is not None:
            key = (tenant, path, entity_id, type_)
            return [key] if key in self.entities.kept else []
        return list(self.entities.found(tenant, path, entity_id, type_))

    def _filtered(self, request: web.Request, tenant: str, path: str) -> list[Json]:
        type_, named = request.query.get("type"), request.query.get("q")
        keys = list(self.entities.found(tenant, path, None, type_))
        if named is not None:
            keys = [key for key in keys if named in self.entities.kept[key]]
        wanted = request.query["metadata"].split(",") if "metadata" in request.query else None
        found = [self._with_metadata(key, wanted) for key in keys]
        if "attrs" in request.query:
            names = {"id", "type", *request.query["attrs"].split(",")}
            found = [{name: value for name, value in one.items() if name in names} for one in found]
        if "mq" in request.query:
            place, _, since = request.query["mq"].partition(">=")
            attribute, _, name = place.partition(".")
            since = read_date(since, "query")
            found = [one for one in found if one[attribute]["metadata"][name]["value"] >= since]
        return found

    def _with_metadata(self, key: Key, wanted: list[str] | None) -> Json:
        """An entity as it is shown when metadata are named: only these, and built-in ones only then."""
        if wanted is None:
            return rendered(key, self.entities.kept[key])
        shown: Json = {"id": key[2], "type": key[3]}
        for name, attribute in self.entities.kept[key].items():
            builtin = {"dateModified": {"type": "DateTime", "value": self.entities.written[key, name]}}
            there = {**attribute["metadata"], **builtin}
            shown[name] = {**attribute, "metadata": {one: there[one] for one in wanted if one in there}}
        return shown

    def _subscribe(self, said: Json) -> web.Response:
        self._need_database()
        notification = said["notification"]
        if not isinstance(notification.get("httpCustom", {}).get("url"), str):
            raise bad("http notification has no url")
        self._next_number += 1
        number = f"{self._next_number:024x}"
        self.subscriptions[number] = {"id": number, "status": "active", **said}
        return web.Response(status=201, headers={"Location": f"/v2/subscriptions/{number}"})

    def _tell(self, key: Key, names: set[str]) -> None:
        for one in self.subscriptions.values():
            subject, notification = one["subject"], one["notification"]
            if not names & set(subject["condition"]["attrs"]):
                continue
            if not any(
                re.fullmatch(what["idPattern"], key[2]) and what["type"] == key[3] for what in subject["entities"]
            ):
                continue
            shown = self._with_metadata(key, notification["metadata"])
            data = {name: value for name, value in shown.items() if name in {"id", "type", *notification["attrs"]}}
            task = asyncio.get_running_loop().create_task(
                self._notify(one, {"subscriptionId": one["id"], "data": [data]})
            )
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _notify(self, subscription: Json, body: Json) -> None:
        custom = subscription["notification"]["httpCustom"]
        async with aiohttp.ClientSession() as session:
            try:
                async with session.post(custom["url"], json=body, headers=custom.get("headers")) as response:
                    self.notified.append((custom["url"], response.status))
            except aiohttp.ClientError:
                self.notified.append((custom["url"], 0))

    def _list(self, request: web.Request, found: list[Json]) -> web.Response:
        if not self.database:
            found = []
        limit, offset = int(request.query.get("limit", 20)), int(request.query.get("offset", 0))
        return web.Response(body=orjson.dumps(found[offset : offset + limit]), content_type="application/json")

    def _one(self, tenant: str, path: str, entity_id: str, type_: str | None) -> web.Response:
        found = list(self.entities.found(tenant, path, entity_id, type_)) if self.database else []
        if len(found) > 1:
            words = "More than one matching entity. Please refine your query"
            raise Refused(409, "TooManyResults", words)
        if not found:
            raise Refused(404, "NotFound", NOT_THERE)
        return web.json_response(rendered(found[0], self.entities.kept[found[0]]))


def _entities_in(seen: Seen) -> list[Json]:
    try:
        return [one for one in seen.entities if isinstance(one, dict)]
    except (ValueError, TypeError, KeyError):
        return []


def _parsed(body: bytes) -> Json:
    try:
        said = orjson.loads(body)
    except ValueError:
        raise Refused(400, "ParseError", "Errors found in incoming JSON buffer") from None
    if not isinstance(said, dict):
        raise Refused(400, "ParseError", "Errors found in incoming JSON buffer")
    return said


def _options(request: web.Request) -> set[str]:
    options = set(filter(None, request.query.get("options", "").split(",")))
    if options - OPTIONS:
        raise bad("Invalid value for URI param /options/")
    return options


def _tenant(request: web.Request) -> str:
    tenant = request.headers.get("Fiware-Service", "")
    if not re.fullmatch(r"\w*", tenant, re.ASCII):
        raise bad("bad character in tenant name - only underscore and alphanumeric characters are allowed")
    return tenant.lower()


def _service_path(request: web.Request) -> str:
    path = request.headers.get("Fiware-ServicePath", "/")
    if "," in path:
        raise bad("more than one service path in context update request")
    if not path.startswith("/"):
        raise bad("Only /absolute/ Service Paths allowed [a service path must begin with /]")
    if not re.fullmatch(r"[\w/]*", path, re.ASCII):
        raise bad("a component of ServicePath contains an illegal character")
    return path


def _echo(request: web.Request) -> dict[str, str]:
    correlator = request.headers.get("Fiware-Correlator")
    return {} if correlator is None else {"Fiware-Correlator": correlator}


async def _serve() -> None:
    """In a process of its own: prints its port."""
    orion = Orion()
    await orion.start()
    print(orion.port, flush=True)  # noqa: T201 - whoever started it reads this
    while True:
        await asyncio.sleep(1)
        orion.seen.clear()
        orion.told.clear()


if __name__ == "__main__":
    asyncio.run(_serve())
