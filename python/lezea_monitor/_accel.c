// The Python client's hot path in C: opening a scope by name, entering it, leaving it.
//
// Reads the thread's clocks; emits the records of scope edges. Owns nothing of its own: the objects
// are those of scope.py, lane.py and tree.py, whose hot fields lie in structs here. Only the usual
// case is in this file. Whatever is out of the ordinary goes, before anything has changed, to the
// Python function that it replaces, so that both do the same. From claiming a record's number to
// storing the head no Python code runs, hence no signal handler and no other thread.
//
// CPython's stable ABI of 3.9; not for free-threaded builds: the interpreter's lock is relied upon.
#define _GNU_SOURCE  // RTLD_DEFAULT
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <sys/resource.h>
#include <time.h>

#include "_rseq.h"
#include "scope/ring_layout.h"

// Goes up with every change that a client of another version must not meet (accel.py compares).
#define REVISION 3

// Part of the stable ABI since 3.10; 3.9 has the same number and signature.
#ifndef METH_FASTCALL
#define METH_FASTCALL 0x0080
#endif
#define METHOD(function) ((PyCFunction)(void (*)(void))(function))

// In the stable ABI since 3.2, but no longer in the headers of 3.13. The only way of 3.9's to a
// buffer's address: the caller keeps the object, whose buffer does not move.
extern int PyObject_AsWriteBuffer(PyObject* object, void** buffer, Py_ssize_t* bytes);
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

typedef struct Scope Scope;

typedef struct {
  PyObject* self;   // this state's module, borrowed
  PyObject* local;  // the threading.local of scope.py; its `st` is the thread's State
  PyObject* enter;  // the Python functions that do what is not done here
  PyObject* leave;
  PyObject* call;
  PyObject* reduce;
  PyObject* st;                  // "st"
  unsigned long long window_ns;  // CPU_WINDOW_NS of lane.py
  unsigned long long watch_ns;   // CPU_WATCH_NS of lane.py; 0 where a thread's switches do not show
  unsigned long long io_ns;      // IO_INTERVAL_NS of lane.py
  unsigned long long process_ns;  // PROCESS_INTERVAL_NS of lane.py
  PyTypeObject* scope_type;
  PyTypeObject* state_type;
  PyTypeObject* node_type;
  PyTypeObject* numbers_type;
  PyTypeObject* opener_type;
  PyTypeObject* node_class;  // the subclass of node_type that was met last: asking its MRO is dear
  Scope* spare;              // ended scopes kept for the next ones, linked through `key`
  unsigned spares;
} Module;

// Unit of ru_inblock and ru_oublock.
#define BLOCK_BYTES 512u
// Scopes, from the innermost outwards.
#define MOST_LOOKED_AT 10000
// Of one module, for as deep as scopes are nested as a rule.
#define MOST_SPARES 16

typedef struct {  // the hot part of tree.py's Node
  PyObject_HEAD unsigned id;
  PyObject* kids;  // {Key: Node}
} Node;

typedef struct {  // claims a lane's record numbers, as itertools.count(start).__next__ does
  PyObject_HEAD uint64_t next;
} Numbers;

typedef struct {  // the hot part of lane.py's ThreadState; the fields are explained there
  PyObject_HEAD PyObject* top;
  PyObject* claim;
  PyObject* view;
  PyObject* heads;
  char* records;  // of `view`
  Py_ssize_t record_bytes;
  uint64_t* words;  // of `heads`
  Py_ssize_t word_bytes;
  unsigned long long mask;
  unsigned long long slot;
  unsigned long long io_due;
  unsigned long long process_due;
  unsigned long long cpu_due;
  unsigned long long cpu_last;
  long long cpu_behind;
  unsigned tid;
  char in_task;
} State;

struct Scope {                   // one activation; see scope.py's Scope
  PyObject_HEAD Module* module;  // owns a reference to its object
  PyObject* key;
  PyObject* outer;
  PyObject* node;
  PyObject* cells;
  char buried;
};

typedef struct {                 // what `run.<level>` is bound to
  PyObject_HEAD Module* module;  // owns a reference to its object
  PyObject* names;               // {str: Key}
  PyObject* key_of;              // for names that are not in there
  PyObject* text;                // bytes that `method` points into
  PyMethodDef method;
} Opener;

static unsigned long long clock_ns(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec;
}

