"""Each mistake of the published systems, made on purpose, is found; correct data has no errors."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ser_jax import audit, train
from ser_jax.contract import Recording
from ser_jax.corpora import builder, file_names
from ser_jax.data import utterances
from ser_jax.explore import near_duplicates, split_checks
from ser_jax.explore.findings import Finding
from tests import forked
from tests.conftest import small_config
from tests.lookalikes import noise

ROOT = pathlib.Path(__file__).parents[1]


class Given(builder.CorpusBuilder, skip_registration=True):
    """A corpus of whatever recordings a test hands over."""

    name = 'given'
    given = ()

    def recordings(self, dl_manager):
        return self.given


def build(folder, recordings, name='given', emotions=()):
    builder = type(
        'Builder', (Given,), {'name': name, 'EMOTIONS': emotions}, skip_registration=True
    )(data_dir=folder)
    builder.given = recordings
    builder.download_and_prepare()


def recording(name: str, speaker: str, emotion: str, text: str = '', samples=None) -> Recording:
    samples = noise(name, 16000) if samples is None else samples
    return Recording(
        name,
        f'given_{speaker}',
        emotion,
        emotion,
        lambda: (samples, 16000),
        f'{name}.wav',
        text=text,
    )


def found(findings: list[Finding], severity: str = '') -> set[str]:
    return {f.check for f in findings if not severity or f.severity == severity}


def melody(seed: int, seconds: float = 1.5) -> np.ndarray:
    """A voice-like sound of changing pitch: float32 [T] at 16 kHz."""
    random = np.random.default_rng(seed)
    t = np.arange(int(seconds * 16000)) / 16000
    pitch = np.interp(t, np.linspace(0, seconds, 7), random.uniform(100, 400, 7))
    loud = np.interp(t, np.linspace(0, seconds, 9), random.uniform(0.1, 1, 9))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    return (0.3 * loud * sum(np.sin(k * phase) / k for k in range(1, 12))).astype(np.float32)


@pytest.fixture(scope='module')
def melodies(data_dir) -> pathlib.Path:
    """A correct corpus: every recording is another melody."""
    words = ('one', 'two')
    build(
        data_dir,
        [
            recording(
                f's{s}_{e}_{take}',
                str(s),
                e,
                f'{words[take % 2]} {s}',
                melody(100 * s + 10 * take + i),
            )
            for s in range(6)
            for i, e in enumerate(('happy', 'sad', 'angry'))
            for take in range(4)
        ],
        'melodies',
    )
    return data_dir


@pytest.fixture(scope='module')
def finished(melodies, tmp_path_factory) -> pathlib.Path:
    """A correct run on a correct corpus."""
    config = small_config(melodies)
    config.data.corpora, config.train.epochs = ('melodies',), 1
    workdir = tmp_path_factory.mktemp('audited') / 'run'
    train.train(config, workdir)
    return workdir


def tampered(finished, tmp_path, change) -> list[Finding]:
    """The findings on a copy of the run whose folds (member -> side -> ids) were changed."""
    run = shutil.copytree(finished, tmp_path / 'run')
    folds = json.loads((run / 'folds.json').read_text())
    for name, of in folds['members'].items():
        change(of)
    (run / 'folds.json').write_text(json.dumps(folds))
    return audit.audit([], str(run))


def test_a_correct_run_on_a_correct_corpus_has_no_leak(finished):
    findings = audit.audit([], str(finished))
    assert not found(findings, 'leak') and not found(findings, 'error')


def test_1_speakers_on_both_sides(finished, tmp_path):
    findings = tampered(finished, tmp_path, lambda of: of['test'].append(of['train'].pop()))
    assert 'speaker on two sides' in found(findings, 'leak')


def test_2_augmented_siblings_across_the_split(tmp_path):
    """By name, else by sound: another gain, another start, noise at 20 dB."""
    random = np.random.default_rng(0)
    voices = {f's{i}': melody(i) for i in range(6)}
    copies = {
        f's{i}_noise': v + 0.1 * v.std() * random.standard_normal(len(v)).astype(np.float32)
        for i, v in enumerate(voices.values())
    }
    nameless = {
        f'x{i}': np.concatenate([np.zeros(1600, np.float32), 0.3 * v[400:]])
        for i, v in enumerate(voices.values())
    }
    build(
        tmp_path,
        [
            recording(n, 'a', ('happy', 'sad')[i % 2], samples=v)
            for i, (n, v) in enumerate([*voices.items(), *copies.items(), *nameless.items()])
        ],
    )
    opened = utterances.open_corpora(('given',), str(tmp_path))
    pairs = near_duplicates.near_duplicates(opened)
    names = {frozenset((opened.id[p.first], opened.id[p.second])) for p in pairs}
    assert names >= {frozenset((f's{i}', f'x{i}')) for i in range(6)} | {
        frozenset((f's{i}', f's{i}_noise')) for i in range(6)
    }
    assert all(
        {n.lstrip('sx').removesuffix('_noise') for n in pair}.__len__() == 1 for pair in names
    )  # nothing else
    of = {
        'train': [f'given/s{i}' for i in range(6)],
        'valid': [],
        'test': [f'given/s{i}_noise' for i in range(6)],
    }
    assert 'augmented sibling on two sides' in found(
        list(split_checks.run_findings(opened, 'mine', {'m': of}, [])), 'leak'
    )
    of['test'] = [f'given/x{i}' for i in range(6)]
    assert 'duplicate on two sides' in found(
        list(split_checks.run_findings(opened, 'mine', {'m': of}, pairs)), 'leak'
    )


def test_other_takes_of_one_sentence_are_no_copies(tmp_path):
    """The same melody sung again: pitch, tempo and loudness a little different."""
    takes = []
    for i in range(4):
        random = np.random.default_rng(i)
        t = np.arange(24000) / 16000 * random.uniform(0.93, 1.07)
        pitch = (
            200 + 60 * np.sin(2 * np.pi * (t + random.uniform(0, 0.4))) + random.uniform(-15, 15)
        )
        phase = 2 * np.pi * np.cumsum(pitch) / 16000
        takes.append((0.2 * sum(np.sin(k * phase) / k for k in range(1, 12))).astype(np.float32))
    build(tmp_path, [recording(f'take{i}', 'a', 'happy', samples=x) for i, x in enumerate(takes)])
    assert not near_duplicates.near_duplicates(utterances.open_corpora(('given',), str(tmp_path)))


def test_3_files_that_are_there_twice(tmp_path):
    build(tmp_path, [recording(f'a{i}', 'x', 'happy') for i in range(12)], 'one')
    copies = [
        recording(f'b{i}', 'y', 'happy' if i else 'sad', samples=noise(f'a{i}', 16000))
        for i in range(3)
    ]
    build(tmp_path, [*copies, *(recording(f'c{i}', 'y', 'sad') for i in range(12))], 'two')
    findings = audit.audit(['one', 'two'], directory=str(tmp_path))
    assert sum(f.check == 'duplicate' for f in findings) == 2
    assert [f.where for f in findings if f.check == 'label conflict'] == [('one/a0', 'two/b0')]


def test_4_a_split_by_the_order_of_classes(finished, tmp_path):
    def by_class(of):
        everything = sorted(
            (i for side in of.values() for i in side), key=lambda i: i.split('_')[1]
        )
        cut = len(everything) // 4
        of['train'], of['test'], of['valid'] = (
            everything[: 2 * cut],
            everything[2 * cut : 3 * cut],
            everything[3 * cut :],
        )

    findings = tampered(finished, tmp_path, by_class)
    assert 'untrained class' in found(findings, 'error') and 'skewed validation' in found(
        findings, 'warning'
    )


def test_5_validation_that_is_the_test(finished, tmp_path):
    findings = tampered(finished, tmp_path, lambda of: of.update(valid=of['test']))
    assert 'validation is test' in found(findings, 'leak')


def test_6_texts_that_carry_the_label(tmp_path):
    lines = {'happy': ['what a day', 'oh good'], 'sad': ['oh no', 'it is gone']}
    telling = [
        recording(f'u{i}', str(i % 4), e, lines[e][i // 2 % 2])
        for i in range(40)
        for e in (('happy', 'sad')[i % 2],)
    ]
    build(tmp_path, telling, 'telling')
    neutral = [
        recording(f'u{i}', str(i % 4), ('happy', 'sad')[i % 2], ('one', 'two')[i // 2 % 2])
        for i in range(40)
    ]
    build(tmp_path, neutral, 'silent')
    findings = audit.audit(['telling', 'silent'], directory=str(tmp_path))
    assert [f.what.split()[-1] for f in findings if f.check == 'labels follow texts'] == ['telling']
    opened = utterances.open_corpora(('telling',), str(tmp_path))
    of = {'train': ['telling/u0', 'telling/u1'], 'valid': [], 'test': ['telling/u2']}
    assert 'protocol' in found(
        list(split_checks.run_findings(opened, 'leaky_label_pairing', {'m': of}, [])), 'leak'
    )


@pytest.mark.parametrize('what', ['normalization', 'vocabulary'])
def test_7_what_was_fitted_on_more_than_the_training_side(finished, melodies, what):
    """Normalization or vocabulary fitted on the test side too."""
    trained = audit.open_begun(finished)
    opened = utterances.open_corpora(('melodies',), str(melodies))
    at = {f'melodies/{i}': n for n, i in enumerate(opened.id)}
    normal, words = {}, {}
    for leaks in (False, True):
        for member, of in trained.folds.items():
            fitted_on = np.array(
                [at[i] for side in (('train', 'test') if leaks else ('train',)) for i in of[side]]
            )
            mean, std = utterances.normalization(opened, fitted_on)
            normal[member], words[member] = (
                {'mean': mean, 'std': std},
                split_checks.text.vocabulary(opened.text[fitted_on]),
            )
        only = {'normalization': (normal, {}), 'vocabulary': (normal, words)}[what]
        findings = list(
            split_checks.fitted(opened, trained.folds, only[0], only[1], what == 'vocabulary')
        )
        assert (f'{what} of other data' in found(findings, 'leak')) == leaks


def test_8_savee_sorted_by_speaker_instead_of_emotion(tmp_path):
    """As in DeepEmo's packaging: each folder has all emotions of one speaker."""
    files = [
        (s, f'{e}{i:02d}')
        for s in ('DC', 'JE', 'JK', 'KL')
        for e in ('a', 'd', 'f', 'h', 'n', 'sa', 'su')
        for i in range(1, 6)
    ]
    folder = dict(zip(('DC', 'JE', 'JK', 'KL'), ('happy', 'sad', 'neutral', 'angry'), strict=True))
    build(
        tmp_path, [recording(f'{folder[s]}/{s}_{name}', s.lower(), folder[s]) for s, name in files]
    )
    findings = audit.audit(['given'], directory=str(tmp_path))
    assert {'labels follow speakers', 'names contradict labels'} <= found(findings, 'error')
    right = [recording(f'{s}_{n}', s.lower(), file_names.SAVEE_EMOTIONS[n[:-2]]) for s, n in files]
    build(tmp_path, right, 'right')
    assert not found(audit.audit(['right'], directory=str(tmp_path)), 'error')


