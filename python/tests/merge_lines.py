"""Merges as the client does: for each line of standard input, one of standard output.

Not a test by itself: the agent's tests compare the two merges with it
(test/unit/files/merge-both-ways.test.ts).
"""

import json
import os
import sys
from hashlib import sha256

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from lezea_monitor import merged_summary, metric_keys, node_summary  # noqa: E402

for line in sys.stdin:
    documents = [text.encode("utf-8", "surrogatepass") for text in json.loads(line)]
    read = [node_summary.read_node_summary(data, "demo") for data in documents]
    answer = {"read": [one is not None for one in read]}
    if any(answer["read"]):
        merged = merged_summary.merge(one for one in read if one is not None)
        text = merged_summary.text_of(merged)
        digest = sha256(text).hexdigest()
        answer.update(text=text.decode(), metrics=metric_keys.metrics_of(merged))
        answer.update(tags=metric_keys.tags_of(merged, digest))
        answer.update(merged_from=node_summary.merged_from(text))
    print(json.dumps(answer))
