"""The pins of a board, on fakes that behave like the kernel's character device and like RPi.GPIO."""

from __future__ import annotations

import errno
import types
from dataclasses import dataclass, field
from enum import Enum

import pytest

from gateway.radio.board import Drive, Pause, Pin, Run
from gateway.radio.chip import ChipTrouble, TroubleKind
from gateway.radio.gpio import GpiodLines, RpiGpioLines, carry_out, open_lines


class Value(Enum):
    INACTIVE = 0
    ACTIVE = 1


class Direction(Enum):
    OUTPUT = 3


@dataclass
class Machine:
    """GPIO chips by device name, and the module `gpiod` (version 2) as a program sees it."""

    labels: dict[str, str]
    num_lines: int = 54
    names: dict[str, int] = field(default_factory=dict)
    held: dict[tuple[str, int], str] = field(default_factory=dict)
    levels: dict[tuple[str, int], list[Value]] = field(default_factory=dict)
    denied: frozenset[str] = frozenset()
    line = types.SimpleNamespace(Value=Value, Direction=Direction)

    def devices(self, folder):
        for name in self.labels:
            (folder / name).touch()
        return folder

    @staticmethod
    def LineSettings(direction, output_value):  # noqa: N802 - gpiod's name
        return types.SimpleNamespace(direction=direction, output_value=output_value)

    def is_gpiochip_device(self, path):
        return path.rpartition("/")[2] in self.labels

    def Chip(self, path):  # noqa: N802 - gpiod's name
        name = path.rpartition("/")[2]
        if name in self.denied:
            raise PermissionError(errno.EACCES, "Permission denied")
        return Chip(self, name)


class Chip:
    def __init__(self, machine, name):
        self._machine, self._name = machine, name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def get_info(self):
        return types.SimpleNamespace(label=self._machine.labels[self._name], num_lines=self._machine.num_lines)

    def line_offset_from_id(self, name):
        if name not in self._machine.names:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        return self._machine.names[name]

    def get_line_info(self, offset):
        return types.SimpleNamespace(consumer=self._machine.held.get((self._name, offset), ""))

    def request_lines(self, config, consumer):
        ((offset, settings),) = config.items()
        if (self._name, offset) in self._machine.held:
            raise OSError(errno.EBUSY, "Device or resource busy")
        self._machine.held[self._name, offset] = consumer
        self._machine.levels[self._name, offset] = [settings.output_value]
        return Request(self._machine, self._name, offset)


class Request:
    def __init__(self, machine, name, offset):
        self._machine, self._key = machine, (name, offset)

    def set_value(self, offset, value):
        assert offset == self._key[1]
        self._machine.levels[self._key].append(value)

    def release(self):
        del self._machine.held[self._key]


PI_4 = {"gpiochip0": "pinctrl-bcm2711", "gpiochip1": "raspberrypi-exp-gpio"}
PI_5_BEFORE = {"gpiochip0": "gpio-brcmstb@107d508500", "gpiochip4": "pinctrl-rp1", "gpiochip10": "pinctrl-bcm2712"}
PI_5_SINCE_6_6_45 = {"gpiochip0": "pinctrl-rp1", "gpiochip10": "gpio-brcmstb@107d508500"}
PI_3 = {"gpiochip0": "pinctrl-bcm2835"}


def lines(machine, folder, *pins):
    return GpiodLines(pins, gpiod=machine, devices=machine.devices(folder))


@pytest.mark.parametrize(
    ("labels", "device"),
    [(PI_3, "gpiochip0"), (PI_4, "gpiochip0"), (PI_5_BEFORE, "gpiochip4"), (PI_5_SINCE_6_6_45, "gpiochip0")],
)
def test_the_header_is_found_by_its_label_on_every_model_and_kernel(tmp_path, labels, device):
    machine = Machine(labels)
    held = lines(machine, tmp_path, Pin(17))
    held.drive(Pin(17), high=True)
    held.drive(Pin(17), high=False)
    assert machine.levels == {(device, 17): [Value.INACTIVE, Value.ACTIVE, Value.INACTIVE]}
    assert machine.held == {(device, 17): "lorawan-gateway"}
    held.close()
    assert machine.held == {}


def test_a_pin_may_name_another_chip_and_a_line_by_its_name(tmp_path):
    machine = Machine(PI_4, names={"LORA_RST": 3})
    lines(machine, tmp_path, Pin("LORA_RST", "raspberrypi-exp-gpio"))
    assert list(machine.held) == [("gpiochip1", 3)]


def trouble_of(machine, folder, *pins):
    with pytest.raises(ChipTrouble) as trouble:
        lines(machine, folder, *pins)
    assert trouble.value.hint
    return trouble.value