// Whether the thread's CPU clock has gone on like the other since its last reading: for as long as
// that makes no difference, or as the thread was not switched out. What interrupts take shows in one
// of the clocks only, which bounds the time.
static int has_run_since(const Module* module, const State* st, unsigned long long t) {
  return t < st->cpu_due || (t < st->cpu_due + module->watch_ns && rseq_never_switched());
}

// The thread's CPU clock at `t`, ns: see `stamps` in lane.py.
static unsigned long long cpu_at(const Module* module, State* st, unsigned long long t) {
  unsigned long long cpu;
  if (has_run_since(module, st, t)) {
    cpu = t - (unsigned long long)st->cpu_behind;
  } else {
    if (module->watch_ns != 0) rseq_watch();
    cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    // Not from `t`: before the watch the thread may have been switched out.
    st->cpu_behind = (long long)(clock_ns(CLOCK_MONOTONIC) - cpu);
    st->cpu_due = t + module->window_ns;
  }
  if (cpu < st->cpu_last) cpu = st->cpu_last;
  st->cpu_last = cpu;
  return cpu;
}

static int is_io_due(const State* st, unsigned long long t) {
  return t >= st->cpu_due && t > st->io_due;
}

// Whether records at `t` can be written right here: no IO stamps due or nobody to take out with them
// from `scope` outwards, a lane, room where it says.
static int is_usual(const Module* module, const State* st, unsigned long long t, PyObject* scope) {
  if (is_io_due(st, t)) {
    for (int depth = 0; scope != NULL && scope != Py_None; scope = ((Scope*)scope)->outer) {
      if (Py_TYPE(scope) != module->scope_type || ((Scope*)scope)->buried) return 0;
      if (++depth > MOST_LOOKED_AT) return 0;  // Python can be interrupted
    }
  }
  if (st->claim == NULL || Py_TYPE(st->claim) != module->numbers_type) return 0;
  return st->mask < (uint64_t)st->record_bytes / LEZEA_RING_RECORD_BYTES &&
         st->slot < (uint64_t)st->word_bytes / sizeof(uint64_t);
}

static void write_record(State* st, struct RingRecord record) {
  const uint64_t n = ((Numbers*)st->claim)->next++;
  record.tid = st->tid;
  record.seq = (uint32_t)(n + 1);
  *(struct RingRecord*)(st->records + (n & st->mask) * LEZEA_RING_RECORD_BYTES) = record;
  __atomic_store_n(st->words + st->slot, n + 1, __ATOMIC_RELEASE);
}

// As `stamp_io` in lane.py does, for the scope that is left.
static void stamp_io(const Module* module, State* st, unsigned long long t, unsigned left) {
  struct RingRecord record = {.t_mono_ns = t, .scope = left};
  struct rusage usage;
  st->io_due = t + module->io_ns;
  if (getrusage(RUSAGE_THREAD, &usage) == 0) {
    record.kind = LEZEA_RING_KIND_IO_READ;
    record.value = (uint64_t)usage.ru_inblock * BLOCK_BYTES;
    write_record(st, record);
    record.kind = LEZEA_RING_KIND_IO_WRITTEN;
    record.value = (uint64_t)usage.ru_oublock * BLOCK_BYTES;
    write_record(st, record);
  }
  if (t > st->process_due) {
    st->process_due = t + module->process_ns;
    record.kind = LEZEA_RING_KIND_PROCESS_CPU;
    record.value = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    write_record(st, record);
  }
}

// The thread is in `node` from now on, at `t`; it leaves the scope with the id `left`.
static void announce(const Module* module, State* st, unsigned long long t, const Node* node,
                     unsigned left, uint16_t flags) {
  if (is_io_due(st, t)) {
    stamp_io(module, st, t, left);
    t = clock_ns(CLOCK_MONOTONIC);
  }
  write_record(st, (struct RingRecord){.t_mono_ns = t,
                                       .value = cpu_at(module, st, t),
                                       .scope = node->id,
                                       .kind = LEZEA_RING_KIND_SWITCH,
                                       .flags = flags});
}

// What the calling thread's last lookup found, which costs more than the rest of an edge. It holds
// for as long as no state, of any thread, has gone and no other `local` is in use.
static _Thread_local struct {
  const Module* module;
  uint64_t changes;
  State* st;
} found;
static uint64_t changes;

static void forget_found(void) { __atomic_add_fetch(&changes, 1, __ATOMIC_RELAXED); }

