"""Reader of Keras's imdb.npz, IMDB reviews as word numbers, that runs no code of its pickles."""

import io
import json
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from ser_jax.contract import InputError
from ser_jax.corpora.text_files import Document

ARRAYS = ('x_train', 'y_train', 'x_test', 'y_test')
SEED = 113  # of the shuffle in Keras's load_data
# load_data starts a review with 1, replaces words left out by 2 and adds 3 to all others.
START, OFFSET = 1, 3


class Review(NamedTuple):
    """One review of the file."""

    split: str  # train | test
    number: int  # index in the output of Keras's load_data
    text: str | int  # lower case, without punctuation; or a number that is not in the index
    label: int  # 1 positive, 0 negative


def reviews(copy: Document, found: Sequence[Document]) -> Iterator[Review]:
    """Iterate over the reviews of an npz as words, in the order of Keras's load_data.

    The file stores plain word ranks in another order. A file saved from the output of load_data
    (each review begins with 1, ranks are 3 higher) is detected and keeps its order; words replaced
    by 2 stay left out.

    Args:
      copy: the npz.
      found: documents that include imdb_word_index.json, word -> rank from 1; the one in the
        folder of `copy` takes precedence.

    Raises:
      InputError: there is no index or more than one, an array is missing or not numeric, a label
        is neither 0 nor 1, or a pickle calls functions that are not admitted.
    """
    word_index = _index(copy, found)
    try:
        ranks_of = json.loads(word_index.text)
        words = {rank: word for word, rank in ranks_of.items()}
        if len(words) < len(ranks_of):
            raise ValueError(f'{word_index.source} has two words of one rank')
        stored = _arrays(copy.content)
        shifted = all(ids[0] == START for ids in stored['x_train'])
        random = np.random.RandomState(SEED)
        for split in ('train', 'test'):
            ids, labels = stored[f'x_{split}'], stored[f'y_{split}']
            order = np.arange(len(ids))
            if len(ids) != len(labels) or not np.isin(labels, (0, 1)).all():
                raise ValueError(
                    f'{split} has {len(ids)} reviews and {len(labels)} labels; expected as many, '
                    'each 0 or 1'
                )
            if not shifted:
                random.shuffle(order)
            for number, index in enumerate(order):
                ranks = [int(i) for i in ids[index]]
                if shifted:
                    ranks = [i - OFFSET for i in ranks if i > OFFSET]
                unknown = next((i for i in ranks if i not in words), None)
                text = ' '.join(words[i] for i in ranks) if unknown is None else unknown
                yield Review(split, number, text, int(labels[index]))
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        LookupError,
    ) as e:
        raise InputError(
            f'{copy.source} cannot be used ({type(e).__name__}: {e}); expected imdb.npz of Keras, '
            f'with {", ".join(ARRAYS)}; download it again with Keras'
        ) from e


def _index(copy: Document, found: Sequence[Document]) -> Document:
    indices = [d for d in found if d.source.endswith('imdb_word_index.json')]
    folder = copy.source.rpartition('/')[0]
    beside = [d for d in indices if d.source.rpartition('/')[0] == folder] or indices
    if len(beside) != 1:
        raise InputError(
            f'{copy.source} has numbers for words; put one imdb_word_index.json beside it'
        )
    return beside[0]


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """Load the arrays of an npz, including arrays of lists."""
    out = {}
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for name in ARRAYS:
            with archive.open(f'{name}.npy') as f:
                version = np.lib.format.read_magic(f)
                header = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                if header[version](f)[2].hasobject:
                    out[name] = _Lists(f).load()
                else:
                    f.seek(0)
                    out[name] = np.lib.format.read_array(f, allow_pickle=False)
    return out


class _Lists(pickle.Unpickler):
    """Unpickler restricted to arrays of lists of numbers.

    An array of lists is stored as a pickle, and a pickle may call any function of any module, so
    numpy's allow_pickle would run untrusted code. Every such call goes through `find_class`, which
    admits only the names that an array needs; numbers and lists need none.
    """

    _RECONSTRUCT = np.zeros(0).__reduce__()[0]
    ADMITTED = {  # noqa: RUF012
        'numpy.ndarray': np.ndarray,
        'numpy.dtype': np.dtype,
        'numpy.core.multiarray._reconstruct': _RECONSTRUCT,  # its module before numpy 2
        'numpy._core.multiarray._reconstruct': _RECONSTRUCT,
        # Bytes in old pickles.
        '_codecs.encode': lambda text, coding='latin-1': text.encode('latin-1'),
    }

    def find_class(self, module: str, name: str):
        """Return an admitted function or class.

        Raises:
          pickle.UnpicklingError: the name is not admitted.
        """
        if (requested := f'{module}.{name}') not in self.ADMITTED:
            raise pickle.UnpicklingError(
                f'it calls {requested}, which no list of numbers needs; it was not run'
            )
        return self.ADMITTED[requested]
