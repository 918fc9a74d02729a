"""The whole gateway on one page: open the parts, run them together, stop in order.

Stopping: the radio first, then what it has heard goes through to the disk, then destinations finish or let go of what
is in flight, then the files are closed. A second signal ends at once; that can cost what a power cut can cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from contextlib import AsyncExitStack
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from gateway import parts
from gateway.console.web import application, serve_tcp, serve_unix
from gateway.control import Control
from gateway.custody import Custody
from gateway.decoding.sandbox import Decoder
from gateway.delivery.command_door import CommandDoor
from gateway.delivery.drain import Drain
from gateway.delivery.sink import CommandedSink
from gateway.errors import DiskTrouble
from gateway.forgetting import Forgetting
from gateway.history import KeptFrames
from gateway.host.anchors import remembered_dating
from gateway.host.clock import Clock
from gateway.host.identity import chip_eui, own_eui, remember_chip_eui
from gateway.host.logs import set_up_logging
from gateway.host.systemd import Notifier
from gateway.lns.server import Forwarding, Reception
from gateway.lorawan.network import Network
from gateway.radio.duty_cycle import AirtimeLedger
from gateway.regions import region_named
from gateway.serving.desk import DownlinkDesk
from gateway.serving.plan import network_plan
from gateway.serving.queue import DownlinkQueue
from gateway.serving.side import NetworkSide, only_receiver
from gateway.status import GatewayView
from gateway.store.airtime_file import AirtimeFile
from gateway.store.custody_file import CustodyFile
from gateway.store.owner import Ownership, can_be_written, memory_folder
from gateway.store.store import Store
from gateway.tuning.plan_file import PlanFile
from gateway.tuning.tuner import Tuner
from gateway.uplink import UplinkLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from pathlib import Path

    from gateway.console.web import Listener
    from gateway.decoding.catalogue import Catalogue
    from gateway.delivery.command_door import Doorkeeper
    from gateway.delivery.sink import Sink
    from gateway.forgetting import Memory
    from gateway.gps.watch import Gps
    from gateway.host.time_sources import TimeSources
    from gateway.journal import Onlooker
    from gateway.model import DevEui, GatewayEui
    from gateway.radio.concentrator import Concentrator
    from gateway.serving.plan import NetworkPlan
    from gateway.settings import Settings

log = logging.getLogger(__name__)

STOP_WITHIN_S = 9.0  # promised: ten
LAST_DELIVERIES_S = 2.0  # destinations that are connected may finish what has just been kept
STUCK_AFTER_S = 60.0  # a line that holds frames this long without moving gets no watchdog
BOOK_DROPS_S = 1.0
GARBAGE_THRESHOLDS = 50_000, 20, 20
"""Objects made before Python looks for cycles among them (its default: 700). What carries a frame is freed without
that, so looking rarely is a quarter of the line's time saved, and costs no memory that can be seen."""
LOOK_AT_DISK_S = 10.0


def run(settings: Settings, company: Company | None = None, time_sources: TimeSources | None = None) -> int:
    """Run the gateway until SIGTERM or Ctrl-C; 0. What keeps it from starting is a GatewayError."""
    set_up_logging()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    while asyncio.run(serve(settings, company, time_sources)) is Ending.AGAIN:
        log.warning("starting anew on the disk")
    return 0


class Company(Protocol):
    """Somebody who is there while the gateway runs, such as the demo; may tell it to stop."""

    async def attend(self, view: GatewayView, console_url: str, stop: asyncio.Event) -> None: ...


class Ending(Enum):
    """Why the gateway stopped."""

    TOLD = "a signal"
    AGAIN = "its disk can be written again"