// The calling thread's state (a new reference), or NULL without an error: it has none. The lookup
// may make objects, hence collect garbage, hence run Python, which may end the run: `local` is kept.
static State* own_state(const Module* module) {
  PyObject* local = module->local;
  if (local == NULL) return NULL;
  const uint64_t now = __atomic_load_n(&changes, __ATOMIC_RELAXED);
  if (found.module == module && found.changes == now) {
    Py_INCREF((PyObject*)found.st);
    return found.st;
  }
  Py_INCREF(local);
  PyObject* st = PyObject_GetAttr(local, module->st);
  if (st == NULL) PyErr_Clear();
  Py_DECREF(local);
  if (st != NULL && PyObject_TypeCheck(st, module->state_type)) {
    found.module = module;
    found.changes = now;
    found.st = (State*)st;
    return found.st;
  }
  Py_XDECREF(st);
  return NULL;
}

static void replace(PyObject** member, PyObject* object) {
  PyObject* old = *member;
  Py_INCREF(object);
  *member = object;
  Py_XDECREF(old);
}

static int is_node(Module* module, PyObject* object) {
  if (Py_TYPE(object) == module->node_class) return 1;
  if (!PyObject_TypeCheck(object, module->node_type)) return 0;
  replace((PyObject**)&module->node_class, (PyObject*)Py_TYPE(object));
  return 1;
}

static Node* node_of(Module* module, PyObject* scope) {
  if (scope == NULL || Py_TYPE(scope) != module->scope_type) return NULL;
  PyObject* node = ((Scope*)scope)->node;
  return node != NULL && is_node(module, node) ? (Node*)node : NULL;
}

// The scope of `key` below `parent`, borrowed, or NULL without an error: not entered there so far.
static Node* child_of(Module* module, const Node* parent, PyObject* key) {
  if (parent == NULL || parent->kids == NULL || Py_TYPE(parent->kids) != &PyDict_Type) return NULL;
  PyObject* node = PyDict_GetItemWithError(parent->kids, key);
  if (node != NULL && is_node(module, node)) return (Node*)node;
  PyErr_Clear();
  return NULL;
}

static PyObject* scope_enter(PyObject* object, PyObject* Py_UNUSED(none)) {
  Scope* self = (Scope*)object;
  Module* module = self->module;
  State* st = own_state(module);
  if (st != NULL && !st->in_task && (self->outer == NULL || self->outer == Py_None)) {
    Node* node = child_of(module, node_of(module, st->top), self->key);
    const Node* left = node_of(module, st->top);  // not before: keys have their own __hash__
    const unsigned long long t = clock_ns(CLOCK_MONOTONIC);
    if (node != NULL && left != NULL && is_usual(module, st, t, st->top)) {
      PyObject* old = self->node;
      Py_INCREF(node);
      self->node = (PyObject*)node;
      Py_XDECREF(self->outer);  // None
      self->outer = st->top;
      self->buried = 0;
      Py_INCREF(self);
      st->top = object;
      announce(module, st, t, node, left->id, LEZEA_RING_FLAG_ACTIVATION);
      Py_XDECREF(old);
      Py_DECREF(st);
      Py_INCREF(self);
      return object;
    }
  }
  Py_XDECREF(st);
  return PyObject_CallFunctionObjArgs(module->enter, object, NULL);
}

static PyObject* scope_exit(PyObject* object, PyObject* const* Py_UNUSED(args),
                            Py_ssize_t Py_UNUSED(count)) {
  Scope* self = (Scope*)object;
  Module* module = self->module;
  State* st = own_state(module);
  if (st != NULL && st->top == object) {
    const Node* left = node_of(module, object);
    const Node* node = node_of(module, self->outer);
    const unsigned long long t = clock_ns(CLOCK_MONOTONIC);
    if (left != NULL && node != NULL && is_usual(module, st, t, self->outer)) {
      st->top = self->outer;
      self->outer = NULL;
      announce(module, st, t, node, left->id, 0);
      Py_DECREF(object);  // as `top`; the caller has another
      Py_DECREF(st);
      Py_RETURN_NONE;
    }
  }
  Py_XDECREF(st);
  return PyObject_CallFunctionObjArgs(module->leave, object, Py_None, Py_None, Py_None, NULL);
}