def test_short_names_of_anybody_are_not_taken_for_published_ones(tmp_path):
    build(
        tmp_path,
        [
            recording(f'{e}/{e[0]}{i:02d}', str(i % 3), e)
            for e in ('happy', 'angry', 'sad')
            for i in range(1, 13)
        ],
    )
    assert not found(audit.audit(['given'], directory=str(tmp_path)), 'error')


def test_12_the_wrong_field_of_the_name_read_as_the_emotion(tmp_path):
    """As in a copy of Burnwal's notebook: the channel, 01, was read as the emotion."""
    names = [f'03-01-0{e}-01-0{s}-01-{a:02d}' for e in range(1, 9) for s in (1, 2) for a in (1, 2)]
    every = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
    build(tmp_path, [recording(n, n[-2:], 'neutral') for n in names], emotions=every)
    findings = audit.audit(['given'], directory=str(tmp_path))
    assert {'one label', 'names contradict labels'} <= found(findings, 'error')
    contradiction = next(f for f in findings if f.check == 'names contradict labels')
    assert '28 of 32 files with names of ravdess' in contradiction.what


def test_13_classes_without_data_are_found(tmp_path):
    build(
        tmp_path,
        [recording(f'u{i}', str(i % 3), ('happy', 'sad')[i % 2]) for i in range(30)],
        emotions=('happy', 'sad', 'trusting'),
    )
    findings = audit.audit(['given'], directory=str(tmp_path))
    assert 'class without data' in found(findings, 'note') and not found(findings, 'error')


