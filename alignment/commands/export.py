"""`python -m alignment export`: from a run to what is committed or served."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from alignment.commands.starting import say_written
from server.errors import SightwardError


class ExportTargetError(SightwardError):
    """The command line does not say where to, or says more than the run can be."""


def export(
    run: Annotated[Path, Parameter(help="A finished run.")],
    out: Annotated[Path | None, Parameter(help="The folder to write to.")] = None,
    *,
    as_reference: Annotated[
        Literal["sft", "dpo", "ppo", "safe"] | None,
        Parameter(
            help="Write the small adapter (`safe`: with the safety modules that it was trained on) "
            "that is committed as this variant of the reference VLM; without OUT in its place "
            "beside the base."
        ),
    ] = None,
    model: Annotated[
        str | None, Parameter(help="Where the run's base lies, if not where it was.")
    ] = None,
) -> None:
    """Write a run's weights as they are served, and check that they answer as the policy did.

    Of `sft`, `dpo` or `ppo`: OUT/adapter, a PEFT adapter that vLLM loads live on a GPU, and
    OUT/merged, a whole checkpoint. Nothing is left under OUT unless both runtimes agree.

    Of `instruct`: the small bf16 delta that assembly merges into the base.
    """
    from alignment.export_run import is_alignment_run

    if not is_alignment_run(run):
        from alignment.export import export_delta

        if out is None or as_reference is not None or model is not None:
            raise ExportTargetError(f"{run} is no run of sft, dpo or ppo: only RUN OUT suits it")
        say_written(export_delta(run, out))
        return
    from alignment.export_aligned import export_aligned, export_reference
    from alignment.export_run import read_run

    finished = read_run(run, model=model)
    if as_reference is not None:
        exported = export_reference(finished, as_reference, out)
    elif out is None:
        raise ExportTargetError("name a folder to write to, or a variant with --as-reference")
    else:
        exported = export_aligned(finished, out)
    print(f"parity: {exported.parity}")
    if exported.dropped:
        print("the calibration there was another adapter's and is gone: calibrate again")
    say_written(exported.folder)
