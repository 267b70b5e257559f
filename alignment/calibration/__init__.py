"""Fitting how much a served model's scores are worth; `server.concepts.calibration` applies it."""
