"""Opening scopes by name: the functions behind `run.layer(name)` and the other levels.

Emits scopes that are still to be entered. Owns the names that were used so far: a name costs one
dictionary lookup from its second use on. Where there is the C accelerator it does that lookup.
"""

from typing import Callable, Dict

from .accel import native
from .foreign import is_foreign
from .scope import Scope
from .tree import MAX_SCOPES, Key, Tree


def opener(tree: Tree, level: str) -> Callable[[object], Scope]:
    """The function behind `run.<level>(name)`."""
    names: Dict[str, Key] = {}
    doc = "Scope of level %s: a context manager and a decorator." % level

    def key_of(name: object) -> Key:
        key = tree.key(level, name)
        # Only strings: 1, 1.0 and True are one dictionary key but three names, and a member of an
        # enumeration may equal a string that is not its name.
        if type(name) is str and len(names) < MAX_SCOPES:
            names[name] = key
        return key

    if native is not None:
        signature = "%s(name)\n--\n\n" % level
        return native.opener(level, signature + doc, names, key_of)  # type: ignore[no-any-return]

    def open_scope(name: object) -> Scope:
        if type(name) is str:
            try:
                key = names[name]
            except Exception as error:
                if is_foreign(error):
                    raise
                key = key_of(name)
        else:
            key = key_of(name)
        scope = Scope()
        scope.key = key
        scope.outer = None
        scope.buried = False
        return scope

    open_scope.__name__ = level
    open_scope.__doc__ = doc
    return open_scope
