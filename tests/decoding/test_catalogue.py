from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gateway
from gateway.decoding.catalogue import Catalogue, Language, shipped_folder
from gateway.decoding.description import key_lines, read_device, read_vendor

CODEC = "def decode(payload, port, variables):\n    return {'data': {}}\n"


def write(folder: Path, name: str, toml: str, **files: str) -> Path:
    device = folder / name
    device.mkdir(parents=True)
    (device / "device.toml").write_text(toml)
    for stem, text in (files or {"codec": CODEC}).items():
        (device / f"{stem}.py").write_text(text)
    return device


def test_the_shipped_codecs_are_found_and_free_of_mistakes():
    catalogue = Catalogue.load([shipped_folder()])
    assert not catalogue.problems
    assert {"heyliot/heywaste", "elsys/ers", "axioma/qalcosonic_w1"} <= set(catalogue.entries)
    assert catalogue.entries["heyliot/heywaste"].id == "heyliot/heywaste@1"
    assert catalogue.entries["heyliot/heywaste"].vendor == "Heyliot"


def test_an_installed_package_finds_the_codecs_inside_itself(tmp_path):
    """As the wheel lays them: site-packages/gateway/codecs. Run by a Python that sees nothing else of the project."""
    package = Path(gateway.__file__).parent
    site = tmp_path / "site-packages"
    shutil.copytree(package, site / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(shipped_folder(), site / "gateway" / "codecs")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from gateway.decoding import workbench\n"
        "from gateway.decoding.catalogue import Catalogue, shipped_folder\n"
        "print(shipped_folder())\n"
        "catalogue = Catalogue.load([shipped_folder()])\n"
        "print(workbench.test(catalogue, ['elsys/ers'])['failed'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", program, str(site)], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert run.stdout.splitlines() == [str(site / "gateway" / "codecs"), "0"]


def test_model_and_kind_suffice_where_the_folder_holds_one_script(tmp_path):
    write(tmp_path, "acme/probe", 'model = "Probe"\nkind = "hygrometry"\n')
    entry = Catalogue.load([tmp_path]).entries["acme/probe"]
    assert (entry.version, entry.vendor, entry.languages) == (1, "acme", (Language.PYTHON,))
    assert entry.script.path.name == "codec.py"


def test_a_later_folder_wins(tmp_path):
    write(tmp_path / "shipped", "acme/probe", 'model = "Shipped"\nkind = "a"\n')
    write(tmp_path / "shipped", "acme/other", 'model = "Other"\nkind = "a"\n')
    write(tmp_path / "site", "acme/probe", 'model = "Ours"\nkind = "a"\nversion = 7\n')
    catalogue = Catalogue.load([tmp_path / "shipped", tmp_path / "site", tmp_path / "missing"])
    assert {entry.id: entry.model for entry in catalogue.entries.values()} == {
        "acme/other@1": "Other",
        "acme/probe@7": "Ours",
    }
    assert not catalogue.problems


def test_each_firmware_speaks_the_script_it_names(tmp_path):
    toml = 'model = "P"\nkind = "a"\ncodec = "new.py"\n[[firmware]]\nversion = "1"\ncodec = "old.py"\n'
    write(tmp_path, "acme/probe", toml + '[[firmware]]\nversion = "2"\n', new=CODEC, old=CODEC)
    entry = Catalogue.load([tmp_path]).entries["acme/probe"]
    speaks = {version: entry.speaks(version) for version in (None, "", "1", "2", "3")}
    names = {version: script and script.path.name for version, script in speaks.items()}
    assert names == {None: "new.py", "": "new.py", "1": "old.py", "2": "new.py", "3": None}


MISTAKES = [
    ('model = "P"\n', "1 kind is missing"),
    ('model = 5\nkind = "a"\n', "1 model is a text in quotes, not 5"),
    ('model = "P"\nkind = ""\n', "2 kind is empty"),
    ('model = "P"\nkind = "a"\nversion = 0\n', "3 version is a whole number from 1, not 0"),
    ('model = "P"\nkind = "a"\nversion = true\n', "3 version is a whole number from 1, not True"),
    ('model = "P"\nkind = "a"\n\nmodle = "Q"\n', "4 modle is not known; did you mean model?"),
    (
        'model = "P"\nkind = "a"\n[variables.depth]\ndefalt = "3"\n',
        "4 variables.depth.defalt is not known; did you mean d",
    ),
    ('model = "P"\nkind = "a"\n[variables.depth]\ndescription = "x"\n', "3 variables.depth.default is missing"),
    (
        'model = "P"\nkind = "a"\n[variables.depth]\ndefault = 3\n',
        "4 variables.depth.default is a text in quotes, not 3",
    ),
    ('model = "P"\nkind = "a"\nvariables = 3\n', "3 variables is a table of tables: [variables.NAME]"),
    ('model = "P"\nkind = "a"\n[variables]\ndepth = "3"\n', "4 variables.depth is a table with `default` and"),
    ('model = "P"\nkind = "a"\nfirmware = ["1"]\n', "3 firmware is written as [[firmware]], one table for each"),
    (
        'model = "P"\nkind = "a"\n[[firmware]]\nversion = "1"\n[[firmware]]\nverzion = "2"\n',
        "6 firmware.verzion is not known; did you mean version?",
    ),
    ('model = "P"\nkind = "a"\n[[firmware]]\ncodec = "x.py"\n', "3 firmware.version is missing"),
    ('model = "P\nkind = "a"\n', "1 - is no TOML: "),
    ("version = " + "9" * 5000, "1 - is no TOML: "),
    ("a = " + "[" * 5000, "1 - is no TOML: "),
    ('model = "P"\nkind = "a"\ncodec = "x.py"\n', "1 codec names x.py, the folder holds codec.py"),
]