static PyObject* scope_call(PyObject* object, PyObject* args, PyObject* names) {
  static char* keywords[] = {"function", NULL};
  const Module* module = ((Scope*)object)->module;
  PyObject* function;
  if (!PyArg_ParseTupleAndKeywords(args, names, "O", keywords, &function)) return NULL;
  return PyObject_CallFunctionObjArgs(module->call, object, function, NULL);
}

static PyObject* scope_reduce(PyObject* object, PyObject* Py_UNUSED(none)) {
  const Module* module = ((Scope*)object)->module;
  return PyObject_CallFunctionObjArgs(module->reduce, object, NULL);
}

static PyObject* scope_of_nothing(PyTypeObject* Py_UNUSED(type), PyObject* Py_UNUSED(args),
                                  PyObject* Py_UNUSED(names)) {
  PyErr_SetString(PyExc_TypeError, "scopes are made by run.scope(level, name)");
  return NULL;
}

static PyObject* make_scope(Module* module, PyObject* key) {
  Scope* scope = module->spare;
  if (scope != NULL) {
    module->spare = (Scope*)scope->key;
    module->spares--;
    PyObject_Init((PyObject*)scope, module->scope_type);
  } else {
    scope = PyObject_GC_New(Scope, module->scope_type);
    if (scope == NULL) return NULL;
  }
  Py_INCREF(module->self);
  scope->module = module;
  Py_INCREF(key);
  scope->key = key;
  scope->outer = scope->node = scope->cells = NULL;
  scope->buried = 0;
  PyObject_GC_Track(scope);
  return (PyObject*)scope;
}

// scope(key): an activation that is still to be entered.
static PyObject* new_scope(PyObject* self, PyObject* key) {
  return make_scope(PyModule_GetState(self), key);
}

// open(name), also open(name=…): the function behind `run.<level>`.
static PyObject* open_scope(PyObject* self, PyObject* const* args, Py_ssize_t count,
                            PyObject* keywords) {
  const Opener* opener = (const Opener*)self;
  const Py_ssize_t named = keywords == NULL ? 0 : PyTuple_Size(keywords);
  if (count + named != 1 ||
      (named == 1 && PyUnicode_CompareWithASCIIString(PyTuple_GetItem(keywords, 0), "name") != 0)) {
    PyErr_Format(PyExc_TypeError, "%s() takes one argument, name", opener->method.ml_name);
    return NULL;
  }
  PyObject* key = NULL;
  if (PyUnicode_CheckExact(args[0])) {
    key = PyDict_GetItemWithError(opener->names, args[0]);
    if (key == NULL) PyErr_Clear();
  }
  if (key != NULL) return make_scope(opener->module, key);
  key = PyObject_CallFunctionObjArgs(opener->key_of, args[0], NULL);
  if (key == NULL) return NULL;
  PyObject* scope = make_scope(opener->module, key);
  Py_DECREF(key);
  return scope;
}

// opener(level, doc, names, key_of): the function for one level.
static PyObject* new_opener(PyObject* self, PyObject* args) {
  Module* module = PyModule_GetState(self);
  const char *level, *doc;
  PyObject *names, *key_of;
  if (!PyArg_ParseTuple(args, "ssO!O", &level, &doc, &PyDict_Type, &names, &key_of)) return NULL;
  Opener* opener = PyObject_GC_New(Opener, module->opener_type);
  if (opener == NULL) return NULL;
  Py_INCREF(self);
  opener->module = module;
  Py_INCREF(names);
  opener->names = names;
  Py_INCREF(key_of);
  opener->key_of = key_of;
  opener->text = PyBytes_FromFormat("%s%c%s", level, 0, doc);
  PyObject_GC_Track(opener);
  PyObject* function = NULL;
  if (opener->text != NULL) {
    const char* text = PyBytes_AsString(opener->text);
    opener->method = (PyMethodDef){text, METHOD(open_scope), METH_FASTCALL | METH_KEYWORDS,
                                   text + strlen(level) + 1};
    function = PyCFunction_New(&opener->method, (PyObject*)opener);
  }
  Py_DECREF(opener);
  return function;
}

static PyObject* numbers_new(PyTypeObject* type, PyObject* args, PyObject* Py_UNUSED(names)) {
  unsigned long long start;
  if (!PyArg_ParseTuple(args, "K", &start)) return NULL;
  Numbers* numbers = PyObject_New(Numbers, type);
  if (numbers != NULL) numbers->next = start;
  return (PyObject*)numbers;
}

