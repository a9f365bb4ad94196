"""The box of a lesson on its page, which the lesson sets, and the cards that open lessons."""

from __future__ import annotations

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from pages.components.address import tell_unless
from pages.components.lessons import LESSONS, Lesson
from pages.components.usual_inputs import forget_inputs, forget_result

OPENED = "opened lesson"  # where a session keeps which lesson has set the page
DRAWN = "drawn lesson"  # where a session keeps which lesson's page has been drawn to its end since then


def opened_lesson(page: str) -> Lesson | None:
    """Return the lesson in the address, if it is one of this page; set the page's inputs when it has just been opened.

    Values in the address take precedence, so a page that was changed and reloaded stays as it is.
    """
    own = {one.name: one for one in LESSONS if one.page == page}
    tell_unless("lesson", own.__contains__, "no lesson of this name")
    lesson = own.get(st.query_params.get("lesson", ""))
    if lesson is None:
        return None
    context = get_script_run_ctx()
    if context is not None and context.is_history_navigation:
        st.rerun()  # Streamlit is about to set all inputs to their defaults
    if st.session_state.get(OPENED) != lesson.name:
        _set_inputs(lesson)
    elif st.session_state.get(DRAWN) != lesson.name:  # the page was interrupted, by a click that came early
        # A browser learns values only from the run that sets them, and has its own ones for inputs that it did not draw then.
        st.session_state.update({key: st.session_state[key] for key in lesson.inputs if key in st.session_state})
    st.session_state[OPENED] = lesson.name
    return lesson


def end_lesson() -> None:
    """Remember, at the end of a page, that the browser has the inputs of the lesson that has set it."""
    st.session_state[DRAWN] = st.session_state.get(OPENED)


def close_lesson() -> None:
    """Forget which lesson has set a page once the address names none, so that its link sets the page again."""
    if "lesson" not in st.query_params:
        st.session_state.pop(OPENED, None)


def _set_inputs(lesson: Lesson) -> None:
    """Set a page's inputs to those of a lesson, but for values in the address."""
    forget_inputs(lesson.page)
    st.session_state.update(lesson.inputs)
    st.session_state.pop(DRAWN, None)


def _set_again(lesson: Lesson) -> None:
    """Set a page's inputs to those of a lesson, whatever has been changed since; the address follows them."""
    forget_result(lesson.page)
    st.session_state.update(lesson.inputs)


def show_lesson(lesson: Lesson) -> None:
    """Draw a lesson: what to look at, what to try next, and the way to the next one."""
    number = LESSONS.index(lesson) + 1
    with st.container(border=True, key="lesson", gap=None):
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.markdown(f":material/school: **Lesson {number} of {len(LESSONS)}: {lesson.title}**", width="stretch")
            again = "Set the page as the lesson does."
            st.button("Set again", icon=":material/replay:", type="tertiary", help=again, on_click=_set_again, args=(lesson,))
            follower = LESSONS[number % len(LESSONS)]
            way = "Next" if number < len(LESSONS) else "First lesson"
            if st.button(f"{way}: {follower.title}", icon=":material/arrow_forward:", type="tertiary"):
                st.switch_page(f"pages/{follower.page}.py", query_params={"lesson": follower.name})
        st.markdown(f"**Look:** {lesson.look}  \n**Try next:** {lesson.then}")


def show_lessons() -> None:
    """Draw a card for each lesson, which opens it."""
    with st.container(horizontal=True, gap="small", key="lessons"):
        for number, lesson in enumerate(LESSONS, start=1):
            with st.container(border=True, gap=None):
                st.page_link(
                    f"pages/{lesson.page}.py", label=f"{number} · {lesson.title}", query_params={"lesson": lesson.name}
                )
                st.caption(lesson.question)
