"""docs/dicom.md: its table is that of the code, its commands exist, and its receiver segments what it receives."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import call

from monai_dis.checks.codes import TABLE, Policy, codes_table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "dicom.md").read_text(encoding="utf-8")

#: DCMTK's: pynetdicom puts a program of the same name, with other options, beside the interpreter.
STORESCP = shutil.which("storescp", path=os.defpath)


def between(name: str) -> str:
    return PAGE.split(f"<!-- {name} -->\n")[1].split(f"\n<!-- end of {name} -->")[0]


def test_the_table_of_codes_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert between("codes") == codes_table()
    assert call("dicom", "codes") == 0
    assert capsys.readouterr().out.strip() == codes_table()


def test_every_code_is_used_and_none_is_missing() -> None:
    files = [path for path in (ROOT / "monai_dis").rglob("*.py") if path.name != "codes.py"]
    used = set(re.findall(r'"([A-Z]+(?:_[A-Z0-9]+)*)"', "\n".join(path.read_text(encoding="utf-8") for path in files)))
    assert set(TABLE) <= used
    assert not [name for name, code in TABLE.items() if code.relaxable and code.policy is not Policy.REJECT]


def test_commands_exist_with_their_options() -> None:
    from typer.testing import CliRunner

    from monai_dis.cli.app import app

    lines = re.findall(r"^monai-dis .*$", PAGE, flags=re.MULTILINE)
    assert len(lines) >= 4
    for line in lines:
        _, command, *arguments = shlex.split(line)
        words = [command, arguments[0]] if command == "dicom" else [command]
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1"})
        assert shown.exit_code == 0
        assert all(argument in shown.output for argument in arguments if argument.startswith("--"))


@pytest.mark.slow
@pytest.mark.skipif(STORESCP is None, reason="needs DCMTK")
def test_the_receiver_segments_a_study_that_is_sent_to_it(tmp_path: Path) -> None:
    pytest.importorskip("pynetdicom")
    from dicom_objects import Identity, ct_series
    from dicom_study import make_volume_bundle, save_shuffled
    from own_network import can_have_own_network, in_own_network
    from small_bundle import write_tiny_bundle

    if not can_have_own_network():
        pytest.skip("storescp listens on every address, and there is no network namespace for it")
    bundle = make_volume_bundle(write_tiny_bundle(tmp_path))
    study = save_shuffled(ct_series(Identity("receiver")), tmp_path / "study")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = re.findall(r"```bash\n(.*?)```", between("receiver"), flags=re.DOTALL)[0]
    for old, new in {
        "storescp --output": f"{STORESCP} --output",
        "monai-dis segment": f"{sys.executable} -m monai_dis segment",
        "left_atrium_mr_dis": str(bundle),
        "--output-directory inbox": f"--output-directory {tmp_path / 'inbox'}",
        "--output out": f"--output {tmp_path / 'out'}",
        "--eostudy-timeout 30": "--eostudy-timeout 2",
        " 11112": f" {port}",
    }.items():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "inbox").mkdir()
    with in_own_network(shlex.split(text.replace("\\\n", " ")), [port], tmp_path / "log"):
        for _ in range(20):  # until the receiver listens
            sent = subprocess.run(
                [sys.executable, "-m", "monai_dis", "dicom", "send", f"STORESCP@127.0.0.1:{port}", study],
                capture_output=True,
            )
            if sent.returncode == 0:
                break
        assert sent.returncode == 0, sent.stdout
        for _ in range(240):
            if list((tmp_path / "out").glob("*.sr.dcm")):
                break
            time.sleep(0.5)
    assert len(list((tmp_path / "out").glob("*.seg.dcm"))) == 1, (tmp_path / "log").read_text()
    assert len(list((tmp_path / "out").glob("*.sr.dcm"))) == 1
