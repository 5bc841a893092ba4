"""GoEmotions: 54,263 Reddit comments, each with one or more of 27 emotions or neutral.

Demszky et al. (2020).
"""

import re
from pathlib import PurePosixPath

from ser_jax import emotions
from ser_jax.corpora import builder, text_files

from . import taxonomies
from .taxonomies import LABELS

FILE = re.compile(r'(?:^|[/:])(?:(train|dev|test)\.tsv|(?:labels|emotions)\.txt)$')
LINE = re.compile(r'([^\t]*)\t([0-9]{1,2}(?:,[0-9]{1,2})*)\t(\S+)')  # text, numbers of labels, id
CONFIGS = ('original', '27 emotions or neutral'), ('ekman', "Ekman's six emotions or neutral")


def _taxonomy(name: str, emotions_of: str) -> builder.FeatureConfig:
    return builder.FeatureConfig(name=name, description=f'comments with one of {emotions_of}')


class Builder(builder.CorpusBuilder):
    """Comments with exactly one emotion, in either taxonomy."""

    BUILDER_CONFIGS = [_taxonomy(name, emotions_of) for name, emotions_of in CONFIGS]  # noqa: RUF012
    TITLE = 'GoEmotions, Demszky et al. (2020)'
    HOMEPAGE = 'https://github.com/google-research/google-research/tree/master/goemotions'
    LICENSE = 'CC BY 4.0'
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        'get train.tsv, dev.tsv, test.tsv and emotions.txt from goemotions/data of '
        'https://github.com/google-research/google-research and give the folder that holds them '
        'as --manual_dir=FOLDER'
    )

    def recordings(self, dl_manager):
        found = text_files.collect(self, dl_manager, FILE, 'test.tsv')
        words_of = taxonomies.label_lists(d for d in found if not d.match[1])
        tables = {taxonomy: {} for taxonomy in LABELS}
        for d in (d for d in found if d.match[1]):
            folder = PurePosixPath(d.source).parent
            default = LABELS['ekman' if folder.name == 'ekman' else 'original']
            words = words_of.get(folder) or default
            taxonomy = next((name for name, known in LABELS.items() if known == words), None)
            if taxonomy is None:
                reason = f'of other labels, {", ".join(words[:4])} ...'
                yield builder.Skipped(d.source, 'ignored', reason)
            else:
                tables[taxonomy].setdefault(d.match[1], []).append(d)
        selected = self.builder_config.name
        for split in ('train', 'dev', 'test'):
            for d in tables[selected].get(split, []):
                yield from self._comments(d, LABELS[selected])
            if selected == 'ekman' and split not in tables['ekman']:
                for d in tables['original'].get(split, []):
                    yield from self._comments(d, LABELS['original'])

    def _comments(self, table: text_files.Document, words: tuple[str, ...]):
        for number, line in enumerate(re.split(r'\r?\n', table.text.rstrip('\r\n')), 1):
            source = f'{table.source}:{number}'
            comment = LINE.fullmatch(line)
            numbers = {int(n) for n in comment[2].split(',')} if comment else {len(words)}
            if comment is None or max(numbers) >= len(words):
                yield builder.Skipped(
                    source, 'unknown name', 'expected text, label numbers and id between tabs'
                )
                continue
            text, _, name = comment.groups()
            labels = {words[n] for n in numbers}
            if self.builder_config.name == 'ekman':
                labels = {taxonomies.EKMAN_OF[label] for label in labels}
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
