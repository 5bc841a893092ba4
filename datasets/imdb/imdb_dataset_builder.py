"""IMDB: 50,000 film reviews, half positive (7 to 10 stars), half negative (1 to 4).

Maas et al. (2011).
"""

import re

from ser_jax.corpora import builder, text_files

from . import keras_npz

# A review, train/pos/0_9.txt: split, polarity (unsup: unlabeled), name; or a file of Keras's copy.
FILE = re.compile(
    r'(?:^|[/:])(?:(train|test)/(pos|neg|unsup)/([^/:]+)|[^/:]+\.npz|imdb_word_index\.json)$'
)
NAME = re.compile(r'([0-9]+)_([0-9]+)\.txt')
STARS = {'neg': range(1, 5), 'pos': range(7, 11)}
EMOTIONS = {'neg': 'negative', 'pos': 'positive'}


class Builder(builder.CorpusBuilder):
    """Reviews as files (aclImdb, unpacked or not), or Keras's npz of word numbers and its index."""

    BUILDER_CONFIGS = [builder.TEXT]  # noqa: RUF012
    TITLE = 'IMDB reviews, Maas et al. (2011)'
    EMOTIONS = tuple(EMOTIONS.values())
    HOMEPAGE = 'https://ai.stanford.edu/~amaas/data/sentiment/'
    LICENSE = 'published for research, no licence stated; reviews belong to those who wrote them'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get aclImdb_v1.tar.gz from https://ai.stanford.edu/~amaas/data/sentiment/ and give the '
        'folder that holds it, unpacked or not, as --manual_dir=FOLDER'
    )
    ARCHIVES = (
        builder.Archive(
            f'{HOMEPAGE}aclImdb_v1.tar.gz', 84125825, '7c2ac02c03563afcf9b574c7e56c153a'
        ),
    )

    def recordings(self, dl_manager):
        found = text_files.collect(
            self, dl_manager, FILE, 'train/pos/0_9.txt', ', or imdb.npz with imdb_word_index.json'
        )
        reviews = [d for d in found if d.match[1]]
        for review in reviews:
            split, polarity, name = review.match.groups()
            if polarity == 'unsup':
                yield builder.Skipped(review.source, 'ignored', 'review without a verdict (unsup)')
                continue
            if not (parts := NAME.fullmatch(name)) or int(parts[2]) not in STARS[polarity]:
                reason = 'expected number and stars, as in 0_9.txt'
                reason = f'{parts[2]} stars are not {polarity}' if parts else reason
                yield builder.Skipped(review.source, 'unknown name', reason)
                continue
            number, stars = parts.groups()
            text = re.sub(r'<br\s*/?>', ' ', review.text)  # markup, not words
            yield _recording(
                f'{split}/{polarity}/{number}_{stars}',
                EMOTIONS[polarity],
                stars,
                text,
                review.source,
            )
        for copy in (d for d in found if d.source.endswith('.npz')):
            if reviews:
                yield builder.Skipped(
                    copy.source, 'ignored', "Keras's copy of reviews that are here as files"
                )
                continue
            for split, number, text, label in keras_npz.reviews(copy, found):
                name = f'{split}/{number:05d}'
                if isinstance(text, int):
                    reason = f'word number {text} is not in imdb_word_index.json'
                    yield builder.Skipped(f'{copy.source}:{name}', 'bad line', reason)
                    continue
                yield _recording(
                    name, self.EMOTIONS[label], str(label), text, f'{copy.source}:{name}'
                )


def _recording(name: str, emotion: str, label: str, text: str, source: str) -> builder.Recording:
    """Return a review; authors are unknown, so every review has another speaker."""
    return builder.Recording(
        id=name,
        speaker=f'imdb_{name}',
        emotion=emotion,
        label=label,
        text=' '.join(text.split()),
        channel='text',
        read=None,
        source=source,
    )