def test_speakers_that_are_one_voice_or_several(tmp_path):
    split = [recording('OAF_back_angry', 'x', 'angry'), recording('OAF_bar_sad', 'y', 'sad')]
    merged = [recording('YAF_back_angry', 'z', 'angry'), recording('03a01Fa', 'z', 'happy')]
    build(tmp_path, [*split, *merged])
    findings = audit.audit(['given'], directory=str(tmp_path))
    assert 'speaker split' in found(findings, 'error') and 'speaker merged' in found(
        findings, 'warning'
    )


def test_a_speaker_of_two_corpora_under_two_names_is_found_by_file_names(tmp_path):
    """RAVDESS beside a folder with other recordings of its actors: a tested voice is trained on."""
    name = '03-01-0{}-01-0{}-01-{:02d}'.format
    build(
        tmp_path,
        [
            recording(name(e, 1, a), f'r{a}', ('happy', 'sad')[e % 2])
            for e in (3, 4)
            for a in (1, 2, 3)
        ],
        'one',
    )
    build(
        tmp_path,
        [
            recording(name(e, 2, a), f'f{a}', ('happy', 'sad')[e % 2])
            for e in (3, 4)
            for a in (1, 2)
        ],
        'two',
    )
    findings = audit.audit(['one', 'two'], directory=str(tmp_path))
    split = [f for f in findings if f.check == 'speaker split']
    assert [f.what for f in split] == [
        f'ravdess_0{a} by its file names is labeled as given_r{a} of one, given_f{a} of two'
        for a in (1, 2)
    ]
    opened = utterances.open_corpora(('one', 'two'), str(tmp_path))
    of = {
        'train': [f'one/{name(3, 1, 1)}'],
        'valid': [],
        'test': [f'two/{name(4, 2, 1)}', f'two/{name(4, 2, 2)}'],
    }
    leaks = [
        f
        for f in split_checks.run_findings(opened, 'speakers_k', {'m': of}, [])
        if f.severity == 'leak'
    ]
    assert [f.check for f in leaks] == ['voice on two sides'] and "'ravdess_01' in m" in leaks[
        0
    ].what