async def serve(settings: Settings, company: Company | None = None, time_sources: TimeSources | None = None) -> Ending:
    """Open the parts, run them until a signal, stop in order."""
    stop, disk_is_back = asyncio.Event(), asyncio.Event()
    _stop_on_signals(stop)
    notifier = Notifier()
    async with AsyncExitStack() as opened:
        opened.enter_context(Ownership(settings.store.path))
        clock = opened.enter_context(Clock(settings.store.path, time_sources))
        eui = settings.gateway.eui or await _own_eui(settings, clock)
        store = await opened.enter_async_context(await asyncio.to_thread(_open_store, settings, eui))
        store.date, store.now_us = clock.dating.date, lambda: clock.stamp().utc_us
        decoder = await opened.enter_async_context(Decoder(_catalogue(settings)))
        airtime, ledger = await asyncio.to_thread(_open_airtime, settings, store, clock)
        opened.enter_context(airtime)
        plans, tuner = await asyncio.to_thread(_open_tuner, settings)
        radio, gps = _antenna(settings, ledger, store, clock, tuner)
        view = _view(settings, eui, radio, store, clock, gps)
        side = _network_side(settings, eui, store, radio, decoder, clock, tuner, view.trace)
        await side.load()
        line = UplinkLine(radio, Network(region_named(settings.gateway.region)), store, decoder, view)
        drains = _drains(settings, eui, store, side, view, clock, gps)
        tuner.attend(radio, partial(_retuned, settings, tuner, plans, side))
        forwarding = _connect(line, settings, eui, store, radio, gps, side, clock, tuner, view.trace)
        custody, forgetting = _books(settings, store, drains, [side, view, *drains], clock)
        control = _control(settings, eui, store, decoder, side.desk, forgetting)
        view.watch(line, drains, side, decoder, forwarding, tuner)
        antenna = await opened.enter_async_context(AsyncExitStack())
        await antenna.enter_async_context(radio)
        page = await _open_doors(opened, settings, store.folder, view, control, drains, side.desk, clock)
        beside = [
            store.keep_house(partial(_trusted_utc_us, clock)),
            clock.keep(store.date_back),
            airtime.keep(),
            plans.keep(lambda: tuner.followed),
            gps.run(),
            custody.keep(),
            forgetting.go_on(),
            _book_drops(radio, store),
            _feed_watchdog(notifier, line),
        ]
        beside += [*side.duties(), *forwarding.duties(), *(drain.run() for drain in drains)]
        if store.in_memory_because is not None:
            beside.append(_wait_for_the_disk(settings.store.path, store, drains, disk_is_back, stop))
        if company is not None:
            host, port = page.addresses[0]
            beside.append(company.attend(view, f"http://{host}:{port}", stop))
        async with _running(beside):
            _let_what_is_there_be()
            hearing = asyncio.create_task(line.run(), name="line")
            notifier.ready(f"{len(drains)} destinations, {store.known.devices} devices")
            log.info("gateway %s is running, console on %s", eui, settings.console.listen)
            await _told_or_ended(stop, hearing)
            notifier.stopping()
            log.info("stopping: the radio first, then what it has heard, then the destinations")
            _give_up_after(STOP_WITHIN_S)
            await forgetting.stop()
            await side.stop()
            await _fall_silent(antenna, store, hearing)
            await _last_deliveries(store, drains)
    log.info("stopped, everything heard is kept")
    return Ending.AGAIN if disk_is_back.is_set() else Ending.TOLD


@contextlib.asynccontextmanager
async def at_rest(settings: Settings) -> AsyncIterator[Control]:
    """What can be asked of a gateway that does not run: its store is held meanwhile. StorageError when it does run."""
    async with AsyncExitStack() as opened:
        opened.enter_context(Ownership(settings.store.path))
        eui = settings.gateway.eui or own_eui(settings.store.path)
        store = await opened.enter_async_context(await asyncio.to_thread(_open_on_disk, settings, eui))
        clock = opened.enter_context(Clock())
        store.date = remembered_dating(settings.store.path).date
        decoder = await opened.enter_async_context(Decoder(_catalogue(settings)))
        for name, manners in parts.manners(settings, eui).items():
            store.subscribe(name, manners.takes)
        region, answers = region_named(settings.gateway.region), settings.network.answer
        queue = DownlinkQueue(store, clock.stamp, told=lambda _: None, stirred=lambda _: None)
        await queue.load()
        desk = DownlinkDesk(queue, decoder, store.device, region, clock.stamp, answers=answers)
        sinks, custody = partial(_sinks, settings, eui), partial(_forget_balances, store.folder)
        forgetting = _forgetting(settings, store, sinks, custody, [queue])
        try:
            yield _control(settings, eui, store, decoder, desk, forgetting)
        finally:
            await forgetting.stop()
        await queue.look_after()


def _books(
    settings: Settings, store: Store, drains: Sequence[Drain], memories: Sequence[Memory], clock: Clock
) -> tuple[Custody, Forgetting]:
    """The balance of each day, and what erases a device from it and from everything else."""
    custody = Custody(store, drains, partial(_trusted_utc_us, clock))
    forgetting = _forgetting(settings, store, lambda: [drain.sink for drain in drains], custody.forget, memories)
    return custody, forgetting


