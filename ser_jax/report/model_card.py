"""Model card of a run (MODEL_CARD.md): model, training data, scores by group, uses to avoid.

After Mitchell et al. (2019), Model Cards for Model Reporting.
"""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_jax.contract import CorpusInfo
from ser_jax.report.html import flat, templates
from ser_jax.report.sentences import leading, plain, summary, system_name
from ser_jax.scoring.score import Score


def write(
    path,
    config: Mapping[str, Any],
    scores: Sequence[Score],
    environment: Mapping[str, Any],
    corpora: Sequence[CorpusInfo],
    emotions: Sequence[str] = (),
    robust: Sequence[str] = (),
) -> None:
    """Write the card to `path`, usually `MODEL_CARD.md` in the run's directory.

    Args:
      path: file to write.
      config: resolved config of the run, a plain dict (data.corpora, model.name, members ...).
      scores: scores of this run; if empty, the card states that there are none.
      environment: content of environment.json.
      corpora: corpora that the run was trained on.
      emotions: classes of the run, shown if `scores` is empty.
      robust: lines about conditions, from `report.robustness.card_lines`.
    """
    path = Path(path)
    markdown = templates(keep_trailing_newline=True, autoescape=False, finalize=plain)
    page = markdown.get_template('model_card.md.jinja').render(
        run=system_name(scores[0]) if scores else path.resolve().parent.name,
        model=dict(config['model']),
        features=config.get('features', {}).get('input')
        or config.get('features', {}).get('source', 'log_mel'),
        pretrained=environment.get('pretrained', ''),
        weights=environment.get('begins_with', ''),
        members=config['members'],
        corpora=corpora,
        research_only=[c.title.split(',')[0] for c in corpora if c.research_only],
        noncommercial=any('NC' in c.licence or 'research' in c.licence for c in corpora),
        only_synthetic=all(c.name == 'synthetic' for c in corpora),
        channels=config['data'].get('channels', ()),
        extra_channels=config['data'].get('train_only_channels', ()),
        support=_support(scores),
        emotions=tuple(emotions) or tuple(config['data'].get('emotions', ())),
        text=any(s.modality == 'text' for s in scores) or config['model'].get('name') == 'fusion',
        scores=scores,
        robust=robust,
        summaries=[summary(s) for s in leading(scores)],
        environment=flat(environment),
    )
    path.write_text(page, encoding='utf-8')


def _support(scores: Sequence[Score]) -> tuple[list[str], list[tuple[str, list[int]]]]:
    """Return the emotions, and per corpus the test utterances of each (0 if it has none)."""
    counts: dict[str, dict[str, int]] = {}
    for s in scores:
        # The confusion matrix counts an utterance once per seed (and per member that scored it).
        per_utterance = s.confusion.sum() / s.utterances
        counts[s.corpus] = {
            c: round(n / per_utterance) for c, n in zip(s.classes, s.confusion.sum(1), strict=True)
        }
    emotions = list(dict.fromkeys(itertools.chain.from_iterable(counts.values())))
    rows = []
    for corpus, number in counts.items():
        rows.append((corpus, [number.get(e, 0) for e in emotions]))
    return emotions, rows
