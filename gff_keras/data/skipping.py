"""What happens at a damaged record: stop with its place, or skip it, count it and say so.

A graph cannot catch the error of an operation. A data set can drop elements that fail, so every
element carries its position, and a gap in the positions tells what failed. (Trying each element in
a data set of its own would cost as much as decoding a small JPEG.)
"""

from __future__ import annotations

import logging

import numpy as np
import tensorflow as tf

_BLOCK = 64  # elements after which a mark follows that cannot fail: it shows gaps at the end


class SkippedRecords:
    """What a pipeline skipped: one object for each data set.

    Attributes:
        reasons: Number of the record in its split -> sentence with folder, shard, record and id.
        count: How often one of them was skipped; in every epoch anew.
    """

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}
        self.count = 0

    def add(self, number: int, reason: str) -> None:
        """Note a skipped record, and warn of it the first time."""
        if number not in self.reasons:
            logging.getLogger("gff_keras").warning("skipped: %s", reason)
        self.reasons[number] = reason
        self.count += 1

    def clear(self) -> None:
        """Forget everything."""
        self.reasons.clear()
        self.count = 0

    def state(self) -> dict:
        """Return what `restore` takes, fit for JSON."""
        return {"reasons": sorted(self.reasons.items()), "count": self.count}

    def restore(self, state: dict) -> None:
        """Go on from what `state` returned."""
        self.reasons = dict(state["reasons"])
        self.count = state["count"]

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        lines = [f"damaged records skipped: {len(self.reasons)}, {self.count} times in all"]
        return "\n  ".join(lines + [self.reasons[number] for number in sorted(self.reasons)])


def prepared(
    first, end, number, prepare, spec, records, skipped=None, refill=True
) -> tf.data.Dataset:
    """Map positions to examples in parallel, in order, so that failures name their record.

    Args:
        first: First position.
        end: Position after the last.
        number: Function of a position, int64, that returns the number of its record.
        prepare: Function of a position that returns a tuple of tensors.
        spec: What `prepare` returns, a tuple of `tf.TensorSpec`.
        records: `gff_keras.data.reading.Records`.
        skipped: `SkippedRecords` that takes the failures. None: a failure stops with a sentence.
        refill: The next whole example takes the place of what is skipped, so that positions stay.

    Returns:
        Data set of what `prepare` returns.
    """

    def block(start):
        stop = tf.minimum(start + _BLOCK, end)
        inside = tf.data.Dataset.range(start, stop).map(lambda position: (position, True))
        return inside.concatenate(tf.data.Dataset.from_tensors((stop, False)))

    def nothing():
        return tuple(tf.zeros([size or 0 for size in each.shape], each.dtype) for each in spec)

    def attempt(position, is_example):
        example = tf.cond(is_example, lambda: prepare(position), nothing)
        return position, is_example, example

    def explain(numbers):
        for each in numbers.tolist():
            reason = records.explain(each) or (
                f"{records.data_dir}: record {each} of the split fails in the pipeline though it "
                "decodes alone; is memory short?"
            )
            if skipped is None or len(skipped.reasons) == records.size:
                return reason
            skipped.add(each, reason)
        return ""

    def check(state, element):
        expected, waiting = state
        position, is_example, example = element

        def report():
            numbers = tf.map_fn(number, tf.range(expected, position))
            reason = tf.numpy_function(explain, [numbers], tf.string)
            with tf.control_dependencies([tf.debugging.Assert(reason == b"", [reason])]):
                return tf.constant(True)

        with tf.control_dependencies([tf.cond(position > expected, report, lambda: True)]):
            waiting += position - expected  # places that the next whole example takes
        one = tf.cast(is_example, tf.int64)  # a mark is none
        copies = one * (waiting + 1) if refill else one
        state = position + one, (1 - one) * waiting
        return state, (copies, example)

    return (
        tf.data.Dataset.range(first, end, _BLOCK)
        .flat_map(block)
        .map(attempt, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .ignore_errors()
        .scan((np.int64(first), np.int64(0)), check)
        .flat_map(lambda copies, example: tf.data.Dataset.from_tensors(example).repeat(copies))
    )
