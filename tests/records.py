"""Installed releases as pip leaves them: modules, metadata, and a RECORD of both."""

from __future__ import annotations

from pathlib import Path

from flopledger.counters.engine.overlays import _hash


def installed(folder: Path, name: str, version: str, files: dict[str, str]) -> Path:
    """Write a release into a folder."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    for path, text in {**files, f"{about}/METADATA": metadata}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return seal(folder)


def seal(folder: Path) -> Path:
    """Write the RECORD of what is in a folder now."""
    (about,) = folder.glob("*.dist-info")
    record = about / "RECORD"
    record.unlink(missing_ok=True)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    lines = [f"{path.relative_to(folder).as_posix()},{_hash(path, 'sha256')},{path.stat().st_size}" for path in files]
    record.write_text("\n".join([*lines, f"{about.name}/RECORD,,"]) + "\n")
    return folder
