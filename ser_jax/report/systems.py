"""The published systems: their claims and data, and the corpora and features they have here."""

from typing import NamedTuple


class System(NamedTuple):
    """A published system.

    Attributes:
      name: name of its config.
      corpora: corpora it is trained on here.
      sources: builder configs it reads under its own protocol and speaker-independently.
      claim: the published result and the data it was measured on.
      budget: the published length of training.
      why: the worth of that result.
      trunk: network whose pretrained weights it begins with.
      texts: corpus of texts that it reads as well.
    """

    name: str
    title: str
    corpora: tuple[str, ...]
    sources: tuple[str, str]
    claim: str
    budget: str
    why: str
    trunk: str = ''
    texts: str = ''


_FOUR = ('ravdess', 'cremad', 'tess', 'savee')
SYSTEMS = (
    System(
        'stsam',
        'STSaM, happy / sad',
        ('ravdess', 'savee'),
        ('mfcc_curve', 'mfcc_curve'),
        'accuracy 0.671 (run A) and 0.726 (run B), n = 73, random split by utterance, reviews '
        'paired by label',
        '250 epochs at 1e-5 (A), 180 (B)',
        'the review beside an utterance has its label, so the text tells the answer; voices on '
        'both sides',
        texts='imdb',
    ),
    System(
        'speech_emotion_analyzer',
        'Speech-Emotion-Analyzer, sex x 5',
        ('ravdess', 'savee'),
        ('mfcc_curve', 'mfcc_curve'),
        'accuracy 0.727, n = 319, random split by utterance, test = validation; users with clean '
        'files report 0.35 to 0.50',
        '700 epochs at 1e-5',
        'SAVEE was there two or three times, so copies stood on both sides: out of reach with '
        'every file once',
    ),
    System(
        'burnwal',
        'Burnwal, 8 emotions',
        _FOUR,
        ('stats162_variants', 'stats162_variants'),
        'accuracy 0.607, n = 9,122 rows, random split of rows after augmenting',
        '50 epochs',
        '94 % of the test rows have an augmented sibling in training; voices on both sides',
    ),
    System(
        'deepemo',
        'DeepEmo shallow, 7 emotions',
        ('ravdess', 'tess', 'cremad', 'savee'),
        ('linear_spectrogram', 'log_mel_100'),
        'accuracy about 0.60, n not stated, last tenth of a class-sorted shuffle, validation = '
        'test, SAVEE mislabeled',
        'about 8 epochs',
        'validation held mostly the last classes, and most of it was trained on in epoch 1; '
        'speaker-independently the same convolutions, averaged over the picture, on mel bands; '
        'the 200 M parameters have 1 epoch in a quick run, and with 8 (own-full; n = 281, 1 '
        'seed) WA 0.580 [0.496, 0.655], level with the claim, on a quarter of its files',
    ),
    System(
        'deepemo_transfer',
        'DeepEmo transfer, 7 emotions',
        ('ravdess', 'tess', 'cremad', 'savee'),
        ('linear_spectrogram', 'linear_spectrogram'),
        'accuracy about 0.70, n not stated, the same split',
        '50 epochs',
        'as above; begins with ImageNet weights',
        trunk='inception_v3',
    ),
    System(
        'vsr',
        'VSR, negative / positive',
        _FOUR,
        ('vsr_spectrogram', 'vsr_spectrogram'),
        'validation loss 0.967, n not stated: above ln 2 = 0.693, so worse than a coin if it is '
        'in nats; no accuracy',
        'not stated (10 epochs in its script for one user)',
        'begins with ImageNet weights',
        trunk='densenet201',
    ),
    System(
        'nooks',
        'Nooks, 10 names',
        ('ravdess',),
        ('log_mel_40_published', 'log_mel_40'),
        'precision 0.87, recall 0.85, F1 0.86, n not stated; its own split allows at most 2 / 9 '
        '= 0.222',
        'not stated',
        'its split by position trains on no disgust and no surprise, and tests hardly anything '
        'else',
    ),
)