static PyObject* numbers_call(PyObject* self, PyObject* Py_UNUSED(args),
                              PyObject* Py_UNUSED(names)) {
  return PyLong_FromUnsignedLongLong(((Numbers*)self)->next++);
}

static void numbers_dealloc(PyObject* self) {
  PyTypeObject* type = Py_TYPE(self);
  PyObject_Free(self);
  Py_DECREF(type);
}

// `view` and `heads`: the object is kept, and the address of its buffer.
typedef struct {
  size_t object, address, bytes;  // offsets in State
} Buffer;

static Buffer view_buffer = {offsetof(State, view), offsetof(State, records),
                             offsetof(State, record_bytes)};
static Buffer heads_buffer = {offsetof(State, heads), offsetof(State, words),
                              offsetof(State, word_bytes)};

static PyObject* buffer_get(PyObject* self, void* which) {
  PyObject* object = *(PyObject**)((char*)self + ((const Buffer*)which)->object);
  if (object == NULL) object = Py_None;
  Py_INCREF(object);
  return object;
}

static int buffer_set(PyObject* self, PyObject* object, void* which) {
  const Buffer* to = which;
  void* address = NULL;
  Py_ssize_t bytes = 0;
  if (object == NULL) {
    PyErr_SetString(PyExc_AttributeError, "cannot be deleted");
    return -1;
  }
  if (PyObject_AsWriteBuffer(object, &address, &bytes) != 0) return -1;
  PyObject** member = (PyObject**)((char*)self + to->object);
  PyObject* old = *member;
  Py_INCREF(object);
  *member = object;
  *(void**)((char*)self + to->address) = address;
  *(Py_ssize_t*)((char*)self + to->bytes) = bytes;
  Py_XDECREF(old);
  return 0;
}

// The collector. What it clears is only what the functions above expect to be missing; every cycle
// goes through some of that, or through a function or a dict.
#define TRAVERSE(name, type, ...)                                           \
  static int name(PyObject* object, visitproc visit, void* arg) {           \
    const type* self = (const type*)object;                                 \
    PyObject* const all[] = {(PyObject*)Py_TYPE(object), __VA_ARGS__};      \
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) Py_VISIT(all[i]); \
    return 0;                                                               \
  }

TRAVERSE(node_traverse, Node, self->kids)
TRAVERSE(state_traverse, State, self->top, self->claim, self->view, self->heads)
TRAVERSE(scope_traverse, Scope, self->module->self, self->key, self->outer, self->node, self->cells)
TRAVERSE(opener_traverse, Opener, self->module->self, self->names, self->key_of, self->text)

static int node_clear(PyObject* object) {
  Py_CLEAR(((Node*)object)->kids);
  return 0;
}

static int state_clear(PyObject* object) {
  Py_CLEAR(((State*)object)->top);
  Py_CLEAR(((State*)object)->claim);
  return 0;
}

static int scope_clear(PyObject* object) {
  Scope* self = (Scope*)object;
  Py_CLEAR(self->outer);
  Py_CLEAR(self->node);
  Py_CLEAR(self->cells);
  return 0;
}

