"""Page: limits of use, the model, and the person's data with their deletion."""

import streamlit as st

from ser_jax.webapp import place, session, texts
from ser_jax.webapp.session import KEEP_AUDIO, KEEP_HISTORY, NO, YES
from ser_jax.webapp.store import FILE, Store

DELETED = 'All your data are deleted.'


@session.guarded
def page() -> None:
    """Show the page."""
    session.head('About and my data')
    _limits()
    _model()
    _data(session.store())


def _limits() -> None:
    st.subheader('What it is not for', anchor=False)
    for limit in texts.NOT_FOR:
        st.markdown(f'- {limit}')


def _model() -> None:
    st.subheader('The model', anchor=False)
    predictor = session.predictor()
    trained = predictor.trained
    corpora = ', '.join(c.name for c in trained.corpora)
    st.markdown(
        f'Run `{place.run().name}`, trained on {corpora}: {len(predictor.members)} models whose '
        f'answers are averaged, {len(predictor.emotions)} classes. '
        + ('Its probabilities are calibrated.' if predictor.calibrated else 'Not calibrated.')
    )
    st.caption(
        'Corpora hold acted speech of few people in one language. Other languages, ages, accents '
        'and everyday speech are recognized less well.'
    )


def _data(kept: Store) -> None:
    """Show the place of the data, the consents, and the deletion."""
    st.subheader('My data', anchor=False)
    st.markdown(
        f'All of it is on this computer, in `{kept.folder}` (readable by you alone): `{FILE}` '
        'with your history and recordings, `voices/` with your personal models. Nothing is sent '
        'anywhere.'
    )
    history = st.toggle('Keep a history of answers', kept.setting(KEEP_HISTORY, YES) == YES)
    audio = st.toggle(
        'Keep my recordings with the history',
        kept.setting(KEEP_AUDIO, NO) == YES,
        help='Without this consent, recordings of Predict are gone when the page is closed.',
    )
    for name, chosen, default in ((KEEP_HISTORY, history, YES), (KEEP_AUDIO, audio, NO)):
        value = YES if chosen else NO
        if kept.setting(name, default) != value:
            kept.set(name, value)
            if name == KEEP_AUDIO and not chosen:
                kept.drop_audio()
    _deletion(kept)


def _deletion(kept: Store) -> None:
    if st.session_state.pop('deleted', False):
        st.success(DELETED, icon=':material/check_circle:')
    with st.popover('Delete my data', icon=':material/delete_forever:'):
        st.markdown('History, recordings, settings and personal models, with no way back.')
        if st.button('Yes, delete everything', type='primary'):
            kept.delete_everything()
            session.forget()
            st.session_state['deleted'] = True
            st.rerun()


if __name__ == '__main__':
    page()
