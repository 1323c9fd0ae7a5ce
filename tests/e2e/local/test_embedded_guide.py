"""docs/integration_guide.md is run as a reader would run it, in its order, against a whole deployment."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deploy.local.environment import without_ours
from deploy.local.state import Ready

GUIDE = (Path(__file__).resolve().parents[3] / "docs" / "integration_guide.md").read_text()
#: Stands before what each block of the shell has written.
MARK = "\x1e"
#: Nothing in the guide takes long; only a failure waits.
WITHIN_S = 90
#: Blocks that say what the block before them answers; "…" in them stands for anything.
ANSWERS = {"json", "text"}
#: Whole programs: the file's name, and the words that run it.
PROGRAMS = {
    "python": ("billing.py", (sys.executable,)),
    "js": ("billing.mjs", ("node",)),
    "go": ("billing.go", ("go", "run")),
}


class Block(msgspec.Struct, frozen=True):
    language: str
    text: str
    #: None: the guide says nothing of it.
    answer: str | None = None


def read_blocks() -> list[Block]:
    """Every block of code. What is said once for several programs stands before the first of them."""
    fences = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    blocks, for_programs = [], None
    for (language, text), (next_language, following) in zip(fences, [*fences[1:], ("", "")], strict=True):
        if language == "text" and next_language in PROGRAMS:
            for_programs = text
        elif language in PROGRAMS:
            blocks.append(Block(language, text, for_programs))
        elif language not in ANSWERS:
            blocks.append(Block(language, text, following if next_language in ANSWERS else None))
    return blocks


BLOCKS = read_blocks()


def test_every_block_of_the_guide_is_one_that_is_run_or_says_that_it_is_not() -> None:
    languages = [block.language for block in BLOCKS]
    assert set(languages) == {"sh", "console", *PROGRAMS}
    assert {name: languages.count(name) for name in PROGRAMS} == dict.fromkeys(PROGRAMS, 1)
    assert languages.count("sh") > languages.count("console")
    assert all(block.answer is not None for block in BLOCKS if block.language in PROGRAMS)


@pytest.fixture(scope="module")
def place(state: Path, up: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a reader is who said `make up`."""
    place = tmp_path_factory.mktemp("guide")
    (place / ".tollhouse").symlink_to(state)
    return place


@pytest.fixture
def environ(up: tuple[object, Ready, Path]) -> dict[str, str]:
    """Of a reader's shell."""
    _, ready, _ = up
    told = {"BILLING_URL": ready.base_url, "BILLING_KEY": ready.app_keys["acme/editor"]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    # The guide's second is for a page that waits, not for a machine that runs other tests meanwhile.
    return without_ours(os.environ) | told | {"PATH": path, "BILLING_TIMEOUT_S": "30"}


def test_the_guides_shell_does_what_it_says(place: Path, environ: dict[str, str]) -> None:
    shell = [block for block in BLOCKS if block.language == "sh"]
    script = "".join(f"printf '{MARK}'\n{block.text}" for block in shell)
    run = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place, env=environ, capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    written = run.stdout.split(MARK)[1:]
    last = shell[len(written) - 1].text
    assert run.returncode == 0, f"{last}\nwrote {written[-1]}\nand {run.stderr}"
    for block, said in zip(shell, written, strict=True):
        _compare(block, said)


@pytest.mark.parametrize("language", PROGRAMS)
def test_the_guides_program_does_what_it_says(environ: dict[str, str], tmp_path: Path, language: str) -> None:
    name, words = PROGRAMS[language]
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    (block,) = (block for block in BLOCKS if block.language == language)
    (tmp_path / name).write_text(block.text)
    run = subprocess.run(
        [*words, name],
        cwd=tmp_path, env=environ, capture_output=True, text=True, check=False, timeout=WITHIN_S,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    _compare(block, run.stdout)


def _compare(block: Block, said: str) -> None:
    """As the guide says, wherever it breaks its lines."""
    if block.answer is None:
        assert said.strip() == "", block.text
        return
    wanted = ".*?".join(re.escape(part) for part in _squeezed(block.answer).split("…"))
    assert re.fullmatch(wanted, _squeezed(said)), f"{block.text}\nanswered {said}\nnot {block.answer}"


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)
