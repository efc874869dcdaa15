"""``dam kpi …``: the numbers of the newest report, and where each comes from."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from dam.commands import plainly
from dam.errors import NotFound
from dam.services import Services

app = typer.Typer(no_args_is_help=True, help="KPIs, and where each number comes from.")


@app.command("list")
@plainly
def told(as_json: Annotated[bool, typer.Option("--json", help="All that is stored, as JSON.")] = False) -> None:
    """Tell the newest report's numbers."""
    report = _newest()
    if as_json:
        typer.echo(json.dumps(report["kpis"], indent=2, ensure_ascii=False))
        return
    typer.echo(f"From {report['from']} to {report['to']}, made {report['made_at']} by {report['run'] or 'hand'}.")
    for kpi in report["kpis"]:
        beside = f" {kpi['unit']}" if kpi["value"] is not None and kpi["format"] not in ("hours", "working") else ""
        nine = f", nine of ten within {_shown(kpi, kpi['p90'])}" if "p90" in kpi else ""
        typer.echo(f"{kpi['name']:24} {kpi['shown']}{beside}{nine}")


@app.command("explain")
@plainly
def explain(name: Annotated[str, typer.Argument(help="Of a KPI: see dam kpi list.")]) -> None:
    """Tell what a number means, of what it was computed, by which query, and which run made it."""
    report = _newest()
    kpi = next((kpi for kpi in report["kpis"] if kpi["name"] == name), None)
    if kpi is None:
        known = ", ".join(kpi["name"] for kpi in report["kpis"])
        raise NotFound("there is no such KPI", where=name, remedy=f"Use one of: {known}.")
    inputs = kpi["inputs"]
    typer.echo(f"{kpi['label']}: {kpi['shown']} {kpi['explanation'] or kpi['unit']}")
    typer.echo(kpi["definition"])
    typer.echo(f"Computed from {inputs['rows']} inputs, {inputs['from'] or '–'} to {inputs['to'] or '–'}")
    typer.echo(f"by {kpi['run'] or 'hand'}, over")
    for parameter, value in kpi["parameters"].items():
        typer.echo(f"  :{parameter} = {value}")
    typer.echo(f"\n{kpi['query']}")


def _shown(kpi: dict[str, Any], value: float) -> str:
    from dam.measure.kpi import shown

    return shown(kpi["format"], value)


def _newest() -> dict[str, Any]:
    from sqlalchemy import select

    from dam.catalog.models import KpiReport

    with Services.from_env().session() as session:
        row = session.scalar(select(KpiReport).order_by(KpiReport.made_at.desc()).limit(1))
        if row is None:
            raise NotFound("there is no report yet", remedy="The first comes with tonight's run of measure_nightly.")
        return {
            "from": f"{row.period_start:%Y-%m-%d %H:%M}",
            "to": f"{row.period_end:%Y-%m-%d %H:%M}",
            "made_at": f"{row.made_at:%Y-%m-%d %H:%M}",
            "run": row.run_id,
            "kpis": row.kpis,
        }
