"""Conv+BiLSTM on RAVDESS speech, 8 emotions, speaker-independent.

    python -m ser_jax.build datasets/ravdess --manual_dir=FOLDER
    python -m ser_jax.main --config=configs/conv_bilstm.py --workdir=runs/conv_bilstm
    python -m ser_jax.evaluate --runs=runs/conv_bilstm

Data: speech and song of the built actors; song of the training actors is trained on and never scored. Protocol: 5 folds
by speaker, balanced by sex, 2 validation speakers from the training side choose the epoch; 3 seeds, 15 members.
Network: 235 k parameters. Hyper-parameters were chosen on 6 speakers of the training side of fold 0 (which other folds
test), never on a fold's own test; none was searched finely. What was tried there and did not help: mixup (-7 points),
normalizing every window by itself, a wider network, batches of 16. What helped: hearing only from the first to the last
loud frame, in windows of 2 s (+2 points together, and half as long to train; one seed, 360 utterances, so within noise).

Score (20 of the 24 actors built, 1,199 test utterances, 3 seeds): UAR 0.557, 95 % interval by speaker [0.506, 0.609];
WA 0.554, macro F1 0.544; single members 0.557 +- 0.062; women 0.624, men 0.489; calibration error 0.066. The epoch is
a noisy choice of two speakers: it fell on epochs 16 to 50. Under `--config.members.protocol=leaky_random` the same
model and code score UAR 0.704 [0.651, 0.755] (inflated; 1 seed).
Cost: 4 core-min a member (1,400 utterances, 50 epochs, 2 s windows, 370 utterances/s on one core of an AMD EPYC with
AVX-512; Linux, Python 3.12, jax 0.12); 15 members took 26 min on two cores, one process pinned to each.
"""

from ser_jax.config import base


def get_config():
    """See the module's docstring."""
    c = base()
    c.data.corpora = ('ravdess',)
    c.features.trim_db = 40.0
    c.members.folds = 5
    c.members.seeds = (0, 1, 2)
    c.model.name = 'conv_bilstm'
    c.model.channels = (16, 32, 64, 64)
    c.model.kernels = (5, 3, 3, 3)
    c.model.strides = ((4, 2), (2, 2), (1, 2), (1, 2))
    c.model.hidden = 64
    c.model.dropout = 0.3
    c.augment.speed = 0.1
    c.augment.gain_db = 6.0
    c.augment.band_shift = 2
    c.augment.scored_shifts = 2
    c.augment.time_masks = 1
    c.augment.time_mask_s = 0.3
    c.augment.band_masks = 1
    c.augment.band_mask = 8
    c.loss.label_smoothing = 0.1
    c.optim.learning_rate = 2.5e-3
    c.optim.ema = 0.99
    c.train.epochs = 80
    c.train.select_over = 10
    c.train.window_s = 2.0
    return c
