"""Page: answers over time, with notes, export and a printable report."""

import collections
import datetime

import streamlit as st

from ser_jax.webapp import chronicle, session, wording
from ser_jax.webapp.session import GENERAL
from ser_jax.webapp.store import Store, Verdict, as_json

_SHOWN = 50


@session.guarded
def page() -> None:
    """Show the page."""
    session.head('History')
    kept = session.store()
    verdicts = kept.verdicts()
    if not verdicts:
        st.info('No history yet. Every answer of *Predict* will stand here.')
        st.page_link('predict_page.py', label='Record something', icon=':material/mic:')
        return
    st.caption(
        f'{len(verdicts)} answers. The model is often wrong about one recording: look at many.'
    )
    st.subheader('Trend', anchor=False)
    st.caption('Positive share of each answer, oldest to newest.')
    st.line_chart(
        {
            'date': [datetime.datetime.fromisoformat(v.made) for v in reversed(verdicts)],
            'positive': [round(100 * share, 1) for share in chronicle.positive(verdicts)],
        },
        x='date', y='positive', y_label='positive, %', height=220,
    )  # fmt: skip
    st.subheader('Distribution', anchor=False)
    count = collections.Counter(wording.adjective(v.emotion) for v in verdicts)
    st.bar_chart(
        {'emotion': list(count), 'answers': list(count.values())},
        x='emotion', y='answers', height=220, horizontal=True,
    )  # fmt: skip
    _export(verdicts)
    _list(kept, verdicts)


def _export(verdicts: list[Verdict]) -> None:
    st.subheader('Take it with you', anchor=False)
    csv_file, json_file, report = st.columns(3)
    csv_file.download_button(
        'CSV', chronicle.as_csv(verdicts), 'history.csv', 'text/csv', width='stretch'
    )
    json_file.download_button(
        'JSON', as_json(verdicts), 'history.json', 'application/json', width='stretch'
    )
    report.download_button(
        'Report to print', chronicle.report(verdicts), 'report.html', 'text/html', width='stretch'
    )


def _list(kept: Store, verdicts: list[Verdict]) -> None:
    """List the answers, newest first; each has a note and can be deleted."""
    st.subheader('Answers', anchor=False)
    for verdict in verdicts[:_SHOWN]:
        title = (
            f'{verdict.made[:16].replace("T", " ")} UTC: {wording.adjective(verdict.emotion)}, '
            f'{wording.percent(verdict.probability)}'
        )
        with st.expander(f'{title} · {verdict.note[:40]}' if verdict.note else title):
            model = 'general' if verdict.model == GENERAL else f'mine, {verdict.model}'
            st.caption(f'{verdict.origin}, {verdict.seconds:.1f} s, model: {model}')
            if verdict.transcript:
                st.markdown(f'> {verdict.transcript}')
            if verdict.audio:
                st.audio(verdict.audio, format='audio/wav')
            note = st.text_input('Note', verdict.note, key=f'note {verdict.id}')
            if note != verdict.note:
                kept.add_note(verdict.id, note)
                st.rerun()
            if st.button('Delete', key=f'delete {verdict.id}', icon=':material/delete:'):
                kept.delete('verdicts', verdict.id)
                st.rerun()
    if len(verdicts) > _SHOWN:
        st.caption(f'The newest {_SHOWN} are shown; the export has all.')


if __name__ == '__main__':
    page()
