"""Write front_ends.npz: librosa's (0.11) front ends of tests/librosa_front_ends.py. From the root:

python -m tests.golden.make_front_ends
"""

import numpy as np

from tests import librosa_front_ends

arrays = {}
for front, (rate_hz, kept) in librosa_front_ends.KEPT.items():
    for name, samples in librosa_front_ends.signals(rate_hz).items():
        arrays[f'{front}/{name}'] = getattr(librosa_front_ends, front)(samples)[kept].astype(
            np.float32
        )
np.savez_compressed('tests/golden/front_ends.npz', **arrays)
