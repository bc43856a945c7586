"""Works a run's cost out again, from the amounts in its summary and the rates in its cost document.

Usage: recompute_cost.py SUMMARY COST. Prints what does not agree, a line each; nothing where all does.
"""

import json
import sys
from decimal import Decimal
from fractions import Fraction

PER_HOUR = Fraction(1, 3600)
PER_GB = Fraction(1, 10**9)
PER_KWH = Fraction(1, 3_600_000)
# Component: its rate, and what a unit of each column is of it.
PRICED = {
    "cpu_eur": ("cpu_core_hour_eur", {"cpu_seconds": PER_HOUR}),
    "ram_eur": ("ram_gb_hour_eur", {"memory_byte_seconds": PER_HOUR * PER_GB}),
    "gpu_eur": ("gpu_hour_eur", {"gpu_active_seconds": PER_HOUR}),
    "gpu_mem_eur": ("gpu_mem_gb_hour_eur", {"gpu_memory_byte_seconds": PER_HOUR * PER_GB}),
    "energy_eur": ("energy_kwh_eur", {"cpu_energy_joules": PER_KWH, "gpu_energy_joules": PER_KWH}),
    "io_eur": ("io_gb_eur", {"io_read_bytes": PER_GB, "io_write_bytes": PER_GB}),
}
NANO = Fraction(1, 10**9)


def number(text):
    return Fraction(Decimal(text))


def exact(columns, rates, component):
    """What the columns cost; None: not measured, or without a rate."""
    rate, units = PRICED[component]
    known = {name: unit for name, unit in units.items() if name in columns}
    if not known or rate not in rates:
        return None
    return sum(columns[name] * unit for name, unit in known.items()) * rates[rate]


def check(where, columns, components, total, rates, most):
    """`most`: how far rounding may take a component, in billionths."""
    for component in PRICED:
        wanted, found = exact(columns, rates, component), components.get(component)
        if (wanted is None) != (found is None):
            yield "%s: %s is %s, expected %s" % (where, component, found, wanted)
        # A summary has floating point numbers, which know 53 bits.
        elif wanted is not None and abs(wanted - found) > most * NANO + wanted / 2**50:
            yield "%s: %s is %s, expected %s" % (where, component, found, float(wanted))
    if abs(sum(components.values()) - total) > total / 2**50:
        yield "%s: the total is %s, expected %s" % (where, total, sum(components.values()))


def faults(summary, cost):
    rates = cost["rates_eur"]
    totals = {name: total["value"] for name, total in summary["totals"].items()}
    grand = cost["grand_components_eur"]
    yield from check("total", totals, grand, cost["total_eur"], rates, Fraction(1, 2))
    scopes = dict(cost["scopes"])
    rest = scopes.pop("global")
    left = summary["unattributed"]
    yield from check("global", left, rest["components_eur"], rest["total_eur"], rates, 1)
    if set(scopes) != {scope["path"] for scope in summary["scopes"]}:
        yield "the scopes are %s" % sorted(scopes)
        return
    billionths = lambda value: round(value / NANO)
    for scope in summary["scopes"]:
        path, found = scope["path"], scopes[scope["path"]]
        own = found["components_eur"]
        yield from check(path, scope["self"], own, found["total_eur"], rates, 1)
        below = [at for at in scopes if at == path or at.startswith(path + "/")]
        for component, value in found["inclusive"]["components_eur"].items():
            parts = [scopes[at]["components_eur"].get(component, 0) for at in below]
            # Each was rounded to 53 bits.
            if abs(sum(parts) - value) > len(parts) * value / 2**50:
                yield "%s: %s with what is below it is %s, not %s" % (path, component, value, sum(parts))
    books = {name: text for name, text in cost["conservation"].items() if name != "unit"}
    whole = sum(billionths(scope["total_eur"]) for scope in scopes.values())
    if cost["total_eur"] < 10**6:  # in billionths, below 2^53: a number has them all
        expected = {
            "scopes": whole, "unattributed": billionths(rest["total_eur"]),
            "total": billionths(cost["total_eur"]), "residual": 0,
        }  # fmt: skip
        if books != {name: str(value) for name, value in expected.items()}:
            yield "the books are %s, expected %s" % (books, expected)
        if whole + expected["unattributed"] != expected["total"]:
            yield "the parts are not the whole: %s" % expected
    if int(books["scopes"]) + int(books["unattributed"]) != int(books["total"]):
        yield "the books do not balance: %s" % books


def main():
    with open(sys.argv[1]) as summary, open(sys.argv[2]) as cost:
        read = lambda file: json.load(file, parse_float=number, parse_int=number)
        documents = read(summary), read(cost)
    for fault in faults(*documents):
        print(fault)


main()
