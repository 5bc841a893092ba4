"""The quickstart's claim: on the synthetic corpus, fusion beats audio alone and text alone."""

import subprocess
import sys

import pytest

from configs.fusion import get_config
from ser_jax import train
from ser_jax.evaluate import evaluate
from ser_jax.runs.trained import open_trained
from ser_jax.scoring.scores import scores_by


@pytest.mark.slow
def test_fusion_beats_both_modalities_on_new_voices_and_sentences(tmp_path):
    subprocess.run(
        [sys.executable, '-m', 'ser_jax.build', 'datasets/synthetic', f'--data_dir={tmp_path}'],
        check=True,
    )
    config = get_config()
    config.data.dir = str(tmp_path)
    train.train(config, tmp_path / 'run')
    trained = open_trained(tmp_path / 'run')
    scores = {s.modality: s for s in scores_by(evaluate([trained], say=lambda _: None))}
    assert 0.35 < scores['audio'].uar.value < 0.85
    assert 0.35 < scores['text'].uar.value < 0.85
    for modality, margin in scores['fused'].margins.items():
        assert margin.low > 0, (modality, margin)
    fold = trained.folds[trained.finished[0]]

    def voice(ids):
        return {i.split('/')[1].split('_')[0] for i in ids}

    assert not voice(fold['test']) & voice(fold['train'] + fold['valid'])
