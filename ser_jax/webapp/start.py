"""Start of every visit: the menu. Streamlit runs this file."""

import pathlib

import streamlit as st

_PAGES = (
    ('predict_page.py', 'Predict', 'mic'),
    ('teach_page.py', 'Teach me', 'school'),
    ('history_page.py', 'History', 'calendar_month'),
    ('suggestions_page.py', 'Suggestions', 'spa'),
    ('about_page.py', 'About and my data', 'info'),
)


def menu() -> None:
    """Show the chosen page."""
    st.set_page_config(
        page_title='Emotion in speech', page_icon=':material/graphic_eq:', layout='centered'
    )
    folder = pathlib.Path(__file__).parent
    pages = [
        st.Page(
            folder / file,
            title=title,
            icon=f':material/{icon}:',
            url_path=file.removesuffix('_page.py'),
        )
        for file, title, icon in _PAGES
    ]
    st.navigation(pages, position='top').run()


if __name__ == '__main__':
    menu()