def _forgetting(
    settings: Settings,
    store: Store,
    sinks: Callable[[], Sequence[Sink]],
    custody: Callable[[DevEui], Awaitable[None]],
    memories: Sequence[Memory],
) -> Forgetting:
    return Forgetting(store, sinks, partial(parts.known_as, settings), custody, memories)


def _sinks(settings: Settings, eui: GatewayEui) -> Sequence[Sink]:
    return [sink for sink, _ in parts.sinks(settings, eui, _nowhere)]


def _nowhere() -> None:
    """Where a gateway is that does not run does not matter."""


async def _forget_balances(folder: Path, dev_eui: DevEui) -> None:
    """Leave a device out of the balances of a gateway that does not run."""
    file = CustodyFile(folder)
    await asyncio.to_thread(file.load)
    if file.morning is not None or file.days:
        file.forget(str(dev_eui))
        await asyncio.to_thread(file.save)


def _drains(
    settings: Settings, eui: GatewayEui, store: Store, side: NetworkSide, view: GatewayView, clock: Clock, gps: Gps
) -> Sequence[Drain]:
    """A loop for each destination, told when somebody else changes what it is to get."""
    drains = [
        Drain(store, sink, manners, now=clock.stamp, facts=view.announcement, asked=side.mailbox.take)
        for sink, manners in parts.sinks(settings, eui, gps.position)
        if store.subscribe(sink.name, manners.takes)
    ]
    for drain in drains:
        store.tell(drain.name, drain.stir)
    side.mailbox.open(*drains)
    return drains


async def _open_doors(
    opened: AsyncExitStack,
    settings: Settings,
    folder: Path,
    view: GatewayView,
    control: Control,
    drains: Sequence[Drain],
    desk: DownlinkDesk,
    clock: Clock,
) -> Listener:
    """Where people look, where commands ask, and where platforms ask for downlinks, if they may; the first of them."""
    page = await opened.enter_async_context(await serve_tcp(application(view), str(settings.console.listen)))
    await opened.enter_async_context(await serve_unix(application(view, orders=control), folder))
    keepers: dict[str, Doorkeeper] = {}
    for drain in drains:
        if isinstance(drain.sink, CommandedSink):
            drain.sink.obey(desk, clock.stamp)
            if (keeper := drain.sink.doorkeeper()) is not None:
                keepers[drain.name] = keeper
    if settings.commands.listen is not None and keepers:
        address, files = settings.commands.listen, parts.door_files(settings)
        door = CommandDoor(keepers, desk, clock.stamp)
        await opened.enter_async_context(door.open(address.host, address.port, *files))
        log.info("commands of %s are taken at %s", ", ".join(keepers), address)
    return page


def _antenna(
    settings: Settings, ledger: AirtimeLedger, store: Store, clock: Clock, tuner: Tuner
) -> tuple[Concentrator, Gps]:
    """What hears frames, and what hears satellites: each tells the other when a second begins."""
    radio = parts.radio(settings, ledger, clock.stamp, store.counters, parts.Heard(tuner.plan, tuner.before))
    return radio, parts.gps(settings, radio, clock.stamp, clock.gps_time, clock.network)


def _view(
    settings: Settings, eui: GatewayEui, radio: Concentrator, store: Store, clock: Clock, gps: Gps
) -> GatewayView:
    gateway, region = settings.gateway, region_named(settings.gateway.region)
    view = GatewayView(eui, gateway.name, radio, region, store, clock.stamp, clock.facts)
    view.place(gps.position, gps.facts)
    return view


async def _own_eui(settings: Settings, clock: Clock) -> GatewayEui:
    """By the concentrator, which is asked once: it has to be started for that, and is closed again."""
    folder = settings.store.path
    if chip_eui(folder) is None and (found := await parts.chip_eui(settings, clock.stamp)) is not None:
        remember_chip_eui(folder, found)
        return found
    return own_eui(folder)


def _network_side(
    settings: Settings,
    eui: GatewayEui,
    store: Store,
    radio: Concentrator,
    decoder: Decoder,
    clock: Clock,
    tuner: Tuner,
    onlooker: Onlooker,
) -> NetworkSide:
    region, network = region_named(settings.gateway.region), settings.network
    # Not from memory: counters and nonces would be forgotten with the power, and used again.
    answers = network.answer and store.in_memory_because is None
    plan = _network_plan(settings, tuner)
    side = NetworkSide(eui, radio, store, decoder, region, plan, network.net_id, clock.stamp, onlooker, answers=answers)
    store.removed = side.mailbox.removed
    return side


