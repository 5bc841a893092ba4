"""Explanations of a run's answers: choice of utterances, attributions, sanity check, page."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa

from ser_jax import assemble
from ser_jax.contract import Layout, writing
from ser_jax.data import selection, speaker_statistics, text
from ser_jax.emotions import answerable
from ser_jax.explore import playback
from ser_jax.explore.findings import places
from ser_jax.learn import patches
from ser_jax.learn.attribution import Attribution, Example, Network, random_network
from ser_jax.learn.prediction import answering
from ser_jax.report import explanations as page
from ser_jax.report.explanations import Explanation, Section
from ser_jax.runs.explained_answers import SEED, Choice, choose
from ser_jax.runs.trained import Trained
from ser_jax.scoring import agreement
from ser_jax.scoring.agreement import Agreement, rank_correlation

PAGE = 'explanations.html'
STEPS = 64  # points on the path of integrated gradients
_COLUMNS, _BANDS = 20, 8  # patches of occlusion along time and frequency
_SHORTEST_S = 0.1  # minimum width of a patch


class Explainer:
    """Attributions of one run's answers.

    Args:
      trained: the run.
      opened: cache of opened corpora, see `data.selection.open_for`.
      data_dir: folder of the built corpora; '' = the run's.
    """

    def __init__(self, trained: Trained, opened: dict, data_dir: str = ''):
        config = self.config = trained.config.copy_and_resolve_references()
        config.data.dir = data_dir or config.data.dir
        self.trained = trained
        used = selection.labeled(config, selection.open_for(config, opened=opened))
        if len(used.facts) == len(trained.corpora):  # same answer classes as in training
            used = dataclasses.replace(used, facts=tuple(trained.corpora))
        self.utterances = used
        self.index = places(self.utterances)
        self.front = assemble.model_input(config)
        self.playback = playback.Playback(self.utterances, config.data.dir, config.features.trim_db)
        reads_text = assemble.reads_text(config)
        modality = answering(('audio', 'fused') if reads_text else ('audio',))
        self.modality, self.attribution = modality, Attribution(trained.learner, modality)
        self.frozen = jax.device_put(trained.learner.frozen_variables())
        by, facts = config.data.supported, self.utterances.facts
        self.supported = answerable(by, facts, trained.emotions, trained.corpora)
        self._means = self._speaker_means()

    def _speaker_means(self) -> dict[str, np.ndarray]:
        """Return what is subtracted from each speaker's features, of runs that use this."""
        config = self.config
        if config.features.speaker_norm == speaker_statistics.NONE:
            return {}
        used = self.utterances.select(self.trained.takes(self.utterances))
        derived = assemble.derived_for(config, used, self.trained.learner)
        return speaker_statistics.means(derived, config.features, config.data.channels)

    def explain(self, choice: Choice, seed: int) -> Explanation:
        """Return the explanation of one answer: the mean over the members that test it."""
        index = self.index[choice.place]
        emotion = self.trained.emotions.index(choice.answer)
        examples = [self._example(index, m) for m in choice.members]
        networks = [self._network(m) for m in choice.members]
        frames = examples[0].frames
        width = max(frames / _COLUMNS, _SHORTEST_S / self._hop_s)
        columns = patches.edges(frames, max(1, int(frames / width)))
        rows = patches.edges(self.front.layout.bands, _BANDS) if self.pictures else None
        maps = [
            self._maps(n, e, emotion, columns, rows)
            for n, e in zip(networks, examples, strict=True)
        ]
        shuffled = random_network(self.trained.learner, networks[0], seed)
        plain = examples[0]._replace(speaker=())
        random = self._maps(jax.device_put(shuffled), plain, emotion, columns, rows, False)
        samples, remark = self.playback(index)
        words = []
        if self.modality == 'fused':
            words = text.words(self.utterances.text[index])[: self.config.features.max_words]
        mean = _Maps(*(np.mean(each, 0) for each in zip(*maps, strict=True)))
        return Explanation(
            place=choice.place,
            speaker=str(self.utterances.speaker[index]),
            truth=choice.truth,
            answer=choice.answer,
            probabilities=dict(
                zip(self.trained.emotions, choice.probabilities.tolist(), strict=True)
            ),
            members=choice.members,
            picture=self._picture(examples[0], samples),
            hop_s=self._hop_s,
            gradients=mean.gradients if self.pictures else None,
            patches=mean.patches if self.pictures else None,
            moments=mean.moments,
            columns=columns,
            words=list(zip(words, mean.words.tolist(), strict=True)),
            samples=samples,
            remark=remark,
            change=float(mean.change),
            agreement=_agreement(maps, random, columns, rows),
        )

    @property
    def pictures(self) -> bool:
        """True if the model's input is a spectrogram, so that frequencies can be explained."""
        return has_picture(self.front.layout)

    @property
    def _hop_s(self) -> float:
        return self.front.layout.hop_s

    def _picture(self, example: Example, samples: np.ndarray | None) -> np.ndarray | None:
        """Return the spectrogram to draw: the model's input, else that of its samples."""
        if self.pictures:
            merged = example.merged(np.ones(example.values.shape[:2], np.float32))
            return example.merged(example.values) / np.maximum(merged, 1)[:, None]
        if samples is None or self.utterances.source != 'waveform':
            return None
        return playback.picture(samples)

    def _example(self, index: int, member: str) -> Example:
        u = self.utterances
        speaker = self._means.get(u.speaker[index], ())
        return self.attribution.example(
            np.asarray(u.read(index)),
            assemble.scored_span(self.config, u.layout),
            u.aligned,
            self.trained.tokens([member], [u.text[index]])[0, 0],
            self.supported[u.corpus[index]],
            speaker,
        )

    def _network(self, member: str) -> Network:
        variables = jax.tree.map(lambda x: x[0], self.trained.variables([member]))
        mean, std = self.trained.normalization[member]
        return Network(jax.device_put(variables), mean, std, self.frozen)

    def _maps(
        self, network: Network, example: Example, emotion: int, columns, rows, trained: bool = True
    ) -> '_Maps':
        explain, of = self.attribution, (network, example, emotion)
        gradients, drops, change = np.zeros((0, 0)), np.zeros((0, 0)), float('nan')
        moments = words = np.zeros(0, np.float32)
        if trained or rows is None:
            without = explain.occlusion(*of, patches.moments(columns))
            moments = patches.by_column(without, columns)
        if trained and self.modality == 'fused':
            words = explain.words(*of)
        if rows is not None:
            gradients = explain.integrated_gradients(*of, STEPS)
            if trained:
                change = explain.change(*of)
            drops = explain.occlusion(*of, patches.grid(columns, rows))
            drops = drops.reshape(len(columns) - 1, -1)
        return _Maps(gradients, drops, moments, words, change)