def test_speakers_whose_names_hardly_differ_are_found(tmp_path):
    speakers = ('Zo\u00eb', 'Zoe\u0308', 'ben', 'Ben ', 'anna', 'hanna')
    build(
        tmp_path,
        [recording(f'u{i}{e}', s, e) for i, s in enumerate(speakers) for e in ('happy', 'sad')],
    )
    alike = [
        f.where
        for f in audit.audit(['given'], directory=str(tmp_path))
        if f.check == 'speaker split'
    ]
    assert alike == [('given_Ben ', 'given_ben')]  # forms of one name are one speaker when built


def test_a_misnamed_file_is_found_by_its_siblings(tmp_path):
    names = [
        f'{a}_{w}_sad'
        for a in ('OAF', 'YAF')
        for w in ('back', 'bar', 'bean', 'bite', 'boat', 'book')
    ]
    build(tmp_path, [recording(n, n[:2], 'sad') for n in [*names, 'OA_burn_sad']])
    odd = [f for f in audit.audit(['given'], directory=str(tmp_path)) if f.check == 'odd name']
    assert [f.where for f in odd] == [('OA_burn_sad',)]


def test_items_that_a_build_left_out_are_reported(tmp_path):
    same = noise('same', 16000)
    build(
        tmp_path,
        [recording(f'u{i}', 'a', 'sad') for i in range(12)]
        + [recording(f'd{i}', 'a', 'sad', samples=same) for i in range(2)],
    )
    findings = audit.audit(['given'], directory=str(tmp_path))
    assert 'left out: duplicate' in found(findings, 'note')


def run(*given) -> subprocess.CompletedProcess:
    return forked.run(
        [sys.executable, '-m', 'ser_jax.audit', *given], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.slow  # nine processes
def test_the_command_exits_by_what_it_found(finished, data_dir, tmp_path):
    done = run(f'--run={finished}', f'--json={tmp_path / "audit.json"}')
    assert done.returncode == 0, done.stdout + done.stderr
    content = json.loads((tmp_path / 'audit.json').read_text())
    assert done.stdout.strip().endswith(content['summary']) and content['summary'].startswith(
        'audit: 0 leaks, 0 errors'
    )
    tampered(finished, tmp_path, lambda of: of['test'].append(of['train'].pop()))
    done = run(f'--run={tmp_path / "run"}', '--json=-')
    assert done.returncode == 1
    assert {'leak'} <= {f['severity'] for f in json.loads(done.stdout)['findings']}
    for given, expected in (
        ([], 'nothing to audit; give --corpora='),
        (['--corpora=nothere', f'--data_dir={data_dir}'], "corpus 'nothere'"),
        (['--run=/nowhere'], '/nowhere does not exist'),
        ([f'--run={finished}', '--corpora=given'], 'is not built'),
        (['--corpora=synthetic', 'tess'], "unexpected argument 'tess'"),
        (['--corpus=tess'], '--help lists the flags'),
    ):
        done = run(*given)
        assert (
            done.returncode == 2 and expected in done.stderr and 'Traceback' not in done.stderr
        ), done.stderr


def test_a_leaky_protocol_is_a_leak_by_its_name(data_dir, tmp_path):
    config = small_config(data_dir)
    config.members.protocol, config.members.only, config.train.epochs = 'leaky_random', (0,), 1
    train.train(config, tmp_path / 'run')
    findings = audit.audit([], str(tmp_path / 'run'))
    assert {'protocol', 'speaker on two sides'} <= found(findings, 'leak')
