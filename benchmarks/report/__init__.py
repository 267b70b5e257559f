"""Draws one page, plots and tables from record files of `capabilities`."""

from benchmarks.report.write import ReportFiles, write_report

__all__ = ["ReportFiles", "write_report"]
