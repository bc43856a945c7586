"""Which GPU a call of a torch module works on, and what the agent knows that GPU as.

Reads tensors, parameters and torch's device properties; runs no code of a tensor's or a module's own
class. Owns nothing.
"""

from typing import Any, Iterable, List, Optional

NOWHERE = -1  # instead of a GPU's index in torch
MAX_PARTS = 64  # of a module that are looked at for a parameter
_PREFIXES = ("GPU-", "MIG-")


def gpu_of(torch: Any, values: Iterable[Any], module: Any = None) -> int:
    """Where the first tensor is that is on a GPU; of a call without tensors: a parameter of `module`.

    torch's index, or NOWHERE.
    """
    any_tensor = False
    for value in values:
        if isinstance(value, torch.Tensor):
            any_tensor = True
            gpu = _gpu_of_tensor(torch, value)
            if gpu != NOWHERE:
                return gpu
    parameter = None if any_tensor or module is None else _parameter(module)
    return NOWHERE if parameter is None else _gpu_of_tensor(torch, parameter)


def _gpu_of_tensor(torch: Any, tensor: Any) -> int:
    if type(tensor) is torch.Tensor:
        return tensor.get_device() if tensor.is_cuda else NOWHERE  # type: ignore[no-any-return]
    with torch._C.DisableTorchFunctionSubclass():
        return tensor.get_device() if tensor.is_cuda else NOWHERE  # type: ignore[no-any-return]


def _parameter(module: Any) -> Any:
    """A parameter of it or of its parts."""
    parts: List[Any] = [module]
    for part in parts:
        state = vars(part)
        for parameter in (state.get("_parameters") or {}).values():
            if parameter is not None:
                return parameter
        if len(parts) < MAX_PARTS:
            parts.extend(inner for inner in (state.get("_modules") or {}).values() if inner is not None)
    return None


def uuid_of(cuda: Any, gpu: int) -> Optional[str]:
    """GPU-<uuid>, of a MIG instance MIG-<uuid>, as NVML writes it; None where torch does not tell."""
    properties = cuda.get_device_properties(gpu)
    uuid = str(getattr(properties, "uuid", ""))
    if not uuid or uuid.startswith(_PREFIXES):
        return uuid or None
    # "NVIDIA H100 80GB HBM3 MIG 1g.10gb": the name is all that tells an instance.
    return _PREFIXES[" MIG " in properties.name] + uuid