class _Maps(NamedTuple):
    """Attributions of one network to one utterance."""

    gradients: np.ndarray  # [frames, M]
    patches: np.ndarray  # [columns, rows]
    moments: np.ndarray  # [columns]
    words: np.ndarray
    change: float  # see `Attribution.change`


def has_picture(layout: Layout) -> bool:
    """Return True for a front end of frequency bands over time."""
    return layout.bands > 1 and layout.steps != 1


def _agreement(maps: Sequence[_Maps], random: _Maps, columns, rows) -> Agreement:
    """Return the rank correlations over patches, or over moments if there are no bands."""
    mean = _Maps(*(np.mean(each, 0) for each in zip(*maps, strict=True)))
    if rows is None:
        return Agreement(
            random_occlusion=rank_correlation(mean.moments, random.moments),
            members=agreement.mean_correlation([m.moments for m in maps]),
        )
    ours, theirs = (patches.summed(m.gradients, columns, rows) for m in (mean, random))
    return Agreement(
        random=rank_correlation(ours, theirs),
        random_occlusion=rank_correlation(mean.patches, random.patches),
        random_size=rank_correlation(abs(ours), abs(theirs)),
        methods=rank_correlation(ours, mean.patches),
        members=agreement.mean_correlation(
            [patches.summed(m.gradients, columns, rows) for m in maps]
        ),
    )


def write(
    output: pathlib.Path,
    runs: Sequence[Trained],
    predictions: pa.Table,
    opened: dict,
    count: int,
    data_dir: str = '',
    say: Callable[[str], None] = print,
) -> None:
    """Write PAGE to `output`: explanations of `count` answers of each run.

    Raises:
      InputError: no run has answers that can be explained, or the page cannot be written.
    """
    sections = [*_sections(runs, predictions, opened, count, data_dir, say)]
    with writing(output / PAGE):
        page.write(output / PAGE, sections, SEED, STEPS)
    say(f'explanations: {output / PAGE}')


def _sections(runs, predictions, opened, count, data_dir, say) -> Iterator[Section]:
    for number, trained in enumerate(runs):
        layout = assemble.model_input(trained.config).layout
        if layout.steps == 1:
            say(
                f'{trained.directory}: its model reads one vector of statistics per recording, '
                'which has neither moments nor frequencies; not explained'
            )
            continue
        explainer = Explainer(trained, opened, data_dir)
        if not has_picture(layout):
            say(
                f'{trained.directory}: its model reads no spectrogram; only moments are explained, '
                'not frequencies'
            )
        found = []
        for at, choice in enumerate(choose(predictions, trained, count)):
            say(f'explaining {choice.place}: {choice.answer} (truth {choice.truth})')
            found.append(explainer.explain(choice, SEED + at))
        names = {e.place.split('/')[0] for e in found}
        yield Section(
            number=number,
            run=str(trained.directory),
            config=assemble.title(trained.config),
            protocol=trained.label,
            front_end=explainer.front.name,
            pictures=has_picture(layout),
            modality=explainer.modality,
            corpora=[f for f in trained.corpora if f.name in names],
            explanations=found,
            agreement=agreement.overall([e.agreement for e in found]),
        )
