"""The dashboard as a whole, in a real browser."""

from .conftest import SCREENS, screen, take_screenshots

# What is there to be seen when a page is whole, by the page's address; pages whose own tests take such pictures are not here.
LANDMARKS = {"edit": "Images per cell", "evaluate": "What does quality cost?"}


def test_screenshots(page, server):
    """Pages in both themes, wide and narrow; nothing is wider than the screen."""
    with screen(page, *SCREENS[0]):
        for path, landmark in LANDMARKS.items():
            page.goto(f"{server}/{path}")
            page.get_by_text(landmark, exact=True).first.wait_for()
            take_screenshots(page, path)