def _open_tuner(settings: Settings) -> tuple[PlanFile, Tuner]:
    """Whose channels are heard, and what was heard before the start if that is a network server's affair."""
    plans = PlanFile(settings.store.path)
    leader = settings.radio.channels
    region, own = region_named(settings.gateway.region), parts.own_channels(settings)
    if leader == "region":
        return plans, Tuner(region, own, say=log.info, warn=log.warning)
    return plans, Tuner(region, own, leader, plans.read(), say=log.info, warn=log.warning)


def _network_plan(settings: Settings, tuner: Tuner) -> NetworkPlan:
    network = settings.network
    region = region_named(settings.gateway.region)
    return network_plan(region, network.extra_channels, network.rx2_data_rate, tuner.heard_by_devices)


def _retuned(settings: Settings, tuner: Tuner, plans: PlanFile, side: NetworkSide) -> None:
    """The radio hears something else: that is remembered, and devices of ours are told."""
    plans.stir()
    side.follow(_network_plan(settings, tuner))


def _connect(
    line: UplinkLine,
    settings: Settings,
    eui: GatewayEui,
    store: Store,
    radio: Concentrator,
    gps: Gps,
    side: NetworkSide,
    clock: Clock,
    tuner: Tuner,
    onlooker: Onlooker,
) -> Forwarding:
    """Let devices of ours be answered, and whatever is heard go on to the network servers that the settings name."""
    if side.answers:
        line.answer_with(side.server)
    reception = Reception(partial(only_receiver, radio), gps.position)
    load = partial(parts.duty_cycles, region_named(settings.gateway.region), radio)
    site = parts.Site(eui, settings.store.path, side.line.carry, clock.stamp, reception, onlooker, tuner.of, load)
    servers = parts.lns(settings, site)
    if store.in_memory_because is None:
        keeper = partial(KeptFrames, store, answers=side.answers)
        servers = parts.with_history(settings, servers, keeper, clock.stamp)
    forwarding = Forwarding(servers, reception)
    line.forward_to(forwarding)
    return forwarding


def _control(
    settings: Settings, eui: GatewayEui, store: Store, decoder: Decoder, desk: DownlinkDesk, forgetting: Forgetting
) -> Control:
    async def renew_codecs() -> None:
        await decoder.reload(await asyncio.to_thread(_catalogue, settings))

    manners, network = parts.manners(settings, eui), partial(Network, region_named(settings.gateway.region))
    return Control(store, manners, decoder, network, renew_codecs, desk, forgetting)


def _open_on_disk(settings: Settings, eui: GatewayEui) -> Store:
    return Store.open(
        settings.store.path,
        eui,
        commit_interval_s=settings.store.commit_interval.total_seconds(),
        limits=parts.limits(settings),
        store_key=parts.store_key(settings),
        residents=parts.residents(settings),
    )


def _let_what_is_there_be() -> None:
    """Modules, settings and devices stay as long as the gateway runs: no search for garbage need pass through them."""
    gc.unfreeze()  # what stayed from a run before this one
    gc.collect()
    gc.freeze()


def _open_store(settings: Settings, eui: GatewayEui) -> Store:
    """The store of the data folder; while that takes no writing, one in memory, so that the radio is heard at least."""
    folder, store_key = settings.store.path, parts.store_key(settings)
    try:
        return _open_on_disk(settings, eui)
    except DiskTrouble as trouble:
        log.error("%s: going on in memory, what is heard now is lost with the power", trouble.problem)  # noqa: TRY400
        return Store.open_in_memory(folder, memory_folder(folder), eui, store_key=store_key, why=trouble.problem)


def _open_airtime(settings: Settings, store: Store, clock: Clock) -> tuple[AirtimeFile, AirtimeLedger]:
    """What was sent within the hour, on disk or in memory, wherever there is writing now."""
    file = _airtime_file(settings.store.path, store)
    bands = region_named(settings.gateway.region).sub_bands
    ledger = AirtimeLedger(bands, file.remembered, clock.stamp(), clock.dating.date)
    file.begin(ledger)
    return file, ledger


