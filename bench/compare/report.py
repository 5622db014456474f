"""The figures of a run, as Markdown between two marks of docs/benchmarks.md."""
import statistics
import sys

BEGIN, END = "<!-- compare: begin -->", "<!-- compare: end -->"
WORKER, GATEWAY, WHOLE, DIRECT = ("millrace worker", "millrace gateway", "millrace gateway + 2 workers",
                                  "millrace worker, asked directly")
TITLES = {
    "worker": ("A worker alone", WORKER),
    "gateway": ("A gateway alone, over three servers that answer a constant", GATEWAY),
    "whole": ("The whole: a gateway and two workers", WHOLE),
}


def write(path, text):
    whole = path.read_text(encoding="utf-8")
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    path.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(f"written to {path}", file=sys.stderr)


class Figures:
    """What was measured in one scenario, by subject and cell."""

    def __init__(self, told):
        self.told = told
        self.subjects = told["subjects"]
        self.cells = {cell["name"] if cell["model"] == "digits" else f"{cell['model']}, {cell['name']}": cell["results"]
                      for cell in told["cells"]}

    def median(self, subject, cell, key):
        rounds = [each[key] for each in self.cells.get(cell, {}).get(subject, []) if each[key] is not None]
        return statistics.median(rounds) if rounds else None

    def ratio(self, subject, other, cell, key):
        """The median of the ratios round by round."""
        pairs = zip(self.cells.get(cell, {}).get(subject, []), self.cells.get(cell, {}).get(other, []))
        ratios = [ours[key] / theirs[key] for ours, theirs in pairs if ours[key] and theirs[key]]
        return statistics.median(ratios) if ratios else None

    def failed(self, subject):
        return sum(each["failed"] for results in self.cells.values() for each in results.get(subject, []))


def render(results):
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    lines = [
        f"Measured on {machine['date']}: {machine['cores']} cores ({machine['cpu']}), {machine['system']}; {versions}. "
        f"{results['rounds']} round{'s' * (results['rounds'] > 1)} of {results['seconds']:g} s after one to warm up, {results['minutes']:.0f} minutes in all. What is "
        f"measured has processor {listed(machine['measured'])}; the load generator, and the upstreams of proxies, have {listed(machine['load'])}. "
        f"The machine's load before the run was {machine['busy']:.1f}.",
    ]
    if results["quick"]:
        lines += ["", "**A quick run, to see that everything works: no figures to go by.**"]
    figures = {name: Figures(told) for name, told in results["scenarios"].items()}
    lines += ["", "### What it comes to", "", *summary(figures, results.get("alone", {}))]
    for name, scenario in figures.items():
        title, ours = TITLES[name]
        lines += ["", f"### {title}", "", *tables(scenario, ours)]
    if "alone" in results:
        lines += ["", "### millrace alone", "", *of_alone(results["alone"])]
    return "\n".join(lines)


def listed(cpus):
    return ", ".join(map(str, cpus))


def summary(figures, alone):
    rows = []

    def add(what, value, unit=" ×", digits=2):
        if value is not None:
            rows.append(f"| {what} | **{value:,.{digits}f}{unit}** |")

    worker, gateway, whole = (figures.get(name) for name in ("worker", "gateway", "whole"))
    if gateway:
        for connections in (32, 128):
            add(f"gateway over nginx, CPU per request, {connections} connections", gateway.ratio(GATEWAY, "nginx", f"1 row, {connections}", "cpu_us"))
        for other in ("HAProxy", "Caddy", "bare hyper proxy (floor)"):
            add(f"gateway over {other}, CPU per request, 32 connections", gateway.ratio(GATEWAY, other, "1 row, 32", "cpu_us"))
        for variant in (name for name in gateway.subjects if name.startswith(f"{GATEWAY},")):
            add(f"gateway over {variant.removeprefix('millrace ')}, CPU per request", gateway.ratio(GATEWAY, variant, "1 row, 32", "cpu_us"))
    if worker:
        for other in (name for name in worker.subjects if name != WORKER):
            name = other.removeprefix("millrace ")
            add(f"worker over {name}, CPU per request, 32 connections", worker.ratio(WORKER, other, "1 row, 32", "cpu_us"), digits=3)
            if "floor" not in other and not other.startswith(WORKER):
                add(f"worker over {name}, requests/s, 32 connections", worker.ratio(WORKER, other, "1 row, 32", "per_second"))
    if whole:
        for other in whole.subjects:
            if other not in (WHOLE, DIRECT):
                add(f"whole over {other}, CPU per request, 32 connections", whole.ratio(WHOLE, other, "1 row, 32", "cpu_us"), digits=3)
        add("whole over its worker asked directly, p50, 1 connection", whole.ratio(WHOLE, DIRECT, "1 row, 1", "p50_us"))
    for scenario, ours in ((worker, WORKER), (gateway, GATEWAY), (whole, WHOLE)):
        if scenario:
            crowded(scenario, ours, add)
    for model, forms in models_of_784(alone):
        middle = {body: statistics.median(each["rows_per_second"] for each in forms[body]) for body in ("rows", "v2")}
        add(f"64 binary rows over 64 JSON rows, 784 values each, {model}, rows/s", middle["v2"] / middle["rows"])
    return ["| what | |", "|---|---:|", *rows]