@pytest.mark.parametrize(("toml", "problem"), MISTAKES)
def test_a_mistake_is_told_with_file_line_and_key_and_costs_nothing_else(tmp_path, toml, problem):
    write(tmp_path, "acme/broken", toml)
    write(tmp_path, "acme/sound", 'model = "S"\nkind = "a"\n')
    catalogue = Catalogue.load([tmp_path])
    assert list(catalogue.entries) == ["acme/sound"]
    expected = f"{tmp_path}/acme/broken/device.toml:{problem}"
    assert any(str(found).startswith(expected) for found in catalogue.problems), catalogue.problems


def test_a_broken_site_codec_leaves_the_shipped_one_in_place(tmp_path):
    write(tmp_path / "shipped", "acme/probe", 'model = "Shipped"\nkind = "a"\n')
    write(tmp_path / "site", "acme/probe", "model = \n")
    catalogue = Catalogue.load([tmp_path / "shipped", tmp_path / "site"])
    assert catalogue.entries["acme/probe"].model == "Shipped"
    assert len(catalogue.problems) == 1


def test_scripts_are_missing_ambiguous_or_too_large(tmp_path):
    (write(tmp_path, "a/none", 'model = "P"\nkind = "a"\n') / "codec.py").unlink()
    write(tmp_path, "a/two", 'model = "P"\nkind = "a"\n', one=CODEC, two=CODEC)
    write(tmp_path, "a/large", 'model = "P"\nkind = "a"\n', one="#" * (4 << 20) + "##")
    catalogue = Catalogue.load([tmp_path])
    assert not catalogue.entries
    texts = "\n".join(map(str, catalogue.problems))
    assert "a/none/device.toml:1 codec names none, and the folder holds no .py or .js" in texts
    assert "a/two/device.toml:1 codec is missing: the folder holds one.py, two.py" in texts
    assert "one.py has 4194306 bytes, at most 4194304 are taken" in texts


def test_files_that_are_no_text_and_folders_that_are_no_devices(tmp_path):
    (write(tmp_path, "a/latin", "") / "device.toml").write_bytes(b'model = "Mus\xe9e"\n')
    (tmp_path / "a" / "notes").mkdir()
    (tmp_path / "a" / "__pycache__").mkdir()
    (tmp_path / "README.md").write_text("x")
    catalogue = Catalogue.load([tmp_path, tmp_path / "README.md"])
    assert [str(problem) for problem in catalogue.problems] == [
        f"{tmp_path}/a/latin/device.toml:1 - cannot be read: is not UTF-8 at byte 12"
    ]


def test_a_mistake_in_the_vendor_file_is_told_once_and_costs_only_the_name(tmp_path):
    for device in ("one", "two"):
        write(tmp_path, f"acme/{device}", 'model = "P"\nkind = "a"\n')
    (tmp_path / "acme" / "vendor.toml").write_text('\nnam = "Acme"\n')
    catalogue = Catalogue.load([tmp_path])
    assert [entry.vendor for entry in catalogue.entries.values()] == ["acme", "acme"]
    assert [str(problem) for problem in catalogue.problems] == [
        f"{tmp_path}/acme/vendor.toml:2 nam is not known; did you mean name?"
    ]


def test_key_lines_are_found_behind_arrays_quotes_comments_and_multi_line_texts():
    text = '# x\na = 1\n"b c" = """\nd = 2\n"""\n[e.f] # g\nh.i = 3\n[[j]]\n[[j]]\nk = "]"\n'
    assert key_lines(text) == {
        ("a",): 2,
        ("b c",): 3,
        ("e", "f"): 6,
        ("e", "f", "h", "i"): 7,
        ("j",): 8,
        ("j", 0): 8,
        ("j", 1): 9,
        ("j", 1, "k"): 10,
    }


@given(st.text(max_size=200))
def test_any_text_is_a_description_or_problems(text):
    description, problems = read_device(text, "device.toml")
    assert (description is None) == bool(problems)
    assert read_vendor(text, "vendor.toml") is not None


@given(
    st.lists(
        st.sampled_from(
            ['model="a"', 'kind="b"', "[[firmware]]", "[variables.x]", 'default="1"', "=", '"""', "version=2"]
        )
    )
)
def test_any_lines_are_a_description_or_problems(lines):
    description, problems = read_device("\n".join(lines), "device.toml")
    assert (description is None) == bool(problems)


def test_an_installed_distribution_brings_codecs_and_is_never_imported(tmp_path, monkeypatch):
    site = tmp_path / "site-packages"
    device = site / "acme_codecs" / "acme" / "thing"
    device.mkdir(parents=True)
    (site / "acme_codecs" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (device / "device.toml").write_text('model = "T"\nkind = "test"\n')
    (device / "thing.js").write_text("function decodeUplink() { return { data: {} }; }")
    facts = site / "acme_codecs-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-codecs\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[lorawan_gateway.codecs]\nacme = acme_codecs\ngone = acme_gone\ninner = acme_codecs.acme\n"
    )
    monkeypatch.syspath_prepend(str(site))
    own = tmp_path / "own" / "acme" / "thing"
    catalogue = Catalogue.of_site([])
    assert catalogue.entries["acme/thing"].folder == device
    assert "elsys/ers" in catalogue.entries
    assert [str(problem) for problem in catalogue.problems] == [
        "acme-codecs:1 gone acme_gone is no package at the top",
        "acme-codecs:1 inner acme_codecs.acme is no package at the top",
    ]
    own.mkdir(parents=True)
    (own / "device.toml").write_text('model = "Own"\nkind = "test"\n')
    (own / "thing.py").write_text("")
    assert Catalogue.of_site([tmp_path / "own"]).entries["acme/thing"].model == "Own"
