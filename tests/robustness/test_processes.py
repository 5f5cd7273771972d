"""Generation in a forked process, which has none of its parent's threads."""

import multiprocessing

import pytest

from steerlib.engine.generation import Run, generate
from steerlib.model import MusicModel


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
def test_generate_works_in_a_forked_process(tiny_model, tiny_processor, warm):
    model = MusicModel(tiny_model, tiny_processor)

    def tokens():
        return generate(model, ["a rock song"], seconds=0.2, run=Run(progress=False)).tokens.tolist()

    before = tokens() if warm else None
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=lambda: queue.put(tokens()))
    child.start()
    try:
        made = queue.get(timeout=120)
        child.join(timeout=60)
    finally:
        child.kill()
    assert made == (before or tokens())
