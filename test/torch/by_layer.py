"""Which layer an operation in a profile of torch.profiler is of.

A forward operation is of the layer whose mark (record_function) it is in; a backward one of the layer
whose forward operation has its sequence number, which is autograd's own word for it.
"""

from torch import nn
from torch.profiler import record_function

BACKWARD = "autograd::engine::evaluate_function: "
MARK = "layer "


def marked(model):
    """Each call of a part that is called is inside a mark of its name."""
    for name, part in model.named_modules():
        if isinstance(part, nn.ModuleList):
            continue
        marks = []

        def begin(part, args, name=name, marks=marks):
            marks.append(record_function(MARK + name))
            marks[-1].__enter__()

        def end(part, args, output, marks=marks):
            marks.pop().__exit__(None, None, None)

        part.register_forward_pre_hook(begin)
        part.register_forward_hook(end)


def _above(event):
    while event is not None:
        yield event
        event = event.cpu_parent


def _layer_of(event):
    for outer in _above(event):
        if outer.name.startswith(MARK):
            return outer.name[len(MARK) :]
    return None


def by_layer(events, time_of):
    """What `time_of` says of each operation, summed by layer; None: of no layer."""
    events = sorted(events, key=lambda event: event.time_range.start)
    made = {}  # sequence number -> layer of the last forward operation that has it
    for event in events:
        if event.sequence_nr >= 0 and not any(outer.name.startswith(BACKWARD) for outer in _above(event)):
            made[event.sequence_nr] = _layer_of(event)
    times, last = {}, None
    for event in events:
        if event.name.startswith(BACKWARD):  # a weight's gradient follows the operation that made it
            last = made.get(event.sequence_nr) if "AccumulateGrad" not in event.name else last
        inside = any(outer.name.startswith(BACKWARD) for outer in _above(event))
        layer = last if inside else _layer_of(event)
        times[layer] = times.get(layer, 0) + time_of(event)
    return times