// The end of every dealloc; instances of heap types own their type.
static void free_object(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  ((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
  Py_DECREF(type);
}

static void node_dealloc(PyObject* object) {
  PyObject_GC_UnTrack(object);
  node_clear(object);
  free_object(object);
}

static void state_dealloc(PyObject* object) {
  forget_found();
  PyObject_GC_UnTrack(object);
  state_clear(object);
  Py_XDECREF(((State*)object)->view);
  Py_XDECREF(((State*)object)->heads);
  free_object(object);
}

// A program may enter scopes without end and leave none: freed one after the other, not in depth.
static void release_outers(const PyTypeObject* type, PyObject* outer) {
  while (outer != NULL && Py_TYPE(outer) == type && Py_REFCNT(outer) == 1) {
    PyObject* next = ((Scope*)outer)->outer;
    ((Scope*)outer)->outer = NULL;
    Py_DECREF(outer);
    outer = next;
  }
  Py_XDECREF(outer);
}

static void scope_dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  Scope* self = (Scope*)object;
  PyObject_GC_UnTrack(object);
  PyObject* outer = self->outer;
  self->outer = NULL;
  scope_clear(object);
  Py_DECREF(self->key);
  Module* module = self->module;
  if (module->spares < MOST_SPARES) {
    self->key = (PyObject*)module->spare;
    module->spare = self;
    module->spares++;
  } else {
    PyObject_GC_Del(object);
  }
  Py_DECREF(module->self);
  release_outers(type, outer);
  Py_DECREF(type);
}

static void opener_dealloc(PyObject* object) {
  const Opener* self = (const Opener*)object;
  PyObject_GC_UnTrack(object);
  Py_DECREF(self->module->self);
  Py_XDECREF(self->names);
  Py_XDECREF(self->key_of);
  Py_XDECREF(self->text);
  free_object(object);
}

#define MEMBER(name, kind, type, field) {name, kind, offsetof(type, field), 0, NULL}
#define FIXED(name, kind, type, field) {name, kind, offsetof(type, field), READONLY, NULL}

static PyMemberDef node_members[] = {
    MEMBER("id", T_UINT, Node, id), MEMBER("kids", T_OBJECT_EX, Node, kids), {0}};
static PyMemberDef state_members[] = {MEMBER("top", T_OBJECT_EX, State, top),
                                      MEMBER("in_task", T_BOOL, State, in_task),
                                      MEMBER("claim", T_OBJECT_EX, State, claim),
                                      MEMBER("mask", T_ULONGLONG, State, mask),
                                      MEMBER("slot", T_ULONGLONG, State, slot),
                                      MEMBER("tid", T_UINT, State, tid),
                                      MEMBER("io_due", T_ULONGLONG, State, io_due),
                                      MEMBER("process_due", T_ULONGLONG, State, process_due),
                                      MEMBER("cpu_due", T_ULONGLONG, State, cpu_due),
                                      MEMBER("cpu_behind", T_LONGLONG, State, cpu_behind),
                                      MEMBER("cpu_last", T_ULONGLONG, State, cpu_last),
                                      {0}};
static PyGetSetDef state_buffers[] = {{"view", buffer_get, buffer_set, NULL, &view_buffer},
                                      {"heads", buffer_get, buffer_set, NULL, &heads_buffer},
                                      {0}};
static PyMemberDef scope_members[] = {
    FIXED("key", T_OBJECT, Scope, key),         MEMBER("outer", T_OBJECT, Scope, outer),
    MEMBER("node", T_OBJECT_EX, Scope, node),   MEMBER("buried", T_BOOL, Scope, buried),
    MEMBER("cells", T_OBJECT_EX, Scope, cells), {0}};
static PyMethodDef scope_methods[] = {{"__enter__", scope_enter, METH_NOARGS, NULL},
                                      {"__exit__", METHOD(scope_exit), METH_FASTCALL, NULL},
                                      {"__reduce__", scope_reduce, METH_NOARGS, NULL},
                                      {0}};

static PyType_Slot node_slots[] = {{Py_tp_members, node_members},
                                   {Py_tp_traverse, node_traverse},
                                   {Py_tp_clear, node_clear},
                                   {Py_tp_dealloc, node_dealloc},
                                   {0}};
static PyType_Slot state_slots[] = {{Py_tp_members, state_members},   {Py_tp_getset, state_buffers},
                                    {Py_tp_traverse, state_traverse}, {Py_tp_clear, state_clear},
                                    {Py_tp_dealloc, state_dealloc},   {0}};
static PyType_Slot scope_slots[] = {
    {Py_tp_members, scope_members},   {Py_tp_methods, scope_methods},
    {Py_tp_new, scope_of_nothing},    {Py_tp_call, scope_call},
    {Py_tp_traverse, scope_traverse}, {Py_tp_clear, scope_clear},
    {Py_tp_dealloc, scope_dealloc},   {0}};
static PyType_Slot opener_slots[] = {
    {Py_tp_traverse, opener_traverse}, {Py_tp_dealloc, opener_dealloc}, {0}};
static PyType_Slot numbers_slots[] = {
    {Py_tp_new, numbers_new}, {Py_tp_call, numbers_call}, {Py_tp_dealloc, numbers_dealloc}, {0}};

#define COLLECTED (Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC)
#define SPEC(name, type, flags, slots) {"lezea_monitor._accel." name, sizeof(type), 0, flags, slots}

static PyType_Spec node_spec = SPEC("Node", Node, COLLECTED | Py_TPFLAGS_BASETYPE, node_slots);
static PyType_Spec state_spec = SPEC("State", State, COLLECTED | Py_TPFLAGS_BASETYPE, state_slots);
static PyType_Spec scope_spec = SPEC("Scope", Scope, COLLECTED, scope_slots);
static PyType_Spec opener_spec = SPEC("Opener", Opener, COLLECTED, opener_slots);
static PyType_Spec numbers_spec = SPEC("Numbers", Numbers, Py_TPFLAGS_DEFAULT, numbers_slots);

// setup(enter, exit, call, reduce, window_ns, watch_ns, io_ns, process_ns): the Python functions
// behind, and the constants of lane.py. True where switches show, so that `watch_ns` is used.
static PyObject* setup(PyObject* self, PyObject* args) {
  Module* module = PyModule_GetState(self);
  PyObject *enter, *leave, *call, *reduce;
  if (!PyArg_ParseTuple(args, "OOOOKKKK", &enter, &leave, &call, &reduce, &module->window_ns,
                        &module->watch_ns, &module->io_ns, &module->process_ns)) {
    return NULL;
  }
  if (!rseq_prepare()) module->watch_ns = 0;
  replace(&module->enter, enter);
  replace(&module->leave, leave);
  replace(&module->call, call);
  replace(&module->reduce, reduce);
  return PyBool_FromLong(module->watch_ns != 0);
}

// use(local): from now on the threads' states are there.
static PyObject* use(PyObject* self, PyObject* local) {
  forget_found();
  replace(&((Module*)PyModule_GetState(self))->local, local);
  Py_RETURN_NONE;
}

static PyMethodDef module_methods[] = {{"setup", setup, METH_VARARGS, NULL},
                                       {"use", use, METH_O, NULL},
                                       {"scope", new_scope, METH_O, NULL},
                                       {"opener", new_opener, METH_VARARGS, NULL},
                                       {0}};

static int add_type(PyObject* self, PyTypeObject** type, PyType_Spec* spec) {
  *type = (PyTypeObject*)PyType_FromSpec(spec);
  if (*type == NULL) return -1;
  Py_INCREF(*type);
  if (PyModule_AddObject(self, strrchr(spec->name, '.') + 1, (PyObject*)*type) == 0) return 0;
  Py_DECREF(*type);
  return -1;
}

static int execute(PyObject* self) {
  Module* module = PyModule_GetState(self);
  module->self = self;
  module->st = PyUnicode_InternFromString("st");
  if (module->st == NULL || add_type(self, &module->node_type, &node_spec) != 0 ||
      add_type(self, &module->state_type, &state_spec) != 0 ||
      add_type(self, &module->numbers_type, &numbers_spec) != 0) {
    return -1;
  }
  module->scope_type = (PyTypeObject*)PyType_FromSpec(&scope_spec);
  module->opener_type = (PyTypeObject*)PyType_FromSpec(&opener_spec);
  if (module->scope_type == NULL || module->opener_type == NULL) return -1;
  return PyModule_AddIntConstant(self, "REVISION", REVISION);
}

static int module_traverse(PyObject* self, visitproc visit, void* arg) {
  const Module* module = PyModule_GetState(self);
  if (module == NULL) return 0;
  Py_VISIT(module->local);
  Py_VISIT(module->enter);
  Py_VISIT(module->leave);
  Py_VISIT(module->call);
  Py_VISIT(module->reduce);
  Py_VISIT(module->node_class);
  return 0;
}

static void module_free(void* self) {
  Module* module = PyModule_GetState(self);
  if (module == NULL) return;
  while (module->spare != NULL) {  // before their type
    Scope* scope = module->spare;
    module->spare = (Scope*)scope->key;
    PyObject_GC_Del(scope);
  }
  PyObject* const all[] = {module->local,
                           module->enter,
                           module->leave,
                           module->call,
                           module->reduce,
                           module->st,
                           (PyObject*)module->scope_type,
                           (PyObject*)module->state_type,
                           (PyObject*)module->node_type,
                           (PyObject*)module->numbers_type,
                           (PyObject*)module->opener_type,
                           (PyObject*)module->node_class};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) Py_XDECREF(all[i]);
}

static PyModuleDef_Slot module_slots[] = {{Py_mod_exec, execute}, {0}};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "lezea_monitor._accel",
    .m_size = sizeof(Module),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_free = module_free,
};

PyMODINIT_FUNC PyInit__accel(void) { return PyModuleDef_Init(&definition); }