def models_of_784(alone):
    """What was measured of the models that rows of 784 values go to, by what they are."""
    wide = alone.get("wide", {})
    for name, title in (("wide", "a net of 256 and 128 units"), ("linear", "a softmax")):
        if name in wide and all(wide[name].values()):
            yield title, wide[name]


def crowded(scenario, ours, add):
    """What is left at 512 connections: of the throughput, and of the time that a fair queue would take."""
    rates = {count: scenario.median(ours, f"1 row, {count}", "per_second") for count in (1, 32, 128, 512)}
    last = scenario.median(ours, "1 row, 512", "p99_us")
    if rates[512] and last:
        name = ours.removeprefix("millrace ")
        add(f"{name}: requests/s at 512 connections over its best", rates[512] / max(filter(None, rates.values())))
        add(f"{name}: p99 at 512 connections over connections / (requests/s)", last / 1e6 * rates[512] / 512)


def tables(scenario, ours):
    cells = [name for name, results in scenario.cells.items() if results]
    lines = []
    for key, title, shown in (
        ("cpu_us", "CPU µs per request of all processes; in brackets ours over theirs", lambda value: f"{value:,.1f}"),
        ("per_second", "Requests per second", lambda value: f"{value:,.0f}"),
        ("p50_us", "p50 in ms", lambda value: f"{value / 1e3:,.2f}"),
        ("p99_us", "p99 in ms", lambda value: f"{value / 1e3:,.2f}"),
    ):
        lines += [f"{title}:", "", f"| | {' | '.join(cells)} |", "|---|" + "---:|" * len(cells)]
        for subject in scenario.subjects:
            row = []
            for cell in cells:
                value = scenario.median(subject, cell, key)
                text = "–" if value is None else shown(value)
                ratio = scenario.ratio(ours, subject, cell, key) if key == "cpu_us" and subject != ours else None
                row.append(text + (f" ({ratio:.2g} ×)" if ratio else ""))
            lines.append(f"| {subject} | {' | '.join(row)} |")
        lines.append("")
    lines += ["| | memory (PSS) | core busy at 32 connections | failed | how it is set |", "|---|---:|---:|---:|---|"]
    for subject, note in scenario.subjects.items():
        memory, busy = scenario.told["memory"].get(subject), scenario.median(subject, "1 row, 32", "busy")
        lines.append(f"| {subject} | {'–' if memory is None else f'{memory:,.1f} MB'} | {'–' if busy is None else f'{busy:.0%}'} "
                     f"| {scenario.failed(subject)} | {note} |")
    for name, reason in scenario.told["absent"].items():
        lines += ["", f"{name} was left out: {reason.rstrip('.')}."]
    lines += ["", "“–”: cannot be asked so, or not at that rate (README.md of bench/compare)."]
    return lines


def of_alone(alone):
    lines = []
    for name, told in alone.items():
        if "failed" in told:
            lines.append(f"- {name} could not be measured: {told['failed']}")
    for model, forms in models_of_784(alone):
        for body, title in (("rows", "JSON"), ("v2", "V2 binary")):
            rate, cpu = (statistics.median(each[key] for each in forms[body]) for key in ("rows_per_second", "cpu_us"))
            lines.append(f"- 64 rows of 784 values a request, {model}, {title}: {rate:,.0f} rows/s, {cpu:.2f} µs CPU a row.")
    memory = alone.get("memory", {})
    for name, points in memory.items() if "failed" not in memory else ():
        told = ", ".join(f"{megabytes:.1f} after {requests:,}" for requests, megabytes in points[1:])
        lines.append(f"- Memory (PSS) of the {name.removeprefix('millrace ')}, in MB: {points[0][1]:.1f} at first; {told} requests.")
    ready = alone.get("ready", {})
    if "median" in ready:
        lines.append(f"- A worker with all shipped models is ready {ready['median']:.2f} s after its start "
                     f"({ready['least']:.2f} to {ready['most']:.2f}).")
    generator = alone.get("generator", {})
    if "wrk" in generator:
        lines.append(f"- The load generator beside wrk, on the bare hyper server at 32 connections: {generator['ours']:,.0f} and "
                     f"{generator['wrk']:,.0f} requests/s.")
    return lines