def test_an_unknown_label_is_told_with_those_that_are_there(tmp_path):
    trouble = trouble_of(Machine(PI_4), tmp_path, Pin(17, "pinctrl-rp1"))
    assert trouble.kind is TroubleKind.NOT_THERE
    assert "pinctrl-bcm2711" in str(trouble)


def test_a_machine_without_a_header_says_so(tmp_path):
    assert "none at all" in str(trouble_of(Machine({}), tmp_path, Pin(17)))


@pytest.mark.parametrize("line", [99, "NOBODY"])
def test_a_line_nobody_has_is_told(tmp_path, line):
    assert trouble_of(Machine(PI_4), tmp_path, Pin(line)).kind is TroubleKind.NOT_THERE


def test_a_line_that_somebody_holds_is_told_with_who(tmp_path):
    machine = Machine(PI_4, held={("gpiochip0", 17): "w1-gpio"})
    trouble = trouble_of(machine, tmp_path, Pin(18), Pin(17))
    assert trouble.kind is TroubleKind.BUSY
    assert "w1-gpio" in str(trouble)
    # What was taken before is given back.
    assert list(machine.held) == [("gpiochip0", 17)]


def test_a_chip_that_is_not_ours_to_open_names_the_group(tmp_path):
    trouble = trouble_of(Machine(PI_4, denied=frozenset(PI_4)), tmp_path, Pin(17))
    assert trouble.kind is TroubleKind.NO_PERMISSION
    assert "group gpio" in trouble.hint


def test_a_board_without_pins_needs_no_gpio():
    open_lines(()).close()


# --- RPi.GPIO -------------------------------------------------------------------------------------------------------


class RpiGpio:
    """RPi.GPIO as `rpi-lgpio` offers it."""

    BCM, OUT, LOW, HIGH = 11, 0, 0, 1

    def __init__(self, refusal=None):
        self.refusal, self.done, self.cleaned = refusal, [], []

    def setwarnings(self, _):
        pass

    def setmode(self, mode):
        assert mode == self.BCM

    def setup(self, line, direction, initial):
        if self.refusal is not None:
            raise self.refusal
        self.done.append((line, initial))

    def output(self, line, level):
        self.done.append((line, level))

    def cleanup(self, lines):
        self.cleaned += lines


def test_through_rpi_gpio_the_lines_are_those_of_the_header():
    rpi_gpio = RpiGpio()
    held = RpiGpioLines([Pin(17), Pin(18, "pinctrl-bcm2711")], rpi_gpio=rpi_gpio)
    held.drive(Pin(17), high=True)
    held.close()
    assert rpi_gpio.done == [(17, 0), (18, 0), (17, 1)]
    assert rpi_gpio.cleaned == [17, 18]


@pytest.mark.parametrize("pin", [Pin(3, "raspberrypi-exp-gpio"), Pin("GPIO17")])
def test_rpi_gpio_knows_the_header_alone(pin):
    with pytest.raises(ChipTrouble, match="header"):
        RpiGpioLines([pin], rpi_gpio=RpiGpio())


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (RuntimeError("'GPIO busy'"), TroubleKind.BUSY),  # lgpio.error
        (RuntimeError("No access to /dev/mem.  Try running as root!"), TroubleKind.NO_PERMISSION),
        (PermissionError("/dev/gpiochip0"), TroubleKind.NO_PERMISSION),
        (ValueError("The channel sent is invalid on a Raspberry Pi"), TroubleKind.NOT_THERE),
    ],
)
def test_each_refusal_of_rpi_gpio_is_told_with_a_cure(refusal, kind):
    with pytest.raises(ChipTrouble) as trouble:
        RpiGpioLines([Pin(17)], rpi_gpio=RpiGpio(refusal))
    assert trouble.value.kind is kind
    assert trouble.value.hint


# --- carrying out ---------------------------------------------------------------------------------------------------


class Pins:
    def __init__(self):
        self.done = []

    def drive(self, pin, high):
        self.done.append((pin, high))

    def close(self):
        pass


def test_steps_are_carried_out_in_order(tmp_path):
    pins = Pins()
    steps = [Drive(Pin(18), high=True), Pause(0.1), Run(("touch", str(tmp_path / "made"))), Drive(Pin(17), high=False)]
    carry_out(steps, pins, sleep=pins.done.append)
    assert pins.done == [(Pin(18), True), 0.1, (Pin(17), False)]
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("command", "said"), [(("mts-io-sysfs-nowhere", "store"), "is not there"), (("false",), "failed")]
)
def test_a_maker_s_program_that_is_not_there_or_fails_is_told(command, said):
    with pytest.raises(ChipTrouble, match=said) as trouble:
        carry_out([Run(command)], Pins())
    assert trouble.value.kind is TroubleKind.NOT_THERE
