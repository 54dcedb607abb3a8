import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from service import codec, wire
from service.explanation import Explanation, Features, Question
from service.records import Scores
from service.wire import Message
from service.worker import find_cap, serve
from tests.fakes import POISON, face, scores_of

UNFORESEEN = POISON - 1
QUESTIONS = [Question(), Question("activations", "conv2"), Question("layercam", "conv3", target=4)]


def explained(question: Question) -> Explanation:
    rng = np.random.default_rng(len(question.method))
    floats = np.float32
    features = Features(rng.random((16, 32, 32), dtype=floats), np.arange(16) * 3, 128)
    return Explanation(
        question=question,
        target=3 if question.target is None else question.target,
        logits=rng.random(6, dtype=floats),
        heat=rng.random((4, 4), dtype=floats),
        features=features if question.method == "activations" else None,
    )


class Model:
    """Answers at once, and fails for poisonous faces."""

    def scores(self, faces: NDArray[np.uint8]) -> Scores:
        if (faces == POISON).any():
            raise RuntimeError("cannot compute this\nat some place")
        if (faces == UNFORESEEN).any():
            raise TypeError("nobody thought of this")
        if len(faces) > 2:
            raise torch.OutOfMemoryError("too many")
        return scores_of(faces)

    def explain(
        self, faces: NDArray[np.uint8], questions: Sequence[Question]
    ) -> tuple[Explanation, ...]:
        assert len(faces) == len(questions)
        return tuple(explained(question) for question in questions)


def converse(*requests: Message) -> list[Message]:
    answers = io.BytesIO()
    serve(Model(), io.BytesIO(b"".join(request.pack() for request in requests)), answers)
    answers.seek(0)
    return list(iter(lambda: wire.read(answers), None))


def test_a_device_failure_ends_serving() -> None:
    class Broken(Model):
        def scores(self, faces: NDArray[np.uint8]) -> Scores:  # noqa: ARG002  # protocol signature
            raise torch.AcceleratorError("an illegal memory access was encountered")

    request = Message({"op": "scores"}, face(5).tobytes())
    with pytest.raises(torch.AcceleratorError):
        serve(Broken(), io.BytesIO(request.pack()), io.BytesIO())


def test_score_requests_are_answered_in_order() -> None:
    requests = [Message({"op": "scores"}, face(n).tobytes() * 2) for n in (5, 6)]
    first, second = converse(*requests)
    assert np.frombuffer(first.body, np.float32).reshape(2, 6)[1, 0] == 5
    assert np.frombuffer(second.body, np.float32).reshape(2, 6)[1, 0] == 6
    assert first.header["seconds"] > 0


@pytest.mark.parametrize(
    ("kind", "error"), [(POISON, "cannot compute this"), (UNFORESEEN, "nobody thought of this")]
)
def test_a_failed_batch_is_answered_with_its_error_and_the_next_with_scores(
    kind: int, error: str
) -> None:
    bad, good = converse(
        Message({"op": "scores"}, face(kind).tobytes()),
        Message({"op": "scores"}, face(1).tobytes()),
    )
    assert bad.header["error"] == error
    assert not bad.header["memory_ran_out"]
    assert len(good.body) == 24


def test_an_out_of_memory_answer_is_marked() -> None:
    (answer,) = converse(Message({"op": "scores"}, face(1).tobytes() * 3))
    assert answer.header["error"] == "too many"
    assert answer.header["memory_ran_out"]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc: not Linux")
def test_each_answer_reports_the_memory_of_the_process() -> None:
    (answer,) = converse(Message({"op": "scores"}, face(1).tobytes()))
    here = Path("/proc/self/status").read_text()
    kilobytes = int(here.partition("VmRSS:")[2].split()[0])
    assert answer.header["memory"] == pytest.approx(kilobytes * 1024, rel=0.2)


@pytest.mark.parametrize(
    ("images_a_second", "cap"),
    [
        (
            [100, 190, 300, 400, 410, 412, 413],
            32,
        ),  # throughput levels off, and larger batches cost no more
        ([100, 190, 300, 400, 300, 250, 200], 8),  # larger batches cost more
        ([100, 190, 300, 200, 300, 250, 200], 16),  # one slow measurement is ignored
        ([100, 200, 400, 800, 1600, 3200, 6400], 32),  # at most the given limit
    ],
)
def test_the_cap_is_the_largest_batch_that_does_not_raise_the_cost_per_face(
    images_a_second: list[float], cap: int
) -> None:
    assert find_cap(lambda size: size / images_a_second[size.bit_length() - 1], 32) == cap


def test_explanations_are_transmitted_unchanged() -> None:
    (message,) = converse(codec.encode_request([face(n) for n in range(3)], QUESTIONS))
    for got, question in zip(codec.decode_response(message, QUESTIONS), QUESTIONS, strict=True):
        sent = explained(question)
        assert (got.question, got.target) == (sent.question, sent.target)
        assert np.array_equal(got.logits, sent.logits)
        assert np.array_equal(got.heat, sent.heat)
        assert (got.features is None) == (sent.features is None)
        if got.features and sent.features:
            assert np.array_equal(got.features.maps, sent.features.maps)
            assert np.array_equal(got.features.channels, sent.features.channels)
            assert got.features.total == 128
