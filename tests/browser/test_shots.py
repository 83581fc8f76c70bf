"""The pictures of docs/tasks/ are made from the gallery."""

from pathlib import Path

from playwright.sync_api import Browser

from tests.browser import shots, site


def test_every_picture_of_the_docs_is_drawn(chrome: Browser, tmp_path: Path) -> None:
    with site.serve() as (url, _pages):
        assert shots.draw_for_docs(chrome, url, tmp_path) > 10
    drawn, kept = ({path.name for path in folder.iterdir()} for folder in (tmp_path, shots.TASKS / "pictures"))
    assert drawn == kept
    assert max(path.stat().st_size for path in tmp_path.iterdir()) < 40_000, "small enough to be committed"
