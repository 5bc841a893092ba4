"""Page: small things to try, each with its source, and where to find help."""

import streamlit as st

from ser_jax.webapp import chronicle, session, texts

_RECENT = 7  # answers that the order of suggestions depends on


@session.guarded
def page() -> None:
    """Show the page."""
    session.head('Suggestions')
    recent = session.store().verdicts()[:_RECENT]
    st.caption(
        'Small things that many people find good, whatever a model says. No medical advice and no '
        'diagnosis; you know best how you are.'
    )
    first = 'negative'
    if recent:
        shares = chronicle.positive(recent)
        first = 'positive' if sum(shares) / len(shares) >= 0.5 else 'negative'
    headings = {'negative': 'For harder days', 'positive': 'For good days'}
    for side in sorted(headings, key=lambda name: name != first):
        st.subheader(headings[side], anchor=False)
        for suggestion in texts.SUGGESTIONS[side]:
            with st.container(border=True):
                st.markdown(f'**{suggestion.title}**')
                st.markdown(suggestion.text)
                st.caption(f'Source: [{suggestion.source}]({suggestion.url})')
    st.subheader('Where to find help', anchor=False)
    st.markdown(texts.HELP)


if __name__ == '__main__':
    page()
