"""What happens at a damaged record: stop with its place, or skip it, count it and say so."""

from __future__ import annotations

import logging

import tensorflow as tf


class SkippedRecords:
    """What a pipeline skipped.

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

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        lines = [f"{len(self.reasons)} damaged records were skipped, {self.count} times in all:"]
        return "\n  ".join(lines + [self.reasons[number] for number in sorted(self.reasons)])


def guarded(prepare, records, skipped: SkippedRecords | None = None):
    """Return `prepare` with failures that tell which record is to blame.

    Args:
        prepare: Function of a record's number and more tensors that returns a tuple of tensors.
        records: `gff_keras.data.reading.Records`.
        skipped: Takes the failures; its presence makes the results one tensor longer: whether the
            rest is an example. None: a failure stops with a sentence.
    """

    def explain(number):
        reason = records.explain(int(number))
        if skipped is None:
            return (
                reason
                or f"{records.data_dir}: record {number} of the split fails in the "
                "pipeline though it decodes alone; is memory short?"
            )
        if reason:  # no reason: the pipeline was shut down
            skipped.add(int(number), reason)
        return reason

    def attempt(number, *rest):
        def good(*arguments):
            return (*prepare(*arguments), True)

        # A graph cannot catch the error of an operation. A data set can: drop what fails, and
        # reach for the explanation if nothing is left.
        one = tf.data.Dataset.from_tensors((number, *rest))
        kept = one.map(good).ignore_errors()

        def failed(number, *_):
            reason = tf.numpy_function(explain, [number], tf.string)
            checks = [] if skipped is not None else [tf.debugging.Assert(False, [reason])]
            with tf.control_dependencies([reason, *checks]):
                return tf.nest.map_structure(_empty, kept.element_spec)

        found = kept.concatenate(one.map(failed)).take(1).get_single_element()
        return found[:-1] if skipped is None else found

    return attempt


def replace_skipped(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Put another example of the batch in the place of each that is none.

    Args:
        batches: Data set of tuples whose last tensor, bool (B,), tells which are examples.
    """

    def replace(*batch):
        *parts, good = batch
        kept = tf.where(good)[:, 0]  # (number of examples,)
        count = tf.cast(tf.size(good), tf.int64)
        index = tf.range(count)
        index = tf.where(good, index, tf.gather(kept, index % tf.cast(tf.size(kept), tf.int64)))
        whole = tf.reduce_all(good)
        return tuple(tf.cond(whole, lambda p=p: p, lambda p=p: tf.gather(p, index)) for p in parts)

    return batches.filter(lambda *batch: tf.reduce_any(batch[-1])).map(replace)


def _empty(spec):
    return tf.zeros([size or 0 for size in spec.shape], spec.dtype)
