"""GoEmotions: 54,263 Reddit comments, each with one or more of 27 emotions or neutral.

Demszky et al. (2020).
"""

import dataclasses
import re
from pathlib import PurePosixPath

from ser_jax import emotions
from ser_jax.corpora import builder, text_files

FILE = re.compile(r'(?:^|[/:])(?:(train|dev|test)\.tsv|(?:labels|emotions)\.txt)$')
LINE = re.compile(r'([^\t]*)\t([0-9]{1,2}(?:,[0-9]{1,2})*)\t(\S+)')  # text, numbers of labels, id
EKMAN = {  # as published by the authors
    'anger': 'anger annoyance disapproval',
    'disgust': 'disgust',
    'fear': 'fear nervousness',
    'joy': 'joy amusement approval excitement gratitude love optimism relief pride admiration desire caring',
    'neutral': 'neutral',
    'sadness': 'sadness disappointment embarrassment grief remorse',
    'surprise': 'surprise realization confusion curiosity',
}
EKMAN_OF = {fine: coarse for coarse, words in EKMAN.items() for fine in words.split()}
CONFIGS = ('original', '27 emotions or neutral'), ('ekman', "Ekman's six emotions or neutral")
# The number of a label is its index.
LABELS = {'original': (*sorted(EKMAN_OF.keys() - {'neutral'}), 'neutral'), 'ekman': tuple(EKMAN)}


def _taxonomy(name: str, emotions_of: str) -> builder.FeatureConfig:
    return dataclasses.replace(
        builder.TEXT, name=name, description=f'comments with one of {emotions_of}'
    )


class Builder(builder.CorpusBuilder):
    """Comments with exactly one emotion, in either taxonomy."""

    BUILDER_CONFIGS = [_taxonomy(*of) for of in CONFIGS]  # noqa: RUF012
    TITLE = 'GoEmotions, Demszky et al. (2020)'
    HOMEPAGE = 'https://github.com/google-research/google-research/tree/master/goemotions'
    LICENSE = 'CC BY 4.0'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get train.tsv, dev.tsv, test.tsv and emotions.txt from goemotions/data of '
        'https://github.com/google-research/google-research and give the folder that holds them as --manual_dir=FOLDER'
    )

    def recordings(self, dl_manager):
        found = text_files.collect(self, dl_manager, FILE, 'test.tsv')
        folder = lambda document: PurePosixPath(document.source).parent
        named = {}
        for d in (d for d in found if not d.match[1]):
            if named.setdefault(folder(d), words := tuple(d.text.split())) != words:
                raise builder.InputError(f'{d.source} and the file beside it name other labels')
        tables = {taxonomy: {} for taxonomy in LABELS}
        for d in (d for d in found if d.match[1]):
            words = (
                named.get(folder(d)) or LABELS['ekman' if folder(d).name == 'ekman' else 'original']
            )
            taxonomy = next((t for t, known in LABELS.items() if known == words), None)
            if taxonomy is None:
                yield builder.Skipped(
                    d.source, 'ignored', f'of other labels, {", ".join(words[:4])} ...'
                )
            else:
                tables[taxonomy].setdefault(d.match[1], []).append(d)
        wanted = self.builder_config.name
        for split in ('train', 'dev', 'test'):
            for d in tables[wanted].get(split, []):
                yield from self._comments(d, LABELS[wanted])
            if wanted == 'ekman' and split not in tables['ekman']:
                for d in tables['original'].get(split, []):
                    yield from self._comments(d, LABELS['original'])

    def _comments(self, table: text_files.Document, words: tuple[str, ...]):
        for number, line in enumerate(re.split(r'\r?\n', table.text.rstrip('\r\n')), 1):
            source = f'{table.source}:{number}'
            comment = LINE.fullmatch(line)
            places = {int(n) for n in comment[2].split(',')} if comment else {len(words)}
            if max(places) >= len(words):
                yield builder.Skipped(
                    source, 'unknown name', 'expected text, label numbers and id between tabs'
                )
                continue
            text, _, name = comment.groups()
            labels = {words[n] for n in places}
            if self.builder_config.name == 'ekman':
                labels = {EKMAN_OF[label] for label in labels}
            if len(labels) > 1:
                yield builder.Skipped(source, 'ignored', 'several emotions')
                continue
            (label,) = labels
            yield builder.Recording(
                id=f'{table.match[1]}/{name}',
                speaker=f'goemotions_{name}',  # authors are not published: one per comment
                emotion=emotions.word(label),
                label=label,
                text=text,
                channel='text',
                read=None,
                source=source,
            )