def _airtime_file(folder: Path, store: Store) -> AirtimeFile:
    memory = memory_folder(folder)
    if store.in_memory_because is None:
        try:
            return AirtimeFile(folder, memory, moves_in=True)
        except DiskTrouble as trouble:
            log.error("%s: air time is kept in memory", trouble.problem)  # noqa: TRY400
            memory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return AirtimeFile(memory, folder)


async def _wait_for_the_disk(
    folder: Path, store: Store, drains: Sequence[Drain], disk_is_back: asyncio.Event, stop: asyncio.Event
) -> None:
    """Once the data folder can be written again and nothing waits in memory, start anew on it."""
    while True:
        await asyncio.sleep(LOOK_AT_DISK_S)
        waiting = any(store.progress(drain.name).queued(store.head) for drain in drains)
        if not waiting and await asyncio.to_thread(can_be_written, folder):
            disk_is_back.set()
            stop.set()
            return


def _trusted_utc_us(clock: Clock) -> int | None:
    """The date, if it can be trusted: only then may anything be called old.

    And not before what has a better date now was asked for again: what left the store could not be sent with it.
    """
    now = clock.stamp()
    return now.utc_us if clock.state.is_known and clock.has_told else None


def _catalogue(settings: Settings) -> Catalogue:
    catalogue = parts.catalogue(settings)
    for problem in catalogue.problems:
        log.warning("codec left out: %s", problem)
    return catalogue


def _stop_on_signals(stop: asyncio.Event) -> None:
    """The first signal stops in order, the second at once."""

    def stopped(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped, number)


def _give_up_after(seconds: float) -> None:
    """A part that does not stop may not keep the machine waiting; the disk is as after a power cut."""

    def give_up() -> None:
        left = ", ".join(sorted(_where(task) for task in asyncio.all_tasks()))
        log.error("a part did not stop within %.0f s: ending as a power cut would; left are %s", seconds, left)
        os._exit(1)

    asyncio.get_running_loop().call_later(seconds, give_up)


def _where(task: asyncio.Task[Any]) -> str:
    """What a task is, and the line at which it waits."""
    stack = task.get_stack(limit=1)
    at = f" at {stack[0].f_code.co_filename.rpartition('/')[2]}:{stack[0].f_lineno}" if stack else ""
    return f"{getattr(task.get_coro(), '__qualname__', task.get_name())}{at}"


@contextlib.asynccontextmanager
async def _running(duties: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run these beside the body; when one fails, the body is cancelled and the failure goes on."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(duty) for duty in duties]
            yield
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _told_or_ended(stop: asyncio.Event, hearing: asyncio.Task[None]) -> None:
    """Until told to stop, or until the line ends by itself, which it may not."""
    told = asyncio.create_task(stop.wait())
    await asyncio.wait({told, hearing}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()


async def _book_drops(radio: Concentrator, store: Store) -> None:
    """Frames that the radio dropped because the line was full go into the books."""
    booked = 0
    while True:
        dropped = radio.health().dropped
        if dropped > booked:
            store.count_dropped("queue_full", dropped - booked)
            booked = dropped
        await asyncio.sleep(BOOK_DROPS_S)


async def _feed_watchdog(notifier: Notifier, line: UplinkLine) -> None:
    """A sign of life for as long as frames move through the line."""
    if notifier.watchdog_interval_s is None:
        return
    loop = asyncio.get_running_loop()
    booked, moved_s = line.booked, loop.time()
    while True:
        if line.booked != booked or line.booked == line.taken:
            booked, moved_s = line.booked, loop.time()
        if loop.time() - moved_s < STUCK_AFTER_S:
            notifier.watchdog()
        await asyncio.sleep(notifier.watchdog_interval_s)


async def _fall_silent(antenna: AsyncExitStack, store: Store, hearing: asyncio.Task[None]) -> None:
    """Close the radio, and let what it has heard go through to the disk."""
    await antenna.aclose()
    store.hurry()
    await hearing


async def _last_deliveries(store: Store, drains: Sequence[Drain]) -> None:
    """Let connected destinations take what has just been kept, for a moment."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + LAST_DELIVERIES_S
    while loop.time() < until_s and any(  # noqa: ASYNC110 - several drains, a few looks, once
        drain.state == "connected" and store.progress(drain.name).queued(store.head) for drain in drains
    ):
        await asyncio.sleep(0.05)
