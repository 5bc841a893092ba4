"""Write log_mel.npz: librosa's log-mel (0.11) of tests/audio/features_test.py. From the root."""

import importlib.util

import numpy as np

spec = importlib.util.spec_from_file_location('features_test', 'tests/audio/features_test.py')
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
np.savez_compressed(
    'tests/golden/log_mel.npz',
    **{n: module.by_librosa(s).astype(np.float32) for n, s in module.signals().items()},
)
