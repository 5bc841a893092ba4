"""An audit of a run on any front end: no false leak, near duplicates searched, or a note."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict

from ser_jax import assemble, audit
from ser_jax.audio import front_ends
from ser_jax.contract import Recording
from ser_jax.corpora import builder
from ser_jax.data import utterances
from ser_jax.explore import near_duplicates
from ser_jax.runs import workdir
from tests.audit_test import found, melody
from tests.conftest import small_config

CONV = {'name': 'conv_bilstm', 'channels': (2,), 'kernels': (3,), 'strides': ((8, 8),), 'hidden': 4}
NETWORKS = {
    'mfcc_curve': {'name': 'speech_emotion_analyzer'},
    'stats162': {'name': 'burnwal'},
    'vsr_spectrogram': {'name': 'shallow_cnn', 'steps': 173, 'pooled': True},
}
COMPARED = ('log_mel', 'waveform', *near_duplicates.SPECTROGRAMS)


class Melodies(builder.CorpusBuilder, skip_registration=True):
    """Six voices of four melodies; the third of voice 5 is the first of voice 0, half as loud."""

    name = 'melodies'

    def recordings(self, dl_manager):
        for s in range(6):
            for take in range(4):
                copied = (s, take) == (5, 2)
                samples = 0.5 * melody(0) if copied else melody(10 * s + take)
                emotion = ('happy', 'sad')[take % 2]
                yield Recording(
                    id=f's{s}_{take}',
                    speaker=f'melodies_{s}',
                    emotion=emotion,
                    label=emotion,
                    source=f'{s} {take}',
                    read=lambda samples=samples: (samples, 16000), text=f'verse {take}',
                )  # fmt: skip


def begun(folder, source: str, normalize: str, variants=()) -> str:
    """The directory of a run that was laid out and not trained."""
    config = small_config(folder)
    config.data.corpora, config.data.variants = ('melodies',), variants
    config.features.source, config.features.normalize = source, normalize
    config.model = ConfigDict(NETWORKS.get(source, CONV))
    run = assemble.open_run(config)
    workdir.write(workdir.describe(run, folder / f'run_{normalize}'), folder / f'run_{normalize}')
    return str(folder / f'run_{normalize}')


@pytest.mark.parametrize('source', [*front_ends.STORED, 'stats162_variants'])
def test_every_front_end_is_audited(tmp_path, source):
    Melodies(config=source, data_dir=tmp_path).download_and_prepare()
    variants = ('noise', 'pitch') if source == 'stats162_variants' else ()
    source = source.removesuffix('_variants')
    normalizations = (
        ('train', 'none')
        if source == 'waveform'
        else ('train', 'window', 'none')[:: 1 if source == 'log_mel' else 2]
    )
    for normalize in normalizations:
        findings = audit.audit([], begun(tmp_path, source, normalize, variants))
        assert not any('normalization' in f.check for f in findings), normalize
        copies = [f.where for f in findings if f.check == 'duplicate']
        unsearched = [f for f in findings if f.check == 'near duplicates']
        if source in COMPARED:
            assert copies == [('melodies/s0_0', 'melodies/s5_2')]
            assert found(findings, 'leak') == {'duplicate on two sides'}
            assert [f.severity for f in unsearched] == (
                [] if source in near_duplicates.WHOLE else ['note']
            )
        else:
            assert not copies and not found(findings, 'leak')
            assert [f.severity for f in unsearched] == ['warning'] and len(
                unsearched[0].where
            ) == 24
            assert '24 of 24 recordings were not compared' in unsearched[0].what


@pytest.mark.parametrize('whole', near_duplicates.WHOLE)
def test_what_cannot_be_compared_is_compared_in_another_build_of_the_same_sounds(tmp_path, whole):
    for source in ('stats162_variants', whole):
        Melodies(config=source, data_dir=tmp_path).download_and_prepare()
    run = begun(tmp_path, 'stats162', 'train', ('noise',))
    findings = audit.audit([], run)
    assert found(findings, 'leak') == {'duplicate on two sides'} and 'near duplicates' not in found(
        findings
    )

    class Fewer(Melodies, skip_registration=True):
        name = 'melodies'

        def recordings(self, dl_manager):
            yield from list(super().recordings(dl_manager))[:-1]

    shutil.rmtree(tmp_path / 'melodies' / whole)
    Fewer(config=whole, data_dir=tmp_path).download_and_prepare()
    (lost,) = [f for f in audit.audit([], run) if f.check == 'near duplicates']
    assert (
        lost.severity == 'warning'
        and lost.where == ('melodies/s5_3',)
        and '1 of 24 recordings' in lost.what
    )


def test_a_normalization_that_is_not_plain_is_found_where_nothing_is_normalized(tmp_path):
    Melodies(data_dir=tmp_path).download_and_prepare()
    run = tmp_path / begun(tmp_path, 'log_mel', 'none')
    saved = json.loads((run / 'normalization.json').read_text())
    saved['fold1_seed0']['mean'][3] = 0.5
    (run / 'normalization.json').write_text(json.dumps(saved))
    assert 'normalization of other data' in found(audit.audit([], str(run)), 'leak')


def test_statistics_are_never_compared_as_pictures(tmp_path):
    Melodies(config='stats162', data_dir=tmp_path).download_and_prepare()
    with pytest.raises(ValueError, match='stats162 cannot be compared'):
        near_duplicates.near_duplicates(
            utterances.open_corpora(('melodies',), str(tmp_path), 'stats162')
        )


@pytest.mark.parametrize('rows, parts', [(1, 16), (5, 16), (40, 32), (100, 32), (173, 16)])
def test_averages_keep_the_mean_of_constant_rows(rows, parts):
    np.testing.assert_allclose(near_duplicates._averaged(np.full((rows, 3), 2.5), parts), 2.5)
